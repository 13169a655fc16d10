"""The same spots as several models see them, for the evaluation: image features, the mixture, and its baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from haiku_edge.runtime.errors import CheckpointLayoutError
from haiku_edge.runtime.inference.progress import Progress, Silent

from ..checkpoint.spade import SpadeCheckpoint
from ..evaluation.spade import FEATURES, SPADE, SpotCohort
from ..spatial import SpotDataset, log_normalise
from ..spatial.features import Encoder, section_features
from .embed import GeneHeads, gene_heads, unread
from .genes import choose_genes

VARIANTS: Final = {"hard": 1, "two experts": 2}
"""How routing is varied → experts that speak."""

Truth = Callable[[str], NDArray[np.float32]]
"""Section → (n, g) what could be expected of its spots, for all genes of the dataset."""


def represent_spots(
    dataset: SpotDataset,
    encoder: Encoder,
    checkpoints: Mapping[str, SpadeCheckpoint],
    cache: Path | None = None,
    *,
    genes: int | Sequence[str] | None = None,
    truth: Truth | None = None,
    progress: Progress | None = None,
) -> SpotCohort:
    """Embed a dataset by every model, section by section, and keep the expression of its genes or of some.

    Args:
        dataset: The spots.
        encoder: The image encoder that all of the models learned with; its features are a representation too.
        checkpoints: Representation → its experts; the one called `SPADE` comes in harder routing too.
        cache: Folder that keeps features; None keeps none.
        genes: Genes whose expression is kept: how many, see `choose_genes`, or which; None keeps all. Gene heads are
            given the counts of all that they read.
        truth: The simulator's truth, where there is one.
        progress: Told about every spot.

    Raises:
        CheckpointLayoutError: A checkpoint learned from another encoder, or takes features of another length.
        PanelError: See `choose_genes`.
        PatchShapeError, UnreadableDatasetError: See `section_features`.
    """
    kept = dataset.genes if genes is None else choose_genes(dataset, genes)
    told = progress or Silent()
    told.start("Image features", sum(section.spots for section in dataset.sections))
    features = np.concatenate(
        [section_features(dataset, section.section, encoder, cache, told) for section in dataset.sections]
    )
    told.finish()
    vectors, readers = {FEATURES: features}, []
    for name, checkpoint in checkpoints.items():
        _check_encoder(name, checkpoint, encoder, features.shape[1])
        vectors[name], weights = checkpoint.mixture().embed(features)
        if (why := unread(checkpoint, dataset.genes)) is not None:
            told.say(f"{name}: {why}")
        if (heads := gene_heads(checkpoint, dataset.genes)) is not None:
            readers.append(_Reader(name, heads, weights, np.empty_like(vectors[name])))
    if SPADE in checkpoints:
        vectors |= _variants(checkpoints[SPADE], features)
    return _cohort(dataset, kept, vectors, readers, truth)


@dataclass(frozen=True, slots=True)
class _Reader:
    """The gene heads of one representation.

    Attributes:
        name: The representation.
        heads: Its gene heads.
        weights: (n, e) float32 weights of the experts, from the pictures of all spots.
        keys: (n, d) float32, filled section by section.
    """

    name: str
    heads: GeneHeads
    weights: NDArray[np.float32]
    keys: NDArray[np.float32]


class _Places(NamedTuple):
    """The spots of one section: see `SectionSpots`."""

    spots: NDArray[np.str_]
    x: NDArray[np.float32]
    y: NDArray[np.float32]


def _check_encoder(name: str, checkpoint: SpadeCheckpoint, encoder: Encoder, width: int) -> None:
    others = checkpoint.encoder is not None and checkpoint.encoder != encoder.digest
    if others or checkpoint.config.features != width:
        raise CheckpointLayoutError(
            f"{name!r} learned from the features of another image encoder. Name the one that its training was given."
        )


def _variants(checkpoint: SpadeCheckpoint, features: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """The mixture with fewer experts a tile, where it has more."""
    config = checkpoint.config
    return {
        f"{SPADE}, {title}": replace(checkpoint, config=replace(config, top=top)).mixture().embed(features)[0]
        for title, top in VARIANTS.items()
        if config.experts > top
    }


def _cohort(
    dataset: SpotDataset,
    genes: Sequence[str],
    vectors: Mapping[str, NDArray[np.float32]],
    readers: Sequence[_Reader],
    truth: Truth | None,
) -> SpotCohort:
    """Read one section after another; of its counts, the kept genes' expression alone is held."""
    columns = [dataset.genes.index(gene) for gene in genes]
    expression = np.empty((sum(section.spots for section in dataset.sections), len(columns)), np.float32)
    parts: list[_Places] = []
    names, start = [section.section for section in dataset.sections], 0
    for name in names:
        spots = dataset.read(name)
        rows = slice(start, start := start + len(spots))
        expression[rows] = log_normalise(csr_matrix(spots.counts[:, columns]), spots.library)
        for one in readers:
            one.keys[rows] = one.heads(spots, one.weights[rows])
        parts.append(_Places(spots.spots, spots.x, spots.y))
    return SpotCohort(
        genes=tuple(genes),
        spots=np.concatenate([part.spots for part in parts]),
        sections=_by_spot(dataset, "section"),
        patients=_by_spot(dataset, "patient"),
        organs=_by_spot(dataset, "organ"),
        x=np.concatenate([part.x for part in parts]),
        y=np.concatenate([part.y for part in parts]),
        vectors=vectors,
        keys={one.name: one.keys for one in readers},
        expression=expression,
        facts={section.patient: dict(section.facts) for section in dataset.sections},
        expected=None if truth is None else np.concatenate([truth(own)[:, columns] for own in names]),
    )


def _by_spot(dataset: SpotDataset, name: str) -> NDArray[np.str_]:
    """(n,) what the dataset says of each spot's section."""
    said = [getattr(section, name) for section in dataset.sections]
    return np.repeat(said, [section.spots for section in dataset.sections])
