"""Identifiers never pass, and clinical facts always do."""

from __future__ import annotations

import json
import string
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haiku_edge.runtime.errors import EmptyNotesError
from haiku_edge.runtime.notes import Notes, parse_notes
from haiku_edge.runtime.notes.ages import hide_great_age
from haiku_edge.runtime.notes.keys import KEY_RULES, forbidden_key
from haiku_edge.runtime.notes.patterns import VALUE_RULES
from haiku_edge.runtime.notes.values import mask

_IDENTIFYING_KEYS = """
name patient_name PatientName PATIENTNAME patientname mrn MRN pid dob DOB birthDate birth_date dateOfBirth
date-of-birth surname given_name givenName family-name ssn nhs nhs_number NHSNumber accession accession_number
specimen_id case_id caseId block_id blockId patientId patient-id PATIENT_ID phone telephone mobile_number email
e-mail physician attending_physician doctor surgeon pathologist hospital hospital_number institution address street
city zip postcode date diagnosis_date date_of_surgery collectedDate insurance insurance_no medicare policyNumber
record_number medical_record_number chart_no sample_id sampleBarcode lab_no report_no id uid study_uid initials
next_of_kin vorname Nachname Geburtsdatum Straße Prénom apellidos patientNummer Fallnummer patient ward slide_label
filename ip url passport license_plate device_serial account_number legalsurname
"""
IDENTIFYING_KEYS = tuple(_IDENTIFYING_KEYS.split())

_CLINICAL_KEYS = """
tissue_type tissue disease diagnosis type sex age tnm grade stage survival_status survival histology tumor_size site
nodes_positive number_of_nodes smoking_status pack_years ki67 Ki-67 her2 HER2_status er ER pr pd_l1 msi treatment
response recurrence age_at_diagnosis ethnicity family_history gleason idh1 braf mutation margin laterality location
organ procedure specimen_type ecog overall_survival os_months vital_status cause_of_death subtype differentiation t
n m pT ajcc_stage score gene_name country year_of_diagnosis mitotic_count tils bmi weight p16 hpv_status icd_code
first_line_therapy hospital_stay_days contact_inhibition partner_gene date_to_death_months days_to_recurrence
"""
CLINICAL_KEYS = tuple(_CLINICAL_KEYS.split())

CLINICAL_VALUES = (
    "T3N1M0", "pT2 pN0 cM0", "ypT1c ypN1a", "cM0(i+)", "IIIA", "Stage IV", "p16", "HER2 3+", "Her-2/neu 0-1+",
    "CD8", "68", "25", "Ki-67 20 %", "5 cm", "3.5 x 2.1 x 1.0 cm", "Gleason 3+4=7", "ER 90 %, PR 40 %",
    "1 of 14 lymph nodes", "03/12 nodes positive", "BRAF V600E", "EGFR p.Leu858Arg", "c.2573T>G", "NM_005228.5",
    "rs121913529", "MK-3475", "SP142", "22C3", "ICD-O 8140/3", "C34.1", "CK5/6", "CK8/18", "CK7+/CK20-",
    "HLA-DR Positive", "AE1/AE3", "Ann Arbor IIIA", "Alexander disease", "Non-Small Cell Lung Carcinoma",
    "Invasive ductal carcinoma, NOS", "FIGO 2018 stage IB2", "AJCC 8th edition", "WHO-2021", "dead", "alive",
    "Oct 4 positive", "MSI-H", "TPS 50-60 %", "1.2019", "HR 1.2345678", "250000 platelets", "5/50 HPF",
    "PD-L1 CPS 10", "Paget disease", "Merkel Cell Carcinoma", "Hodgkin Lymphoma", "Left Upper Lobe",
    "Right breast, upper outer quadrant", "Bloom-Richardson 8/9", "12/10 HPF", "120/80 mmHg",
    "tumor 12 x 8 x 7 mm", "Smoker, 40 pack-years", "Breslow 1.2 mm, Clark IV", "DS-8201",
    "carboplatin AUC 5 q21d x 6", "4-1BB", "1990-2000", "2019", "MR Spectroscopy", "T1 N0 M0 G2 R0 L0 V0 Pn0",
    "score 1/2/3", "5 may show", "pN1(sn)",
)  # fmt: skip

