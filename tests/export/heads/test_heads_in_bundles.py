"""A head that ships computes what torch computed, brings honest cases along, and changes nothing else of a bundle."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pytest

from haiku_edge.export import bundle_copy
from haiku_edge.export.evaluation.embedded_cohort import EmbeddedCohort
from haiku_edge.export.graph import OPSET
from haiku_edge.export.graph.compare import session
from haiku_edge.export.heads import (
    MilSettings,
    TrainedHead,
    add_heads,
    check_dimension,
    embedded_heads,
    score_classifier,
    score_survival,
    train_slide_head,
    train_survival_head,
    train_tile_head,
)
from haiku_edge.export.heads.bags import make_bags
from haiku_edge.export.heads.concordance import concordance
from haiku_edge.export.heads.folds import fold_numbers
from haiku_edge.export.heads.nested import MEMBERS
from haiku_edge.export.heads.probes import fit_probe
from haiku_edge.export.heads.scores import score_classes
from haiku_edge.export.heads.targets import read_classes, read_survival
from haiku_edge.export.synthetic import simulate_cohort
from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.errors import BundleAlteredError, CohortError, UsageError
from haiku_edge.runtime.inference.heads import read_head_cases, read_heads
from tests.export.heads.small_cohort import alike_bags, cohort_of, names, survival_facts

QUICK = (MilSettings(width=8, learning_rate=1e-2, batch=64, epochs=6, patience=3, attention=16),)
DIMENSION = 128
PATIENTS = 30


@pytest.fixture(scope="module")
def cohort() -> EmbeddedCohort:
    rng = np.random.default_rng(0)
    hazard = rng.normal(size=PATIENTS)
    bags = [bag + h for bag, h in zip(alike_bags(rng, PATIENTS, 4, DIMENSION), hazard, strict=True)]
    facts = survival_facts(rng, 1.5 * hazard)
    graded = [{**own, "grade": str(1 + i % 3)} for i, own in enumerate(facts)]
    return cohort_of(bags, graded, text=list(rng.normal(size=(PATIENTS, DIMENSION))))


@pytest.fixture(scope="module")
def survival(cohort: EmbeddedCohort) -> TrainedHead:
    return train_survival_head(
        cohort, name="os", time="survival", event="survival_status", features="he+text", grid=QUICK, folds=2
    )


@pytest.fixture(scope="module")
def grade(cohort: EmbeddedCohort) -> TrainedHead:
    return train_slide_head(cohort, name="slide-grade", target="grade", features="he", grid=QUICK, folds=2)


def _run(head: TrainedHead, vectors: np.ndarray) -> list[np.ndarray]:
    return session(head.contents[head.section.file]).run(None, {"vectors": vectors.astype(np.float32)})


def test_graphs_are_pure_onnx_of_the_common_opset_and_small(survival: TrainedHead, grade: TrainedHead) -> None:
    for head in (survival, grade):
        data = head.contents[head.section.file]
        model = onnx.load_from_string(data)
        assert [(one.domain, one.version) for one in model.opset_import] == [("", OPSET)]
        assert len(data) < 300_000 and head.difference_to_torch < 1e-5
        assert b"/work" not in data and b"site-packages" not in data


@pytest.mark.parametrize("tiles", [1, 2, 3000])
def test_heads_take_any_number_of_tiles_in_any_order(survival: TrainedHead, grade: TrainedHead, tiles: int) -> None:
    rng = np.random.default_rng(tiles)
    for head, width in ((survival, 2 * DIMENSION), (grade, DIMENSION)):
        vectors = rng.normal(size=(tiles, width))
        scores, attention = _run(head, vectors)
        assert scores.shape == (1, max(1, len(head.section.classes))) and attention.shape == (tiles,)
        assert attention.sum() == pytest.approx(1, abs=1e-4) and (attention >= 0).all()
        order = rng.permutation(tiles)
        turned, moved = _run(head, vectors[order])
        np.testing.assert_allclose(turned, scores, atol=1e-4)
        np.testing.assert_allclose(moved, attention[order], atol=1e-5)


def test_cases_are_one_row_a_patient_as_the_run_time_reads_them(
    survival: TrainedHead, grade: TrainedHead, cohort: EmbeddedCohort
) -> None:
    cases = read_head_cases(survival.contents[survival.section.cases], survival.section)
    target = read_survival(cohort, "survival", "survival_status")
    assert cases.patients.tolist() == target.patients.tolist() == names(PATIENTS)
    np.testing.assert_allclose(cases.months, target.months, rtol=1e-6)
    assert (cases.events == target.events).all()
    stated = survival.section.metrics["concordance"]
    assert stated["value"] == pytest.approx(concordance(cases.scores[:, 0], target)[0], abs=1e-3)
    table = pa.ipc.open_file(io.BytesIO(grade.contents[grade.section.cases])).read_all()
    assert table.column_names == ["patient", "scores", "label", "time", "event"]
    assert table["label"].to_pylist() == [cohort.facts[name]["grade"] for name in names(PATIENTS)]
    assert read_head_cases(grade.contents[grade.section.cases], grade.section).scores.shape == (PATIENTS, 3)


def test_risk_is_centred_so_that_heads_of_different_folds_can_be_compared(
    survival: TrainedHead, cohort: EmbeddedCohort
) -> None:
    bags = make_bags(cohort, "he+text", np.array(names(PATIENTS)))
    own = np.concatenate([_run(survival, bags.bag(i))[0] for i in range(PATIENTS)])[:, 0]
    assert own.mean() == pytest.approx(0, abs=1e-5)
    cases = read_head_cases(survival.contents[survival.section.cases], survival.section)
    assert abs(cases.scores.mean()) < 0.5 * cases.scores.std()
    # Seen patients are scored too well: cases must not be what the shipped head says of its own training patients.
    target = read_survival(cohort, "survival", "survival_status")
    assert concordance(own, target)[0] > concordance(cases.scores[:, 0], target)[0]
    assert survival.section.metrics["members"] == MEMBERS


def test_tile_classifier_is_the_logistic_regression_as_one_matrix(cohort: EmbeddedCohort) -> None:
    groups = ("1", "2|3")
    head = train_tile_head(cohort, name="low", target="grade", groups=groups, features="he", folds=2)
    target = read_classes(cohort, "grade", groups)
    bags = make_bags(cohort, "he", target.patients)
    model = fit_probe(bags.vectors, target.codes[bags.owners], head.section.metrics["inverse_penalty"])
    (scores,) = _run(head, bags.vectors)
    assert head.section.classes == groups and scores.shape == (len(bags.vectors), 2)
    likely = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(likely, model.predict_proba(bags.vectors.astype(np.float64)), atol=1e-4)
    cases = read_head_cases(head.contents[head.section.cases], head.section)
    assert len(cases.patients) == len(bags.vectors) and head.section.patients == PATIENTS


def test_bundle_with_heads_opens_and_keeps_all_that_it_had(
    survival: TrainedHead, grade: TrainedHead, tmp_path: Path
) -> None:
    old = open_bundle(None)
    bare = {head.name for head in old.manifest.heads}
    add_heads(old, (survival, grade), tmp_path / "new")
    new = open_bundle(tmp_path / "new")
    assert {name: new.manifest.files[name] for name in old.manifest.files} == dict(old.manifest.files)
    assert {head.section.name for head in read_heads(new)} == bare | {"os", "slide-grade"}
    with pytest.raises(UsageError, match="already"):
        add_heads(new, (survival,), tmp_path / "again")
    with pytest.raises(UsageError, match="can't replace"):
        add_heads(new, (), tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]


def test_a_bundle_altered_on_the_way_costs_no_older_one(
    survival: TrainedHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large files are copied on the disk; what was copied is verified before anything is replaced."""
    monkeypatch.setattr(bundle_copy, "IN_MEMORY", 0)
    source = open_bundle(None)
    for folder in ("from", "out"):
        shutil.copytree(source.root, tmp_path / folder)
    opened = open_bundle(tmp_path / "from")
    tower = tmp_path / "from" / opened.manifest.he.file
    tower.write_bytes(tower.read_bytes()[:-1] + b"?")
    with pytest.raises(BundleAlteredError, match=r"he\.onnx"):
        add_heads(opened, (survival,), tmp_path / "out", force=True)
    assert open_bundle(tmp_path / "out").digest == source.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["from", "out"]


