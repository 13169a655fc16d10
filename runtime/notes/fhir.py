"""From a FHIR R4 bundle to the same flat facts.

Read are a patient's sex and age, conditions with site and stage, and observations with a coded or measured value.
Names, identifiers, addresses, narrative, notes, references and dates are never read; a birth date only becomes an age
in years.
Codes are those of HL7's mCODE (LOINC, and SNOMED CT since its third version).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import NotesShapeError
from .facts import notes_from_pairs, value_text
from .kinds import ADDRESS, BIRTH, CLINICIAN, ONLINE, PERSON, RECORD
from .types import Notes
from .values import plain

Resource = Mapping[str, Any]

# Elements of Patient that identify, with the kind under which their presence is told.
PATIENT_IDENTIFIERS = {
    "name": PERSON,
    "birthDate": BIRTH,
    "identifier": RECORD,
    "telecom": ONLINE,
    "address": ADDRESS,
    "contact": PERSON,
    "generalPractitioner": CLINICIAN,
}
SEXES = {"female": "F", "male": "M"}

# LOINC and SNOMED CT codes of an observation → the part of the facts that it gives.
OBSERVATION_KEYS = {
    **dict.fromkeys(("21905-5", "21899-0", "21911-3", "78873005", "399504009", "384625004"), "T"),
    **dict.fromkeys(("21906-3", "21900-6", "21912-1", "277206009", "399534004", "371494008"), "N"),
    **dict.fromkeys(("21907-1", "21901-4", "21913-9", "277208005", "399387003", "371497001"), "M"),
    **dict.fromkeys(("21908-9", "21902-2", "21914-7", "399390009", "399537006", "399588009"), "stage"),
    **dict.fromkeys(("33732-9", "371469007"), "grade"),
    **dict.fromkeys(("33731-1",), "diagnosis"),
    **dict.fromkeys(("30525-0", "21612-7", "397669002"), "age"),
    **dict.fromkeys(("85337-4", "16112-5", "85329-1", "40556-3"), "ER"),
    **dict.fromkeys(("85339-0", "16113-3"), "PR"),
    **dict.fromkeys(("48676-1", "85319-2", "72383-3"), "HER2"),
    **dict.fromkeys(("83052-1", "83053-9", "83055-4", "85148-5", "83057-0", "99064-8"), "PD-L1"),
}
# Values that come only as a SNOMED CT code.
SNOMED_VALUES = {"54102005": "G1", "1663004": "G2", "61026006": "G3"}
READ_RESOURCES = frozenset({"Patient", "Condition", "Observation"})
NOT_FACTS = frozenset({"entered-in-error", "cancelled", "refuted"})

# Types are compared exactly, since JSON's true is not a number although Python's bool is an int.
_NUMBER = (int, float)
_PLAIN_VALUES: Mapping[str, tuple[type, ...]] = {
    "valueString": (str,),
    "valueInteger": (int,),
    "valueDecimal": _NUMBER,
    "valueBoolean": (bool,),
}
# Years that an age can have; anything else is a mistake of the sender.
_AGES = range(130)

_CATEGORY = {
    "T": re.compile(r"T(?:is|[0-4][a-d]?\d?(?:mi)?|[xX])"),
    "N": re.compile(r"N(?:[0-3][a-c]?(?:mi)?|[xX])"),
    "M": re.compile(r"M(?:[01][a-d]?|[xX])"),
}
_STAGE = re.compile(r"(?<![A-Za-z0-9])(?:(?:0|IV|I{1,3})[A-Da-d]?\d?|[0-4][A-D]?)(?![A-Za-z0-9])")
_GRADE = re.compile(r"(?:\bG|[Gg]rade )([1-4])\b")
# SNOMED CT ends a name with its kind: "Lung structure (body structure)".
_SEMANTIC_TAG = re.compile(r" \([a-z ]+\)$")
_ORDER = ("tissue_type", "disease", "diagnosis", "sex", "age", "tnm", "grade", "stage")


def notes_from_fhir(bundle: Resource) -> Notes:
    """Make notes from a FHIR R4 bundle about one patient.

    Raises:
        NotesShapeError: Another resource than a Bundle, no entries, or more than one patient.
        EmptyNotesError: Nothing clinical in it.
    """
    resources = _resources(bundle)
    patients = [resource for resource in resources if resource["resourceType"] == "Patient"]
    if len(patients) > 1:
        raise NotesShapeError(
            f"The FHIR bundle is about {len(patients)} patients; notes describe one. Export the bundle of this patient."
        )
    patient: Resource = patients[0] if patients else {}
    conditions = [r for r in resources if r["resourceType"] == "Condition" and _is_fact(r)]
    observations = [r for r in resources if r["resourceType"] == "Observation" and _is_fact(r)]
    facts = _condition_facts(conditions) | _observation_facts(observations)
    facts.setdefault("sex", _sex(patient.get("gender")))
    facts.setdefault("age", _age(patient, conditions))
    ordered = {key: facts[key] for key in _ORDER if facts.get(key)} | facts
    dropped = [kind for element, kind in PATIENT_IDENTIFIERS.items() if patient.get(element)]
    return notes_from_pairs(ordered.items(), dropped=dropped, warnings=_unread(resources))


def _resources(bundle: Resource) -> list[Resource]:
    if bundle.get("resourceType") != "Bundle":
        raise NotesShapeError(
            "The notes are a single FHIR resource, not a Bundle. Give a Bundle with Patient, Condition and Observation."
        )
    entries = bundle.get("entry")
    resources = [entry.get("resource") for entry in _objects(entries)]
    found = [resource for resource in _objects(resources) if isinstance(resource.get("resourceType"), str)]
    if not found:
        raise NotesShapeError("The FHIR bundle has no entries. Give a Bundle with Patient, Condition and Observation.")
    return found


def _is_fact(resource: Resource) -> bool:
    """False where the resource was withdrawn, or says what the patient does not have."""
    status = resource.get("status")
    said = [*_codes(resource.get("verificationStatus")), *([status] if isinstance(status, str) else [])]
    return NOT_FACTS.isdisjoint(said)


def _condition_facts(conditions: list[Resource]) -> dict[str, str]:
    """The tumour's site and name from the first staged or sited condition; the others are listed."""
    ranked = sorted(conditions, key=lambda c: not (c.get("stage") or c.get("bodySite")))
    facts: dict[str, str] = {}
    for condition in ranked:
        name = _label(condition.get("code"))
        if not name:
            continue
        if "disease" in facts:
            facts["other_conditions"] = "; ".join(filter(None, [facts.get("other_conditions"), name]))
            continue
        facts["disease"] = name
        site = next(filter(None, map(_label, _objects(condition.get("bodySite")))), "")
        facts["tissue_type"] = site.removesuffix(" structure")
        stages = [_label(stage.get("summary")) for stage in _objects(condition.get("stage"))]
        facts["stage"] = next((_found(_STAGE, stage) for stage in stages if stage), "")
    return {key: value for key, value in facts.items() if value}


