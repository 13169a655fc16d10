"""The guide to marker names says what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from haiku_edge.export.vocabulary import PUBLISHED_MARKERS, canonical_marker
from haiku_edge.runtime.errors import PanelError

GUIDE = (Path(__file__).parents[2] / "docs/guides/markers.md").read_text()


def test_guide_lists_the_published_names_in_order() -> None:
    quoted = " ".join(line[2:] for line in GUIDE.splitlines() if line.startswith("> "))
    assert tuple(quoted.split()) == PUBLISHED_MARKERS


def test_names_that_the_guide_calls_doubtful_are_refused() -> None:
    doubtful = GUIDE.split("4. **In doubt**")[1].split("5. **Unknown**")[0]
    named = [name for name in ("CD11", "Keratin", "CD49d", "p53", "STAT3") if f"`{name}`" in doubtful]
    assert len(named) == 5
    for name in named:
        with pytest.raises(PanelError, match="can't stand for"):
            canonical_marker(name)


def test_aliases_worth_a_second_look_are_as_stated() -> None:
    stated = {"CK": "PanCK", "Cytokeratin": "PanCK", "Hoechst": "DAPI", "CD3": "CD3e", "CD8a": "CD8", "CD79a": "CD79",
              "CD79b": "CD79", "ER": "ERa"}  # fmt: skip
    for name, marker in stated.items():
        assert f"`{name}`" in GUIDE
        assert canonical_marker(name) == marker
