"""From a SPADE checkpoint and an image encoder to a bundle: `haiku-edge export spade`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from haiku_edge.runtime.atomic import as_output_errors
from haiku_edge.runtime.bundle import (
    Bundle,
    ExpertSection,
    HETower,
    KnownPatients,
    Manifest,
    SpadeSection,
    open_bundle,
)
from haiku_edge.runtime.engine import Engine, open_tower
from haiku_edge.runtime.errors import CohortError, UsageError
from haiku_edge.runtime.inference.progress import Progress, Silent

from ..bundle import Content, check_replaceable, write_bundle
from ..checkpoint.known import read_known
from ..checkpoint.spade import SpadeCheckpoint, read_spade
from ..distill.attach import check_place
from ..evaluation.spade.retrieval import KEYS
from ..graph import Storage
from ..spatial import SpotDataset, open_spots
from ..work_folder import StageTimes, files_digest, work_folder
from .draft import Draft, SpadePart, draft_alone, draft_joined
from .embed import EmbeddedSpots, GeneHeads, embed_spots, gene_heads, unread
from .evidence import build_evidence, remark_on_cases, split_calibrating
from .genes import choose_genes
from .guards import check_parts, known_to_both
from .search import choose_search
from .tower import FusedTower, ImageEncoder, check_match, fuse_tower, open_encoder

CALIBRATION_SHARE: Final = 0.2
STATEMENT: Final = "Made from a SPADE checkpoint and spots that its licensee provided. For research use only."
OWN_STATEMENT: Final = (
    "Made from experts that `train spade` trained, and spots that their owner provided. For research use only."
)

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
    host = _open_host(out, options)
    with clock.stage(told, "Reading the checkpoint"):
        given = _read(checkpoint, encoder, host, options)
    with work_folder(out) as work:
        with clock.stage(told, "Exporting the fused tower"), as_output_errors(out):
            fused = fuse_tower(given.source, given.released, work, storage=options.storage, top=options.top)
        part = _part(given, fused, about or _about(given))
        draft = draft_alone(part, out.name) if host is None else draft_joined(part, host, work / "kept")
        search: Search = {}
        remarks = given.remarks
        if given.atlas is not None:
            with clock.stage(told, "Embedding the spots"):
                draft, search, said = _with_evidence(work / "draft", draft, given.atlas, given, options, told)
            remarks = (*remarks, *said)
        with clock.stage(told, "Writing and verifying the bundle"):
            manifest = write_bundle(out, draft.description, draft.contents)
    return ExportedSpade(manifest, fused.difference, remarks, search, clock.seconds)


@dataclass(frozen=True, slots=True)
class _Given:
    """What an export takes, once all of it goes together.

    Attributes:
        released: The experts.
        source: Their image encoder.
        known: Whom all towers of the bundle learned from.
        atlas: Spots that become the evidence, or None.
        cases: Other patients' spots that calibrate, or None.
        heads: Gene heads that read the atlas, or None.
        remarks: What is odd, yet harmless.
    """

    released: SpadeCheckpoint
    source: ImageEncoder
    known: KnownPatients
    atlas: SpotDataset | None
    cases: SpotDataset | None
    heads: GeneHeads | None
    remarks: tuple[str, ...]


def _open_host(out: Path, options: SpadeExportOptions) -> Bundle | None:
    """The bundle of Haiku that the mixture joins, if any, once the new one may be written."""
    if options.into is None:
        check_replaceable(out, force=options.force)
        return None
    host = open_bundle(options.into)
    host.manifest.need_he()
    check_place(host, out, force=options.force)
    return host


def _read(checkpoint: Path, encoder: Path | None, host: Bundle | None, options: SpadeExportOptions) -> _Given:
    """Open everything, and refuse what does not go together."""
    released = read_spade(checkpoint)
    source = open_encoder(encoder, tile=options.tile, mpp=options.mpp)
    doubt = check_match(source, released)
    known = read_known(checkpoint).with_earlier(source.known)
    atlas, cases = (None if path is None else open_spots(path) for path in (options.atlas, options.calibration))
    check_parts(source, released, options.top, atlas, cases)
    known = known if host is None else known_to_both(host, known)
    _refuse_known(cases, known)
    heads = None if atlas is None else gene_heads(released, atlas.genes, wanted=options.keys)
    why = unread(released, atlas.genes) if atlas is not None and options.keys == "auto" else None
    remarks = tuple(remark for remark in (doubt, why) if remark is not None)
    return _Given(released, source, known, atlas, cases, heads, remarks)


def _part(given: _Given, fused: FusedTower, about: About) -> SpadePart:
    """What the mixture brings to its bundle, without evidence of spots."""
    config, source = given.released.config, given.source
    section = SpadeSection(
        tower=HETower(
            file=f"towers/{fused.graph.name}",
            weights=tuple(f"towers/{path.name}" for path in fused.weights),
            tile_size=source.tile,
            mpp=source.mpp,
            storage=fused.storage,
        ),
        dimension=config.width,
        experts=tuple(ExpertSection(spots=0) for _ in range(config.experts)),
    )
    metrics = {
        "experts": _provenance(given.released),
        "encoder": dict(source.provenance),
        "largest_difference_to_torch": float(f"{fused.difference:.1e}"),
        **about.metrics,
    }
    return SpadePart(fused, section, given.known, about.statement, about.synthetic, metrics)


def _about(given: _Given) -> About:
    """What is true of any bundle: where its experts come from, and that it is synthetic where they or its spots are."""
    simulated = bool(given.released.about.get("synthetic")) or (given.atlas is not None and given.atlas.synthetic)
    if simulated:
        return About(SYNTHETIC_STATEMENT, synthetic=True)
    return About(STATEMENT if given.released.about.get("form") == "released" else OWN_STATEMENT)


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
    folder: Path, draft: Draft, atlas: SpotDataset, given: _Given, options: SpadeExportOptions, told: Progress
) -> tuple[Draft, Search, tuple[str, ...]]:
    """Write the bundle without evidence, embed the spots with it, and give it the atlas."""
    manifest = write_bundle(folder, draft.description, draft.contents)
    section = manifest.need_spade()
    engine = open_tower(open_bundle(folder), section.tower, kept=True)
    spots, calibrating, remarks = _embed(engine, section.dimension, atlas, given, options, told)
    search = choose_search(spots.cohort, options.keys, options.seed, given.known)
    neighbours = options.neighbours or search.neighbours
    evidence = build_evidence(spots, atlas, calibrating, keys=search.keys, neighbours=neighbours, progress=told)
    remarks = remarks if search.remark is None else (*remarks, search.remark)
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
    return Draft(description, {**files, **evidence.contents}), search.scores, remarks


def _embed(
    engine: Engine, dimension: int, atlas: SpotDataset, given: _Given, options: SpadeExportOptions, told: Progress
) -> tuple[EmbeddedSpots, EmbeddedSpots | None, tuple[str, ...]]:
    """The spots of the atlas, those that calibrate, and what a reader should know of their choice."""
    genes = choose_genes(atlas, options.genes, given.cases)
    spots = embed_spots(engine, dimension, atlas, genes, given.heads, told, most=options.spots, seed=options.seed)
    if given.cases is None:
        spots, calibrating, said = split_calibrating(spots, given.known, share=CALIBRATION_SHARE, seed=options.seed)
        return spots, calibrating, (said,)
    cases = embed_spots(engine, dimension, given.cases, genes, None, told, most=options.cases, seed=options.seed)
    remark = remark_on_cases(cases, given.cases.name)
    return spots, cases, () if remark is None else (remark,)


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
