"""What an output may repeat of a case: facts under clinical keys, and a file name that holds nobody's data."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haiku_edge.runtime.notes import identifiers_in_name, parse_notes
from haiku_edge.runtime.notes.clinical import SHOWN_KEYS
from haiku_edge.runtime.notes.file_names import NAME_RULES
from haiku_edge.runtime.notes.keys import forbidden_key, unused_key

PAPER = {"tissue_type": "Lung", "disease": "Lung Cancer", "diagnosis": "Adenocarcinoma", "type": "primary", "sex": "F",
         "age": "68", "tnm": "T3N1M0", "grade": "3", "stage": "IIIA", "survival_status": "dead",
         "survival": "25 months",
         "mmr": "pMMR", "subtype": "acinar", "laterality": "left", "treatment": "cisplatin", "T": "3", "PD-L1": "50 %",
         "date_to_death_months": "25"}  # fmt: skip


def test_the_facts_of_the_paper_are_shown_in_their_order() -> None:
    notes = parse_notes(json.dumps(PAPER).encode())
    assert notes.shown_facts == notes.facts == tuple(PAPER.items())
    assert notes.hidden_facts == 0


def test_a_fact_under_a_made_up_key_is_read_by_the_tower_but_not_shown() -> None:
    notes = parse_notes(json.dumps({"remark": "Quarx Fnord", "stage": "IIIA", "quarx fnord": "smoker"}).encode())
    assert notes.shown_facts == (("stage", "IIIA"),)
    assert notes.hidden_facts == 2
    assert "Quarx Fnord" in notes.prompt


def test_free_text_has_no_fact_to_show() -> None:
    notes = parse_notes(b'{"text": "Adenocarcinoma, stage IIIA"}')
    assert (notes.shown_facts, notes.hidden_facts) == ((), 0)


def test_notes_stay_frozen() -> None:
    notes = parse_notes(b'{"stage": "IIIA"}')
    with pytest.raises((dataclasses.FrozenInstanceError, AttributeError)):
        notes.facts = ()  # type: ignore[misc]


def test_no_shown_key_is_one_that_the_rules_leave_out() -> None:
    keys = [key for group in SHOWN_KEYS for key in group.keys]
    assert [key for key in keys if forbidden_key(key) or unused_key(key)] == []
    assert all(reason.endswith(".") for reason in (*(g.reason for g in SHOWN_KEYS), *(why for _, why in NAME_RULES)))


@pytest.mark.parametrize(
    "name",
    ["Doe_Jane_19561231_MRN12345.svs", "S12-3456 HE.svs", "s12_3456.ndpi", "scan_31_12_56.svs", "31Dec1956.svs",
     "2021_Mar_04.tiff", "2021-03-04.svs", "1956.12.31.svs", "210304_HE.svs", "mrn 123.svs", "PID7.svs",
     "patient_004.tif",
     "TCGA-CR-7395-01A-01-TS1.svs", "a3bb189e-8bf9-4bae-ba14-3a0c3f1a2b4c.svs", "1.2.840.113619.2.55.3.604.dcm",
     "Doe^Jane.dcm", "Jane_Testcase.svs", "slide-8812345.ome.tiff", "B2019-1234.svs", "Dr Quarx.svs", "case-12345.svs"],
)  # fmt: skip
def test_file_names_with_a_date_a_number_or_a_known_name_are_found(name: str) -> None:
    assert identifiers_in_name(name)


@pytest.mark.parametrize(
    "name",
    ["CMU-1-Small-Region.svs", "demo.svs", "demo", "slide_001.ome.tiff", "HE_x20_0001.svs", "20x-1000.tif",
     "CD68_100.tif",
     "histolab_broken.svs", "openslide_small.svs", "JP2K-33003-1.svs", "Hamamatsu-1.ndpi", "Mirax2.2-4-PNG.mrxs",
     "case_1",
     "lung 2021.svs", "H&E region 12.svs", "", "block B12 3.svs"],
)  # fmt: skip
def test_ordinary_file_names_are_not(name: str) -> None:
    assert not identifiers_in_name(name)


@given(
    st.dates(),
    st.sampled_from(["%Y%m%d", "%Y-%m-%d", "%d_%m_%Y", "%m.%d.%Y", "%y%m%d", "%d%b%Y", "%d-%m-%y", "%Y_%b_%d"]),
)
def test_a_date_in_any_usual_form_is_found(day: object, form: str) -> None:
    written = f"{day:{form}}" if 1900 <= day.year < 2100 else "19561231"  # type: ignore[attr-defined]
    assert identifiers_in_name(f"lung_{written}.svs") and identifiers_in_name(f"{written}.svs")


@given(st.text(max_size=60))
def test_any_name_gets_an_answer(name: str) -> None:
    assert identifiers_in_name(name) in (True, False)
