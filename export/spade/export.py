"""From a SPADE checkpoint and an image encoder to a bundle: `haiku-edge export spade`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from haiku_edge.runtime.atomic import output_error
from haiku_edge.runtime.bundle import (
    Bundle,
    Description,
    ExpertSection,
    GoldenSection,
    HETower,
    KnownPatients,
    Manifest,
    SpadeSection,
    open_bundle,
)
from haiku_edge.runtime.bundle.manifest import SCHEMA_VERSION
from haiku_edge.runtime.engine import open_tower
from haiku_edge.runtime.engine.model import SPADE
from haiku_edge.runtime.errors import CohortError, UsageError
from haiku_edge.runtime.inference.progress import Progress, Silent
from haiku_edge.runtime.version import product, version

from ..bundle import Content, check_replaceable, write_bundle
from ..bundle_copy import carry_files
from ..checkpoint.known import read_known
from ..checkpoint.spade import SpadeCheckpoint, read_spade
from ..distill.attach import check_place
from ..evaluation.spade.retrieval import KEYS
from ..graph import Storage, golden_arrays
from ..spatial import SpotDataset, open_spots
from ..trained_on import training_part
from ..work_folder import StageTimes, bundle_name, files_digest, work_folder
from .embed import EmbeddedSpots, embed_spots, gene_heads
from .evidence import build_evidence, choose_search, split_calibrating
from .genes import choose_genes
from .guards import check_parts, known_to_both
from .tower import FusedTower, ImageEncoder, check_match, fuse_tower, open_encoder

GOLDEN_FILE: Final = "golden/cases.npz"
CALIBRATION_SHARE: Final = 0.2
STATEMENT: Final = "Made from a SPADE checkpoint and spots that its licensee provided. For research use only."

SYNTHETIC_STATEMENT: Final = (
    "Synthetic: experts or spots come from simulated tissue, so the numbers show how the method works and say nothing "
    "about real tissue. For research use only."
)

Search = Mapping[str, Mapping[int, float]]
"""Keys → neighbours → mean Pearson correlation over the genes."""


@dataclass(frozen=True, slots=True)
class SpadeExportOptions:
    """How to export.

    Attributes:
        atlas: Dataset of spots that become the evidence; None makes a bundle that only embeds.
        calibration: Dataset of other patients' spots that calibrate; None sets some of the atlas's patients aside.
        genes: How many genes are told of, the most variable of the dataset's; or their names.
        keys: What is searched, or auto.
        neighbours: Spots behind each tile; None chooses.
        tile: Side of the tiles that are read, pixels; None for what the encoder takes.
        mpp: Micrometres per pixel of them; None for the encoder's own.
        top: Experts that speak for a tile: None for all of them, 1 for the nearest centroid's.
        storage: How matrices are stored.
        into: Bundle of Haiku that the mixture joins; None makes one of its own.
        spots: Spots of a section of the atlas at most; None takes all.
        cases: Spots of a section that calibrate at most; None takes all.
        seed: Of the draws of calibration patients and of spots.
        force: Replace an older bundle.
    """

    atlas: Path | None = None
    calibration: Path | None = None
    genes: int | tuple[str, ...] = 200
    keys: str = "auto"
    neighbours: int | None = None
    tile: int | None = None
    mpp: float | None = None
    top: int | None = None
    storage: Storage = "fp32"
    into: Path | None = None
    spots: int | None = None
    cases: int | None = None
    seed: int = 0
    force: bool = False

    def __post_init__(self) -> None:
        """Refuse values that mean nothing, before any work."""
        if self.keys not in ("auto", *KEYS):
            raise UsageError(f"--keys {self.keys} is none of auto, {', '.join(KEYS)}.")
        if self.calibration is not None and self.atlas is None:
            raise UsageError("--calibration goes with --atlas.")
        if isinstance(self.genes, int) and self.genes < 1:
            raise UsageError(f"--genes {self.genes} would tell of none. Name a number above 0, or a file of names.")


@dataclass(frozen=True, slots=True)
class About:
    """What a manifest says of a bundle that is not seen in its files.

    Attributes:
        statement: What the numbers are worth, in one sentence.
        synthetic: Whether anything was simulated.
        metrics: Figures of the mixture.
    """

    statement: str = STATEMENT
    synthetic: bool = False
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExportedSpade:
    """What an export did.

    Attributes:
        manifest: The bundle's manifest.
        difference: Largest difference of the fused graph's output to torch.
        remarks: What a reader should know.
        search: Mean correlation of every choice of keys and neighbours, where it was chosen.
        seconds: Stage → wall time.
    """

    manifest: Manifest
    difference: float
    remarks: tuple[str, ...]
    search: Search
    seconds: dict[str, float]


def export_spade(
    checkpoint: Path,
    encoder: Path | None,
    out: Path,
    options: SpadeExportOptions | None = None,
    progress: Progress | None = None,
    *,
    about: About | None = None,
) -> ExportedSpade:
    """Export a checkpoint of experts with its image encoder.

    Args:
        checkpoint: Folder of a released checkpoint, or of `train spade`.
        encoder: Folder of a timm checkpoint, or of a bundle whose H&E tower is the encoder; None for the embedded one.
        out: The bundle's folder.
        options: How.
        progress: Told about every stage.
        about: What the manifest says of a bundle of its own; found from checkpoint and spots by default.

    Raises:
        CheckpointError: Checkpoint or encoder is refused, or they do not go together.
        GraphMismatchError: The graph does not compute what torch computes.
        DatasetError: The spots are refused.
        OutputError: The bundle can't be written, or something is there already.
    """
    options, told, clock = options or SpadeExportOptions(), progress or Silent(), StageTimes()
    host = None if options.into is None else open_bundle(options.into)
    if host is None:
        check_replaceable(out, force=options.force)
    else:
        host.manifest.need_he()
        check_place(host, out, force=options.force)
    with clock.stage(told, "Reading the checkpoint"):
        released = read_spade(checkpoint)
        source = open_encoder(encoder, tile=options.tile, mpp=options.mpp)
        doubt = check_match(source, released)
        known = read_known(checkpoint).with_earlier(source.known)
    atlas, cases = (None if path is None else open_spots(path) for path in (options.atlas, options.calibration))
    check_parts(source, released, options.top, atlas, cases)
    known = known if host is None else known_to_both(host, known)
    _refuse_known(cases, known)
    with work_folder(out) as work:
        with clock.stage(told, "Exporting the fused tower"):
            try:
                fused = fuse_tower(source, released, work, storage=options.storage, top=options.top)
            except OSError as error:
                raise output_error(error, out) from error
        about = about or _about(released, atlas)
        checkpoint_facts = {"experts": _provenance(released), "encoder": dict(source.provenance)}
        spade = {**checkpoint_facts, "largest_difference_to_torch": float(f"{fused.difference:.1e}"), **about.metrics}
        draft = _Draft.of(host, fused, source, released, known, work, out.name, about, spade)
        remarks: tuple[str, ...] = () if doubt is None else (doubt,)
        search: Search = {}
        if atlas is not None:
            with clock.stage(told, "Embedding the spots"):
                draft, search, said = _with_evidence(
                    work / "draft", draft, (atlas, cases), released, known, options, told
                )
            remarks = (*remarks, *said)
        with clock.stage(told, "Writing and verifying the bundle"):
            manifest = write_bundle(out, draft.description, draft.contents)
    return ExportedSpade(manifest, fused.difference, remarks, search, clock.seconds)


@dataclass(frozen=True, slots=True)
class _Draft:
    """A bundle about to be written: its manifest without the table of files, and its files."""

    description: Description
    contents: Mapping[str, Content]

    @classmethod
    def of(
        cls,
        host: Bundle | None,
        fused: FusedTower,
        source: ImageEncoder,
        released: SpadeCheckpoint,
        known: KnownPatients,
        work: Path,
        name: str,
        about: About,
        metrics: Mapping[str, Any],
    ) -> _Draft:
        """A bundle of the mixture alone, or of it and another bundle's parts; without evidence of spots."""
        section = SpadeSection(
            tower=HETower(
                file=f"towers/{fused.graph.name}",
                weights=tuple(f"towers/{path.name}" for path in fused.weights),
                tile_size=source.tile,
                mpp=source.mpp,
                storage=fused.storage,
            ),
            dimension=released.config.width,
            experts=tuple(ExpertSection(spots=0) for _ in range(released.config.experts)),
        )
        files = {f"towers/{path.name}": path for path in (fused.graph, *fused.weights)}
        if host is None:
            training, digests = training_part(known)
            golden = golden_arrays({SPADE: {"tiles": fused.tiles}}, {SPADE: fused.golden})
            description = Description(
                name=bundle_name(name, "spade"),
                version=version(),
                family="spade",
                synthetic=about.synthetic,
                statement=about.statement,
                created_by=product(),
                embedding_dimension=section.dimension,
                training=training,
                golden=GoldenSection(file=GOLDEN_FILE),
                spade=section,
                metrics={"spade": dict(metrics)},
            )
            return cls(description, {**files, **digests, GOLDEN_FILE: golden})
        return cls._joined(host, section, files, fused, known, work, about, metrics)

    @classmethod
    def _joined(
        cls,
        host: Bundle,
        section: SpadeSection,
        files: Mapping[str, Content],
        fused: FusedTower,
        known: KnownPatients,
        work: Path,
        about: About,
        metrics: Mapping[str, Any],
    ) -> _Draft:
        manifest = host.manifest
        training, digests = training_part(known)
        older = set() if manifest.spade is None else _files_of(manifest.spade)
        stated = {name: getattr(manifest, name) for name in Description.model_fields}
        changed = {
            "schema_version": SCHEMA_VERSION,
            "family": "haiku+spade",
            "spade": section,
            "training": training,
            "metrics": {**manifest.metrics, "spade": dict(metrics)},
        }
        if about.synthetic and not manifest.synthetic:
            changed |= {"synthetic": True, "statement": about.statement}
        golden = {manifest.golden.file: _golden(host, fused)}
        new: dict[str, Content] = {**files, **digests, **golden}
        kept = sorted(set(manifest.files) - older - set(new))
        folder = work / "kept"
        folder.mkdir()
        return cls(Description(**stated | changed), {**carry_files(host, kept, folder), **new})


