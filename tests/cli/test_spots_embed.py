"""`haiku-edge spots embed` and what `evaluate spade` makes of it; `export spade` at the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from haiku_edge.cli.spots_embed import remarks_on_known
from haiku_edge.export.checkpoint import write_known
from haiku_edge.export.checkpoint.spade import read_spade
from haiku_edge.export.evaluation.spade import FEATURES, SPADE, read_spot_cohort
from haiku_edge.export.spatial.features import section_features
from haiku_edge.runtime.bundle import KnownPatients
from tests.conftest import Run
from tests.spade_bundles import encoder, small_checkpoint, small_spots


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Spots and experts."""
    folder = tmp_path_factory.mktemp("embed")
    small_checkpoint(folder / "checkpoint", small_spots("atlas"))
    return folder


def test_spots_are_embedded_by_every_model(haiku_edge: Run, made: Path, tmp_path: Path) -> None:
    dataset, cohort = small_spots("atlas"), tmp_path / "cohort.parquet"
    done = haiku_edge("spots", "embed", dataset.path, "--mixture", f"SPADE={made / 'checkpoint'}", "--out", cohort)
    assert done.returncode == 0, done.stderr
    assert "esearch use only" in done.stdout
    read = read_spot_cohort(cohort)
    assert set(read.vectors) == {FEATURES, SPADE, "SPADE, hard", "SPADE, two experts"} and set(read.keys) == {SPADE}
    section = dataset.sections[0].section
    own = read.sections == section
    features = section_features(dataset, section, encoder(), None)
    assert np.allclose(read.vectors[FEATURES][own], features, atol=1e-5)
    embedding, _ = read_spade(made / "checkpoint").mixture().embed(features)
    assert np.allclose(read.vectors[SPADE][own], embedding, atol=1e-4)
    refused = haiku_edge("spots", "embed", dataset.path, "--mixture", f"SPADE={made / 'checkpoint'}", "--out", cohort)
    assert refused.returncode == 52
    judged = haiku_edge("evaluate", "spade", "expression", cohort)
    assert judged.returncode == 0, judged.stderr
    assert "image features" in judged.stdout


def test_patients_whom_a_mixture_has_seen_are_said(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "checkpoint", tmp_path / "seen")
    write_known(tmp_path / "seen", KnownPatients.of_names(["P1", "P2", "P3"], ["P4"]))
    mixtures = [f"SPADE={made / 'checkpoint'}", f" one expert ={tmp_path / 'seen'}"]
    (remark,) = remarks_on_known(mixtures, {"P1", "P4", "P5"})
    assert remark.startswith("one expert learned from 2 of 3 patients")


@pytest.mark.parametrize("mixtures", [["checkpoint"], ["A=x"], ["SPADE=x", "SPADE=y"], [f"{FEATURES}=x", "SPADE=y"]])
def test_a_mixture_without_a_name_of_its_own_is_refused(
    haiku_edge: Run, made: Path, tmp_path: Path, mixtures: list[str]
) -> None:
    given = [word for text in mixtures for word in ("--mixture", text)]
    done = haiku_edge("spots", "embed", small_spots("atlas").path, *given, "--out", tmp_path / "c.parquet")
    assert done.returncode == 2 and "--mixture" in done.stderr and "Traceback" not in done.stderr


def test_export_tells_what_it_made(haiku_edge: Run, made: Path, tmp_path: Path) -> None:
    atlas, cases = (small_spots(part).path for part in ("atlas", "calibration"))
    names = tmp_path / "genes.txt"
    names.write_text("CD8A\nKRT8\n")
    done = haiku_edge(
        *("export", "spade", made / "checkpoint", "--atlas", atlas, "--calibration", cases, "--genes", names, "--json"),
        *("--out", tmp_path / "bundle"),
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told["search"]) == {"image", "expression"} and told["largest_difference_to_torch"] < 1e-3
    shown = haiku_edge("bundle", "info", tmp_path / "bundle", "--json")
    assert json.loads(shown.stdout)["spade"]["atlas"]["markers"] == ["CD8A", "KRT8"]
    words = haiku_edge("bundle", "info", tmp_path / "bundle").stdout
    assert "measure gene" in words and "expert 1" in words
    assert "atlas  " not in words and "no intervals" not in words
    assert haiku_edge("doctor", "--bundle", tmp_path / "bundle", "--device", "cpu").returncode == 0


def test_a_checkpoint_that_is_none_is_refused(haiku_edge: Run, tmp_path: Path) -> None:
    done = haiku_edge("export", "spade", tmp_path / "nothing", "--out", tmp_path / "bundle")
    assert done.returncode == 71 and "Traceback" not in done.stderr and not (tmp_path / "bundle").exists()
