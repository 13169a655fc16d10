"""The prompt is the paper's, and markers that the notes name are found."""

from __future__ import annotations

import json

import pytest

from haiku_edge.runtime.notes import Notes, markers_named, metadata_prompt, parse_notes

# The vocabulary of the published model is far larger; these are the names that notes confuse most easily.
MARKERS = ("PDL1", "PD1", "Ki67", "FoxP3", "CD8", "CD3e", "CD4", "CD45", "CD45RO", "CD20", "PanCK", "Keratin8_18",
           "aSMA", "ERa", "HLA-DR", "PGP9_5", "CD68", "ATM", "DAPI")  # fmt: skip


def _facts(**facts: object) -> Notes:
    return parse_notes(json.dumps(facts).encode())


def _text(text: str) -> Notes:
    return parse_notes(json.dumps({"text": text}).encode())


def test_tissue_and_disease_give_the_first_introduction_of_the_paper() -> None:
    facts = [("tissue_type", "Lung"), ("disease", "Lung Cancer"), ("age", "68")]
    assert metadata_prompt(facts) == (
        "This region captures a sample of Lung tissue characterized by Lung Cancer. "
        "Additional clinical details include: tissue_type: Lung, disease: Lung Cancer, age: 68."
    )


def test_diagnosis_stands_in_for_disease_and_tissue_for_tissue_type() -> None:
    prompt = metadata_prompt([("diagnosis", "Melanoma"), ("Tissue", "Skin")])
    assert prompt.startswith("This region captures a sample of Skin tissue characterized by Melanoma. ")
    assert prompt.endswith("include: diagnosis: Melanoma, Tissue: Skin.")


def test_without_tissue_or_disease_the_introduction_is_generic() -> None:
    assert metadata_prompt([("stage", "II")]) == (
        "This multiplexed image captures a complex cellular microenvironment. Clinical metadata includes: stage: II."
    )
    assert metadata_prompt([]) == "This multiplexed image captures a complex cellular microenvironment."


def test_a_comma_inside_a_fact_does_not_start_another_fact() -> None:
    details = metadata_prompt([("diagnosis", "Carcinoma, NOS"), ("grade", "2")]).split("includes: ")[1]
    assert [item.split(":")[0] for item in details.split(", ")] == ["diagnosis", "grade"]


def test_the_order_of_facts_is_the_order_of_the_prompt() -> None:
    assert metadata_prompt([("a", "1"), ("b", "2")]) != metadata_prompt([("b", "2"), ("a", "1")])


def test_free_text_is_its_own_prompt() -> None:
    assert _text("Adenocarcinoma of the lung, T3N1M0.").prompt == "Adenocarcinoma of the lung, T3N1M0."


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("PD-L1 TPS 50 %", ("PDL1",)),
        ("pdl1 negative", ("PDL1",)),
        ("CD274 high", ("PDL1",)),
        ("PD-1 inhibitor", ("PD1",)),
        ("Ki-67 20 %", ("Ki67",)),
        ("MIB-1 index 20 %", ("Ki67",)),
        ("FOXP3+ cells", ("FoxP3",)),
        ("CD8+ T cells, CD 4 low", ("CD8", "CD4")),
        ("CD3+CD20-", ("CD3e", "CD20")),
        ("CD45RO positive", ("CD45RO",)),
        ("CD45 positive", ("CD45",)),
        ("CK8/18 and AE1/AE3", ("PanCK", "Keratin8_18")),
        ("smooth muscle actin", ("aSMA",)),
        ("ER positive, HER2 negative", ("ERa",)),
        ("er wurde operiert", ()),
        ("oestrogen receptor 90 %", ("ERa",)),
        ("HLA DR and PGP 9.5", ("HLA-DR", "PGP9_5")),
        ("atm", ()),
        ("CD68, CD680, XCD68", ("CD68",)),
        ("T3N1M0, IIIA, p16, HER2 3+, 5 cm", ()),
    ],
)
def test_markers_are_found_under_their_aliases_as_whole_words(text: str, named: tuple[str, ...]) -> None:
    assert markers_named(_text(text), MARKERS) == named


def test_a_marker_named_by_a_key_counts_too() -> None:
    assert markers_named(_facts(er="positive", pd_l1="50 %", CD8_density=3), MARKERS) == ("PDL1", "CD8", "ERa")


def test_facts_without_markers_name_none() -> None:
    assert markers_named(_facts(tissue_type="Lung", disease="Lung Cancer", age=68, stage="IIIA"), MARKERS) == ()
