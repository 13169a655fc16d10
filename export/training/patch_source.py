"""Batches of patches on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from haiku_edge.runtime.errors import UnreadableDatasetError
from haiku_edge.runtime.notes import Tokenizer, metadata_prompt

from ..dataset import PatchDataset, PatchSample
from ..model import Resize, Standardise, TowersConfig
from ..vocabulary.outcomes import without_outcomes
from .augment import ORIENTATIONS, orient
from .batch import Batch
from .cohort_source import encode_batch
from .epochs import Epochs, stream
from .panel import marker_rows, pad_channels


@dataclass(frozen=True, slots=True)
class Draw:
    """What a batch is made of.

    Attributes:
        size: Samples. Published: 128.
        notes_share: Share of the captions that are the clinical notes alone, as at inference. Published: 0.
        turned: Turn and mirror the patches at random, where the mIF encoder is trained too.
        seed: Seeds order and captions.
    """

    size: int = 128
    notes_share: float = 0.0
    turned: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """How patches become tensors.

    Attributes:
        config: Sizes of the towers.
        markers: Rows of the marker table, from row 1 on.
        tokenizer: The text tower's; None for a model of two modalities.
        encoded: (patches of the dataset, width) float32, what the frozen mIF encoder makes of them; None where the
            encoder is trained.
    """

    config: TowersConfig
    markers: Sequence[str]
    tokenizer: Tokenizer | None
    encoded: NDArray[np.float32] | None = None


class PatchSource:
    """Draws batches from a dataset; batch k depends on the seed and k alone."""

    def __init__(
        self,
        dataset: PatchDataset,
        train: NDArray[np.int64],
        held_out: NDArray[np.int64],
        reading: Reading,
        draw: Draw,
    ) -> None:
        """Take the rows to train on and to be judged on; nothing is read yet."""
        self.dataset, self.judged, self.reading, self.draw = dataset, held_out, reading, draw
        self.epochs = Epochs(train, draw.size, draw.seed)
        self._regions = {name: number for number, name in enumerate(np.unique(dataset.regions).tolist())}
        self._resize = Resize(reading.config.he.tile, reading.config.he.side)
        self._standardise = Standardise(reading.config.mif.patch, reading.config.mif.pool)

    def batch(self, step: int) -> Batch:
        """The training batch of one step."""
        return self._read(self.epochs.rows(step), self._rng(2, step), self.draw.turned)

    def held_out(self) -> Iterator[Batch]:
        """Batches of the validation patients, in one mixed order, so that a batch does not hold one region alone."""
        order = self._rng(4, 0).permutation(self.judged)
        for number, start in enumerate(range(0, len(order), self.epochs.size)):
            yield self._read(order[start : start + self.epochs.size], self._rng(5, number), turned=False)

    def _rng(self, *purpose: int) -> np.random.Generator:
        return stream(self.draw.seed, *purpose)

    @torch.no_grad()
    def _read(self, rows: NDArray[np.int64], rng: np.random.Generator, turned: bool) -> Batch:
        samples = [self.dataset[int(row)] for row in rows]
        turns = rng.integers(0, ORIENTATIONS, len(rows)) if turned else np.zeros(len(rows), np.int64)
        regions = torch.tensor([self._regions[sample.region] for sample in samples])
        he = orient(self._tiles(samples), turns)
        ids, mask = self._texts(samples, rng)
        if self.reading.encoded is not None:
            encoded = torch.from_numpy(self.reading.encoded[rows])
            return Batch(he, regions, encoded=encoded, input_ids=ids, attention_mask=mask)
        mif, markers = self._channels(samples)
        return Batch(he, regions, orient(mif, turns), markers, None, ids, mask)

    def _tiles(self, samples: Sequence[PatchSample]) -> Tensor:
        """(n, 3, side, side) resized H&E."""
        tiles = []
        for sample in samples:
            if sample.he is None:
                raise UnreadableDatasetError(
                    f"The patch {sample.patch} has no H&E, without which it can't be trained on. Add it, or leave the "
                    "patch out."
                )
            tiles.append(torch.from_numpy(sample.he))
        resized: Tensor = self._resize(torch.stack(tiles).to(torch.float32))
        return resized

    def _channels(self, samples: Sequence[PatchSample]) -> tuple[Tensor, Tensor]:
        """Standardised channels and their rows of the marker table."""
        return read_channels(samples, self.reading.markers, self._standardise)

    def _texts(self, samples: Sequence[PatchSample], rng: np.random.Generator) -> tuple[Tensor | None, Tensor | None]:
        if self.reading.tokenizer is None:
            return None, None
        alone = rng.random(len(samples)) < self.draw.notes_share
        texts = [text_of(sample, notes_alone=bool(own)) for sample, own in zip(samples, alone, strict=True)]
        return encode_batch(self.reading.tokenizer, texts)


def text_of(sample: PatchSample, *, notes_alone: bool = False) -> str:
    """The caption, or the clinical notes alone where there is none or where they are wanted."""
    if sample.caption and not notes_alone:
        return sample.caption
    return metadata_prompt(tuple(without_outcomes(sample.facts).items()))


@torch.no_grad()
def read_channels(
    samples: Sequence[PatchSample], known: Sequence[str], standardise: Standardise
) -> tuple[Tensor, Tensor]:
    """Standardise the mIF of some patches: (n, c, s, s) float32 and (n, c) rows of the marker table.

    Raises:
        UnreadableDatasetError: A patch has no mIF.
        PanelError: The model does not know a marker.
    """
    channels, rows = [], []
    for sample in samples:
        if sample.mif is None:
            raise UnreadableDatasetError(
                f"The patch {sample.patch} has no mIF, without which it can't be trained on. Add it, or leave it out."
            )
        channels.append(standardise(torch.from_numpy(sample.mif)[None])[0])
        rows.append(marker_rows(sample.markers, known, f"The patch {sample.patch}"))
    return pad_channels(channels, rows)
