"""One batch of paired samples, and where batches come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Protocol, TypeVar

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """n samples, row by row the same tissue in every modality.

    Attributes:
        he: (n, 3, side, side) float32, resized tiles of 0…255.
        regions: (n,) int64, equal where two samples are of the same region.
        mif: (n, c, s, s) float32, standardised channels; None where `encoded` stands for them.
        markers: (n, c) int64 rows of the marker table, 0 for no channel; with `mif`.
        encoded: (n, width) float32, what the frozen mIF encoder made of the patches.
        input_ids: (n, l) int64, or None for a model of two modalities.
        attention_mask: (n, l) int64, with `input_ids`.
    """

    he: Tensor
    regions: Tensor
    mif: Tensor | None = None
    markers: Tensor | None = None
    encoded: Tensor | None = None
    input_ids: Tensor | None = None
    attention_mask: Tensor | None = None

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.he)

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def part(self, start: int, stop: int) -> Batch:
        """Samples `start` to `stop`."""
        return self._map(lambda tensor: tensor[start:stop])

    def _map(self, change: _Change) -> Batch:
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(tensor) for name, tensor in named.items() if tensor is not None})


class _Change(Protocol):
    def __call__(self, tensor: Tensor, /) -> Tensor: ...


B_co = TypeVar("B_co", covariant=True)


class Source(Protocol[B_co]):
    """Where batches come from. A batch depends on its number alone, so that a resumed training meets the same ones."""

    def batch(self, step: int) -> B_co:
        """The training batch of one step, counted from 0."""
        ...

    def held_out(self) -> Iterator[B_co]:
        """Batches of the validation patients, always the same ones; none where there are no such patients."""
        ...
