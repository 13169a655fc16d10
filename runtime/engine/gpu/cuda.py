"""What the GPU lends: memory on both sides, streams, events and graphs, by cuda-bindings; and its errors in words.

The first GPU that the process may see is the one; `CUDA_VISIBLE_DEVICES` chooses another. Nothing here is imported
before it is used, so that the run time starts where no GPU is.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from contextlib import ExitStack
from math import prod
from types import ModuleType, TracebackType
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...errors import DeviceError, DeviceMemoryError, DeviceUnavailableError, EngineError

OUT_OF_MEMORY: Final = frozenset({"cudaErrorMemoryAllocation"})

ABSENT: Final = frozenset(
    {
        "cudaErrorCallRequiresNewerDriver",
        "cudaErrorCompatNotSupportedOnDevice",
        "cudaErrorDeviceNotLicensed",
        "cudaErrorInitializationError",
        "cudaErrorInsufficientDriver",
        "cudaErrorInvalidDevice",
        "cudaErrorNoDevice",
        "cudaErrorNoKernelImageForDevice",
        "cudaErrorStubLibrary",
        "cudaErrorSystemDriverMismatch",
        "cudaErrorSystemNotReady",
        "cudaErrorUnsupportedPtxVersion",
    }
)
"""Names of errors that mean: nothing here can run on a GPU."""

LOST: Final = frozenset(
    {
        "cudaErrorContained",
        "cudaErrorContextIsDestroyed",
        "cudaErrorCudartUnloading",
        "cudaErrorDeviceUninitialized",
        "cudaErrorDevicesUnavailable",
        "cudaErrorECCUncorrectable",
        "cudaErrorExternalDevice",
        "cudaErrorHardwareStackError",
        "cudaErrorLaunchTimeout",
        "cudaErrorMpsClientTerminated",
        "cudaErrorMpsConnectionFailed",
        "cudaErrorMpsRpcFailure",
        "cudaErrorNvlinkUncorrectable",
        "cudaErrorUnknown",
    }
)
"""Names of errors that mean: the GPU was there and is gone, broken or taken away. A GPU that fell off its bus answers
with the unknown error."""

_SUCCESS = "cudaSuccess"


def bindings() -> ModuleType:
    """The CUDA run time as Python sees it.

    Raises:
        DeviceUnavailableError: cuda-bindings is not installed, or does not load.
    """
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except (ImportError, OSError, RuntimeError) as error:
        raise DeviceUnavailableError(
            f"The GPU can't be used: cuda-bindings is not installed or does not load ({error}). "
            "Install haiku-edge with its GPU extra, or use --device cpu."
        ) from error


def check(result: tuple[Any, ...]) -> Any:
    """Take the status off what a CUDA function returned.

    Args:
        result: The status, then what the function returns.

    Returns:
        What it returns: None, the value, or a tuple of values.

    Raises:
        DeviceMemoryError: The GPU's (or the pinned) memory is used up.
        DeviceUnavailableError: There is no GPU, or its driver is too old.
        EngineError: The GPU vanished, or something else failed.
    """
    status, *values = result
    if status.name != _SUCCESS:
        raise as_error(status)
    return (values[0] if len(values) == 1 else tuple(values)) if values else None


def as_error(status: Any) -> DeviceError:
    """The error that one of CUDA's error codes stands for.

    Args:
        status: A member of `cudaError_t`.
    """
    what = f"{describe(status)} ({status.name})"
    if status.name in OUT_OF_MEMORY:
        return DeviceMemoryError(
            f"The GPU's memory is used up: {what}. Close other programs that use the GPU, or use --device cpu."
        )
    if status.name in ABSENT:
        return DeviceUnavailableError(
            f"The GPU can't be used: {what}. See that nvidia-smi lists it, or use --device cpu."
        )
    if status.name in LOST:
        return EngineError(
            f"The GPU vanished or stopped answering: {what}. What was finished is kept. See that nvidia-smi lists the "
            "GPU, then run the same command again, or use --device cpu."
        )
    return EngineError(f"The GPU failed: {what}. Run again, or use --device cpu.")


def describe(status: Any) -> str:
    """What CUDA says about one of its error codes, in its own words."""
    _, text = bindings().cudaGetErrorString(status)
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text or "unknown error")


def start() -> None:
    """Make the GPU the calling thread's, and start CUDA on it.

    Raises:
        DeviceUnavailableError, DeviceMemoryError, EngineError: See `check`.
    """
    cudart = bindings()
    check(cudart.cudaSetDevice(0))
    check(cudart.cudaFree(0))


def view(address: int, size: int) -> NDArray[np.uint8]:
    """Host memory as an array, without a copy.

    Args:
        address: Where it begins. It must stay allocated as long as the array, or any view of it, is used.
        size: Bytes, at least 1.

    Returns:
        (size,) uint8.
    """
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


def carve(flat: NDArray[np.uint8], dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """The first bytes of a buffer as an array of another type, without a copy.

    Args:
        flat: (bytes,) uint8.
        dtype: Type of the array.
        shape: Its shape.

    Raises:
        ValueError: The buffer is too small.
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    if size > len(flat):
        raise ValueError(f"{size} bytes do not fit into {len(flat)}")
    return flat[:size].view(dtype).reshape(shape)


