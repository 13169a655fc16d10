"""Captions, against sentences written by hand from the published recipe."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haiku_edge.export.vocabulary import kept_facts, metadata_only, split_metadata, write_caption
from haiku_edge.runtime.notes import metadata_prompt

FACTS = {"tissue_type": "Breast", "disease": "TNBC", "grade": "2", "stage": "IIA"}
HIGH = (("CD8", "scattered_sparse"), ("Ki67", "heterogeneous_dense"))
LOW = (("PanCK", "sparse"),)
MARKERS = (
    " The region is enriched for CD8 shows relatively high expression exhibiting a scattered sparse pattern; "
    "Ki67 shows relatively high expression exhibiting a heterogeneous dense pattern."
    " Conversely, it shows relative depletion of PanCK is relatively low in expression with a sparse pattern."
)
DETAILS = " Additional clinical details include: tissue_type: Breast, disease: TNBC, grade: 2, stage: IIA."

INTRODUCTIONS = (
    "This region captures a sample of Breast tissue characterized by TNBC.",
    "Visualized here is a Breast microenvironment presenting with TNBC.",
    "This field of view displays Breast architecture associated with TNBC.",
    "High-plex imaging of Breast reveals pathological features of TNBC.",
    "A representative section of Breast tissue highlighting the landscape of TNBC.",
)
TRANSITIONS = (
    " regarding the molecular profile, the most informative biomarkers are:",
    " molecularly, the region is characterized by the following markers:",
    " in terms of protein expression, the most notable deviations from background are observed in:",
    " quantitative analysis identifies the following markers as most informative relative to background:",
    " the spatial-molecular landscape is defined by the following key markers:",
)


@pytest.mark.parametrize("intro", range(5))
@pytest.mark.parametrize("transition", range(5))
def test_caption_is_the_published_one_word_for_word(intro: int, transition: int) -> None:
    caption = write_caption(FACTS, HIGH, LOW, intro=intro, transition=transition)
    assert caption == INTRODUCTIONS[intro] + DETAILS + TRANSITIONS[transition] + MARKERS
    assert metadata_only(caption) == INTRODUCTIONS[intro] + DETAILS


def test_without_tissue_or_disease_the_introduction_is_generic() -> None:
    assert write_caption({"grade": "2", "tissue": "Lung"}, HIGH, ()) == (
        "This multiplexed image captures a complex cellular microenvironment."
        " Clinical metadata includes: grade: 2, tissue: Lung." + TRANSITIONS[0] + MARKERS.split(" Conversely")[0]
    )
    assert metadata_only(write_caption({}, (), LOW)) == (
        "This multiplexed image captures a complex cellular microenvironment."
    )


def test_diagnosis_stands_in_for_a_missing_disease() -> None:
    caption = write_caption({"diagnosis": "Melanoma", "tissue": "Skin", "disease": "n/a"}, HIGH, LOW)
    assert caption.startswith("This region captures a sample of Skin tissue characterized by Melanoma.")
    assert "disease" not in caption


def test_patch_without_markers_has_no_caption() -> None:
    assert write_caption(FACTS, (), ()) == ""


def test_at_most_five_markers_are_named_on_either_side() -> None:
    seven = tuple((f"M{i}", "sparse") for i in range(7))
    caption = write_caption(FACTS, seven, seven)
    assert caption.count("shows relatively high") == caption.count("is relatively low") == 5
    assert "M4" in caption
    assert "M5" not in caption


def test_keys_on_position_and_numbers_and_empty_values_vanish() -> None:
    facts = (
        ("Core ID", "7"), ("Spot", "1"), ("array position", "A1"), ("Block No.", "3"), ("patient_id", "x"),
        ("Case ID", "y"), ("age", "-"), ("sex", "NaN"), ("tnm", "N/A"), ("type", "None"), ("grade", "null"),
        ("stage", "II"),
    )  # fmt: skip
    assert kept_facts(facts) == (("stage", "II"),)


def test_published_splitting_loses_what_follows_a_comma_and_ours_does_not() -> None:
    facts = {"tissue": "Lung", "disease": "NSCLC", "therapy": "cisplatin, then: surgery, rest", "time": "10:30"}
    assert split_metadata("Metadata: tissue: Lung, therapy: cisplatin, then: surgery, rest, time: 10:30") == (
        ("tissue", "Lung"),
        ("therapy", "cisplatin"),
        ("then", "surgery"),
        ("time", "10:30"),
    )
    published = metadata_only(write_caption(facts, HIGH, LOW, commas="published"))
    assert published.endswith("therapy: cisplatin, then: surgery, time: 10:30.")
    assert metadata_only(write_caption(facts, HIGH, LOW)).endswith(
        "therapy: cisplatin; then: surgery; rest, time: 10:30."
    )


def test_cut_is_at_the_first_transition_in_any_case() -> None:
    assert (
        metadata_only("A. Molecularly, the region is characterized by the following markers: B" + TRANSITIONS[0])
        == "A."
    )
    assert metadata_only("No transition at all. ") == "No transition at all."


@pytest.mark.parametrize(("intro", "transition"), [(5, 0), (-1, 0), (0, 5)])
def test_unknown_sentence_is_refused(intro: int, transition: int) -> None:
    with pytest.raises(ValueError, match="0 to 4"):
        write_caption(FACTS, HIGH, LOW, intro=intro, transition=transition)


WORDS = st.text(st.characters(categories=("Ll", "Lu", "Nd"), include_characters=" ,_-"), min_size=1, max_size=12)


@given(
    st.dictionaries(
        st.one_of(st.sampled_from(["tissue_type", "tissue", "disease", "diagnosis"]), WORDS), WORDS, max_size=5
    )
)
def test_what_is_left_of_a_caption_is_the_prompt_of_the_run_time(facts: dict[str, str]) -> None:
    caption = write_caption(facts, HIGH, LOW)
    assert metadata_only(caption) == metadata_prompt(kept_facts(facts.items())).strip()
