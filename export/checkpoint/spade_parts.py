"""What a SPADE checkpoint consists of, whoever wrote it: centroids, their map to experts, heads; all of it checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from haiku_edge.runtime.errors import CheckpointIncompleteError, CheckpointLayoutError, CheckpointValueError

from ..model import Mixture, MixtureConfig, ResidualHead
from .compare import compare_layout
from .files import check_file
from .layout import Entry
from .values import check_values

CENTROIDS_FILE = "centroids.npy"
MAP_FILE = "reassigned_clusters.npy"
"""Published names: (K, D) floating, and (K,) whole numbers."""

MAX_ARRAY_BYTES = 256 << 20
"""Largest of these files; the published centroids have 1 MB."""

MAX_EXPERT_BYTES = 1 << 30
"""Largest file of an expert; a published one has 9.5 MB."""

MAX_EXPERTS = 1024

Head = Mapping[str, Tensor]
"""Weights of a head: projection, fc and layer_norm, each with weight and bias."""


@dataclass(frozen=True, slots=True)
class SpadeCheckpoint:
    """A checked mixture of experts.

    Attributes:
        config: Sizes and routing.
        centroids: (K, D) float32.
        expert_of: (K,) int64, the expert of each centroid.
        image_heads: Weights of each expert's image head, by the published names without their prefix.
        spot_heads: The same of the gene heads, or None.
        genes: Names of the gene heads' inputs, or None where nobody says.
        encoder: Digest of the image encoder whose features these are, or None where nobody says.
        about: How it was trained, as JSON.
        files: Where it was read from.
    """

    config: MixtureConfig
    centroids: NDArray[np.float32]
    expert_of: NDArray[np.int64]
    image_heads: tuple[Head, ...]
    spot_heads: tuple[Head, ...] | None = None
    genes: tuple[str, ...] | None = None
    encoder: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()

    @property
    def clustering(self) -> str:
        """Digest of centroids and map; see `clustering_digest`."""
        return clustering_digest(self.centroids, self.expert_of)

    def mixture(self, *, spots: bool = False) -> Mixture:
        """The mixture in evaluation, with its gene heads where `spots` asks for them and there are any."""
        centroids, expert_of = torch.from_numpy(self.centroids.copy()), torch.from_numpy(self.expert_of.copy())
        images = [make_head(head) for head in self.image_heads]
        others = [make_head(head) for head in self.spot_heads] if spots and self.spot_heads is not None else None
        return Mixture(self.config, centroids, expert_of, images, others)


def make_head(weights: Head) -> ResidualHead:
    """A head in evaluation whose weights are the given tensors themselves."""
    width, length = weights["projection.weight"].shape
    with torch.device("meta"):
        head = ResidualHead(length, width)
    head.load_state_dict(dict(weights), strict=True, assign=True)
    return head.eval()


def clustering_digest(centroids: NDArray[np.float32], expert_of: NDArray[np.int64]) -> str:
    """SHA-256 (hex) of a clustering; every expert trained on it keeps it, so that they are not mixed with another's.

    Args:
        centroids: (K, D) float32.
        expert_of: (K,) whole numbers.
    """
    digest = hashlib.sha256(repr(centroids.shape).encode())
    digest.update(np.ascontiguousarray(centroids, "<f4").tobytes())
    digest.update(np.ascontiguousarray(expert_of, "<i8").tobytes())
    return digest.hexdigest()


def read_clustering(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read and check centroids and map.

    Returns:
        (K, D) float32 and (K,) int64. The experts are 0 to the largest, each with a centroid.

    Raises:
        CheckpointIncompleteError: A file is missing or damaged.
        CheckpointUnsafeError: A file is far too large.
        CheckpointLayoutError: Their shapes or types are others, they don't fit each other, or a number is left out.
        CheckpointValueError: A centroid is no number.
    """
    centroids, expert_of = _read_array(folder / CENTROIDS_FILE), _read_array(folder / MAP_FILE)
    if centroids.ndim != 2 or centroids.dtype.kind != "f" or not centroids.size:
        raise CheckpointLayoutError(
            f"{CENTROIDS_FILE} holds {_what(centroids)}, not a table of centroids (K × D). "
            "Take the file of the same run."
        )
    if expert_of.shape != centroids.shape[:1] or expert_of.dtype.kind not in "iu":
        raise CheckpointLayoutError(
            f"{MAP_FILE} holds {_what(expert_of)}, and {CENTROIDS_FILE} {len(centroids)} centroids, "
            "which need a whole number each. The two files are a pair; take both from the same run."
        )
    with np.errstate(over="ignore"):  # what single precision has no number for is refused as infinite
        return np.array(centroids, np.float32), check_map(expert_of)