_surnames = st.text("bcdfgklmnprstvz", min_size=4, max_size=9).map(lambda s: "Q" + s)
_codes = st.text(string.digits, min_size=7, max_size=12).filter(lambda s: s[0] != "0")
_short_codes = st.text(string.digits, min_size=5, max_size=6)
_days, _months, _years = st.integers(1, 28), st.integers(1, 12), st.integers(1900, 2029)
_names_of_months = st.sampled_from(
    ["Jan", "February", "March", "avril", "Mai", "Juni", "julio", "agosto", "Sept", "Dezember"]
)


def _dates() -> st.SearchStrategy[str]:
    forms: tuple[Callable[[int, int, int], str], ...] = (
        lambda d, m, y: f"{y}-{m:02}-{d:02}",
        lambda d, m, y: f"{y}/{m:02}/{d:02}",
        lambda d, m, y: f"{y}{m:02}{d:02}",
        lambda d, m, y: f"{d:02}.{m:02}.{y}",
        lambda d, m, y: f"{d}/{m}/{y}",
        lambda d, m, y: f"{m:02}-{d:02}-{y}",
        lambda d, m, y: f"{y}-{m:02}-{d:02}T10:20:30Z",
        lambda d, m, y: f"{d:02}. {m:02}. {y}",
    )
    numeric = st.builds(lambda form, d, m, y: form(d, m, y), st.sampled_from(forms), _days, _months, _years)
    worded = st.builds(lambda d, m, y: f"{d} {m} {y}", _days, _names_of_months, _years)
    american = st.builds(lambda d, m, y: f"{m} {d}, {y}", _days, _names_of_months, _years)
    return numeric | worded | american


def _identifiers() -> st.SearchStrategy[tuple[str, str]]:
    """(identifier as written, the part of it that must not be found anywhere)."""
    same = st.one_of(
        _codes,
        _dates(),
        st.uuids().map(str),
        st.builds(
            "TCGA-{}-{}".format, st.sampled_from(["CR", "A1", "E2"]), st.from_regex(r"[A-Z0-9]{4}", fullmatch=True)
        ),
        st.builds("S{:02}-{:05}".format, st.integers(10, 29), st.integers(0, 99999)),
        st.builds("H{}/{}".format, st.integers(1000, 99999), st.integers(2010, 2029)),
        st.builds("{:03}-{:02}-{:04}".format, st.integers(100, 899), st.integers(1, 99), st.integers(1, 9999)),
        st.builds("+{} {} {}".format, st.integers(1, 99), st.integers(100, 999), st.integers(10000, 999999)),
        st.builds("({}) {}-{}".format, st.integers(200, 999), st.integers(200, 999), st.integers(1000, 9999)),
    ).map(lambda text: (text, text))
    titles = st.sampled_from(
        ["Dr. ", "Dr ", "Prof. ", "Prof. Dr. med. ", "Mr ", "Mrs. ", "Ms ", "Frau ", "Herr ", "Mme "]
    )
    named = st.builds(lambda title, name: (title + name, name), titles, _surnames)
    given = st.builds(
        lambda f, name: (f"{f} {name}", name),
        st.sampled_from(["Jane", "John Q.", "José", "Hans-Peter", "JANE"]),
        _surnames,
    )
    reversed_name = _surnames.map(lambda name: (f"{name}, John", name))
    mail = _surnames.map(lambda name: (f"{name.lower()}@example.org", name.lower()))
    records = st.builds(
        lambda p, code: (p + code, code), st.sampled_from(["MRN-", "MRN ", "PID:", "Accession ", "AB"]), _short_codes
    )
    return st.one_of(same, named, given, reversed_name, mail, records)


def _everything(notes: Notes) -> str:
    return "\n".join(
        [notes.prompt, repr(notes), str(notes), repr(notes.facts), str(notes.text), *notes.dropped, *notes.warnings]
    )


@settings(max_examples=300, deadline=None)
@given(_identifiers(), st.sampled_from(CLINICAL_KEYS), st.booleans())
def test_an_identifier_under_a_clinical_key_never_passes(item: tuple[str, str], key: str, alone: bool) -> None:
    written, secret = item
    value = written if alone else f"carcinoma, {written}, grade 3"
    notes = parse_notes(json.dumps({key: value, "disease_": "Lung Cancer"}).encode())
    assert secret.casefold() not in _everything(notes).casefold()
    assert notes.facts == (("disease_", "Lung Cancer"),)
    assert len(notes.dropped) == 1


