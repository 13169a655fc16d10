"""A FHIR R4 bundle gives the same facts as notes written by hand, and nothing that identifies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haiku_edge.runtime.errors import EmptyNotesError, NotesError, NotesShapeError
from haiku_edge.runtime.notes import Notes, parse_notes

SNOMED = "http://snomed.info/sct"

PATIENT = {
    "resourceType": "Patient",
    "id": "pat-4711",
    "text": {"status": "generated", "div": "<div>Jane Testcase</div>"},
    "identifier": [{"system": "urn:oid:1.2.36", "value": "MRN-8812345"}],
    "name": [{"family": "Testcase", "given": ["Jane"]}],
    "telecom": [{"system": "phone", "value": "+49 170 1234567"}],
    "gender": "female",
    "birthDate": "1950-02-03",
    "address": [{"city": "Testhausen"}],
}
CONDITION = {
    "resourceType": "Condition",
    "verificationStatus": {"coding": [{"code": "confirmed"}]},
    "code": {"coding": [{"system": SNOMED, "code": "254637007", "display": "Non-small cell lung cancer (disorder)"}]},
    "bodySite": [{"coding": [{"system": SNOMED, "code": "39607008", "display": "Lung structure (body structure)"}]}],
    "onsetDateTime": "2018-02-02",
    "asserter": {"display": "Dr. Quarx"},
    "note": [{"text": "Jane Testcase came with her husband"}],
}


def _observation(code: dict[str, Any], **value: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "status": "final", "code": code, **value}


def _coded(code: str, system: str = "http://loinc.org", display: str | None = None) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code} | ({"display": display} if display else {})]}


OBSERVATIONS = [
    _observation(
        _coded("399504009", SNOMED),
        valueCodeableConcept=_coded("1", SNOMED, "American Joint Committee on Cancer cT3 (qualifier value)"),
        performer=[{"display": "Dr. Quarx"}],
    ),
    _observation(_coded("21906-3"), valueCodeableConcept=_coded("cN1", "http://cancerstaging.org", "N1")),
    _observation(_coded("399387003", SNOMED), valueCodeableConcept=_coded("cM0", "http://cancerstaging.org")),
    _observation(_coded("21908-9"), valueCodeableConcept=_coded("3A", "http://cancerstaging.org", "Stage IIIA")),
    _observation(_coded("371469007", SNOMED), valueCodeableConcept=_coded("61026006", SNOMED)),
    _observation({"text": "Ki-67"}, valueQuantity={"value": 20.0, "unit": "%"}),
    _observation(_coded("85337-4"), valueCodeableConcept={"text": "Positive"}),
    _observation({"text": "Reported by"}, valueString="Dr. Quarx"),
    _observation({"text": "Smoker"}, valueBoolean=True),
    _observation({"text": "Withdrawn"}, valueString="wrong") | {"status": "entered-in-error"},
    _observation({"text": "Surgery"}, valueDateTime="2018-03-04"),
]


def _notes(*resources: dict[str, Any]) -> Notes:
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in resources]}
    return parse_notes(json.dumps(bundle).encode())


def test_a_bundle_gives_the_flat_facts_of_the_case() -> None:
    assert dict(_notes(PATIENT, CONDITION, *OBSERVATIONS).facts) == {
        "tissue_type": "Lung",
        "disease": "Non-small cell lung cancer",
        "sex": "F",
        "age": "67",
        "tnm": "T3N1M0",
        "grade": "3",
        "stage": "IIIA",
        "Ki-67": "20 %",
        "ER": "Positive",
        "Smoker": "yes",
    }


def test_nothing_that_identifies_is_read_and_its_presence_is_told() -> None:
    notes = _notes(PATIENT, CONDITION, *OBSERVATIONS)
    shown = notes.prompt + repr(notes) + str(notes.facts) + str(notes.dropped) + str(notes.warnings)
    for secret in ("Testcase", "Jane", "8812345", "1950", "2018", "Quarx", "Testhausen", "4711", "wrong", "husband"):
        assert secret not in shown
    assert "name of a person (1)" in notes.dropped and "birth date or place (1)" in notes.dropped


def test_the_facts_lead_with_the_keys_of_the_prompt_in_the_order_of_the_paper() -> None:
    keys = [key for key, _ in _notes(*reversed(OBSERVATIONS), CONDITION, PATIENT).facts]
    assert keys[:7] == ["tissue_type", "disease", "sex", "age", "tnm", "grade", "stage"]


@pytest.mark.parametrize(
    ("birth", "onset", "age"),
    [("1950-02-03", "2018-02-03", "68"), ("1950", "2018", "68"), ("1900-01-01", "2018-01-01", "90+")],
)
def test_age_is_whole_years_at_onset(birth: str, onset: str, age: str) -> None:
    notes = _notes(PATIENT | {"birthDate": birth}, CONDITION | {"onsetDateTime": onset})
    assert dict(notes.facts)["age"] == age


def test_age_is_not_guessed_without_a_clinical_date() -> None:
    undated = {key: value for key, value in CONDITION.items() if key != "onsetDateTime"}
    assert "age" not in dict(_notes(PATIENT, undated).facts)


def test_the_staged_tumour_is_the_disease_and_the_others_are_listed() -> None:
    facts = dict(_notes({"resourceType": "Condition", "code": {"text": "Hypertension"}}, CONDITION).facts)
    assert facts["disease"] == "Non-small cell lung cancer"
    assert facts["other_conditions"] == "Hypertension"


def test_a_refuted_condition_is_not_a_fact() -> None:
    refuted = CONDITION | {"verificationStatus": {"coding": [{"code": "refuted"}]}}
    with pytest.raises(EmptyNotesError):
        _notes(refuted)


def test_two_patients_are_refused() -> None:
    with pytest.raises(NotesShapeError, match="2 patients"):
        _notes(PATIENT, PATIENT, CONDITION)


@pytest.mark.parametrize("broken", [None, 3, "x", [], {}, [None, 3], {"coding": "x"}, {"coding": [3]}, {"text": 3}])
def test_malformed_elements_are_passed_over(broken: object) -> None:
    hostile = _observation({"text": "a"}, valueCodeableConcept=broken, component=broken, valueQuantity=broken)
    condition = {
        "resourceType": "Condition",
        "code": broken,
        "bodySite": broken,
        "stage": broken,
        "onsetAge": broken,
        "status": broken,
    }
    odd = {"resourceType": "Observation", "code": broken, "status": broken, "valueString": broken}
    patient = {"resourceType": "Patient", "gender": broken, "birthDate": broken}
    assert dict(_notes(patient, hostile, odd, condition, CONDITION).facts)["tissue_type"] == "Lung"


def test_other_resources_are_said_not_to_be_read() -> None:
    notes = _notes(CONDITION, {"resourceType": "Encounter"}, {"resourceType": "Practitioner"})
    assert any("2 other resources" in warning for warning in notes.warnings)


@pytest.mark.parametrize("code", [["confirmed"], {}, {"a": 1}, 3, True, None])
def test_a_code_that_is_no_string_is_passed_over(code: object) -> None:
    coding = {"coding": [{"system": code, "code": code}]}
    condition = CONDITION | {"verificationStatus": coding, "onsetAge": {"value": 61, "code": code}}
    odd = _observation(coding | {"text": "Necrosis"}, valueCodeableConcept=coding)
    assert dict(_notes(PATIENT | {"gender": code}, condition, odd).facts)["disease"] == "Non-small cell lung cancer"


@pytest.mark.parametrize("digits", [10**25, -(10**25), 1e25])
def test_a_number_longer_than_a_measurement_is_no_fact(digits: float) -> None:
    odd = _observation({"text": "Ki-67"}, valueQuantity={"value": digits, "unit": "%"})
    assert "Ki-67" not in dict(_notes(CONDITION, odd).facts)


@pytest.mark.parametrize("element", ["valueQuantity", "valueInteger", "onsetAge"])
def test_a_number_of_hundreds_of_digits_is_refused(element: str) -> None:
    value: object = 10**400 if element == "valueInteger" else {"value": 10**400}
    with pytest.raises(NotesError, match="too large"):
        _notes(CONDITION | {element: value}, _observation({"text": "Ki-67"}, **{element: value}))


_WORDS = """
resourceType Patient Condition Observation code coding text display system value unit comparator valueQuantity
valueString valueInteger valueDecimal valueBoolean valueCodeableConcept component status verificationStatus bodySite
stage summary onsetAge onsetDateTime recordedDate gender birthDate name identifier confirmed refuted 2018-02-02 1950
21905-5 399537006 http://snomed.info/sct a yr female Lung
"""
_ELEMENTS = st.sampled_from(_WORDS.split())
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _ELEMENTS
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_ELEMENTS, inner, max_size=4),
    max_leaves=12,
)
_RESOURCE = st.builds(
    lambda kind, rest: rest | {"resourceType": kind},
    st.sampled_from(["Patient", "Condition", "Observation", "Encounter"]),
    st.dictionaries(_ELEMENTS, _JSON, max_size=6),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_RESOURCE | _JSON, max_size=4), _JSON)
def test_no_bundle_ends_in_anything_but_notes_or_a_refusal(resources: list[Any], other: Any) -> None:
    entry = [{"resource": resource} for resource in resources]
    for entries in (entry, [*entry, other], other):
        try:
            notes = parse_notes(json.dumps({"resourceType": "Bundle", "entry": entries}).encode())
        except NotesError:
            continue
        assert notes.facts
