"""CUDA's errors become this project's, in words; buffers are views of the very memory, given back in reverse order."""

from __future__ import annotations

import ctypes
import itertools
import struct

import numpy as np
import pytest

from haiku_edge.runtime.engine.gpu import cuda
from haiku_edge.runtime.engine.gpu.survey import find_gpus
from haiku_edge.runtime.errors import DeviceError, DeviceMemoryError, DeviceUnavailableError, EngineError

CODES = list(cuda.bindings().cudaError_t)
GPU = find_gpus().usable
needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(not GPU, reason="no GPU")]


def test_every_error_that_is_told_apart_is_one_of_cudas() -> None:
    families = (cuda.OUT_OF_MEMORY, cuda.ABSENT, cuda.LOST)
    names = {code.name for code in CODES}
    assert all(family <= names for family in families)
    assert not any(one & other for one, other in itertools.combinations(families, 2))


@pytest.mark.parametrize("code", [code for code in CODES if code.value], ids=lambda code: code.name)
def test_every_error_of_cuda_becomes_one_of_ours_that_says_it_in_cudas_words(code: object) -> None:
    _, said = cuda.bindings().cudaGetErrorString(code)
    with pytest.raises(DeviceError) as raised:
        cuda.check((code, None))
    assert said.decode() in str(raised.value)
    assert code.name in str(raised.value)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("cudaErrorMemoryAllocation", DeviceMemoryError, "memory is used up"),
        ("cudaErrorNoDevice", DeviceUnavailableError, "nvidia-smi"),
        ("cudaErrorInsufficientDriver", DeviceUnavailableError, "nvidia-smi"),
        ("cudaErrorDevicesUnavailable", EngineError, "vanished"),
        ("cudaErrorECCUncorrectable", EngineError, "vanished"),
        ("cudaErrorUnknown", EngineError, "vanished"),
        ("cudaErrorIllegalAddress", EngineError, "failed"),
        ("cudaErrorLaunchFailure", EngineError, "failed"),
    ],
)
def test_an_error_tells_what_to_do(name: str, kind: type[DeviceError], words: str) -> None:
    error = cuda.as_error(getattr(cuda.bindings().cudaError_t, name))
    assert type(error) is kind
    assert words in str(error)


def test_a_success_gives_what_the_function_returned() -> None:
    success = cuda.bindings().cudaError_t.cudaSuccess
    assert cuda.check((success,)) is None
    assert cuda.check((success, 7)) == 7
    assert cuda.check((success, 7, 8)) == (7, 8)


@pytest.mark.skipif(GPU, reason="this machine has a GPU")
def test_without_a_gpu_every_door_is_closed_with_a_word() -> None:
    resources = cuda.Resources()
    doors = (cuda.start, cuda.free_memory, resources.stream, resources.event)
    for door in (*doors, lambda: resources.device(16), lambda: resources.pinned(16)):
        with pytest.raises(DeviceUnavailableError, match="driver"):
            door()
    assert (resources.device_bytes, resources.pinned_bytes) == (0, 0)
    resources.close()


@pytest.mark.skipif(GPU, reason="this machine has a GPU")
def test_every_call_has_the_form_that_the_bindings_take() -> None:
    """Without a driver CUDA answers before it looks at anything; a call of the wrong form would be a TypeError."""
    cudart = cuda.bindings()
    stream, event = cuda.Stream(cudart.cudaStream_t(0)), cuda.Event(cudart.cudaEvent_t(0))
    array = np.zeros((2, 3), np.int64)
    calls = (
        lambda: stream.upload(array, 4096),
        lambda: stream.download(4096, array),
        lambda: stream.mark(event),
        lambda: stream.wait(event),
        stream.finish,
        lambda: stream.launch(cudart.cudaGraphExec_t(0)),
        lambda: cuda.capture_graph(stream, lambda: True),
        lambda: cuda.check(cudart.cudaGraphInstantiate(cudart.cudaGraph_t(0), 0)),
        lambda: cuda.check(cudart.cudaGetDeviceProperties(0)),
    )
    for call in calls:
        with pytest.raises(DeviceUnavailableError, match="driver"):
            call()
    cuda.drop_graph(cudart.cudaGraphExec_t(0))
    assert int(stream) == 0


