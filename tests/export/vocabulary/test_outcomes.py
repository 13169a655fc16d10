"""Facts that tell how a case ended are known by their keys, whoever named them."""

from __future__ import annotations

import pytest

from haiku_edge.export.vocabulary.outcomes import is_outcome, without_outcomes


@pytest.mark.parametrize(
    "key",
    ["survival", "survival_status", "Survival Months", "PFS months", "osEvent", "vital_status", "days_to_last_followup",
     "follow-up", "recurrence", "dfs", "Disease Status", "treatment response"],
)  # fmt: skip
def test_what_only_follow_up_tells_is_an_outcome(key: str) -> None:
    assert is_outcome(key)


@pytest.mark.parametrize("key", ["stage", "tnm", "grade", "tissue_type", "position", "age", "mucosa", "Ki-67", "type"])
def test_what_the_report_tells_is_none(key: str) -> None:
    assert not is_outcome(key)


def test_the_other_facts_keep_their_order() -> None:
    facts = {"stage": "II", "os_months": "7", "age": "61"}
    assert list(without_outcomes(facts).items()) == [("stage", "II"), ("age", "61")]
