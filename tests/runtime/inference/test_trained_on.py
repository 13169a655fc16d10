"""A bundle whose towers learned from a calibration patient is refused; from an evidence patient, it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from haiku_edge.cli.bundle import run_info
from haiku_edge.export.trained_on import training_part
from haiku_edge.runtime.atlas import open_atlas
from haiku_edge.runtime.bundle import KnownPatients, open_bundle
from haiku_edge.runtime.errors import BundleContentError
from haiku_edge.runtime.inference import PredictOptions, open_model, read_cases
from tests.runtime.inference.bundles import rewrite


def _trained_on(folder: Path, known: KnownPatients) -> Path:
    """The embedded bundle, said to have learned from these patients."""
    section, files = training_part(known)
    return rewrite(folder, files, schema_version="1.2", training=section)


@pytest.fixture(scope="module")
def patients() -> dict[str, str]:
    """One patient of each part of the embedded bundle."""
    bundle = open_bundle()
    atlas = open_atlas(bundle, index="exact")
    return {"evidence": str(atlas.patients[0]), "calibration": str(read_cases(bundle, atlas).patients[0])}


@pytest.mark.parametrize("how", ["train", "held_out"])
def test_a_calibration_patient_whom_the_towers_know_is_refused(
    how: str, patients: dict[str, str], tmp_path: Path
) -> None:
    names = {"train": ["somebody"], "held_out": ["somebody else"]}
    names[how].append(patients["calibration"])
    folder = _trained_on(tmp_path / "b", KnownPatients.of_names(**names))
    with pytest.raises(BundleContentError, match="1 calibration patients") as refused:
        open_model(PredictOptions(bundle=folder))
    assert patients["calibration"] not in str(refused.value)


def test_an_evidence_patient_may_be_known(
    patients: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = KnownPatients.of_names([patients["evidence"], "somebody"], ["somebody else"])
    folder = _trained_on(tmp_path / "b", known)
    assert open_model(PredictOptions(bundle=folder)).cases is not None
    run_info(folder, as_json=False)
    assert "2 patients, judged by 1 more" in capsys.readouterr().out


def test_of_whom_a_bundle_learned_may_not_be_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_info(rewrite(tmp_path / "published", training=None), as_json=False)
    assert "not known" in capsys.readouterr().out
    run_info(_trained_on(tmp_path / "tuned", KnownPatients(train=("0" * 64,))), as_json=False)
    words = " ".join(capsys.readouterr().out.split())
    assert "1 patients, judged by 0 more; and others, who are not known" in words