class Event:
    """A mark in a stream that other streams can wait for."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle


class Stream:
    """Work on the GPU that is done in order, beside that of other streams."""

    def __init__(self, handle: Any) -> None:
        self._cudart = bindings()
        self.handle = handle

    def __int__(self) -> int:
        """The handle as TensorRT takes it."""
        return int(self.handle)

    def upload(self, source: NDArray[Any], address: int) -> None:
        """Begin to copy a contiguous pinned array to the GPU."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        check(self._cudart.cudaMemcpyAsync(address, source.ctypes.data, source.nbytes, kind, self.handle))

    def download(self, address: int, target: NDArray[Any]) -> None:
        """Begin to copy from the GPU into a contiguous pinned array."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        check(self._cudart.cudaMemcpyAsync(target.ctypes.data, address, target.nbytes, kind, self.handle))

    def mark(self, event: Event) -> None:
        """Let the event happen when all work so far is done."""
        check(self._cudart.cudaEventRecord(event.handle, self.handle))

    def wait(self, event: Event) -> None:
        """Let later work of this stream begin only after the event. An event that was never marked has happened."""
        check(self._cudart.cudaStreamWaitEvent(self.handle, event.handle, 0))

    def finish(self) -> None:
        """Wait until all work is done; what failed on the way is raised here."""
        check(self._cudart.cudaStreamSynchronize(self.handle))

    def launch(self, graph: Any) -> None:
        """Begin the work of a captured graph."""
        check(self._cudart.cudaGraphLaunch(graph, self.handle))


class Resources:
    """What was taken from the GPU; given back in reverse order.

    Attributes:
        device_bytes: Memory taken on the GPU.
        pinned_bytes: Page-locked memory taken on the host.
    """

    def __init__(self) -> None:
        self._held = ExitStack()
        self.device_bytes = 0
        self.pinned_bytes = 0

    def __enter__(self) -> Resources:
        """Nothing is taken yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give everything back."""
        self.close()

    def keep(self, release: Callable[..., object], *arguments: object) -> None:
        """Call this when all that was taken later has been given back."""
        self._held.callback(release, *arguments)

    def device(self, size: int) -> int:
        """Take memory on the GPU.

        Args:
            size: Bytes; 0 takes one, so that the address is valid.

        Returns:
            Its address, aligned to 256 bytes.

        Raises:
            DeviceMemoryError: There is not that much.
        """
        cudart = bindings()
        address = int(check(cudart.cudaMalloc(max(size, 1))))
        self.keep(cudart.cudaFree, address)
        self.device_bytes += size
        return address

    def pinned(self, size: int) -> NDArray[np.uint8]:
        """Take page-locked memory on the host, from which the GPU copies beside other work.

        Returns:
            (size,) uint8, not cleared. It must not be used after `close`.

        Raises:
            DeviceMemoryError: The system does not lock that much.
        """
        cudart = bindings()
        address = int(check(cudart.cudaHostAlloc(max(size, 1), cudart.cudaHostAllocDefault)))
        self.keep(cudart.cudaFreeHost, address)
        self.pinned_bytes += size
        return view(address, max(size, 1))[:size]

    def stream(self) -> Stream:
        """A stream that does not wait for the default one."""
        cudart = bindings()
        handle = check(cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking))
        self.keep(cudart.cudaStreamDestroy, handle)
        return Stream(handle)

    def event(self) -> Event:
        """An event that keeps no time, which makes it cheap."""
        cudart = bindings()
        handle = check(cudart.cudaEventCreateWithFlags(cudart.cudaEventDisableTiming))
        self.keep(cudart.cudaEventDestroy, handle)
        return Event(handle)

    def close(self) -> None:
        """Give everything back. A GPU that is gone takes nothing back: what it answers is passed over."""
        self._held.close()
        self.device_bytes = self.pinned_bytes = 0


def capture_graph(stream: Stream, work: Callable[[], bool]) -> Any:
    """Record work instead of doing it, so that it can be launched again and again in one call.

    Args:
        stream: The stream that the work goes to.
        work: Enqueues it; False where it could not.

    Returns:
        The executable graph; `drop_graph` gives it back.

    Raises:
        EngineError: The work can't be recorded. The stream is as before.
    """
    cudart = bindings()
    check(cudart.cudaStreamBeginCapture(stream.handle, cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
    done = False
    try:
        done = work()
    finally:
        status, graph = cudart.cudaStreamEndCapture(stream.handle)
        cudart.cudaGetLastError()
    if not done or status.name != _SUCCESS:
        raise EngineError(f"The GPU did not record the work as a graph: {describe(status)} ({status.name}).")
    try:
        return check(cudart.cudaGraphInstantiate(graph, 0))
    finally:
        cudart.cudaGraphDestroy(graph)


def drop_graph(graph: Any) -> None:
    """Give an executable graph back."""
    bindings().cudaGraphExecDestroy(graph)


def free_memory() -> tuple[int, int]:
    """Bytes of the GPU's memory that are free, and all of them.

    Raises:
        DeviceUnavailableError, EngineError: See `check`.
    """
    free, total = check(bindings().cudaMemGetInfo())
    return int(free), int(total)
