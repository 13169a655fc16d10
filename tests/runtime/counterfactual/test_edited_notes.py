"""Edits of notes: what is accepted, what is refused in words, and what is said about the atlas."""

from __future__ import annotations

import json

import pytest

from haiku_edge.runtime.counterfactual import apply_sets, edit_notes, parse_sets, random_edits
from haiku_edge.runtime.errors import UsageError
from haiku_edge.runtime.notes import Notes, parse_notes

FACTS = {
    "p1": {"tissue_type": "Lung", "stage": "IV", "grade": "3", "survival": "10 months"},
    "p2": {"tissue_type": "Lung", "stage": "IIB", "grade": "2", "survival": "61 months"},
    "p3": {"tissue_type": "Colon", "stage": "IV", "grade": "3"},
}


def notes_of(**facts: object) -> Notes:
    return parse_notes(json.dumps(facts).encode())


NOTES = notes_of(tissue_type="Lung", grade=2, stage="IIB", survival="25 months")


def test_an_edit_changes_that_fact_alone_and_keeps_the_order() -> None:
    edited = edit_notes(NOTES, parse_sets(["stage=IV"]), FACTS)
    assert edited.edited.facts == (("tissue_type", "Lung"), ("grade", "2"), ("stage", "IV"), ("survival", "25 months"))
    assert edited.edited.prompt == edited.original.prompt.replace("stage: IIB", "stage: IV")
    (edit,) = edited.edits
    assert (edit.patients_before, edit.patients_after, edit.patients_known) == (1, 2, 3)
    assert edited.warnings == ()


def test_fields_match_however_they_are_written() -> None:
    notes = notes_of(TissueType="Lung", survival_status="dead")
    edited = edit_notes(notes, parse_sets(["Survival-Status=alive", "tissue type=Colon"]), FACTS)
    assert edited.edited.facts == (("TissueType", "Colon"), ("survival_status", "alive"))


def test_a_factor_multiplies_the_number_as_published() -> None:
    edited = edit_notes(NOTES, parse_sets(["survival=x2.4"]), FACTS)
    assert dict(edited.edited.facts)["survival"] == "60 months"
    with pytest.raises(UsageError, match="no number"):
        edit_notes(NOTES, parse_sets(["tissue_type=x2"]), FACTS)


def test_a_field_that_the_notes_lack_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="tissue_type, grade, stage, survival"):
        edit_notes(NOTES, parse_sets(["smoker=no"]), FACTS)
    with pytest.raises(UsageError) as refused:
        edit_notes(notes_of(disease="Lung cancer", remark="something private"), parse_sets(["stage=IV"]), FACTS)
    assert "remark" not in str(refused.value)


def test_a_value_outside_of_what_the_atlas_has_seen_is_said_and_not_refused() -> None:
    edited = edit_notes(NOTES, parse_sets(["grade=4"]), FACTS)
    assert edited.edits[0].patients_after == 0
    assert any("No patient of the atlas has grade = 4" in warning for warning in edited.warnings)
    assert "No atlas patient's grade is known." in edit_notes(NOTES, parse_sets(["grade=4"]), {}).warnings


def test_an_edit_that_leaves_its_partner_behind_is_said() -> None:
    notes = notes_of(tissue_type="Lung", tnm="T2 N1 M0", stage="IIB")
    assert any("tnm still says T2 N1 M0" in warning for warning in edit_notes(notes, [("stage", "IV")], FACTS).warnings)
    both = edit_notes(notes, [("stage", "IV"), ("tnm", "T4 N2 M1")], FACTS)
    assert not any("contradict" in warning for warning in both.warnings)


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        ([], "Nothing is edited"),
        (["stage"], "FIELD=VALUE"),
        (["stage="], "FIELD=VALUE"),
        (["=IV"], "FIELD=VALUE"),
        (["stage=IV", "Stage=I"], "twice"),
        (["stage=IIB"], "already"),
        (["stage=MRN-8812345"], "left out"),
        (["stage=none"], "left out"),
    ],
)
def test_what_makes_no_edit_is_refused_in_words(sets: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says) as refused:
        edit_notes(NOTES, parse_sets(sets), FACTS)
    assert "8812345" not in str(refused.value)


def test_free_text_cannot_be_edited_by_field() -> None:
    with pytest.raises(UsageError, match="free text"):
        edit_notes(parse_notes(b'{"text": "Adenocarcinoma of the lung, stage IIB"}'), [("stage", "IV")], FACTS)


def test_an_unknown_fact_is_edited_and_never_repeated() -> None:
    (edit,) = edit_notes(notes_of(disease="Lung cancer", mood="low"), [("mood", "high")], FACTS).edits
    assert not edit.shown and edit.after == "high"


def test_random_edits_change_as_many_fields_to_values_of_other_patients() -> None:
    edited = edit_notes(NOTES, [("stage", "IV"), ("grade", "3")], FACTS).edited
    drawn = random_edits(NOTES.facts, edited.facts, FACTS, count=5)
    assert len(drawn) == len(set(drawn)) and edited.facts not in drawn
    known = {
        key: {own[key] for own in FACTS.values() if key in own} for key in ("tissue_type", "stage", "grade", "survival")
    }
    for notes in drawn:
        changed = [(key, new) for (key, old), (_, new) in zip(NOTES.facts, notes, strict=True) if old != new]
        assert len(changed) == 2 and all(value in known[key] for key, value in changed)
    assert drawn == random_edits(NOTES.facts, edited.facts, FACTS, count=5)
    assert random_edits(NOTES.facts, edited.facts, {}, count=5) == ()


def test_facts_are_edited_without_notes_too() -> None:
    assert apply_sets((("survival", "10 months"),), [("survival", "x2.4")]) == (("survival", "24 months"),)


@pytest.mark.parametrize("value", ["x-2", "x2,4", "×+3", "x 2", "x2.4.1"])
def test_what_was_meant_as_a_factor_is_not_taken_for_a_word(value: str) -> None:
    with pytest.raises(UsageError, match=r"x2\.4"):
        apply_sets((("survival", "10 months"),), [("survival", value)])
