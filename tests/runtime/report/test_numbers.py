"""How numbers look."""

from __future__ import annotations

import pytest

from haiku_edge.runtime.report.numbers import anything, count, percent, percentile, plain, signed, tenth


@pytest.mark.parametrize(
    ("value", "text"), [(1.005, "1.00"), (-0.254, "−0.25"), (-0.001, "0.00"), (None, "–"), (41.375, "41.38")]
)
def test_two_decimals_and_a_true_minus(value: float | None, text: str) -> None:
    assert plain(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1.2, "+1.20"), (-1.2, "−1.20"), (0.0, "0.00"), (-0.004, "0.00"), (0.004, "0.00"), (None, "–")]
)
def test_z_shows_its_side_of_average(value: float | None, text: str) -> None:
    assert signed(value) == text


def test_thousands_stand_apart() -> None:
    assert [count(7), count(12480), percent(0.9)] == ["7", "12\u202f480", "90\u202f%"]


def test_small_parameters_are_never_rounded_to_zero() -> None:
    assert anything(0.0004) == "0.0004"
    assert anything([True, None, "x"]) == "yes, –, x"


def test_nothing_is_more_exact_than_it_can_be() -> None:
    assert [tenth(41.375), tenth(None)] == ["41.4", "–"]
    assert [percentile(value) for value in (0.0, 0.19, 13.89, 100.0)] == ["0", "<1", "14", "100"]
