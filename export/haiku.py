"""From a released Haiku checkpoint to a bundle: `haiku-edge export haiku`.

One tower at a time is traced, written and compared, and its weights stay mapped from the checkpoint's file, so that
memory never holds the model twice. Everything is made in a folder beside the bundle's and put in place by one rename.
"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime import bundle as parts
from haiku_edge.runtime.atomic import output_error
from haiku_edge.runtime.bundle import Description, GoldenSection, HETower, KnownPatients, Manifest, open_bundle
from haiku_edge.runtime.errors import DiskFullError, UsageError
from haiku_edge.runtime.inference.progress import Progress, Silent
from haiku_edge.runtime.notes import Tokenizer
from haiku_edge.runtime.version import product, version

from .atlas import atlas_from_dataset
from .atlas.trained_on import refuse_trained_on
from .bundle import Content, check_replaceable, write_bundle
from .checkpoint import Checkpoint, is_training, read_checkpoint, read_trained
from .dataset import PatchDataset, open_dataset, refuse_person_names
from .embedding import embed_dataset
from .graph import TITLES, GraphFiles, Storage, check_files, golden_arrays, golden_inputs, trace_tower, write_graph
from .graph.golden import Inputs
from .graph.store import INLINE_BELOW
from .model import HeTower, MifTower, TextTower, TowersConfig, prepare_tower
from .trained_on import training_part
from .vocabulary import canonical_panel, read_marker_vectors
from .work_folder import StageTimes, bundle_name, files_digest, work_folder

GOLDEN_FILE = "golden/cases.npz"
TOKENIZER_FILE = "tokenizer/tokenizer.json"
_MEGABYTE = 1 << 20
_SPARE_BYTES = 64 * _MEGABYTE


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did.

    Attributes:
        manifest: The bundle's manifest.
        differences: Tower → largest absolute difference of a vector's entry between its graph and torch.
        remarks: What is odd about the checkpoint, yet harmless, and how the atlas's patients were split.
        seconds: Stage → wall time.
    """

    manifest: Manifest
    differences: dict[str, float]
    remarks: tuple[str, ...]
    seconds: dict[str, float]


def export_haiku(
    checkpoint: Path,
    out: Path,
    *,
    atlas: Path | None = None,
    storage: Storage = "fp32",
    markers: Sequence[str] = (),
    progress: Progress | None = None,
    sizes: TowersConfig | None = None,
    inline_below: int = INLINE_BELOW,
    force: bool = False,
) -> Exported:
    """Export a released checkpoint, or towers that `train haiku` left.

    Args:
        checkpoint: Its folder.
        out: The bundle's folder.
        atlas: Dataset of measured patches that becomes the bundle's evidence; None makes a bundle that only embeds.
        storage: How matrices are stored; the arithmetic is fp32 either way.
        markers: New markers by a vector, `NAME=FILE.npy` or `FILE.npz` each; see `vocabulary.read_marker_vectors`.
        progress: Told about every stage.
        sizes: Depths and heads of another than the published size.
        inline_below: Bytes of weights up to which a graph keeps them in its own file.
        force: Replace an older bundle in that folder, once the new one is whole.

    Raises:
        CheckpointError: The checkpoint is refused.
        GraphMismatchError: A graph does not compute what torch computes.
        OutputError: The bundle can't be written, or something is there already.
        DatasetError: The atlas's dataset, or a new marker, is refused.
    """
    told, clock = progress or Silent(), StageTimes()
    check_replaceable(out, force=force)
    dataset = None if atlas is None else open_dataset(atlas)
    if dataset is not None:
        refuse_person_names(dataset.patients.tolist(), dataset.name)
    with clock.stage(told, "Reading the checkpoint"):
        released = _read(checkpoint, markers, sizes)
        digest = files_digest(released.files)
    if dataset is not None:
        # A panel that the model does not know, or a patient that it does, is refused before the work begins.
        canonical_panel(dataset.markers, released.markers)
        refuse_trained_on(dataset, released.known)
    with work_folder(out) as work:
        _check_room(released, work, out, storage)
        try:
            written = _export_towers(released, work, storage, inline_below, told, clock)
        except OSError as error:
            raise output_error(error, out) from error
        contents, description = _assemble(released, written, out.name, digest, storage)
        draft = _Draft(contents, description, written.differences, released.remarks)
        if dataset is not None:
            with clock.stage(told, "Embedding the atlas"):
                draft = _with_atlas(work / "draft", draft, dataset, released.known, told)
        with clock.stage(told, "Writing and verifying the bundle"):
            manifest = write_bundle(out, draft.description, draft.contents)
    return Exported(manifest, draft.differences, draft.remarks, clock.seconds)


def _read(folder: Path, markers: Sequence[str], sizes: TowersConfig | None) -> Checkpoint:
    """The released layout, with new markers where some are given; or the folder of a training."""
    if is_training(folder):
        if markers:
            raise UsageError("--marker goes with a released checkpoint; train again with patches of the new marker.")
        return read_trained(folder)
    released = read_checkpoint(folder, sizes=sizes)
    return released.with_markers(read_marker_vectors(markers, released.markers, released.config.mif.marker_width))


@dataclass(frozen=True, slots=True)
class _Draft:
    """A bundle about to be written.

    Attributes:
        contents: Its files.
        description: Its manifest without the table of files.
        differences: Tower → difference to torch.
        remarks: What a reader should know.
    """

    contents: Mapping[str, Content]
    description: Description
    differences: dict[str, float]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Written:
    """The towers on disk.

    Attributes:
        files: Tower → its graph.
        differences: Tower → difference to torch.
        golden: Bytes of the golden cases.
    """

    files: dict[str, GraphFiles]
    differences: dict[str, float]
    golden: bytes


