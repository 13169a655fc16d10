"""SPADE checkpoints in the form that a training here writes and reads.

`spade.json`, `centroids.npy`, `reassigned_clusters.npy`, and `expert_NN.safetensors`, in whose header stands the digest
of the clustering that the expert was trained on.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from haiku_edge.runtime.atomic import atomic_write, exists_error, output_error, replace_folder
from haiku_edge.runtime.errors import CheckpointIncompleteError, CheckpointLayoutError

from ..model import MixtureConfig
from .files import read_small_file
from .spade_parts import (
    CENTROIDS_FILE,
    MAP_FILE,
    MAX_EXPERT_BYTES,
    MAX_EXPERTS,
    SpadeCheckpoint,
    check_checkpoint,
    clustering_digest,
    need_file,
    read_clustering,
)

SPADE_FILE = "spade.json"
SCHEMA: Final = "haiku-edge spade 1"
_IMAGE, _SPOT = "image_projection.", "spot_projection."
_CLUSTERING = "clustering"
_MAX_JSON_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class _Statement:
    """What `spade.json` says.

    Attributes:
        config: Sizes and routing.
        clustering: Digest of the clustering.
        experts: File → SHA-256 (hex), in the experts' order.
        encoder: Digest of the image encoder, or None.
        about: How it was trained.
        genes: Names of the genes, or None.
    """

    config: MixtureConfig
    clustering: str
    experts: dict[str, str]
    encoder: str | None
    about: dict[str, Any]
    genes: tuple[str, ...] | None


def write_spade(folder: Path, checkpoint: SpadeCheckpoint) -> None:
    """Write a checkpoint in our form, whole or not at all.

    Args:
        folder: Where; must not exist.
        checkpoint: It is checked first.

    Raises:
        CheckpointLayoutError, CheckpointValueError: Its parts do not fit each other.
        OutputExistsError: Something is there already.
        OutputNotWritableError, DiskFullError: It can't be written.
    """
    check_checkpoint(checkpoint)
    if folder.exists():
        raise exists_error(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
    except OSError as error:
        raise output_error(error, folder) from error
    try:
        beside.chmod(0o755)
        _write_files(beside, checkpoint)
        replace_folder(beside, folder)
    except OSError as error:
        raise output_error(error, folder) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write_files(folder: Path, checkpoint: SpadeCheckpoint) -> None:
    for name, array in ((CENTROIDS_FILE, checkpoint.centroids), (MAP_FILE, checkpoint.expert_of)):
        np.save(folder / name, array, allow_pickle=False)
    clustering, digests = checkpoint.clustering, {}
    for number in range(checkpoint.config.experts):
        content = save(_tensors(checkpoint, number), {_CLUSTERING: clustering})
        digests[_name(number)] = hashlib.sha256(content).hexdigest()
        atomic_write(folder / _name(number), content)
    own = checkpoint
    stated = _Statement(own.config, clustering, digests, own.encoder, dict(own.about), own.genes)
    text = json.dumps({"schema": SCHEMA, **asdict(stated)}, indent=1, ensure_ascii=False)
    atomic_write(folder / SPADE_FILE, f"{text}\n".encode())


def _name(number: int) -> str:
    return f"expert_{number:02d}.safetensors"


def _tensors(checkpoint: SpadeCheckpoint, number: int) -> dict[str, Tensor]:
    """An expert's tensors under the published names."""
    tensors = {_IMAGE + key: value for key, value in checkpoint.image_heads[number].items()}
    if checkpoint.spot_heads is not None:
        tensors |= {_SPOT + key: value for key, value in checkpoint.spot_heads[number].items()}
    return {key: value.detach().contiguous() for key, value in tensors.items()}


def read_own(folder: Path) -> SpadeCheckpoint:
    """Read and check a checkpoint in our form.

    Raises:
        CheckpointIncompleteError: A file is missing, altered or damaged.
        CheckpointUnsafeError: A file is far too large.
        CheckpointLayoutError: The files are not those of one run, or a tensor is not in its place.
        CheckpointValueError: A weight or centroid is no number.
    """
    stated = _read_statement(folder)
    centroids, expert_of = read_clustering(folder)
    _check_clustering(CENTROIDS_FILE, clustering_digest(centroids, expert_of), stated)
    states = [_read_expert(folder / name, digest, stated) for name, digest in stated.experts.items()]
    images, spots = (tuple(_part(state, prefix) for state in states) for prefix in (_IMAGE, _SPOT))
    checkpoint = SpadeCheckpoint(
        config=stated.config,
        centroids=centroids,
        expert_of=expert_of,
        image_heads=images,
        spot_heads=spots if any(spots) else None,
        genes=stated.genes,
        encoder=stated.encoder,
        about=stated.about,
        files=tuple(folder / name for name in (SPADE_FILE, CENTROIDS_FILE, MAP_FILE, *stated.experts)),
    )
    check_checkpoint(checkpoint)
    return checkpoint


def _read_statement(folder: Path) -> _Statement:
    data = read_small_file(folder / SPADE_FILE, _MAX_JSON_BYTES)
    try:
        found = json.loads(data)
        if found.pop("schema") != SCHEMA:
            raise CheckpointLayoutError(
                f"{SPADE_FILE} of {folder.name} is not of the form {SCHEMA!r}. Use the version that wrote it."
            )
        config, genes = MixtureConfig(**found.pop("config")), found.pop("genes")
        stated = _Statement(config=config, genes=None if genes is None else tuple(map(str, genes)), **found)
        _check_kinds(stated)
        if list(stated.experts) != [_name(number) for number in range(min(config.experts, MAX_EXPERTS))]:
            raise ValueError("files of other experts")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise CheckpointIncompleteError(f"{SPADE_FILE} of {folder.name} is damaged. Copy the folder again.") from None
    return stated


def _check_kinds(stated: _Statement) -> None:
    """Refuse what is stated as something else than it is (TypeError)."""
    config, objects = stated.config, (stated.experts, stated.about)
    sizes = [config.features, config.width, config.experts, config.centroids]
    sizes += [] if config.top is None else [config.top]
    if not all(type(size) is int for size in sizes) or not all(isinstance(each, dict) for each in objects):
        raise TypeError("a size is no whole number, or experts or about are no object")
    texts = (stated.clustering, "" if stated.encoder is None else stated.encoder, *stated.experts.values())
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a digest is no text")


def _read_expert(path: Path, digest: str, stated: _Statement) -> dict[str, Tensor]:
    """The tensors of one file, all read at once so that they are those whose digest is compared."""
    need_file(path)
    data = read_small_file(path, MAX_EXPERT_BYTES)
    try:
        state: dict[str, Tensor] = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointIncompleteError(f"{path.name} is damaged ({type(error).__name__}). Copy it again.") from None
    _check_clustering(path.name, header.get("__metadata__", {}).get(_CLUSTERING), stated)
    if hashlib.sha256(data).hexdigest() != digest:
        raise CheckpointIncompleteError(f"{path.name} is not the file that {SPADE_FILE} names. Copy the folder again.")
    foreign = [key for key in state if not key.startswith((_IMAGE, _SPOT))]
    if foreign:
        raise CheckpointLayoutError(f"{path.name} holds a tensor that no expert has: {ascii(foreign[0])[:100]}.")
    return state


def _check_clustering(name: str, digest: str | None, stated: _Statement) -> None:
    if digest != stated.clustering:
        raise CheckpointLayoutError(
            f"{name} belongs to another clustering than {SPADE_FILE}. Its centroids would send tiles to experts that "
            "never saw such tiles: take all files from one run."
        )


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
