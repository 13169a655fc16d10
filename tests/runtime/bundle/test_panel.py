"""Names of channels against the tower's marker table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haiku_edge.runtime.bundle import panel_rows
from haiku_edge.runtime.errors import PanelError

KNOWN = ("DAPI", "CD3e", "CD4", "PDL1", "PGP9_5", "HLA-DR", "CD66", "CD66b")


@given(st.permutations(KNOWN))
def test_a_row_is_the_place_of_the_name_plus_one(names: list[str]) -> None:
    assert [KNOWN[row - 1] for row in panel_rows(names, KNOWN)] == names
    assert panel_rows(names, KNOWN).min() == 1


def test_a_name_may_differ_in_capitals_and_signs() -> None:
    assert panel_rows(("PD-L1", "pgp9.5", "HLA DR", "cd66B"), KNOWN).tolist() == [4, 5, 6, 8]


def test_an_unknown_name_is_refused_with_the_nearest_known() -> None:
    with pytest.raises(PanelError, match=r"CD3 \(nearest: CD3e") as refused:
        panel_rows(("DAPI", "CD3", "blank\x1b[31m"), KNOWN)
    assert "blank\\x1b" in str(refused.value) and refused.value.exit_code == 82


@pytest.mark.parametrize("names", [("CD4", "DAPI", "CD4"), ("PDL1", "PD-L1"), ()])
def test_a_marker_named_twice_and_no_marker_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(PanelError):
        panel_rows(names, KNOWN)


def test_two_known_names_that_differ_only_in_a_sign_are_told_apart() -> None:
    known = ("PGP9_5", "PGP9.5")
    assert panel_rows(("PGP9.5",), known).tolist() == [2]
    with pytest.raises(PanelError):
        panel_rows(("PGP9-5",), known)
