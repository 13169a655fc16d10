"""A bundle of experts and spots in `predict`, alone and beside Haiku."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from haiku_edge.cli.app import app
from haiku_edge.export.distill.calibration import calibration_patients
from haiku_edge.runtime.atlas import open_atlas
from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.counterfactual import CounterfactualOptions, counterfactual
from haiku_edge.runtime.engine import Engine, open_tower
from haiku_edge.runtime.errors import BundleContentError, UsageError
from haiku_edge.runtime.inference import Prediction, PredictOptions, open_model, predict
from haiku_edge.runtime.inference.families import open_families
from haiku_edge.runtime.inference.gallery import open_gallery
from haiku_edge.runtime.inference.gate import judge_engine
from haiku_edge.runtime.inference.golden import GoldenCases
from haiku_edge.runtime.inference.self_test import run_self_test
from tests.spade_bundles import EMBEDDED, EXPERTS, WIDTH, export_small


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Spots and experts."""
    return tmp_path_factory.mktemp("spade")


@pytest.fixture(scope="module")
def alone(made: Path) -> Path:
    """A bundle of SPADE alone."""
    export_small(made, made / "alone")
    return made / "alone"


@pytest.fixture(scope="module")
def both(made: Path) -> Path:
    """A bundle of both families."""
    export_small(made, made / "both", into=EMBEDDED)
    return made / "both"