def check_map(expert_of: NDArray[Any]) -> NDArray[np.int64]:
    """The map as int64 (K,), once its experts are 0 to the largest and each has a centroid (CheckpointLayoutError)."""
    found = np.unique(expert_of)
    if int(found[0]) != 0 or int(found[-1]) >= MAX_EXPERTS or len(found) != int(found[-1]) + 1:
        named = ", ".join(map(str, found[:20].tolist()))
        raise CheckpointLayoutError(
            f"{MAP_FILE} names the experts {named}; they should count from 0 without a gap. "
            "Take the file of the same run."
        )
    return np.array(expert_of, np.int64)


def need_file(path: Path) -> None:
    """Refuse a checkpoint without this file (CheckpointIncompleteError)."""
    if not path.exists():
        raise CheckpointIncompleteError(
            f"{path.name} is not in {path.parent}. A SPADE checkpoint needs its centroids, their map and every expert: "
            "copy the whole folder."
        )


def _read_array(path: Path) -> NDArray[Any]:
    """Map an array from disk; nothing is read or allocated for a size that its header merely claims."""
    need_file(path)
    check_file(path, MAX_ARRAY_BYTES)
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        loaded.close()
    except Exception as error:  # numpy raises whatever its header's parser meets in a damaged file
        raise CheckpointIncompleteError(
            f"{path.name} is no array, or is damaged ({type(error).__name__}). Copy it again."
        ) from None
    raise CheckpointIncompleteError(f"{path.name} holds several arrays, not one. Take the file of the same run.")


def _what(array: NDArray[Any]) -> str:
    return f"{' × '.join(map(str, array.shape)) or 'a single number'} of type {array.dtype}"


def check_checkpoint(checkpoint: SpadeCheckpoint) -> None:
    """Refuse a checkpoint whose parts do not fit each other, or hold what is no number.

    Raises:
        CheckpointLayoutError: A head is missing, or a tensor is missing, unexpected, misshapen or of another type.
        CheckpointValueError: A centroid or weight is NaN or infinite.
    """
    config = checkpoint.config
    if not np.isfinite(checkpoint.centroids).all():
        raise CheckpointValueError(f"{CENTROIDS_FILE} holds NaN or infinite numbers. Nothing was read further.")
    experts = len(np.unique(check_map(checkpoint.expert_of)))
    if checkpoint.centroids.shape != (config.centroids, config.features) or experts != config.experts:
        raise CheckpointLayoutError(
            f"The clustering has {experts} experts over {_what(checkpoint.centroids)}, not {config.experts} over "
            f"{config.centroids} × {config.features}. Take the centroid files of the same run."
        )
    _check_heads("image", checkpoint.image_heads, config.features, config)
    if checkpoint.spot_heads is not None:
        _check_heads("gene", checkpoint.spot_heads, _length(checkpoint), config)


def _length(checkpoint: SpadeCheckpoint) -> int:
    """Genes that the gene heads take: as named, else as the first of them says."""
    if checkpoint.genes is not None:
        return len(checkpoint.genes)
    first = (checkpoint.spot_heads or ({},))[0].get("projection.weight")
    return first.shape[1] if first is not None and first.ndim == 2 else 0


def _check_heads(kind: str, heads: Sequence[Head], length: int, config: MixtureConfig) -> None:
    if len(heads) != config.experts:
        raise CheckpointLayoutError(
            f"There are {len(heads)} {kind} heads for {config.experts} experts. Take the files of one whole run."
        )
    layout = head_layout(length, config.width)
    for number, head in enumerate(heads):
        differences = compare_layout(head, layout)
        if differences or length < 1:
            raise CheckpointLayoutError(
                f"The {kind} head of expert {number} does not have the layout of a SPADE expert:\n"
                f"{differences.describe()}\nNothing was exported. Take the files of one whole run."
            )
        named = f"expert {number}, {kind} head, "
        check_values(
            {named + key: value for key, value in head.items()}, {named + key: entry for key, entry in layout.items()}
        )


def head_layout(length: int, width: int) -> dict[str, Entry]:
    """Every tensor of a head that takes `length` numbers and gives `width`."""
    square = {f"{layer}.bias": Entry((width,)) for layer in ("projection", "fc", "layer_norm")}
    matrices = {"projection.weight": (width, length), "fc.weight": (width, width), "layer_norm.weight": (width,)}
    return square | {key: Entry(shape) for key, shape in matrices.items()}
