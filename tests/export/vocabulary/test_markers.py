"""Channel names: what is known, renamed, dropped and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haiku_edge.export.vocabulary import (
    ALIASES,
    AMBIGUOUS,
    LEARNED_MARKERS,
    PUBLISHED_MARKERS,
    canonical_marker,
    canonical_markers,
    canonical_panel,
)
from haiku_edge.runtime.errors import PanelError
from haiku_edge.runtime.notes.markers import ALIASES as REPORT_ALIASES

META = Path(__file__).parents[4] / "shared/parity/haiku/meta.json"
USABLE = tuple(name for name in PUBLISHED_MARKERS if name != "PGP9.5")


def test_vocabulary_has_124_names_of_which_one_is_written_twice() -> None:
    assert len(PUBLISHED_MARKERS) == len(set(PUBLISHED_MARKERS)) == 124
    assert PUBLISHED_MARKERS[0] == "S100A4"
    assert PUBLISHED_MARKERS[-1] == "PGP9.5"
    assert len({name.replace(".", "_") for name in PUBLISHED_MARKERS}) == 123


@pytest.mark.skipif(not META.exists(), reason="the published layout is not beside this checkout")
def test_vocabulary_is_that_of_the_published_marker_table() -> None:
    meta = json.loads(META.read_text())
    assert list(USABLE) == [name for name in PUBLISHED_MARKERS if name in {*meta["esm_markers"], *LEARNED_MARKERS}]
    assert set(meta["learnable_markers"]) == set(LEARNED_MARKERS)
    assert meta["esm_markers"] == [name for name in USABLE if name not in LEARNED_MARKERS]


def test_every_published_name_is_its_own_canonical_name() -> None:
    assert canonical_markers(USABLE) == USABLE
    assert canonical_marker("PGP9.5") == "PGP9_5"


@pytest.mark.parametrize(
    ("given_name", "published"),
    [
        ("Pan-Cytokeratin", "PanCK"),
        ("PD-L1", "PDL1"),
        ("PD-1", "PD1"),
        ("FOXP3", "FoxP3"),
        ("CTLA4", "CD152"),
        ("41BB", "CD137"),
        ("Ki-67", "Ki67"),
        ("KI67", "Ki67"),
        ("MUC1", "CD227"),
        ("THY1", "CD90"),
    ],
)
def test_published_alias_rules(given_name: str, published: str) -> None:
    assert canonical_marker(given_name) == published


def test_panel_of_a_breast_field_is_renamed_with_reasons() -> None:
    panel = canonical_panel(["DAPI", "PDL1", "GZMB", "PD1", "CK", "CD8a", "FOXP3"])
    assert panel.names == ("DAPI", "PDL1", "GranzymeB", "PD1", "PanCK", "CD8", "FoxP3")
    assert [(old, new) for old, new, _ in panel.renamed] == [
        ("GZMB", "GranzymeB"),
        ("CK", "PanCK"),
        ("CD8a", "CD8"),
        ("FOXP3", "FoxP3"),
    ]
    assert all(reason for _, _, reason in panel.renamed)


def test_channels_without_a_marker_are_dropped_and_the_rest_keep_their_places() -> None:
    panel = canonical_panel(["Blank-1", "DAPI", "background", "CD8_pred", "AF1", "CD4", ""])
    assert (panel.names, panel.rows) == (("DAPI", "CD4"), (1, 5))
    assert panel.dropped == ("Blank-1", "background", "CD8_pred", "AF1", "")
    assert canonical_markers(["Blank", "CD4"]) == (None, "CD4")


def test_unknown_names_are_refused_together_with_the_nearest_known() -> None:
    with pytest.raises(PanelError, match=r"(?s)'CD166'.*nearest known: CD66, CD16.*'Argo550'") as refused:
        canonical_panel(["DAPI", "CD166", "Argo550"])
    assert "DAPI" not in str(refused.value).split("nearest")[0]


@pytest.mark.parametrize(
    ("name", "tempting"),
    [("p53", "TP63"), ("CD11", "CD11b"), ("Keratin", "PanCK"), ("CD49d", "CD49"), ("STAT3", "pSTAT3")],
)
def test_ambiguous_name_is_not_guessed(name: str, tempting: str) -> None:
    assert tempting in PUBLISHED_MARKERS
    with pytest.raises(PanelError, match="can't stand for"):
        canonical_marker(name)


def test_separator_between_digits_is_part_of_a_name() -> None:
    assert canonical_marker("F4/80") == "F4_80"
    with pytest.raises(PanelError):
        canonical_marker("CD16.3")
    with pytest.raises(PanelError):
        canonical_marker("PGP95")


def test_two_channels_of_one_marker_are_refused_under_whatever_names() -> None:
    with pytest.raises(PanelError, match=r"PDL1 \('PD-L1', 'CD274'\)"):
        canonical_panel(["PD-L1", "DAPI", "CD274"])
    with pytest.raises(PanelError, match="PGP9_5"):
        canonical_markers(["PGP9_5", "PGP9.5"])


def test_panel_of_blanks_alone_is_refused() -> None:
    with pytest.raises(PanelError, match="no channel with a marker"):
        canonical_panel(["blank", "empty"])


def test_a_model_with_fewer_markers_says_that_it_lacks_a_published_one() -> None:
    assert canonical_marker("FOXP3", ("FoxP3", "DAPI")) == "FoxP3"
    with pytest.raises(PanelError, match="'CD-8a' is CD8, which this model was not made with"):
        canonical_marker("CD-8a", ("FoxP3", "DAPI"))


def test_an_added_marker_comes_before_aliases_and_doubts() -> None:
    assert canonical_marker("cd8A", (*USABLE, "CD8a")) == "CD8a"
    assert canonical_marker("CD49d", (*USABLE, "CD49d")) == "CD49d"


def test_no_name_is_in_two_rules() -> None:
    names = [name for rule in ALIASES for name in rule.names] + [name for entry in AMBIGUOUS for name in entry.names]
    assert len(names) == len(set(names))
    assert {rule.marker for rule in ALIASES} <= set(USABLE)
    for rule in ALIASES:
        assert [canonical_marker(name) for name in rule.names] == [rule.marker] * len(rule.names)


def test_the_reports_words_for_a_marker_never_name_another_one() -> None:
    """The run time searches notes for more names than an image may use; where both know a name, they agree."""
    for group in REPORT_ALIASES:
        if group[0] not in USABLE:
            continue
        for name in group:
            try:
                marker = canonical_marker(name)
            except PanelError:
                continue
            assert marker in group or marker == group[0], (name, group[0])


@given(st.sampled_from(USABLE), st.sampled_from(["", " ", "-", "_"]), st.booleans())
def test_case_and_separators_beside_letters_do_not_matter(name: str, separator: str, upper: bool) -> None:
    letters = next((i for i in range(1, len(name)) if name[i - 1].isalpha() and name[i].isdigit()), 0)
    written = name[:letters] + separator + name[letters:]
    assert canonical_marker(written.upper() if upper else written.lower()) == name


@given(st.permutations(range(6)))
def test_order_of_channels_only_permutes_the_panel(order: list[int]) -> None:
    names = ["DAPI", "PD-L1", "blank", "CD3", "Ki-67", "CK"]
    straight, mixed = canonical_panel(names), canonical_panel([names[i] for i in order])
    assert sorted(mixed.names) == sorted(straight.names)
    assert [order[row] for row in mixed.rows] == [straight.rows[straight.names.index(name)] for name in mixed.names]
