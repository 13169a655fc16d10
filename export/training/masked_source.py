"""Masked batches of mIF patches on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from haiku_edge.runtime.errors import UnreadableDatasetError

from ..dataset import PatchDataset
from ..model import MifConfig, Standardise
from .augment import ORIENTATIONS, orient
from .epochs import Epochs, stream
from .masked import Masking, draw_mask
from .panel import filled_channels, marker_rows, pad_channels


@dataclass(frozen=True, slots=True)
class Chunk:
    """Patches computed at once: standardised channels, their rows, what is masked."""

    mif: Tensor
    markers: Tensor
    masked: Tensor

    def to(self, device: torch.device) -> Chunk:
        """The same patches on a device."""
        return Chunk(self.mif.to(device), self.markers.to(device), self.masked.to(device))


@dataclass(frozen=True, slots=True)
class MaskedDraw:
    """What a batch is made of.

    Attributes:
        batch: Patches of one update.
        at_once: Patches that are computed at once.
        masking: How much is hidden.
        seed: Seeds order, channels and masks.
    """

    batch: int
    at_once: int
    masking: Masking
    seed: int


class MaskedSource:
    """Draws masked batches; batch k depends on the seed and k alone."""

    def __init__(
        self,
        dataset: PatchDataset,
        train: NDArray[np.int64],
        held_out: NDArray[np.int64],
        config: MifConfig,
        draw: MaskedDraw,
    ) -> None:
        """Take the rows to train on and to be judged on; nothing is read yet."""
        self.dataset, self.judged, self.draw = dataset, held_out, draw
        self.epochs = Epochs(train, draw.batch, draw.seed)
        self._standardise = Standardise(config.patch, config.pool)
        self._positions = (config.patch // config.pool // config.token) ** 2

    def batch(self, step: int) -> Iterator[Chunk]:
        """The parts of one update's batch."""
        yield from self._chunks(self.epochs.rows(step), (2, step), turned=True)

    def held_out(self) -> Iterator[Chunk]:
        """The held-out patches, always masked in the same way."""
        yield from self._chunks(self.judged, (4, 0), turned=False)

    def _chunks(self, rows: NDArray[np.int64], purpose: tuple[int, int], *, turned: bool) -> Iterator[Chunk]:
        rng = stream(self.draw.seed, *purpose)
        for start in range(0, len(rows), self.draw.at_once):
            yield self._chunk(rows[start : start + self.draw.at_once], rng, turned)

    @torch.no_grad()
    def _chunk(self, rows: NDArray[np.int64], rng: np.random.Generator, turned: bool) -> Chunk:
        patches, markers = zip(*(self._channels(int(row), rng) for row in rows), strict=True)
        mif, numbers = pad_channels(patches, markers)
        turns = rng.integers(0, ORIENTATIONS, len(rows)) if turned else np.zeros(len(rows), np.int64)
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        masked = draw_mask(numbers, self._positions, self.draw.masking, generator)
        return Chunk(orient(mif, turns), numbers, masked)

    def _channels(self, row: int, rng: np.random.Generator) -> tuple[Tensor, NDArray[np.int64]]:
        """A random part of the channels of a patch that are not empty."""
        sample = self.dataset[row]
        if sample.mif is None:
            raise UnreadableDatasetError(f"The patch {sample.patch} has no mIF. Add it, or leave the patch out.")
        filled = filled_channels(sample.mif)
        share = rng.uniform(self.draw.masking.least_channels, 1.0)
        kept = np.sort(rng.permutation(filled)[: max(1, round(share * len(filled)))])
        numbers = marker_rows(sample.markers, self.dataset.markers, f"The patch {sample.patch}")[kept]
        return self._standardise(torch.from_numpy(sample.mif[kept])[None])[0], numbers
