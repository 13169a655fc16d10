"""A tower as a TensorRT plan on the first GPU, for both kinds of TensorRT."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import DeviceMemoryError, DeviceUnavailableError, EngineError
from ..types import DeviceInfo, TensorSpec, check_inputs
from . import cuda
from .lanes import GpuExecutor
from .plan import open_library, open_plan
from .refit import Refit
from .schedule import Inputs, embed_in_order
from .survey import find_gpus, serves

DEFAULT_MAX_BATCH: Final = 64

_Made = TypeVar("_Made")


class TensorRTEngine:
    """Runs a plan on the first GPU.

    Args:
        plan: The plan, verified by the caller.
        kind: tensorrt_rtx or tensorrt.
        device: What to record about where it runs.
        max_batch: Rows computed at once; larger batches are split. Where memory is short it is halved.
        compiled: What `compiled` gave on this machine before (TensorRT-RTX), verified; empty for none.
        refit: The weights of a plan that has none of its own.

    Raises:
        DeviceUnavailableError: No usable GPU or driver, or this kind of TensorRT is not installed.
        EngineStaleError: TensorRT does not take the plan on this machine.
        DeviceMemoryError: Not even one row fits into the GPU's memory.
        EngineError: The GPU failed.
    """

    def __init__(
        self,
        plan: bytes,
        kind: str,
        device: DeviceInfo,
        *,
        max_batch: int = DEFAULT_MAX_BATCH,
        compiled: bytes = b"",
        refit: Refit | None = None,
    ) -> None:
        _check_gpu(kind)
        open_library(kind)
        cuda.start()
        self._plan = open_plan(plan, kind, compiled, refit)
        rows = min(max_batch, max(profile.rows for profile in self._plan.profiles))
        self._executor = halve_until_it_fits(lambda rows: GpuExecutor(self._plan, rows), rows)
        self._device = device
        self._asked = rows
        self._busy = threading.Lock()
        weakref.finalize(self, self._executor.close).atexit = False

    def __enter__(self) -> TensorRTEngine:
        """The engine is ready already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give its memory back."""
        self.close()

    @property
    def spec(self) -> TensorSpec:
        """Inputs and output of the plan."""
        return self._plan.spec

    @property
    def device(self) -> DeviceInfo:
        """The GPU, why it was chosen, and what had to be changed: a smaller batch, no graphs."""
        notes = list(self._executor.notes)
        if self.max_batch < self._asked:
            notes.insert(0, f"batches of {self.max_batch} instead of {self._asked}, for want of GPU memory")
        return replace(self._device, reason="; ".join([self._device.reason, *notes]))

    @property
    def max_batch(self) -> int:
        """Rows that are computed at once."""
        return self._executor.max_rows

    @property
    def memory(self) -> int:
        """Bytes taken on the GPU: weights, working memory and buffers. CUDA itself and graphs come on top."""
        return self._plan.weights + self._executor.device_bytes

    @property
    def pinned_memory(self) -> int:
        """Bytes of page-locked memory taken on the host."""
        return self._executor.pinned_bytes

    def compiled(self) -> bytes:
        """What TensorRT-RTX compiled for this GPU so far; empty for the other kind."""
        return self._plan.compiled()

    def __call__(self, **inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Embed a batch.

        Args:
            inputs: The tower's inputs by name, in the dtypes and shapes of `spec`.

        Returns:
            (n, dimension) float32, L2-normalised by the graph.

        Raises:
            EngineError: An input is missing or misshapen, the GPU failed or vanished.
            DeviceMemoryError: A new shape needs more memory than the GPU has.
        """
        (vectors,) = self.embed_batches([inputs])
        return vectors

    def embed_batches(self, batches: Iterable[Inputs]) -> Iterator[NDArray[np.float32]]:
        """Embed one batch after the other, in order; while one is computed, the next is uploaded.

        A batch's arrays may be used again as soon as the next batch is asked for. Of an error in one batch, the
        results of those before it come first.

        Raises:
            EngineError, DeviceMemoryError: As for a single batch; also while other batches are being embedded.
        """
        if not self._busy.acquire(blocking=False):
            raise EngineError("The engine is already embedding batches. Finish these first, or make a second engine.")
        try:
            yield from embed_in_order(self._executor, map(self._checked, batches), self._executor.rows_at_once)
        finally:
            self._busy.release()

    def close(self) -> None:
        """Give the GPU's memory back; the weights follow with the engine itself. It can't be used afterwards."""
        self._executor.close()

    def _checked(self, inputs: Inputs) -> Inputs:
        check_inputs(self.spec, inputs)
        return inputs


def halve_until_it_fits(make: Callable[[int], _Made], rows: int) -> _Made:
    """What `make` makes for as many rows as fit, at most `rows`.

    Raises:
        DeviceMemoryError: Not even one row fits.
    """
    while True:
        try:
            return make(rows)
        except DeviceMemoryError:
            if rows == 1:
                raise
        rows //= 2


def _check_gpu(kind: str) -> None:
    survey = find_gpus()
    if not survey.usable:
        raise DeviceUnavailableError(f"TensorRT can't be used: {survey.reason}. Use --device auto or --device cpu.")
    support = serves(kind, survey.gpus[0].capability)
    if not support.tried:
        raise DeviceUnavailableError(f"{survey.gpus[0].name} can't be used: {support.reason}. Use --device cpu.")
