"""Batches pass a device with two slots in order, none lost, none pulled too early: shown with ONNX Runtime in threads.

The device here is a real one, only not a GPU: each slot is a thread that runs the embedded H&E tower.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haiku_edge.runtime.engine.gpu.schedule import Inputs, embed_in_order, split
from haiku_edge.runtime.errors import EngineError

TOWER = Path(__file__).resolve().parents[3] / "engines" / "embedded" / "towers" / "text.onnx"
MAX_ROWS = 4


def at_once(_: object) -> int:
    return MAX_ROWS


VOCABULARY = 500


class ThreadedSession:
    """ONNX Runtime on the CPU with two slots, as the GPU has them."""

    slots = 2

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(TOWER.read_bytes(), options, providers=["CPUExecutionProvider"])
        self.threads = ThreadPoolExecutor(self.slots)
        self.gate = threading.Event()
        self.gate.set()
        self.flying: dict[int, Future[np.ndarray]] = {}
        self.most = self.begun = 0

    def compute(self, inputs: Inputs) -> np.ndarray:
        (vectors,) = self.session.run(["vector"], dict(inputs))
        return vectors

    def begin(self, slot: int, inputs: Inputs) -> None:
        assert slot not in self.flying
        copies = {name: array.copy() for name, array in inputs.items()}
        self.flying[slot] = self.threads.submit(self._work, copies)
        self.begun += 1
        self.most = max(self.most, len(self.flying))

    def finish(self, slot: int) -> np.ndarray:
        try:
            return self.flying.pop(slot).result()
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed: {error}") from error

    def _work(self, inputs: Inputs) -> np.ndarray:
        self.gate.wait()
        return self.compute(inputs)


@pytest.fixture(scope="module")
def shared_device() -> Iterator[ThreadedSession]:
    device = ThreadedSession()
    yield device
    device.threads.shutdown()


@pytest.fixture
def device(shared_device: ThreadedSession) -> ThreadedSession:
    shared_device.most = shared_device.begun = 0
    return shared_device


def _batch(rows: int, seed: int) -> dict[str, np.ndarray]:
    ids = np.random.default_rng(seed).integers(0, VOCABULARY, (rows, 12))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def _broken() -> dict[str, np.ndarray]:
    """Ids beyond the vocabulary: the session fails only when it computes."""
    return {"input_ids": np.full((2, 12), 10**9), "attention_mask": np.ones((2, 12), np.int64)}


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 11), max_size=7))
def test_results_are_those_of_one_call_a_batch_in_order(shared_device: ThreadedSession, sizes: list[int]) -> None:
    batches = [_batch(rows, seed) for seed, rows in enumerate(sizes)]
    results = list(embed_in_order(shared_device, iter(batches), at_once))
    assert [len(result) for result in results] == sizes
    for batch, result in zip(batches, results, strict=True):
        assert np.allclose(result, shared_device.compute(batch), atol=1e-6)
    assert shared_device.most <= 2
    assert shared_device.flying == {}


def test_two_batches_fly_at_once_and_never_three(device: ThreadedSession) -> None:
    for _ in embed_in_order(device, (_batch(2, seed) for seed in range(6)), at_once):
        assert len(device.flying) <= 2
    assert (device.most, device.begun) == (2, 6)


def test_the_source_is_pulled_no_further_than_the_slots_allow(device: ThreadedSession) -> None:
    pulled: list[int] = []

    def source() -> Iterator[Inputs]:
        for number in range(6):
            pulled.append(number)
            yield _batch(2, number)

    results = embed_in_order(device, source(), at_once)
    assert pulled == []
    for number, _ in enumerate(results):
        assert len(pulled) == min(number + 2, 6)


def test_a_batch_may_change_once_the_next_is_asked_for(device: ThreadedSession) -> None:
    shared = _batch(3, 0)
    expected = []

    def source() -> Iterator[Inputs]:
        for seed in range(5):
            shared["input_ids"][...] = _batch(3, seed)["input_ids"]
            expected.append(device.compute(shared))
            yield shared
        shared["input_ids"][...] = 0

    device.gate.clear()
    threading.Timer(0.2, device.gate.set).start()
    results = list(embed_in_order(device, source(), at_once))
    assert all(np.allclose(got, want, atol=1e-6) for got, want in zip(results, expected, strict=True))


def test_an_error_of_the_source_comes_after_the_results_before_it(device: ThreadedSession) -> None:
    def source() -> Iterator[Inputs]:
        yield from (_batch(6, seed) for seed in range(3))
        raise OSError("the slide ends here")

    results: list[np.ndarray] = []
    _collect(results, embed_in_order(device, source(), at_once), OSError)
    assert [len(result) for result in results] == [6, 6, 6]
    assert device.flying == {}


@pytest.mark.parametrize("bad", range(5))
def test_an_error_in_one_batch_comes_after_the_results_before_it(device: ThreadedSession, bad: int) -> None:
    batches = [_batch(2, seed) for seed in range(5)]
    batches[bad] = _broken()
    results: list[np.ndarray] = []
    _collect(results, embed_in_order(device, batches, at_once), EngineError)
    assert len(results) == bad
    assert all(np.allclose(r, device.compute(b), atol=1e-6) for r, b in zip(results, batches, strict=False))
    assert device.flying == {}
    assert len(list(embed_in_order(device, [_batch(3, 9)], at_once))) == 1


def _collect(into: list[np.ndarray], results: Iterator[np.ndarray], error: type[Exception]) -> None:
    with pytest.raises(error):
        while True:
            into.append(next(results))


def test_whoever_stops_early_leaves_the_device_free(device: ThreadedSession) -> None:
    results = embed_in_order(device, (_batch(2, seed) for seed in range(9)), at_once)
    next(results)
    assert len(device.flying) == 1
    results.close()  # type: ignore[attr-defined]
    assert device.flying == {}


@given(st.lists(st.integers(0, 20), max_size=6), st.integers(1, 7))
def test_pieces_hold_every_row_once_and_end_with_their_batch(sizes: list[int], limit: int) -> None:
    batches: list[dict[str, Any]] = [{"a": np.arange(rows) + 100 * i} for i, rows in enumerate(sizes)]
    pieces = list(split(batches, lambda _: limit))
    assert all(len(piece.inputs["a"]) <= limit for piece in pieces)
    assert sum(piece.last for piece in pieces) == len(sizes)
    together = np.concatenate([np.empty(0, int), *(piece.inputs["a"] for piece in pieces)])
    assert np.array_equal(together, np.concatenate([np.empty(0, int), *(batch["a"] for batch in batches)]))
