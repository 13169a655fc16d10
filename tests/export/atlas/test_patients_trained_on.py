"""Whom the towers learned from may be evidence, said aloud, but never calibrates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from haiku_edge.export.atlas.add import AddSettings, add_to_bundle
from haiku_edge.export.atlas.verify import atlas_info, verify_atlas
from haiku_edge.export.dataset import PatchDataset, PatchSample, open_dataset, write_dataset
from haiku_edge.export.trained_on import training_part
from haiku_edge.runtime.atlas import open_atlas
from haiku_edge.runtime.bundle import Bundle, KnownPatients, open_bundle, read_known_patients
from haiku_edge.runtime.errors import CohortError
from haiku_edge.runtime.inference import Silent, read_cases
from tests.runtime.inference.bundles import rewrite

PANEL = ("DAPI", "CD8", "PanCK")
NAMES = [f"Q{number:02d}" for number in range(12)]


class Lines(Silent):
    """A progress that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def dataset(path: Path, roles: Mapping[str, str] | None = None) -> PatchDataset:
    """Twelve patients with a patch of noise each."""
    rng = np.random.default_rng(0)
    made = [
        PatchSample(
            patch=f"{name}-1",
            region=f"{name}-S",
            patient=name,
            he=rng.integers(0, 256, (256, 256, 3), np.uint8),
            mif=rng.integers(0, 256, (3, 256, 256), np.uint8),
            markers=PANEL,
        )
        for name in NAMES
    ]
    write_dataset(path, made, name="noise", markers=PANEL, mpp=0.5, made={}, roles=roles)
    return open_dataset(path)


def bare(folder: Path, known: KnownPatients) -> Bundle:
    """The embedded towers without evidence, said to have learned from these patients."""
    section, files = training_part(known)
    return open_bundle(rewrite(folder, files, atlas=None, calibration=None, schema_version="1.2", training=section))


def added(bundle: Bundle, patches: PatchDataset, out: Path) -> tuple[Bundle, list[str]]:
    told = Lines()
    add_to_bundle(bundle, patches, out, AddSettings(threads=1), progress=told)
    return open_bundle(out), told.lines


@pytest.mark.parametrize("first", [True, False])
def test_named_calibration_patients_who_were_trained_on_are_refused(first: bool, tmp_path: Path) -> None:
    """In a first atlas, and where one is extended."""
    known = KnownPatients.of_names(["Q03", "Q04"], ["Q05"])
    section, files = training_part(known)
    whole = rewrite(tmp_path / "whole", files, schema_version="1.2", training=section)
    bundle = bare(tmp_path / "bare", known) if first else open_bundle(whole)
    patches = dataset(tmp_path / "d", dict.fromkeys(("Q02", "Q04", "Q05"), "calibration"))
    with pytest.raises(CohortError, match=r"^2 calibration patients of noise .* Q04, Q05\. .*role 'atlas'"):
        add_to_bundle(bundle, patches, tmp_path / "out", AddSettings(threads=1))
    assert not (tmp_path / "out").exists()


def test_the_draw_passes_over_patients_who_were_trained_on(tmp_path: Path) -> None:
    bundle = bare(tmp_path / "b", KnownPatients.of_names(NAMES[:9]))
    made, lines = added(bundle, dataset(tmp_path / "d"), tmp_path / "out")
    assert set(read_cases(made, open_atlas(made)).patients.tolist()) == set(NAMES[9:])
    assert "9 of 9 evidence patients of noise were also trained on." in lines
    assert read_known_patients(made) == read_known_patients(bundle)
    leakage = next(check for check in verify_atlas(tmp_path / "out") if check.name == "leakage")
    assert "none of 3 calibration patients is in the atlas or was trained on" in leakage.finding
    assert "9 of 9 evidence patients were also trained on" in leakage.finding
    info = atlas_info(tmp_path / "out")
    assert (info["training_patients"], info["evidence_patients_trained_on"]) == (9, 9)


def test_where_too_few_are_left_nobody_calibrates(tmp_path: Path) -> None:
    bundle = bare(tmp_path / "b", KnownPatients.of_names(NAMES[:10]))
    made, lines = added(bundle, dataset(tmp_path / "d"), tmp_path / "out")
    assert made.manifest.calibration is None and made.manifest.need_atlas().patient_count == 12
    assert any(line.startswith("With 2 patients that the towers did not learn from") for line in lines)


def test_test_patients_who_were_trained_on_are_counted_aloud(tmp_path: Path) -> None:
    bundle = bare(tmp_path / "b", KnownPatients.of_names(["Q00", "Q01"]))
    roles = {"Q00": "test", "Q01": "atlas", "Q02": "calibration"}
    _, lines = added(bundle, dataset(tmp_path / "d", roles), tmp_path / "out")
    assert "1 test patients of noise were also trained on, so figures on them are too good." in lines
    assert "1 of 10 evidence patients of noise were also trained on." in lines


def test_of_a_bundle_that_does_not_say_it_is_said(tmp_path: Path) -> None:
    added(bare(tmp_path / "b", KnownPatients()), dataset(tmp_path / "d"), tmp_path / "out")
    leakage = next(check for check in verify_atlas(tmp_path / "out") if check.name == "leakage")
    assert "whom the towers learned from is not known" in leakage.finding
    assert atlas_info(tmp_path / "out")["training_patients"] is None