def _files_of(spade: SpadeSection) -> set[str]:
    """Files of an older mixture, which go with it."""
    parts = [spade.tower.file, *spade.tower.weights]
    if spade.atlas is not None:
        atlas = spade.atlas
        parts += [atlas.vectors, atlas.patches, atlas.pictures, atlas.index.file or "", atlas.facts or ""]
    if spade.calibration is not None:
        parts.append(spade.calibration.file)
    return set(parts) - {""}


def _golden(host: Bundle, fused: FusedTower) -> bytes:
    """The other bundle's golden cases with those of the mixture."""
    with np.load(io.BytesIO(host.read(host.manifest.golden.file)), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays |= {f"{SPADE}_tiles": fused.tiles, f"{SPADE}_vectors": fused.golden}
    sink = io.BytesIO()
    np.savez_compressed(sink, **arrays)
    return sink.getvalue()


def _about(released: SpadeCheckpoint, atlas: SpotDataset | None) -> About:
    """What is true of any bundle: it is synthetic where its experts or its spots are."""
    simulated = bool(released.about.get("synthetic")) or (atlas is not None and atlas.synthetic)
    return About(SYNTHETIC_STATEMENT, synthetic=True) if simulated else About()


def _refuse_known(cases: SpotDataset | None, known: KnownPatients) -> None:
    """A patient whom the experts learned from can't calibrate them."""
    if cases is None:
        return
    seen = known.among({section.patient for section in cases.sections})
    if seen:
        raise CohortError(
            f"{len(seen)} patients of {cases.name} are among those whom the experts or their encoder learned from, and "
            "can't calibrate. Name spots of other patients."
        )


def _with_evidence(
    folder: Path,
    draft: _Draft,
    datasets: tuple[SpotDataset, SpotDataset | None],
    released: SpadeCheckpoint,
    known: KnownPatients,
    options: SpadeExportOptions,
    told: Progress,
) -> tuple[_Draft, Search, tuple[str, ...]]:
    """Write the bundle without evidence, embed the spots with it, and give it the atlas."""
    atlas, cases = datasets
    manifest = write_bundle(folder, draft.description, draft.contents)
    bundle, section = open_bundle(folder), manifest.need_spade()
    engine = open_tower(bundle, section.tower, kept=True)
    genes = choose_genes(atlas, options.genes, cases)
    heads = gene_heads(released, atlas.genes, wanted=options.keys)
    spots = embed_spots(engine, section.dimension, atlas, genes, heads, told, most=options.spots, seed=options.seed)
    remarks: tuple[str, ...] = ()
    if cases is not None:
        calibrating: EmbeddedSpots | None = embed_spots(
            engine, section.dimension, cases, genes, None, told, most=options.cases, seed=options.seed
        )
    else:
        spots, calibrating, said = split_calibrating(spots, known, share=CALIBRATION_SHARE, seed=options.seed)
        remarks = (said,)
    keys, neighbours, search = choose_search(spots, options.keys, options.seed, known)
    evidence = build_evidence(
        spots, atlas, calibrating, keys=keys, neighbours=options.neighbours or neighbours, progress=told
    )
    full = section.model_copy(
        update={
            "keys": evidence.keys,
            "neighbours": evidence.neighbours,
            "experts": evidence.experts,
            "atlas": evidence.atlas,
            "calibration": evidence.calibration,
        }
    )
    files: dict[str, Content] = {name: folder / name for name in manifest.files}
    description = draft.description.model_copy(update={"spade": full})
    return _Draft(description, {**files, **evidence.contents}), search, remarks


def _provenance(released: SpadeCheckpoint) -> dict[str, Any]:
    """Where the experts come from; no path of the machine."""
    return {
        "experts": released.config.experts,
        "centroids": released.config.centroids,
        "clustering": released.clustering,
        "genes": None if released.genes is None else len(released.genes),
        "sha256": files_digest(sorted(released.files)),
        "about": dict(released.about),
    }
