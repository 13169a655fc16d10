"""The cohort of the Orion guide, against the tables read another way."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from lifelines import NelsonAalenFitter
from lifelines.utils import concordance_index
from scipy.special import logit
from scipy.stats import false_discovery_control, rankdata, spearmanr, zscore
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from haiku_edge.export.evaluation.embedded_cohort import read_cohort, write_cohort
from haiku_edge.export.evaluation.expression import Setting, pose_problem, score_biomarkers
from haiku_edge.export.evaluation.galleries import own_gallery
from haiku_edge.runtime.errors import UnreadableDatasetError

GUIDE = Path(__file__).parents[2] / "docs/guides/orion"
DATA = Path(__file__).parents[3] / "shared/data/mif/orion"

here = pytest.mark.skipif(not DATA.exists(), reason="the Orion data is not beside this checkout")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"orion_{name}", GUIDE / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


make_cohort = load("make_cohort")
outside = load("outside")
figure = load("figure")
power = load("power")


@pytest.fixture(scope="module")
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    tiles = pd.read_csv(DATA / "he_class_fractions.csv")
    markers = pd.read_csv(DATA / "orion_crc_sumAllsample.csv").set_index("slideName")
    return tiles.assign(patient=[f"C{number:02d}" for number in tiles.CRC]), markers


@here
def test_lymphocytes_of_the_he_follow_cd45_of_the_stain(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """The one known anchor: Spearman 0.80 over the 41 sections, and about that over the 40 patients."""
    tiles, markers = tables
    sections = tiles.LYM / (1 - tiles.BACK)
    assert spearmanr(sections, markers.mean_CD45p[tiles.patient])[0] == pytest.approx(0.80, abs=0.005)

    cohort = make_cohort.make_cohorts(make_cohort.read_orion(DATA))["cohort.parquet"]
    lymphocytes = cohort.vectors["he"][:, make_cohort.CLASSES.index("LYM")] ** 2
    cd45 = cohort.expression[:, cohort.markers.index("CD45")]
    ranks = np.corrcoef(rankdata(lymphocytes), rankdata(cd45))[0, 1]
    assert ranks == pytest.approx(0.80, abs=0.015)


@here
def test_cohort_holds_what_the_tables_say(tables: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path) -> None:
    tiles, markers = tables
    write_cohort(tmp_path / "cohort.parquet", make_cohort.make_cohorts(make_cohort.read_orion(DATA))["cohort.parquet"])
    cohort = read_cohort(tmp_path / "cohort.parquet")
    assert len(cohort) == len(set(cohort.patients.tolist())) == 40
    np.testing.assert_allclose(
        cohort.expression[:, cohort.markers.index("PDL1")], 100 * markers.mean_PD_L1p[cohort.patients], rtol=1e-5
    )
    two = tiles[tiles.patient == "C33"]
    tissue = two.n_tiles * (1 - two.BACK)
    tumour = (two.n_tiles * two.TUM).sum() / tissue.sum()
    row = cohort.patients.tolist().index("C33")
    assert cohort.vectors["he"][row, make_cohort.CLASSES.index("TUM")] ** 2 == pytest.approx(tumour, rel=1e-3)
    for matrix in cohort.vectors.values():
        np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-6)


@here
def test_facts_hold_missing_values_and_contradictions_as_stated() -> None:
    cohort = make_cohort.make_cohorts(make_cohort.read_orion(DATA))["cohort.parquet"]

    def counts(fact: str) -> dict[str, int]:
        return dict(zip(*(part.tolist() for part in np.unique(cohort.labels(fact), return_counts=True)), strict=True))

    assert counts("mmr") == {"": 4, "deficient": 6, "proficient": 30}
    assert counts("stage") == {"I": 1, "II": 9, "III": 21, "IV": 9}
    assert counts("kras") == {"mutated": 14, "wild type": 26}
    assert counts("braf") == {"mutated": 9, "wild type": 31}
    assert counts("pfs_event")["yes"] == 24
    assert counts("os_event")["yes"] == 15
    assert {cohort.facts[patient]["pfs_event"] for patient in ("C15", "C39")} == {"no"}
    assert max(float(own["age"]) for own in cohort.facts.values()) == 90


@here
def test_expected_profile_is_a_ridge_regression_on_the_other_patients_only() -> None:
    orion = make_cohort.read_orion(DATA)
    profiles = zscore(logit(orion.positive))
    rows = np.arange(40)
    expected = []
    for row in rows:
        model = make_pipeline(StandardScaler(), Ridge(alpha=10.0))
        model.fit(np.sqrt(orion.shares[rows != row]), profiles[rows != row])
        expected.append(model.predict(np.sqrt(orion.shares[[row]]))[0])
    unit = np.array(expected) / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(make_cohort.expected_profile(orion.shares, orion.positive), unit, atol=1e-5)


@here
def test_blocks_of_a_section_hold_its_tissue() -> None:
    orion = make_cohort.read_orion(DATA)
    blocks = make_cohort.make_blocks(DATA, orion.facts)
    assert set(blocks.patients.tolist()) == set(orion.patients.tolist())
    mean = np.stack(
        [(blocks.vectors["he"][blocks.patients == patient] ** 2).mean(axis=0) for patient in orion.patients]
    )
    for column, name in enumerate(make_cohort.CLASSES):
        assert spearmanr(mean[:, column], orion.shares[:, column])[0] > 0.9, name


@here
def test_neighbours_of_the_guide_are_those_of_the_evaluation() -> None:
    """Two implementations of the published inference, with the patient in the gallery and without, marker by marker."""
    cohort = make_cohort.make_cohorts(make_cohort.read_orion(DATA))["evidence.parquet"]
    result = score_biomarkers(pose_problem(cohort, own_gallery(cohort)), Setting(text_weight=0.0))
    vectors, values = cohort.vectors["he"].astype(np.float64), cohort.expression.astype(np.float64)
    for leave, smoother in (("nothing", figure.with_oneself(vectors)), ("patient", outside.neighbours(vectors))):
        found = [one.pearson.value for one in result.form("honest", leave).markers]
        mine = [outside.pearson(z, smoother @ z) for z in values.T]
        np.testing.assert_allclose(found, mine, atol=1e-4)


def test_figure_has_every_marker_in_every_series() -> None:
    found = np.random.default_rng(0).uniform(-0.3, 0.9, (3, 4, 3))
    root = ElementTree.fromstring(figure.draw(("CD3e", "CD8", "CD4", "CD20"), found))
    words = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {"CD3e", "CD8", "CD4", "CD20"} <= set(words)
    assert sum(element.tag.endswith("circle") for element in root.iter()) == 3 * 4 + 3


def test_missing_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDatasetError, match=r"he_class_fractions\.csv"):
        make_cohort.read_orion(tmp_path)


@here
def test_table_without_a_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "he_class_fractions.csv").write_text((DATA / "he_class_fractions.csv").read_text())
    text = (DATA / "orion_crc_sumAllsample.csv").read_text()
    (tmp_path / "orion_crc_sumAllsample.csv").write_text(text.replace("mean_PD_L1p", "mean_other"))
    with pytest.raises(UnreadableDatasetError, match="mean_PD_L1p"):
        make_cohort.read_orion(tmp_path)


def test_power_agrees_with_simulation() -> None:
    rng = np.random.default_rng(0)
    auroc = power.smallest_auroc(9, 31)
    shift = np.sqrt(2) * power.norm.ppf(auroc)
    scores = rng.normal(size=(4000, 40)) + shift * (np.arange(40) < 9)
    ranks = scores.argsort(axis=1).argsort(axis=1)[:, :9].sum(axis=1)
    z = (ranks - 9 * 39 / 2) / np.sqrt(9 * 31 * 41 / 12)
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.8, abs=0.05)

    r = power.smallest_correlation(40)
    x = rng.normal(size=(4000, 40))
    y = r * x + np.sqrt(1 - r**2) * rng.normal(size=x.shape)
    found = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(x, y, strict=True)])
    assert (np.abs(np.arctanh(found)) * np.sqrt(37) > 1.96).mean() == pytest.approx(0.8, abs=0.03)

    a, b = rng.normal(size=(2, 100_000))
    log_ratio = np.log(power.smallest_hazard_ratio(15))
    first = rng.exponential(np.exp(-log_ratio * a)) < rng.exponential(np.exp(-log_ratio * b))
    assert (first == (a > b)).mean() == pytest.approx(power.concordance_of(np.exp(log_ratio)), abs=0.005)


RNG = np.random.default_rng(7)
INPUTS, OUTCOME = RNG.normal(size=(30, 4)), RNG.normal(size=30)


def test_smoother_is_a_ridge_regression_that_leaves_the_patient_out() -> None:
    matrix = outside.leave_one_out(INPUTS)
    assert not np.diag(matrix).any()
    for row in range(30):
        rest = np.arange(30) != row
        model = make_pipeline(StandardScaler(), Ridge(alpha=outside.PENALTY)).fit(INPUTS[rest], OUTCOME[rest])
        assert matrix[row] @ OUTCOME == pytest.approx(model.predict(INPUTS[[row]])[0])


def test_folds_never_use_a_patients_own_outcome_nor_the_training_mean() -> None:
    matrix = outside.repeated_folds(INPUTS)
    assert not np.diag(matrix).any()
    np.testing.assert_allclose(matrix @ (OUTCOME + 5), matrix @ OUTCOME, atol=1e-9)


def test_neighbours_weigh_the_five_most_similar_others_by_softmax() -> None:
    unit = INPUTS / np.linalg.norm(INPUTS, axis=1, keepdims=True)
    matrix = outside.neighbours(unit)
    for row in range(30):
        ranked = sorted((i for i in range(30) if i != row), key=lambda i, row=row: -float(unit[row] @ unit[i]))[:5]
        top = {i: np.exp(unit[row] @ unit[i]) for i in ranked}
        expected = [top.get(i, 0.0) / sum(top.values()) for i in range(30)]
        np.testing.assert_allclose(matrix[row], expected)


def test_figures_are_those_of_the_statistics_packages() -> None:
    truth, risk = (OUTCOME > 0.3).astype(float), np.round(INPUTS[:, 0], 1)
    assert outside.auroc(truth, risk) == pytest.approx(roc_auc_score(truth, risk))
    time, event = np.round(RNG.exponential(10, 30)), (RNG.random(30) < 0.6).astype(float)
    c = concordance_index(time, -risk, event)
    assert outside.concordance(np.stack([time, event], axis=1), risk) == pytest.approx(c)
    hazard = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(time, event).cumulative_hazard_at_times(time)
    np.testing.assert_allclose(outside.martingale_residuals(time, event), event - hazard.to_numpy())
    p = RNG.random(16)
    np.testing.assert_allclose(outside.benjamini_hochberg(p), false_discovery_control(p))


def test_permutation_finds_a_planted_signal_and_not_its_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "SHUFFLES", 400)
    monkeypatch.setattr(outside, "DRAWS", 100)
    smoother = outside.leave_one_out(INPUTS)
    planted = INPUTS[:, 0] + 0.5 * OUTCOME
    assert outside.tested(smoother, planted, planted, outside.pearson).p < 0.01
    noise = [outside.tested(smoother, z, z, outside.pearson).p for z in RNG.normal(size=(20, 30))]
    assert 0.2 < np.median(noise) < 0.8
