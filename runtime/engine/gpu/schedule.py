"""Batches through a device that works on several at once: split, in order, none lost, none pulled too early.

While a device computes one batch, the next is copied to it and the one before is fetched. That is the order of calls,
and nothing of a GPU; so it is tested with a device that every machine has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import DeviceError

Inputs = Mapping[str, NDArray[Any]]


class Executor(Protocol):
    """A device with room for several batches at once, each in a numbered slot.

    Attributes:
        slots: How many, at least 1.
    """

    slots: int

    def begin(self, slot: int, inputs: Inputs) -> None:
        """Copy a batch into a free slot and begin to work on it. The batch may change as soon as this returns."""
        ...

    def finish(self, slot: int) -> NDArray[np.float32]:
        """Wait for the slot's batch, and free the slot.

        Returns:
            (n, dimension) float32, which stays as it is when the slot is used again.
        """
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of a batch.

    Attributes:
        inputs: The rows.
        last: Whether the batch ends with them.
    """

    inputs: Inputs
    last: bool


def split(batches: Iterable[Inputs], at_once: Callable[[Inputs], int]) -> Iterator[Piece]:
    """Cut every batch into pieces of at most `at_once(batch)` rows; a batch without rows is one piece."""
    for inputs in batches:
        rows, most = len(next(iter(inputs.values()))), at_once(inputs)
        for first in range(0, max(rows, 1), most):
            part = {name: array[first : first + most] for name, array in inputs.items()}
            yield Piece(part, first + most >= rows)


def embed_in_order(
    executor: Executor, batches: Iterable[Inputs], at_once: Callable[[Inputs], int]
) -> Iterator[NDArray[np.float32]]:
    """Embed batches, at most `executor.slots` pieces at once.

    An error in batch k, of its source or of the device, is raised after the results of all batches before it. No piece
    is left in the device when this ends, however it ends.

    Args:
        executor: The device, with all slots free.
        batches: Pulled one by one, each when a slot is free for it.
        at_once: How many rows of a batch a slot takes.

    Yields:
        For each batch its vectors, (n, dimension) float32.
    """
    pieces, flying = split(batches, at_once), deque[tuple[int, bool]]()
    parts: list[NDArray[np.float32]] = []
    slot, error = 0, None
    try:
        while error is None:
            error = _begin(executor, pieces, slot, flying)
            slot = (slot + 1) % executor.slots
            # An error, or the end, ends the pulling; what flies is delivered first.
            while flying and (error is not None or len(flying) == executor.slots):
                own, last = flying.popleft()
                parts.append(executor.finish(own))
                if last:
                    yield parts[0] if len(parts) == 1 else np.concatenate(parts)
                    parts = []
        if not isinstance(error, StopIteration):
            raise error
    finally:
        _drain(executor, flying)


def _begin(executor: Executor, pieces: Iterator[Piece], slot: int, flying: deque[tuple[int, bool]]) -> Exception | None:
    """Start the next piece; the error that prevented it, or StopIteration at the end."""
    try:
        piece = next(pieces)
        executor.begin(slot, piece.inputs)
    except Exception as error:
        return error
    flying.append((slot, piece.last))
    return None


def _drain(executor: Executor, flying: deque[tuple[int, bool]]) -> None:
    """Wait for what nobody will ask for: its slot is needed again, and its failure is not the first."""
    for slot, _ in flying:
        with suppress(DeviceError):
            executor.finish(slot)