def test_an_array_is_the_memory_itself() -> None:
    memory = ctypes.create_string_buffer(64)
    array = cuda.carve(cuda.view(ctypes.addressof(memory), 64), np.int64, (2, 3))
    array[...] = [[1, -2, 3], [4, 5, 1 << 40]]
    assert struct.unpack("<6q", memory.raw[:48]) == (1, -2, 3, 4, 5, 1 << 40)
    assert memory.raw[48:] == bytes(16)
    memory[8:16] = struct.pack("<q", 77)
    assert array[0, 1] == 77
    assert array.ctypes.data == ctypes.addressof(memory)
    assert array.flags.c_contiguous


def test_one_buffer_serves_every_smaller_shape() -> None:
    flat = cuda.view(ctypes.addressof(memory := ctypes.create_string_buffer(100)), 100)
    assert cuda.carve(flat, np.float32, (5, 5)).nbytes == len(memory) == 100
    assert cuda.carve(flat, np.uint8, (3, 4, 2)).strides == (8, 2, 1)
    assert cuda.carve(flat, np.float32, (0, 5)).size == 0
    with pytest.raises(ValueError, match="104 bytes do not fit into 100"):
        cuda.carve(flat, np.float32, (26,))


def test_what_was_taken_last_is_given_back_first_also_after_an_error() -> None:
    given_back: list[str] = []
    with pytest.raises(EngineError), cuda.Resources() as resources:
        for name in ("memory", "stream", "graph"):
            resources.keep(given_back.append, name)
        raise EngineError("in the middle")
    assert given_back == ["graph", "stream", "memory"]
    resources.close()
    assert given_back == ["graph", "stream", "memory"]


class TestOnAGpu:
    """What only a GPU can show."""

    pytestmark = needs_gpu

    def test_bytes_go_up_and_come_back(self) -> None:
        cuda.start()
        with cuda.Resources() as resources:
            stream, address = resources.stream(), resources.device(1 << 20)
            there, back = resources.pinned(1 << 20), resources.pinned(1 << 20)
            there[:] = np.random.default_rng(0).integers(0, 256, 1 << 20, dtype=np.uint8)
            stream.upload(there, address)
            stream.download(address, back)
            stream.finish()
            assert np.array_equal(there, back)
            assert (resources.device_bytes, resources.pinned_bytes) == (1 << 20, 2 << 20)

    def test_a_recorded_copy_copies_each_time_that_it_is_launched(self) -> None:
        cuda.start()
        with cuda.Resources() as resources:
            stream, address = resources.stream(), resources.device(8)
            host = resources.pinned(8)

            def work() -> bool:
                stream.upload(host, address)
                return True

            graph = cuda.capture_graph(stream, work)
            back = resources.pinned(8)
            for value in (3, 5):
                host[:] = value
                stream.launch(graph)
                stream.download(address, back)
                stream.finish()
                assert back.tolist() == [value] * 8
            cuda.drop_graph(graph)

    def test_work_that_can_not_be_recorded_leaves_the_stream_usable(self) -> None:
        cuda.start()
        with cuda.Resources() as resources:
            stream, address, host = resources.stream(), resources.device(8), resources.pinned(8)
            with pytest.raises(EngineError, match="graph"):
                cuda.capture_graph(stream, lambda: False)
            stream.upload(host, address)
            stream.finish()

    def test_too_much_memory_is_refused_in_words_and_all_of_it_comes_back(self) -> None:
        cuda.start()
        free, total = cuda.free_memory()
        with pytest.raises(DeviceMemoryError), cuda.Resources() as resources:
            resources.device(free // 2)
            resources.device(total)
        assert cuda.free_memory()[0] >= free - (64 << 20)