def test_vectors_of_another_model_train_no_head(cohort: EmbeddedCohort) -> None:
    check_dimension(cohort, DIMENSION)
    with pytest.raises(CohortError, match="haiku-edge embed"):
        check_dimension(cohort, 1024)


def test_a_cohort_too_small_for_a_head_gets_none() -> None:
    rng = np.random.default_rng(1)
    facts = [{**own, "grade": "2"} for own in survival_facts(rng, np.zeros(3))]
    assert embedded_heads(cohort_of(alike_bags(rng, 3, 1, 4), facts, text=list(rng.normal(size=(3, 4)))), seed=1) == ()


@pytest.mark.slow
def test_no_order_of_simulated_patients_beats_the_oracle_by_more_than_chance() -> None:
    patients = simulate_cohort(160, seed=5)
    rng = np.random.default_rng(2)
    bags = [rng.normal(size=(2, 4)) + patient.biology.infiltration for patient in patients]
    text = [np.array([patient.biology.stage, patient.biology.grade, 0, 0], float) for patient in patients]
    whole = cohort_of(bags, [patient.facts for patient in patients], text=text)
    real = np.array([patient.identifier for patient in patients])
    rows = np.array([int(name[1:]) for name in whole.patients])
    renamed = cohort_like(whole, real[rows], {p.identifier: p.facts for p in patients})
    train, test = (renamed.select(np.isin(renamed.patients, part)) for part in (real[:110], real[110:]))
    head = train_survival_head(
        train, name="os", time="survival", event="survival_status", features="he+text", grid=QUICK, folds=3
    )
    found = score_survival(
        head.section, head.contents[head.section.file], head.contents[head.section.cases], patients, test
    )
    oracle, knowable, own, clinical = found.rows
    assert (found.patients, found.held_out_patients) == (110, 50)
    deaths = [patient.died for patient in patients]
    assert (found.events, found.held_out_events) == (sum(deaths[:110]), sum(deaths[110:]))
    target = read_survival(test, "survival", "survival_status")
    hazards = np.array([patient.hazard for patient in patients[110:]])
    assert oracle.held_out.value == pytest.approx(concordance(hazards, target)[0])
    for row in (knowable, own, clinical):
        assert row.cross_validated.value < oracle.cross_validated.value + 0.03
    assert clinical.cross_validated.value > 0.55


def test_classifier_is_told_as_its_own_cross_validation_measured_it(cohort: EmbeddedCohort) -> None:
    """Folds with other shares of the classes: their scores, ranked together as they are, would tell another figure."""
    head = train_slide_head(cohort, name="grade", target="grade", features="he", grid=QUICK, folds=3, seed=4)
    section = head.section
    found = score_classifier(section, head.contents[section.file], cohort)
    cases, target = read_head_cases(head.contents[section.cases], section), read_classes(cohort, "grade")
    folds = fold_numbers(target.strata, 3, 4)
    wanted = score_classes(cases.scores, cases.labels, np.arange(PATIENTS), folds)
    for name in ("auroc", "balanced_accuracy", "macro_f1"):
        one, two = getattr(found.cross_validated, name), getattr(wanted, name)
        assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high), abs=1e-4)
    assert (found.patients, found.held_out_patients) == (PATIENTS, PATIENTS)


def cohort_like(cohort: EmbeddedCohort, patients: np.ndarray, facts: dict[str, dict[str, str]]) -> EmbeddedCohort:
    """The same cohort under other names."""
    return replace(cohort, patients=patients, facts=facts)
