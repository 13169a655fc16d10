"""The embedded SPADE bundle from nothing, in small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from haiku_edge.export.atlas.verify import atlas_info, verify_atlas
from haiku_edge.export.embedded_spade import QUICK, make_spade_bundle
from haiku_edge.runtime.bundle import open_bundle, read_known_patients
from haiku_edge.runtime.inference import PredictOptions, predict
from tests.spade_bundles import EMBEDDED


@pytest.mark.slow
def test_a_quick_bundle_is_made_measured_and_predicts(small_slide: Path, tmp_path: Path) -> None:
    split = replace(QUICK.split, atlas=8, test=8)
    plan = replace(QUICK, split=split, label="sex", folds=2)
    section = make_spade_bundle(EMBEDDED, tmp_path / "bundle", 7, plan, tmp_path / "work")
    bundle = open_bundle(tmp_path / "bundle")
    manifest = bundle.manifest
    figures = manifest.metrics["spade"]
    assert isinstance(figures, dict) and set(figures["evaluation"]) >= {"expression", "routing", "few_shot", "slides"}
    card = bundle.read("MODEL_CARD.md").decode()
    assert "one expert" in card and "random clusters" in card and "\n".join(section.lines) in card
    known = read_known_patients(bundle)
    assert known.complete and len(known.train) > len(read_known_patients(open_bundle()).train)
    spatial = predict(small_slide, None, PredictOptions(tmp_path / "bundle", tmp_path, device="cpu")).result.spatial
    assert spatial is not None and len(spatial.genes) == 107


def test_the_shipped_bundle_is_small_and_opens_by_name(small_slide: Path, tmp_path: Path) -> None:
    """40 MB is what both bundles that ship may take together."""
    spade, haiku = open_bundle(Path("spade")), open_bundle()
    assert spade.embedded and spade.manifest.family == "spade" and spade.manifest.synthetic
    assert sum(entry.size for one in (spade, haiku) for entry in one.manifest.files.values()) < 40e6
    done = predict(small_slide, None, PredictOptions(Path("spade"), tmp_path, device="cpu")).result
    assert done.spatial is not None and done.spatial.calibration is not None
    assert sum(gene.status == "predicted" for gene in done.spatial.genes) == len(done.spatial.genes)


def test_its_spots_are_verified_and_told_of() -> None:
    checks = verify_atlas(Path("spade"))
    assert all(check.passed for check in checks) and {"vectors", "leakage", "index"} <= {one.name for one in checks}
    info = atlas_info(Path("spade"))
    assert info["measure"] == "gene" and info["patients"] == 60 and info["evidence_patients_trained_on"] == 0


def test_the_shipped_card_shows_every_baseline() -> None:
    card = open_bundle(Path("spade")).read("MODEL_CARD.md").decode()
    baselines = ("image features", "one expert", "random clusters", "mean of the organ", "truth")
    for words in (*baselines, "Few-shot", "abmil-hazards", "transmil"):
        assert words in card