@pytest.fixture(scope="module")
def found(alone: Path, small_slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Prediction:
    """What SPADE alone finds on the small slide."""
    return predict(small_slide, None, PredictOptions(alone, tmp_path_factory.mktemp("alone"), device="cpu"))


def test_genes_and_experts_are_told_and_no_protein(found: Prediction) -> None:
    result = found.result
    spatial = result.spatial
    assert spatial is not None and not result.biomarkers and not result.evidence and result.calibration is None
    assert len(spatial.genes) == 12 and len(spatial.experts) == EXPERTS and spatial.neighbours == 4
    assert np.isclose(sum(expert.share for expert in spatial.experts), 1, atol=1e-5)
    assert sum(expert.tiles for expert in spatial.experts) == spatial.predicted + spatial.abstained
    assert 1 <= spatial.experts_a_tile <= EXPERTS
    assert spatial.calibration is not None and spatial.calibration.patients == 6


def test_the_table_agrees_with_the_result(found: Prediction) -> None:
    spatial, table = found.result.spatial, pq.read_table(found.folder / "tiles.parquet")
    assert spatial is not None
    weights = np.array(table["expert_weights"].to_pylist(), np.float32)
    read = np.array(table["spade_status"].to_pylist()) != "blur"
    assert np.allclose(weights[read].sum(axis=1), 1, atol=1e-4)
    expert = np.array([value or 0 for value in table["expert"].to_pylist()])
    assert np.array_equal(expert[read], weights[read].argmax(axis=1) + 1)
    embedding = np.array(table["spade_embedding"].to_pylist(), np.float32)
    assert embedding.shape[1] == WIDTH and not np.allclose(np.linalg.norm(embedding, axis=1), 1)
    for gene in spatial.genes:
        own = np.array(table[f"gene_{gene.gene}"].to_pylist(), float)
        if gene.value is not None:
            assert np.isclose(np.nanmean(own), gene.value, atol=1e-5)


def test_a_tiles_genes_are_those_of_its_spots(found: Prediction, alone: Path) -> None:
    """The softmax-weighted mean of the z-scores of the nearest spots, worked out again from the embedding."""
    bundle = open_bundle(alone)
    atlas = open_atlas(bundle, bundle.manifest.need_spade().atlas)
    table = pq.read_table(found.folder / "tiles.parquet")
    row = table["spade_status"].to_pylist().index("predicted")
    vector = np.array(table["spade_embedding"][row].as_py())
    cosines = atlas.vectors @ (vector / np.linalg.norm(vector))
    nearest = np.argsort(-cosines)[:4]
    weights = np.exp(cosines[nearest]) / np.exp(cosines[nearest]).sum()
    expected = weights @ atlas.z[nearest]
    told = [table[f"gene_{gene}"][row].as_py() for gene in atlas.markers]
    assert np.allclose(told, expected, atol=1e-4)


def test_evidence_is_real_spots_with_their_pictures(found: Prediction, alone: Path) -> None:
    spatial = found.result.spatial
    assert spatial is not None and spatial.evidence
    bundle = open_bundle(alone)
    atlas = open_atlas(bundle, bundle.manifest.need_spade().atlas)
    for tile in spatial.evidence:
        assert 1 <= tile.expert <= EXPERTS
        for spot in tile.neighbours:
            row = atlas.patches.tolist().index(spot.spot)
            assert str(atlas.patients[row]) == spot.patient
            assert Image.open(io.BytesIO(atlas.pictures.composite(row))).size == (112, 112)
            for gene in spot.genes:
                assert np.isclose(gene.expression, atlas.expression[row, atlas.markers.index(gene.gene)])


def test_excluded_patients_are_no_evidence(alone: Path, small_slide: Path, tmp_path: Path, found: Prediction) -> None:
    spatial = found.result.spatial
    assert spatial is not None
    patient = spatial.evidence[0].neighbours[0].patient
    again = predict(
        small_slide, None, PredictOptions(alone, tmp_path, device="cpu", exclude_patients=(patient,))
    ).result.spatial
    assert again is not None
    assert patient not in {spot.patient for tile in again.evidence for spot in tile.neighbours}
    with pytest.raises(UsageError, match="not in the bundle"):
        predict(small_slide, None, PredictOptions(alone, tmp_path / "x", exclude_patients=("nobody",)))


def test_both_families_say_what_each_says_alone(
    both: Path, found: Prediction, small_slide: Path, notes: Path, tmp_path: Path
) -> None:
    """The small slide's tiles are those of Haiku, 256 px, and so are the spots': each family sees the same."""
    joint = predict(small_slide, notes, PredictOptions(both, tmp_path / "both", device="cpu"))
    haiku = predict(small_slide, notes, PredictOptions(None, tmp_path / "haiku", device="cpu"))
    assert joint.result.biomarkers == haiku.result.biomarkers
    assert joint.result.spatial is not None and found.result.spatial is not None
    told, alone = joint.result.spatial.genes, found.result.spatial.genes
    for mine, other in zip(told, alone, strict=True):
        assert mine.gene == other.gene
        assert mine.value == pytest.approx(other.value, abs=1e-4)
    columns = set(joint.tiles.column_names)
    assert {"CD8", "vector", "expert", "spade_embedding"} <= columns
    one = predict(small_slide, notes, PredictOptions(both, tmp_path / "one", device="cpu", family="haiku"))
    assert one.result.spatial is None and one.result.biomarkers == haiku.result.biomarkers


def test_the_report_is_written(found: Prediction) -> None:
    page = (found.folder / "report.html").read_text()
    written = json.loads((found.folder / "result.json").read_text())
    assert "research use only" in page.lower() and written["spatial"]["genes"]


def test_genes_without_an_interval_are_told_of_first(found: Prediction) -> None:
    """Six patients calibrate the small bundle; an interval of 90 % takes nine."""
    spatial, page = found.result.spatial, (found.folder / "report.html").read_text("utf-8")
    assert spatial is not None and all(gene.low is None for gene in spatial.genes)
    told = [text for text in found.result.warnings if "6 calibration patients are too few" in text]
    assert len(told) == 1 and told[0].startswith("No gene has an interval")
    first = page[page.index('id="first"') :].split("</section>")[0]
    assert "No gene has an interval" in first and "Nothing about this slide" not in first


def test_edits_of_notes_change_in_a_bundle_of_both_what_they_change_in_haikus(
    both: Path, small_slide: Path, notes: Path, tmp_path: Path
) -> None:
    """Also where the tiles' vectors come from a finished prediction of either family, or of both."""

    def change(bundle: Path | None, out: str) -> list[object]:
        options = CounterfactualOptions(bundle, tmp_path / out, device="cpu", random_edits=0)
        return list(counterfactual(small_slide, notes, ["grade=1"], options).result.markers)

    expected = change(None, "haiku")
    for family in ("spade", "auto"):
        given = notes if family == "auto" else None
        predict(small_slide, given, PredictOptions(both, tmp_path / family, device="cpu", family=family))
        assert change(both, family) == expected


def test_what_a_second_atlas_holds_has_rows_of_its_own(both: Path) -> None:
    said = CliRunner().invoke(app, ["atlas", "info", str(both)])
    assert said.exit_code == 0
    rows = [line.split("  ")[0].strip() for line in said.stdout.splitlines()]
    assert {"patches", "spots: patches", "spots: calibration patients"} <= set(rows)
    assert '"measure"' not in said.stdout


def test_the_self_test_passes(alone: Path, both: Path) -> None:
    for bundle in (alone, both):
        checks = run_self_test(PredictOptions(bundle, device="cpu"))
        assert all(check.passed for check in checks), [check for check in checks if not check.passed]
        assert any(check.name == "mixture of experts" for check in checks)


def test_a_family_that_is_not_there_is_refused(alone: Path, small_slide: Path, notes: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleContentError, match="SPADE alone"):
        predict(small_slide, None, PredictOptions(alone, tmp_path, family="haiku"))
    with pytest.raises(BundleContentError, match="Haiku alone"):
        predict(small_slide, None, PredictOptions(None, tmp_path, family="spade"))
    with pytest.raises(BundleContentError, match="no text tower"):
        predict(small_slide, notes, PredictOptions(alone, tmp_path))
    with pytest.raises(UsageError, match="--family"):
        PredictOptions(family="both")


@pytest.mark.parametrize("family", ["auto", "spade"])
def test_nothing_is_said_of_notes_where_nobody_reads_them(
    alone: Path, both: Path, small_slide: Path, notes: Path, tmp_path: Path, family: str
) -> None:
    bundle = alone if family == "auto" else both
    said = {"--clinical": (notes, None), "--text-weight": (None, 0.5)}
    for option, (given, weight) in said.items():
        with pytest.raises(BundleContentError, match=option):
            predict(small_slide, given, PredictOptions(bundle, tmp_path, family=family, text_weight=weight))
    assert not list(tmp_path.iterdir())


def test_a_student_is_not_asked_of_spade_in_silence(both: Path, small_slide: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="student"):
        predict(small_slide, None, PredictOptions(both, tmp_path, tower="student", family="spade"))


@pytest.mark.parametrize("family", ["auto", "spade"])
def test_a_calibration_patient_of_the_spots_can_be_excluded(both: Path, family: str) -> None:
    everybody = open_families(PredictOptions(both, device="cpu", family=family)).spade
    assert everybody is not None and everybody.cases is not None
    patient = str(everybody.cases.patients[0])
    rest = open_families(PredictOptions(both, device="cpu", family=family, exclude_patients=(patient,))).spade
    assert rest is not None and rest.cases is not None
    assert set(rest.cases.patients.tolist()) == set(everybody.cases.patients.tolist()) - {patient}


@pytest.mark.parametrize("family", ["haiku", "spade", "auto"])
def test_a_patient_of_either_family_can_be_excluded_from_any(both: Path, family: str) -> None:
    """Where the asked family has nothing of a patient, nothing changes; a name that nobody bears is refused."""
    everybody = open_families(PredictOptions(both, device="cpu"))
    assert everybody.haiku is not None and everybody.haiku.cases is not None
    assert everybody.spade is not None and everybody.spade.cases is not None
    proteins, genes = everybody.haiku.atlas.patients, everybody.spade.atlas.patients
    held = (proteins, everybody.haiku.cases.patients, genes, everybody.spade.cases.patients)
    for patient in {str(names[0]) for names in held}:
        found = open_families(PredictOptions(both, device="cpu", family=family, exclude_patients=(patient,)))
        for model, names in ((found.haiku, proteins), (found.spade, genes)):
            assert model is None or (model.allowed is not None and np.array_equal(model.allowed, names != patient))
    with pytest.raises(UsageError, match=r"1 of the patients .* not in the bundle"):
        open_families(PredictOptions(both, device="cpu", family=family, exclude_patients=(str(genes[0]), "nobody")))


def test_a_patient_of_the_spots_can_be_excluded_where_proteins_are_asked(both: Path) -> None:
    bundle = open_bundle(both)
    patient = str(open_atlas(bundle, bundle.manifest.need_spade().atlas).patients[0])
    assert patient not in open_atlas(bundle).patients
    assert open_gallery(bundle, "mif", (patient,)).search(open_atlas(bundle).vectors[0], 1)[0].tolist() == [0]
    assert open_model(PredictOptions(both, device="cpu", exclude_patients=(patient,))).allowed is not None


def test_no_student_learns_from_whom_the_genes_are_calibrated_by(both: Path) -> None:
    bundle = open_bundle(both)
    proteins = set(calibration_patients(open_bundle(EMBEDDED)))
    spade = open_families(PredictOptions(both, device="cpu", family="spade")).spade
    assert spade is not None and spade.cases is not None
    assert calibration_patients(bundle) == proteins | set(spade.cases.patients.tolist()) > proteins


class _TurnedExperts:
    """An engine whose embedding is right, and whose experts have changed places."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.device = engine, engine.device

    def __call__(self, **inputs: NDArray[Any]) -> NDArray[np.float32]:
        output = self.engine(**inputs)
        return np.concatenate([output[:, :WIDTH], output[:, : WIDTH - 1 : -1]], axis=1)


def test_the_gate_looks_at_the_experts_too(alone: Path) -> None:
    bundle = open_bundle(alone)
    engine = open_tower(bundle, bundle.manifest.need_spade().tower, device="cpu", strict=True)
    golden = GoldenCases(bundle)
    assert judge_engine(engine, golden, "spade", batches=(1, 8)).equals_fp32
    turned = judge_engine(_TurnedExperts(engine), golden, "spade", batches=(1, 8))  # type: ignore[arg-type]
    assert not turned.passed
    assert "goes to other experts" in turned.reason
    assert turned.least_cosine > 0.99999