def _observation_facts(observations: list[Resource]) -> dict[str, str]:
    """Observations and their components: staging under the paper's keys, the others under their own label."""
    facts: dict[str, str] = {}
    categories: dict[str, str] = {}
    for observation in _with_components(observations):
        value = _value(observation)
        known = next((OBSERVATION_KEYS[c] for c in _codes(observation.get("code")) if c in OBSERVATION_KEYS), None)
        key = known or _label(observation.get("code"))
        if not key or not value:
            continue
        if key in _CATEGORY:
            categories.setdefault(key, _found(_CATEGORY[key], value))
        else:
            facts.setdefault(key, _tidy(key, value))
    if categories:
        facts["tnm"] = "".join(categories.get(letter, "") for letter in "TNM")
    return facts


def _with_components(observations: list[Resource]) -> Iterator[Resource]:
    for observation in observations:
        yield observation
        yield from _objects(observation.get("component"))


def _tidy(key: str, value: str) -> str:
    """Stage and grade in the paper's short form."""
    if key == "stage":
        return _found(_STAGE, value)
    grade = _GRADE.search(value) if key == "grade" else None
    return grade[1] if grade else value


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[0] if match else text


def _value(observation: Resource) -> str:
    """An observation's value as text; dates, times and free narrative give nothing."""
    for element, kinds in _PLAIN_VALUES.items():
        value = observation.get(element)
        if type(value) in kinds:
            return value_text(element, value)
    return _quantity(observation.get("valueQuantity")) or _label(observation.get("valueCodeableConcept"))