@settings(max_examples=300, deadline=None)
@given(st.lists(_identifiers(), min_size=1, max_size=3))
def test_an_identifier_in_free_text_is_cut_out_and_the_facts_around_it_stay(items: list[tuple[str, str]]) -> None:
    text = "".join(f"Seen: {written}; T3N1M0, IIIA. " for written, _ in items) + "Ki-67 20 %, p16 positive, 5 cm."
    notes = parse_notes(json.dumps({"text": text}).encode())
    shown = _everything(notes).casefold()
    assert all(secret.casefold() not in shown for _, secret in items)
    assert notes.prompt.count("T3N1M0, IIIA") == len(items)
    assert notes.prompt.endswith("Ki-67 20 %, p16 positive, 5 cm.")
    assert notes.dropped


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(IDENTIFYING_KEYS), st.text(string.ascii_letters, min_size=6, max_size=20))
def test_a_key_that_names_an_identifier_takes_any_value_with_it(key: str, value: str) -> None:
    secret = "Zq" + value
    notes = parse_notes(json.dumps({key: secret, "grade": 2}).encode())
    assert notes.facts == (("grade", "2"),)
    assert secret not in _everything(notes)
    with pytest.raises(EmptyNotesError) as caught:
        parse_notes(json.dumps({key: secret}).encode())
    assert secret not in str(caught.value)


@pytest.mark.parametrize("key", IDENTIFYING_KEYS)
def test_identifying_keys_are_known_however_they_are_written(key: str) -> None:
    assert forbidden_key(key)


@pytest.mark.parametrize("key", CLINICAL_KEYS)
def test_clinical_keys_are_kept(key: str) -> None:
    assert forbidden_key(key) is None


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(CLINICAL_KEYS), st.sampled_from(CLINICAL_VALUES), min_size=1, max_size=8))
def test_clinical_facts_always_survive(facts: dict[str, str]) -> None:
    notes = parse_notes(json.dumps(facts).encode())
    assert notes.facts == tuple(facts.items())
    assert notes.dropped == ()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(CLINICAL_VALUES), min_size=1, max_size=5))
def test_clinical_free_text_is_left_as_it_is(values: list[str]) -> None:
    text = "; ".join(values)
    assert mask(text) == (text, ())


@pytest.mark.parametrize(
    "hidden", ["８８１２３４５", "88\u200b12345", "1950\u201102\u201103", "٨٨١٢٣٤٥", "88\u00ad123\u00ad45"]
)
def test_look_alike_characters_do_not_hide_a_number(hidden: str) -> None:
    notes = parse_notes(json.dumps({"stage": hidden, "grade": 2}).encode())
    assert notes.facts == (("grade", "2"),)


def test_what_was_left_out_is_told_by_kind_and_count_only() -> None:
    case = {"patient_name": "Jane Q Testcase", "surname": "Testcase", "mrn": "MRN-8812345", "disease": "Lung Cancer"}
    notes = parse_notes(json.dumps(case).encode())
    assert notes.dropped == ("name of a person (2)", "record, specimen or case number (1)")


@pytest.mark.parametrize(
    ("key", "given_age", "shown"),
    [("age", 68, "68"), ("age", 89, "89"), ("age", 90, "90+"), ("age_at_diagnosis", "93 years", "90+ years"),
     ("age", "90+", "90+"), ("age", "ninety-one", "90+"), ("age", "1104 months", "90+ years"), ("age", 1104,
     "90+ years"),
     ("age_in_months", 1104, "90+ years"), ("age_in_months", 816, "816"), ("age", "120 months", "120 months"),
     ("age_in_days", 33000, "90+ years"), ("age", 24837, "24837"), ("history", "aged 1,104 months", "90+ years"),
     ("history", "ninety-one year old smoker", "90+ year old smoker"), ("pack", "ninety percent", "ninety percent"),
     ("history", "neunundachtzigjährig", "neunundachtzigjährig"), ("history", "einundneunzigjährig", "90+jährig"),
     ("survival", "1104 months", "1104 months"), ("history", "92-year-old smoker", "90+-year-old smoker"),
     ("survival", 120, "120"),
     ("stage", 95, "95")],
)  # fmt: skip
def test_ages_above_89_are_grouped(key: str, given_age: object, shown: str) -> None:
    notes = parse_notes(json.dumps({key: given_age}).encode())
    assert notes.facts == ((key, shown),)
    assert bool(notes.warnings) == (shown != str(given_age))


