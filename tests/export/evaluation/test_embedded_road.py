"""The embedded bundle is made from nothing, end to end, at its smallest size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from haiku_edge.export.cohort import QUICK_SPLIT, Split, simulate_part
from haiku_edge.export.embedded import QUICK, make_bundle
from haiku_edge.export.evaluation import Evaluation, evaluate_bundle, evaluation_metrics, render_evaluation
from haiku_edge.export.evaluation.evaluate import open_engines
from haiku_edge.runtime.atlas import open_atlas
from haiku_edge.runtime.bundle import Bundle, open_bundle
from haiku_edge.runtime.inference.calibration import read_cases
from haiku_edge.runtime.notes import Tokenizer

SEED = 3


@dataclass(frozen=True)
class Road:
    bundle: Bundle
    evaluation: Evaluation
    cache: Path


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    work = tmp_path_factory.mktemp("work")
    evaluation = make_bundle(work / "bundle", SEED, QUICK, work)
    return Road(open_bundle(work / "bundle"), evaluation, work / "cohort")


def test_no_patient_is_in_two_parts_of_the_split() -> None:
    for split in (Split(), QUICK_SPLIT):
        parts = [split.part(name) for name in ("train", "atlas", "calibration", "test")]
        assert sorted(i for part in parts for i in part) == list(range(split.patients))


def test_bundle_of_the_road_opens_and_says_that_it_is_synthetic(road: Road) -> None:
    manifest = road.bundle.manifest
    assert manifest.synthetic and manifest.statement.startswith("Synthetic")
    card = road.bundle.read("MODEL_CARD.md").decode()
    assert manifest.statement in card and render_evaluation(road.evaluation) in card


def test_golden_vectors_of_torch_come_out_of_the_engines(road: Road) -> None:
    engines = open_engines(road.bundle)
    path = road.bundle.root / road.bundle.manifest.golden.file
    with np.load(path) as golden:
        found = {
            "he": engines.he(tiles=golden["he_tiles"]),
            "mif": engines.mif(patches=golden["mif_patches"], markers=golden["mif_markers"]),
            "text": engines.text(input_ids=golden["input_ids"], attention_mask=golden["attention_mask"]),
        }
        for name, vectors in found.items():
            np.testing.assert_allclose(vectors, golden[f"{name}_vectors"], atol=1e-5)


def test_atlas_and_calibration_hold_the_split_and_share_no_patient(road: Road) -> None:
    atlas = open_atlas(road.bundle)
    cases = read_cases(road.bundle, atlas)
    assert len(set(atlas.patients.tolist())) == QUICK_SPLIT.atlas
    assert len(set(cases.patients.tolist())) == QUICK_SPLIT.calibration
    assert not set(cases.patients.tolist()) & set(atlas.patients.tolist())


def test_atlas_expression_is_the_mean_of_the_simulated_channels(road: Road) -> None:
    atlas = open_atlas(road.bundle)
    row = 0
    for patient, section in simulate_part("atlas", QUICK_SPLIT, SEED, road.cache).sections():
        means = section.mif.reshape(*section.mif.shape[:2], -1).mean(axis=2)
        own = atlas.expression[row : row + len(means)]
        stained = np.array([marker in patient.panel for marker in atlas.markers])
        np.testing.assert_allclose(own[:, stained], means[:, stained], atol=1e-3)
        assert np.isnan(own[:, ~stained]).all()
        row += len(means)
    assert row == len(atlas.expression)


def test_evaluating_the_bundle_gives_the_figures_of_its_manifest(road: Road) -> None:
    again = evaluate_bundle(road.bundle, cache=road.cache)
    assert evaluation_metrics(again) == road.bundle.manifest.metrics["evaluation"]


def test_prompts_of_ordinary_notes_fit_the_text_tower(road: Road) -> None:
    text = road.bundle.manifest.text
    tokenizer = Tokenizer.from_bytes(road.bundle.read(text.tokenizer), text.max_length)
    with np.load(road.bundle.root / road.bundle.manifest.golden.file) as golden:
        assert golden["input_ids"].shape[1] < tokenizer.max_length
