"""Spots of a dataset as a mixture sees them: their H&E through the image heads, their counts through the gene heads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from haiku_edge.runtime.engine import Engine
from haiku_edge.runtime.errors import PanelError
from haiku_edge.runtime.inference.mixture import split_mixture
from haiku_edge.runtime.inference.progress import Progress, Silent

from ..checkpoint.spade import SpadeCheckpoint
from ..checkpoint.spade_parts import make_head
from ..evaluation.spade import SPADE, SpotCohort
from ..evaluation.spade.join import stack_spots
from ..spatial import DatasetSection, SectionSpots, SpotDataset, decode_patch, log_normalise
from ..spatial.dataset import check_size

BATCH: Final = 32
"""Patches that go through the tower at once."""

ROWS: Final = 1024
"""Spots whose counts go through the gene heads at once."""


@dataclass(frozen=True, slots=True)
class EmbeddedSpots:
    """n spots as a mixture sees them.

    Attributes:
        cohort: The spots, with the mixture's raw embeddings under `SPADE`, and those of the gene heads as keys where
            the checkpoint has them and the genes are there.
        experts: (n, e) float32 weights of the experts.
    """

    cohort: SpotCohort
    experts: NDArray[np.float32]

    def select(self, rows: NDArray[np.bool_]) -> EmbeddedSpots:
        """These spots alone."""
        return EmbeddedSpots(self.cohort.select(rows), self.experts[rows])


class GeneHeads:
    """The gene heads of a mixture: the counts of a spot as a vector of the space of the pictures.

    Args:
        checkpoint: A checkpoint that has them, and names their genes.
        genes: Genes of a dataset.

    Raises:
        PanelError: The dataset lacks a gene that they read.
    """

    def __init__(self, checkpoint: SpadeCheckpoint, genes: Sequence[str]) -> None:
        assert checkpoint.spot_heads is not None and checkpoint.genes is not None
        places = {gene: place for place, gene in enumerate(genes)}
        if missing := _missing(checkpoint, genes):
            raise PanelError(
                f"{len(missing)} of the {len(checkpoint.genes)} genes that the experts read are not in the dataset "
                f"({', '.join(missing[:3])}…). Build it with `spots build --like` their dataset, or search pictures "
                "(--keys image)."
            )
        self._columns = [places[gene] for gene in checkpoint.genes]
        self._log = checkpoint.about.get("counts") == "log"
        self._heads = [make_head(head) for head in checkpoint.spot_heads]

    def __call__(self, spots: SectionSpots, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, d) float32: the routed sum of the gene heads.

        Args:
            spots: n spots.
            weights: (n, e) float32 weights of the experts, from the spots' pictures.
        """
        starts = range(0, max(len(spots), 1), ROWS)
        return np.concatenate([self._sums(spots, weights, slice(start, start + ROWS)) for start in starts])

    def _sums(self, spots: SectionSpots, weights: NDArray[np.float32], rows: slice) -> NDArray[np.float32]:
        """The routed sum of some rows: their counts alone are made dense."""
        counts = csr_matrix(spots.counts[rows][:, self._columns])
        read = log_normalise(counts, spots.library[rows]) if self._log else np.asarray(counts.toarray(), np.float32)
        with torch.inference_mode():
            values = torch.from_numpy(read)
            parts = [head(values).numpy() * weights[rows, number, None] for number, head in enumerate(self._heads)]
        return np.asarray(np.sum(parts, axis=0), np.float32)


def gene_heads(checkpoint: SpadeCheckpoint, genes: Sequence[str], *, wanted: str = "auto") -> GeneHeads | None:
    """The gene heads, where the checkpoint has them and the dataset their genes; None where pictures do.

    Args:
        checkpoint: The checkpoint.
        genes: Genes of the dataset.
        wanted: image, expression or auto.

    Raises:
        PanelError: Expression is asked for, and the checkpoint has no gene heads, or the dataset not their genes.
    """
    if wanted == "image":
        return None
    if checkpoint.spot_heads is None or checkpoint.genes is None:
        if wanted == "expression":
            raise PanelError("The checkpoint has no gene heads, or does not name their genes. Search --keys image.")
        return None
    if wanted == "auto" and _missing(checkpoint, genes):
        return None
    return GeneHeads(checkpoint, genes)