@given(st.integers(0, 130))
def test_grouping_ages_twice_changes_nothing_more(years: int) -> None:
    once = hide_great_age(f"aged {years}, {years} years old")
    assert hide_great_age(once) == once
    assert ("90+" in once) == (years > 89)


@pytest.mark.parametrize(
    "seed",
    [
        "A",
        "A ",
        "1-",
        "a.",
        "0",
        "de la ",
        "Mc",
        "von ",
        "rue la A ",
        "1 jan ",
        "A, ",
        "John ",
        "a@",
        "Patient A",
        "pt. Aa ",
        "lives in Aa ",
        "12345 ",
        "Aa 1",
        "ninety ",
    ],
)
def test_no_text_makes_the_rules_slow(seed: str) -> None:
    text = (seed * 20_000)[:20_000]
    start = time.process_time()
    mask(text)
    assert time.process_time() - start < 5


def test_every_rule_gives_its_reason() -> None:
    for rule in (*KEY_RULES, *VALUE_RULES):
        assert rule.reason.endswith(".") and len(rule.reason.split()) >= 5


@pytest.mark.parametrize(
    ("written", "secrets"),
    [("case s22-1234", ("1234",)), ("h3456/19", ("3456",)), ("210304", ("210304",)), ("040321", ("040321",)),
     ("4 3 2021", ("2021",)), ("2021 3 4", ("2021",)), ("operated March 21", ("March", "21")), ("21 March", ("March",)),
     ("May 5", ("May",)), ("21. März", ("21",)), ("3 Dec", ("Dec",)), ("lives in Springfield 62704", ("Springfield",
     "62704")),
     ("Springfield, IL 62704", ("62704",)), ("80331 München", ("80331", "München")),
     ("Patient Müller-Lüdenscheidt", ("Müller", "scheidt")), ("Pat. Nguyen Van A", ("Nguyen", "Van")),
     ("Pt Kowalczyk", ("Kowalczyk",)), ("Patient Żółć", ("Żółć",)), ("patient O'Quarx", ("Quarx",)),
     ("Patient MUELLER", ("MUELLER",)), ("ninety-one year old", ("ninety",))],
)  # fmt: skip
def test_identifiers_as_people_type_them_are_cut_out_of_text(written: str, secrets: tuple[str, ...]) -> None:
    notes = parse_notes(json.dumps({"text": f"Adenocarcinoma, {written}, T3N1M0, grade 3."}).encode())
    assert not [secret for secret in secrets if secret in _everything(notes)]
    assert notes.prompt.startswith("Adenocarcinoma,") and notes.prompt.endswith("T3N1M0, grade 3.")


@pytest.mark.parametrize(
    "text",
    ["Patient Stage IV", "pT N1 M0", "Pt ER positive", "Patient HER2 positive", "PATIENT FEMALE",
     "Patient Has Carcinoma",
     "Platelets 25310", "12345 Cells", "platelets 121000", "Mayo 2", "5 may show", "OCT 4", "SEPT9", "DEC1 5",
     "Pt resistant",
     "10 of 100 cells", "survival 120 months", "Patient Smoker", "il-12-100"],
)  # fmt: skip
def test_findings_that_resemble_identifiers_stay(text: str) -> None:
    assert mask(text) == (text, ())


@pytest.mark.parametrize(
    "key", ["Zbigniew Kowalczyk", "Kowalczyk, Zbigniew", "ZbigniewKowalczyk", "KOWALCZYK ZBIGNIEW", "Nguyen Van A",
            "Jane Testcase", "Vincent van Quarx", "Müller-Lüdenscheidt", "Patient Kowalczyk"]
)  # fmt: skip
def test_a_key_that_reads_like_a_name_goes_with_its_fact(key: str) -> None:
    notes = parse_notes(json.dumps({key: "carcinoma", "grade": 2}).encode())
    assert notes.facts == (("grade", "2"),)
    assert notes.dropped == ("name of a person (1)",)


@pytest.mark.parametrize(
    "key", ["Tumor Size", "Lymph Node Status", "Family History", "PackYears", "Perineural Invasion",
    "Estrogen Receptor",
            "Smoker", "Clark Level", "Bloom Richardson", "Granzyme B", "KRAS NRAS", "TUMOR STAGE", "quarx fnord",
            "Necrosis"]
)  # fmt: skip
def test_a_clinical_key_in_capitals_is_no_name(key: str) -> None:
    assert parse_notes(json.dumps({key: "2"}).encode()).facts == ((key, "2"),)