def _check_room(released: Checkpoint, work: Path, out: Path, storage: Storage) -> None:
    """Say at once that the disk is too small, not after minutes."""
    modules = released.towers().modules().values()
    numbers = sum(parameter.numel() for module in modules for parameter in module.parameters())
    needed = numbers * (4 if storage == "fp32" else 2) + _SPARE_BYTES
    free = shutil.disk_usage(work).free
    if free < needed:
        raise DiskFullError(
            f"The bundle {out.name} needs about {needed / 1e9:.1f} GB, and its disk has {free / 1e9:.1f} GB left. "
            "Free some space, name another folder with --out, or halve it with --storage fp16."
        )


def _export_towers(
    released: Checkpoint, work: Path, storage: Storage, inline_below: int, told: Progress, clock: StageTimes
) -> _Written:
    text = released.config.text
    tokenizer = None if text is None or released.tokenizer is None else _tokenizer(released.tokenizer, text.length)
    inputs = golden_inputs(len(released.markers), tokenizer)
    files: dict[str, GraphFiles] = {}
    differences: dict[str, float] = {}
    vectors: dict[str, NDArray[np.float32]] = {}
    for name in inputs:
        with clock.stage(told, f"Exporting the {TITLES[name]} tower"):
            files[name] = _write_tower(released, name, work, storage, inline_below)
        with clock.stage(told, f"Comparing the {TITLES[name]} tower with torch"):
            vectors[name], differences[name] = _compare_tower(released, name, files[name], inputs)
    return _Written(files, differences, golden_arrays(inputs, vectors))


def _tokenizer(tokenizer_json: bytes, length: int) -> Tokenizer:
    return Tokenizer.from_bytes(tokenizer_json, length)


def _write_tower(released: Checkpoint, name: str, work: Path, storage: Storage, inline_below: int) -> GraphFiles:
    tower = _tower(released, name)
    files = write_graph(tower, trace_tower(tower), work, name, storage=storage, inline_below=inline_below)
    del tower
    # The exporter leaves cycles that hold its copies of the weights.
    gc.collect()
    return files


def _compare_tower(
    released: Checkpoint, name: str, files: GraphFiles, inputs: Inputs
) -> tuple[NDArray[np.float32], float]:
    return check_files(TITLES[name], _tower(released, name), files, inputs[name])


def _tower(released: Checkpoint, name: str) -> HeTower | MifTower | TextTower:
    """One tower as it infers, on the mapped weights; the others are let go."""
    towers = released.towers()
    if name == "he":
        return prepare_tower(towers.he)
    if name == "mif" or towers.text is None:
        return prepare_tower(towers.mif)
    return prepare_tower(towers.text)


def _assemble(
    released: Checkpoint, written: _Written, name: str, digest: str, storage: Storage
) -> tuple[dict[str, Content], Description]:
    """Every file of the bundle but its atlas, and the manifest without the table of files."""
    contents: dict[str, Content] = {GOLDEN_FILE: written.golden}
    for files in written.files.values():
        contents.update({f"towers/{path.name}": path for path in (files.graph, *files.weights)})
    training, digests = training_part(released.known)
    contents.update(digests)
    text, config = None, released.config
    if config.text is not None and released.tokenizer is not None:
        contents[TOKENIZER_FILE] = released.tokenizer
        text = parts.TextTower(
            **_tower_files(written, "text"), tokenizer=TOKENIZER_FILE, max_length=config.text.length, storage=storage
        )
    description = Description(
        name=bundle_name(name),
        version=version(),
        synthetic=False,
        statement=released.statement,
        created_by=product(),
        embedding_dimension=config.dimension,
        he=HETower(**_tower_files(written, "he"), tile_size=config.he.tile, mpp=released.mpp, storage=storage),
        mif=parts.MifTower(
            **_tower_files(written, "mif"),
            patch_size=config.mif.patch,
            mpp=released.mpp,
            markers=released.markers,
            storage=storage,
        ),
        text=text,
        training=training,
        golden=GoldenSection(file=GOLDEN_FILE),
        metrics={
            "checkpoint": {**released.provenance(), "sha256": digest},
            "largest_difference_to_torch": {
                tower: float(f"{value:.1e}") for tower, value in written.differences.items()
            },
        },
    )
    return contents, description


def _tower_files(written: _Written, name: str) -> dict[str, Any]:
    files = written.files[name]
    return {
        "file": f"towers/{files.graph.name}",
        "weights": tuple(f"towers/{path.name}" for path in files.weights),
    }


def _with_atlas(folder: Path, draft: _Draft, dataset: PatchDataset, known: KnownPatients, told: Progress) -> _Draft:
    """Write the bundle without an atlas, embed the dataset with it, and give it the atlas."""
    manifest = write_bundle(folder, draft.description, draft.contents)
    cohort = embed_dataset(open_bundle(folder), dataset, told, modalities=("he", "mif", "text"))
    built = atlas_from_dataset(dataset, cohort, known=known)
    files: dict[str, Content] = {name: folder / name for name in manifest.files}
    contents = {**files, **built.contents}
    return _Draft(contents, built.described(draft.description), draft.differences, draft.remarks + built.remarks)
