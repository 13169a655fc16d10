"""A batch is padded to few shapes, within what a plan takes, and padding changes no vector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haiku_edge.runtime.engine import plain_engine
from haiku_edge.runtime.engine.gpu.shapes import STEP, Fit, Profile, fill, fit, largest
from haiku_edge.runtime.engine.types import TensorSpec, check_inputs
from haiku_edge.runtime.errors import EngineError

BUNDLE = Path(__file__).resolve().parents[3] / "engines" / "embedded"


def _text(index: int, rows: int, length: int = 200) -> Profile:
    names = ("input_ids", "attention_mask")
    return Profile(index, dict.fromkeys(names, (1, 1)), dict.fromkeys(names, (rows, length)))


TEXT = [_text(0, 1), _text(1, 16), _text(2, 64)]
TILES = [Profile(0, {"tiles": (16, 256, 256, 3)}, {"tiles": (16, 256, 256, 3)})]


@given(st.integers(1, 64), st.integers(1, 200))
def test_a_batch_goes_into_the_narrowest_profile_with_little_padding(rows: int, length: int) -> None:
    shapes = dict.fromkeys(("input_ids", "attention_mask"), (rows, length))
    chosen = fit(shapes, TEXT, 64)
    ((first, padded), (second, other)) = chosen.shapes
    assert (first, second, other) == ("input_ids", "attention_mask", padded)
    assert rows <= padded[0] < 2 * rows
    assert length <= padded[1] < length + STEP
    assert padded[1] <= 200
    assert chosen.profile == next(p.index for p in TEXT if p.rows >= padded[0])


def test_all_texts_need_few_shapes() -> None:
    every = {fit({"input_ids": (n, m)}, [_input_ids()], 64) for n in range(1, 65) for m in range(1, 201)}
    assert len({one.shapes[0][1][0] for one in every}) == 7
    assert len({one.shapes[0][1][1] for one in every}) == 25


def _input_ids() -> Profile:
    return Profile(0, {"input_ids": (1, 1)}, {"input_ids": (64, 200)})


def test_rows_are_padded_to_the_limit_and_not_beyond() -> None:
    assert fit({"input_ids": (40, 9)}, [_input_ids()], 48).shapes == (("input_ids", (48, 16)),)
    with pytest.raises(EngineError, match="not built for"):
        fit({"input_ids": (49, 9)}, [_input_ids()], 48)


def test_a_fixed_batch_is_filled_up() -> None:
    chosen = fit({"tiles": (3, 256, 256, 3)}, TILES, 16)
    assert chosen == Fit(0, (("tiles", (16, 256, 256, 3)),))
    with pytest.raises(EngineError, match=r"at most tiles \(16, 256, 256, 3\)"):
        fit({"tiles": (3, 128, 128, 3)}, TILES, 8)


def test_a_text_that_is_too_long_is_refused_with_what_would_fit() -> None:
    with pytest.raises(EngineError, match=r"\(1, 201\).*\(64, 200\)"):
        fit({"input_ids": (1, 201)}, [_input_ids()], 64)


def test_the_largest_shapes_keep_to_the_rows_that_memory_was_taken_for() -> None:
    assert largest(_input_ids(), 8).shapes == (("input_ids", (8, 200)),)
    assert largest(TILES[0], 8).rows == 16


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 3), st.integers(0, 3))
def test_padding_is_zeros_to_the_right_and_the_last_row_below(rows: int, columns: int, down: int, right: int) -> None:
    batch = np.arange(1, rows * columns + 1, dtype=np.int64).reshape(rows, columns)
    room = np.full((rows + down, columns + right), -9, np.int64)
    fill(room, batch)
    expected = np.pad(np.pad(batch, ((0, 0), (0, right))), ((0, down), (0, 0)), mode="edge")
    assert np.array_equal(room, expected)


def test_a_batch_without_rows_becomes_zeros() -> None:
    room = np.full((1, 3), 5, np.uint8)
    fill(room, np.empty((0, 3), np.uint8))
    assert room.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("tower", ["he", "text", "mif"])
def test_padding_changes_no_vector(tower: str) -> None:
    engine = plain_engine((BUNDLE / "towers" / f"{tower}.onnx").read_bytes())
    golden = np.load(BUNDLE / "golden" / "cases.npz")
    prefix = "" if tower == "text" else f"{tower}_"
    inputs = {name: golden[prefix + name][:2] for name in engine.spec.inputs}
    padded = {}
    for name, array in inputs.items():
        room = np.empty(
            (4, *(size + 6 if axis == 0 and tower != "he" else size for axis, size in enumerate(array.shape[1:]))),
            array.dtype,
        )
        fill(room, array)
        padded[name] = room
    assert np.abs(engine(**padded)[:2] - engine(**inputs)).max() < 2e-6


SPEC = TensorSpec({"a": ("uint8", (None, 2)), "b": ("int64", (None,))}, 4)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"a": np.zeros((3, 2), np.uint8)}, "takes"),
        ({"a": np.zeros((3, 2), np.uint8), "b": np.zeros(2, np.int64)}, "same number of rows"),
        ({"a": np.zeros((3, 3), np.uint8), "b": np.zeros(3, np.int64)}, "Input a must be uint8"),
        ({"a": np.zeros((3, 2), np.uint8), "b": np.zeros(3, np.int32)}, "Input b must be int64"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_before_the_gpu_sees_them(inputs: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(EngineError, match=words):
        check_inputs(SPEC, inputs)
    check_inputs(SPEC, {"a": np.zeros((3, 2), np.uint8), "b": np.zeros(3, np.int64)})
