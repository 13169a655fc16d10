"""The embedded bundle is made from nothing, end to end, at its smallest size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from haiku_edge.export.cohort import QUICK_SPLIT, Split, simulate_part
from haiku_edge.export.embedded import QUICK, make_bundle
from haiku_edge.export.evaluation import Evaluation, evaluate_bundle, evaluation_metrics, render_evaluation
from haiku_edge.export.evaluation.embedded_cohort import read_cohort, write_cohort
from haiku_edge.export.evaluation.evaluate import embed_held_out, open_engines
from haiku_edge.export.evaluation.galleries import LEAVES
from haiku_edge.export.evaluation.held_out import embed_prompt
from haiku_edge.export.model import read_towers
from haiku_edge.export.model_card import write_model_card
from haiku_edge.export.synthetic import known_facts, simulate_cohort
from haiku_edge.runtime.atlas import open_atlas
from haiku_edge.runtime.bundle import Bundle, open_bundle
from haiku_edge.runtime.inference.calibration import read_cases
from haiku_edge.runtime.notes import Tokenizer, metadata_prompt

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


def test_galleries_are_two_other_regions_of_each_test_patient(road: Road) -> None:
    test = simulate_part("test", QUICK_SPLIT, SEED, road.cache)
    galleries = simulate_part("galleries", QUICK_SPLIT, SEED, road.cache)
    first = {patient.identifier: (patient, section) for patient, section in test.sections()}
    assert [patient.identifier for patient in galleries.patients] == [name for name in first for _ in range(2)]
    assert len({patient.section for patient in galleries.patients} | {p.section for p in test.patients}) == 12
    seen = []
    for patient, section in galleries.sections():
        other, shown = first[patient.identifier]
        assert (patient.facts, patient.biology, patient.scanner) == (other.facts, other.biology, other.scanner)
        assert np.isfinite(section.expression).any(axis=0).sum() == len(patient.panel)
        corners = [tile[:64, :64].tobytes() for tile in (*section.he, *shown.he)]
        assert len(set(corners)) == len(corners)
        seen.append((patient.identifier, patient.panel, corners[0]))
    for one, two in zip(seen[::2], seen[1::2], strict=True):
        assert one[:2] == two[:2] and one[2] != two[2]
    found = road.evaluation.galleries
    assert (found.patients, found.regions, found.patches) == (4, 8, 32)
    assert found.shared and found.places_known and not found.regions_are_patients
    counted = evaluation_metrics(road.evaluation)["gallery_cohort"]
    assert counted == {"patients": 4, "regions": 8, "patches": 32}


@pytest.mark.parametrize(("steps", "runs"), [(1600, "200, 400 and 800"), (800, "200 and 400"), (4, None)])
def test_card_says_after_which_runs_the_number_of_batches_was_chosen(road: Road, steps: int, runs: str | None) -> None:
    towers = read_towers(road.cache.parent / "checkpoint")
    recipe = replace(QUICK.recipe, steps=steps)
    card = write_model_card(road.bundle.manifest, QUICK.split, recipe, towers, road.evaluation, SEED)
    said = f"number of batches ({steps:,}) after seeing the test figures of runs with {runs}"
    assert (said in card) == (runs is not None)
    assert ("number of batches" in card) == (runs is not None)


def test_prompts_of_ordinary_notes_fit_the_text_tower(road: Road) -> None:
    text = road.bundle.manifest.text
    tokenizer = Tokenizer.from_bytes(road.bundle.read(text.tokenizer), text.max_length)
    with np.load(road.bundle.root / road.bundle.manifest.golden.file) as golden:
        assert golden["input_ids"].shape[1] < tokenizer.max_length


def test_card_and_manifest_tell_every_task(road: Road) -> None:
    card = road.bundle.read("MODEL_CARD.md").decode()
    for title in ("Retrieval", "Biomarkers from the atlas", "Biomarkers under the four galleries", "Intervals"):
        assert f"\n### {title}\n" in card
    metrics = evaluation_metrics(road.evaluation)
    for form in ("published", "honest"):
        assert tuple(metrics["galleries"][form]) == LEAVES
    assert {"recall", "precision", "f1", "ndcg", "ap", "mrr"} <= set(metrics["retrieval"]["he_to_mif"])
    for section in road.evaluation.sections:
        assert f"\n### {section.title}\n" in card and metrics[section.name] == dict(section.metrics)


def test_written_cohort_is_the_held_out_patients_and_their_notes_do_not_hold_the_outcome(
    road: Road, tmp_path: Path
) -> None:
    write_cohort(tmp_path / "cohort.parquet", embed_held_out(road.bundle, cache=road.cache))
    cohort = read_cohort(tmp_path / "cohort.parquet")
    patients = simulate_cohort(QUICK_SPLIT.patients, SEED)[-QUICK_SPLIT.test :]
    assert dict(cohort.facts) == {patient.identifier: patient.facts for patient in patients}
    engines, row = open_engines(road.bundle), 0
    for patient, section in simulate_part("test", QUICK_SPLIT, SEED, road.cache).sections():
        own = cohort.patients == patient.identifier
        assert own.sum() == len(section.he)
        notes = embed_prompt(engines, metadata_prompt(tuple(known_facts(patient.facts).items())))
        np.testing.assert_allclose(cohort.vectors["text"][own], np.repeat(notes[None], own.sum(), 0), atol=1e-6)
        np.testing.assert_array_equal(cohort.x[own], section.origins[:, 0] * np.float32(0.5))
        measured = np.isfinite(section.expression)
        covered = (section.mif > 40).mean(axis=(2, 3)) >= 0.02
        np.testing.assert_array_equal(cohort.positive[own], np.where(measured, covered, np.nan))
        row += len(section.he)
    assert row == len(cohort)