def unread(checkpoint: SpadeCheckpoint, genes: Sequence[str]) -> str | None:
    """Why gene heads that are there can't read a dataset of these genes, in a sentence; None where they can."""
    missing = _missing(checkpoint, genes)
    if checkpoint.spot_heads is None or not missing:
        return None
    return (
        f"The dataset lacks {len(missing)} of the {len(checkpoint.genes or ())} genes that the experts read (as "
        f"{min(missing)}), so spots are found by their pictures alone. `spots build --like` takes the experts' genes."
    )


def _missing(checkpoint: SpadeCheckpoint, genes: Sequence[str]) -> list[str]:
    """The genes that the heads read and a dataset of these genes lacks, in the heads' order."""
    there = set(genes)
    return [gene for gene in checkpoint.genes or () if gene not in there]


def embed_spots(
    engine: Engine,
    dimension: int,
    dataset: SpotDataset,
    genes: Sequence[str],
    heads: GeneHeads | None = None,
    progress: Progress | None = None,
    *,
    most: int | None = None,
    seed: int = 0,
) -> EmbeddedSpots:
    """Embed the spots of a dataset, section by section.

    Args:
        engine: The mixture's tower.
        dimension: Length of its embedding.
        dataset: The spots; their patches hold what the tower takes, around the same centre.
        genes: Genes whose expression is kept, by the dataset's names.
        heads: Gene heads; None embeds pictures alone.
        progress: Told about every spot.
        most: Spots of a section at most, drawn by chance; None takes all.
        seed: Of the draw.

    Raises:
        PatchShapeError: The patches are smaller than the tower's tiles.
        UnreadableDatasetError: A section is damaged.
    """
    told, rng = progress or Silent(), np.random.default_rng(seed)
    columns = [dataset.genes.index(gene) for gene in genes]
    told.start("Embedding spots", sum(min(section.spots, most or section.spots) for section in dataset.sections))
    parts = []
    for section in dataset.sections:
        spots = some_spots(dataset.read(section.section), most, rng)
        parts.append(_embed_section(engine, dimension, dataset, section, spots, columns, heads, told))
    told.finish()
    experts = np.concatenate([part.experts for part in parts])
    return EmbeddedSpots(stack_spots([part.cohort for part in parts]), experts)


def some_spots(spots: SectionSpots, most: int | None, rng: np.random.Generator) -> SectionSpots:
    """At most so many of a section's spots, in their order."""
    if most is None or len(spots) <= most:
        return spots
    rows = np.sort(rng.choice(len(spots), most, replace=False))
    own = {name: getattr(spots, name)[rows] for name in ("spots", "x", "y", "library", "counts")}
    return SectionSpots(**own, patches=[spots.patches[int(row)] for row in rows])


def _embed_section(
    engine: Engine,
    dimension: int,
    dataset: SpotDataset,
    section: DatasetSection,
    spots: SectionSpots,
    columns: list[int],
    heads: GeneHeads | None,
    progress: Progress,
) -> EmbeddedSpots:
    outputs = []
    for tiles in _batches(spots, _side(engine, dataset)):
        outputs.append(engine(tiles=tiles))
        progress.advance(len(tiles))
    mixture = split_mixture(np.concatenate(outputs), dimension)
    cohort = SpotCohort(
        genes=tuple(dataset.genes[column] for column in columns),
        spots=spots.spots,
        sections=np.full(len(spots), section.section),
        patients=np.full(len(spots), section.patient),
        organs=np.full(len(spots), section.organ),
        x=spots.x,
        y=spots.y,
        vectors={SPADE: mixture.embedding},
        keys={} if heads is None else {SPADE: heads(spots, mixture.experts)},
        expression=log_normalise(csr_matrix(spots.counts[:, columns]), spots.library),
        facts={section.patient: dict(section.facts)} if section.facts else {},
    )
    return EmbeddedSpots(cohort, mixture.experts)


def _side(engine: Engine, dataset: SpotDataset) -> int:
    shape = engine.spec.inputs["tiles"][1]
    side = shape[1] or dataset.size
    check_size(side, dataset)
    return side


def _batches(spots: SectionSpots, side: int) -> Iterator[NDArray[np.uint8]]:
    """(b, side, side, 3) uint8: the middles of the patches."""
    for start in range(0, len(spots), BATCH):
        patches = np.stack([decode_patch(data) for data in spots.patches[start : start + BATCH]])
        edge = (patches.shape[1] - side) // 2
        yield np.ascontiguousarray(patches[:, edge : edge + side, edge : edge + side])
