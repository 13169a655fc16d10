"""Labels of one organ or disease fall together; unknown ones are dropped."""

from __future__ import annotations

import pytest

from haiku_edge.export.synthetic.patient import DISEASES, TISSUE_NAMES
from haiku_edge.export.vocabulary import DISEASE_TEMPLATES, TISSUE_TEMPLATES, canon_disease, canon_tissue, prompts


@pytest.mark.parametrize("label", ["colon", "Rectum", " sigmoid ", "Colon/Rectum", "sigmoid  colon"])
def test_large_bowel_is_one_class(label: str) -> None:
    assert canon_tissue(label) == "Colon/Rectum"


@pytest.mark.parametrize("label", ["breast cancer", "Breast disease", "TNBC", "Breast_Cancer"])
def test_breast_cancer_is_one_class(label: str) -> None:
    assert canon_disease(label) == "Breast Cancer"


@pytest.mark.parametrize("label", ["", "unknown", "undefined", "cancer", "colonoscopy"])
def test_unknown_label_is_dropped(label: str) -> None:
    assert canon_tissue(label) is None
    assert canon_disease(label) is None


def test_simulated_organs_and_diseases_are_four_classes_each() -> None:
    assert len({canon_tissue(name) for name in TISSUE_NAMES} - {None}) == len(TISSUE_NAMES)
    assert len({canon_disease(name) for name in DISEASES} - {None}) == len(DISEASES)


def test_every_template_asks_for_every_class() -> None:
    assert DISEASE_TEMPLATES == (
        "A codex region of {} disease.",
        "{}",
        "This sample shows {}.",
        "Histological finding: {}.",
        "The image presents {}.",
    )
    rows = prompts(("Lung", "Breast"), TISSUE_TEMPLATES)
    assert len(rows) == 5
    assert all("Lung" in first and "Breast" in second for first, second in rows)
    assert rows[1] == ("Lung", "Breast")