def _quantity(quantity: object) -> str:
    """A measured value with comparator and unit; empty where there is no number."""
    if not isinstance(quantity, Mapping) or type(quantity.get("value")) not in _NUMBER:
        return ""
    unit = quantity.get("unit") or quantity.get("code")
    comparator = quantity.get("comparator")
    number = (comparator if isinstance(comparator, str) else "") + value_text("valueQuantity", quantity["value"])
    return number + (f" {unit}" if isinstance(unit, str) and unit != "a" else "")


def _age(patient: Resource, conditions: list[Resource]) -> str:
    """Age in whole years at the first condition's onset or record; empty where it can't be told."""
    for condition in conditions:
        age = condition.get("onsetAge")
        years = age.get("value") if isinstance(age, Mapping) and age.get("code", "a") in ("a", "yr") else None
        if isinstance(years, int | float) and not isinstance(years, bool) and int(years) in _AGES:
            return f"{int(years)}"
    birth = _date(patient.get("birthDate"))
    events = [_date(condition.get(e)) for condition in conditions for e in ("onsetDateTime", "recordedDate")]
    event = min((e for e in events if e), default=None)
    if birth is None or event is None or event < birth:
        return ""
    return f"{event[0] - birth[0] - (event[1:] < birth[1:])}"


def _sex(gender: object) -> str:
    return SEXES.get(gender, "") if isinstance(gender, str) else ""


def _date(text: object) -> tuple[int, int, int] | None:
    """Year, month and day of a FHIR date; parts that aren't given count as the first."""
    match = re.match(r"(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?", text) if isinstance(text, str) else None
    return (int(match[1]), int(match[2] or 1), int(match[3] or 1)) if match else None


def _label(concept: object) -> str:
    """A concept in words: its text, else the first display, else a code that is known to be readable."""
    if not isinstance(concept, Mapping):
        return ""
    codings = _codings(concept)
    readable = [_known_value(coding) or coding.get("display") for coding in codings]
    words = [concept.get("text"), *readable, *(coding.get("code") for coding in codings if not _is_snomed(coding))]
    found = next(filter(None, (plain(word) for word in words if isinstance(word, str))), "")
    return _SEMANTIC_TAG.sub("", found)


def _known_value(coding: Resource) -> str | None:
    code = coding.get("code")
    return SNOMED_VALUES.get(code) if isinstance(code, str) else None


def _is_snomed(coding: Resource) -> bool:
    system = coding.get("system")
    return isinstance(system, str) and "snomed" in system


def _codes(concept: object) -> list[str]:
    """The codes of a concept; a code that is no string is passed over."""
    codes = (coding.get("code") for coding in _codings(concept))
    return [code for code in codes if isinstance(code, str)]


def _codings(concept: object) -> list[Resource]:
    return _objects(concept.get("coding")) if isinstance(concept, Mapping) else []


def _objects(items: object) -> list[Resource]:
    """The JSON objects of a list; anything else is passed over."""
    return [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []


def _unread(resources: list[Resource]) -> list[str]:
    """Say that resources of other kinds were not used."""
    others = sum(resource["resourceType"] not in READ_RESOURCES for resource in resources)
    if not others:
        return []
    return [
        f"Of the FHIR bundle, only Patient, Condition and Observation were read; {others} other resources were not."
    ]
