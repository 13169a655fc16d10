"""Features of patches by a frozen image encoder: computed once, kept by digests."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atomic import atomic_write, make_directory
from haiku_edge.runtime.bundle import Bundle
from haiku_edge.runtime.engine import Engine, open_tower
from haiku_edge.runtime.engine.model import tower_digest
from haiku_edge.runtime.errors import PatchShapeError, UnreadableDatasetError
from haiku_edge.runtime.inference import Progress, Silent

from .dataset import SpotDataset
from .section_file import decode_patch
from .types import SectionSpots

BATCH: Final = 32
"""Patches that go through the encoder at once."""

PART: Final = 16
"""Batches that are kept together: what a stopped run may lose."""

MPP_TOLERANCE: Final = 0.05
"""Patches may differ by this share from the resolution that a tower was made for."""


class Encoder(Protocol):
    """A frozen image encoder."""

    @property
    def digest(self) -> str:
        """What names its features: SHA-256 of what it computes."""
        ...

    @property
    def size(self) -> int:
        """Side of its tiles, pixels."""
        ...

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(b, size, size, 3) uint8 RGB → (b, D) float32 features, not normalised."""
        ...


@dataclass(frozen=True, slots=True)
class EngineEncoder:
    """A graph that takes tiles, running.

    Attributes:
        digest: SHA-256 of graph and weights.
        size: Side of its tiles, pixels.
        engine: What runs it.
    """

    digest: str
    size: int
    engine: Engine

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(b, size, size, 3) uint8 RGB → (b, D) float32."""
        return self.engine(tiles=tiles)


def alike(mpp: float, other: float) -> bool:
    """Whether two resolutions are near enough for one tower."""
    return abs(mpp / other - 1) <= MPP_TOLERANCE


def engine_encoder(bundle: Bundle, mpp: float, *, device: str = "auto", threads: int | None = None) -> EngineEncoder:
    """The H&E tower of a bundle as an encoder; its features are its vectors.

    Args:
        bundle: The open bundle.
        mpp: Micrometres per pixel of the patches.
        device: auto, tensorrt, cuda or cpu.
        threads: Threads to compute with; None takes all cores.

    Raises:
        PatchShapeError: The tower was made for another resolution.
        DeviceError, BundleError: See `open_tower`.
    """
    tower = bundle.manifest.need_he()
    if not alike(mpp, tower.mpp):
        raise PatchShapeError(
            f"The patches have {mpp:g} µm per pixel, and the H&E tower of {bundle.manifest.name} was made for "
            f"{tower.mpp:g}. Build the dataset again with --mpp {tower.mpp:g}."
        )
    engine = open_tower(bundle, tower, device=device, threads=threads, kept=True)
    return EngineEncoder(tower_digest(bundle, tower), tower.tile_size, engine)


def section_features(
    dataset: SpotDataset, section: str, encoder: Encoder, cache: Path | None, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Features of one section's patches, in the order of its spots.

    The middle of a patch is taken where it is larger than the encoder's tiles.

    Args:
        dataset: The dataset.
        section: Name of the section.
        encoder: The encoder.
        cache: Folder in which features are kept, by the digests of encoder and section; a stopped run goes on there.
            None keeps nothing.
        progress: Told about every spot.

    Returns:
        (n, D) float32; mapped from the file where there is a cache.

    Raises:
        PatchShapeError: The patches are smaller than the encoder's tiles.
        UnreadableDatasetError: The section can't be read, or a feature is no number.
        OutputNotWritableError, DiskFullError: The cache can't be written.
    """
    if encoder.size > dataset.size:
        raise PatchShapeError(
            f"The encoder takes tiles of {encoder.size} pixels, and the patches of {dataset.name} have {dataset.size}. "
            f"Build the dataset again with --size {encoder.size}."
        )
    about = next((own for own in dataset.sections if own.section == section), None)
    told, spots = progress or Silent(), about.spots if about else 0
    if about is None or cache is None:
        return np.concatenate([*_computed(dataset.read(section), dataset.size, encoder, None, told)])
    key = hashlib.sha256(f"{encoder.digest}\n{encoder.size}\n{about.sha256}\n".encode()).hexdigest()
    file, parts = cache / f"{key}.npy", cache / f"{key}.parts"
    if (kept := _kept(file, spots)) is not None:
        told.advance(spots)
        return kept
    make_directory(parts)
    _keep(file, np.concatenate([*_computed(dataset.read(section), dataset.size, encoder, parts, told)]))
    shutil.rmtree(parts, ignore_errors=True)
    features = _kept(file, spots)
    if features is None:
        raise UnreadableDatasetError(f"The features in {file.name} were changed while they were written. Run again.")
    return features


def _computed(
    spots: SectionSpots, side: int, encoder: Encoder, parts: Path | None, progress: Progress
) -> Iterator[NDArray[np.float32]]:
    """Features part by part; those that an earlier run kept are read."""
    for first in range(0, len(spots), BATCH * PART):
        last = min(first + BATCH * PART, len(spots))
        file = None if parts is None else parts / f"{first:08d}.npy"
        features = None if file is None else _kept(file, last - first)
        if features is None:
            features = np.concatenate(
                [_encoded(spots, start, min(start + BATCH, last), side, encoder) for start in range(first, last, BATCH)]
            )
            if file is not None:
                _keep(file, features)
        progress.advance(last - first)
        yield features


def _encoded(spots: SectionSpots, first: int, last: int, side: int, encoder: Encoder) -> NDArray[np.float32]:
    edge = (side - encoder.size) // 2
    inner = slice(edge, edge + encoder.size)
    patches = [decode_patch(jpeg) for jpeg in spots.patches[first:last]]
    if any(patch.shape != (side, side, 3) for patch in patches):
        raise UnreadableDatasetError(f"A patch is not {side} pixels wide and high. Make the dataset again.")
    features = np.asarray(encoder(np.stack([patch[inner, inner] for patch in patches])), np.float32)
    if not np.isfinite(features).all():
        raise UnreadableDatasetError("An image feature is no number. Use an encoder that works on these patches.")
    return features


def _keep(file: Path, features: NDArray[np.float32]) -> None:
    content = io.BytesIO()
    np.save(content, features, allow_pickle=False)
    atomic_write(file, content.getvalue())


def _kept(file: Path, rows: int) -> NDArray[np.float32] | None:
    """Features that were kept, mapped; None where there are none of that length, or damaged ones."""
    try:
        features = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return features if features.dtype == np.float32 and features.ndim == 2 and len(features) == rows else None
