"""Names of channels against the tower's marker table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haiku_edge.export.panel_rows import PanelRows
from haiku_edge.runtime.bundle import panel_rows
from haiku_edge.runtime.errors import PanelError

KNOWN = ("DAPI", "CD3e", "CD4", "PDL1", "PGP9_5", "HLA-DR", "CD66", "CD66b")


@given(st.permutations(KNOWN))
def test_a_row_is_the_place_of_the_name_plus_one(names: list[str]) -> None:
    assert [KNOWN[row - 1] for row in panel_rows(names, KNOWN)] == names
    assert panel_rows(names, KNOWN).min() == 1


def test_a_name_may_differ_in_capitals_and_signs() -> None:
    assert panel_rows(("PD-L1", "pgp9.5", "HLA DR", "cd66B"), KNOWN).tolist() == [4, 5, 6, 8]


def test_other_names_of_a_marker_are_known_and_ambiguous_ones_are_refused() -> None:
    assert panel_rows(("CD3", "CD274", "Hoechst", "UCHL1"), KNOWN).tolist() == [2, 4, 1, 5]
    with pytest.raises(PanelError, match="'HLA' can't stand for a known one"):
        panel_rows(("DAPI", "HLA"), KNOWN)
    with pytest.raises(PanelError, match="'CD8' is CD8, which this model was not made with"):
        panel_rows(("DAPI", "CD8"), KNOWN)


def test_an_unknown_name_is_refused_with_the_nearest_known() -> None:
    with pytest.raises(PanelError, match=r"'CD3g' \(nearest known: CD3e") as refused:
        panel_rows(("DAPI", "CD3g", "x\x1b[31m"), KNOWN)
    assert "x\\x1b" in str(refused.value) and refused.value.exit_code == 82


def test_a_channel_without_a_marker_has_no_row() -> None:
    with pytest.raises(PanelError, match="'Blank-1'"):
        panel_rows(("DAPI", "Blank-1"), KNOWN)


@given(st.lists(st.sampled_from((*KNOWN, "PD-L1", "CD3", "pgp9.5", "CD274")), min_size=1))
def test_a_patch_gets_the_rows_that_it_gets_in_an_atlas(names: list[str]) -> None:
    rows = PanelRows(KNOWN, drop_unknown=False)
    try:
        wanted = rows.table_rows(rows.of(tuple(names))[0]).tolist()
    except PanelError:
        with pytest.raises(PanelError):
            panel_rows(names, KNOWN)
    else:
        assert panel_rows(names, KNOWN).tolist() == wanted


@pytest.mark.parametrize("names", [("CD4", "DAPI", "CD4"), ("PDL1", "PD-L1"), ()])
def test_a_marker_named_twice_and_no_marker_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(PanelError):
        panel_rows(names, KNOWN)


def test_a_dotted_name_means_its_twin_where_both_are_known() -> None:
    assert panel_rows(("PGP9.5",), ("DAPI", "PGP9.5", "PGP9_5")).tolist() == [3]
    assert panel_rows(("PGP9_5",), ("DAPI", "PGP9.5")).tolist() == [2]
