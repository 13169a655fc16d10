"""From patches on disk to vectors, to an atlas, and into a bundle: with the embedded bundle's own towers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from haiku_edge.export.atlas import atlas_from_dataset
from haiku_edge.export.atlas.add import AddSettings, add_to_bundle
from haiku_edge.export.atlas.from_dataset import split_patients
from haiku_edge.export.atlas.from_simulator import dataset_from_simulator, section_samples
from haiku_edge.export.atlas.verify import atlas_info, verify_atlas
from haiku_edge.export.bundle import write_bundle
from haiku_edge.export.cohort import Section
from haiku_edge.export.dataset import FolderDataset, PatchSample, open_dataset, write_dataset
from haiku_edge.export.embedding import embed_dataset
from haiku_edge.export.evaluation.embedded_cohort import EmbeddedCohort, read_cohort, write_cohort
from haiku_edge.export.synthetic import MARKERS, MPP, Patient, patches, render_region, simulate_cohort
from haiku_edge.runtime.atlas import open_atlas
from haiku_edge.runtime.bundle import Bundle, Description, open_bundle
from haiku_edge.runtime.engine import plain_engine
from haiku_edge.runtime.errors import CohortError, PanelError, PatchShapeError, UnreadableDatasetError
from haiku_edge.runtime.inference import Silent, read_cases
from haiku_edge.runtime.notes import Tokenizer, metadata_prompt

Sections = list[tuple[Patient, Section]]
PATIENTS = 11
EVIDENCE = 11
"""Patches of the patients who don't calibrate: two have two, seven have one."""


@pytest.fixture(scope="module")
def sections() -> Sections:
    """Two patches of each of two patients who are in no bundle, and one of each of the others."""
    made = []
    for number, patient in enumerate(simulate_cohort(PATIENTS, seed=4177)):
        name = f"X{number:03d}"
        own = replace(patient, identifier=name, section=f"{name}-S1")
        cut = patches(render_region(own, 512 if number < 2 else 256, 256))
        nowhere = np.full_like(cut.expression, np.nan)
        expression = np.where(cut.measured, cut.expression, np.nan).astype(np.float32)
        made.append((own, Section(cut.he, cut.mif, expression, nowhere, nowhere, cut.origins)))
    return made


@pytest.fixture(scope="module")
def folder(sections: Sections, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sections as an atlas folder; the last two patients calibrate."""
    path = tmp_path_factory.mktemp("simulated") / "folder"
    dataset_from_simulator(path, {"": sections[:-2], "calibration": sections[-2:]})
    return path


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return open_bundle()


@pytest.fixture(scope="module")
def cohort(bundle: Bundle, folder: Path) -> EmbeddedCohort:
    return embed_dataset(bundle, open_dataset(folder), threads=1)


@pytest.fixture
def bare(bundle: Bundle, tmp_path: Path) -> Bundle:
    """The embedded bundle's towers without any evidence."""
    manifest = bundle.manifest
    description = Description.model_validate_json(manifest.model_dump_json(exclude={"files"}))
    assert manifest.atlas is not None
    assert manifest.calibration is not None
    contents = {
        name: bundle.read(name)
        for name in manifest.files
        if not name.startswith("atlas/") and name != manifest.calibration.file
    }
    write_bundle(tmp_path / "bare", description.model_copy(update={"atlas": None, "calibration": None}), contents)
    return open_bundle(tmp_path / "bare")


class Lines(Silent):
    """A progress that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_vectors_are_those_of_the_towers_one_patch_at_a_time(
    bundle: Bundle, sections: Sections, cohort: EmbeddedCohort
) -> None:
    manifest = bundle.manifest
    text, mif_tower = manifest.need_text(), manifest.need_mif()
    he = plain_engine(bundle.read(manifest.he.file), threads=1)
    mif = plain_engine(bundle.read(mif_tower.file), threads=1)
    notes = plain_engine(bundle.read(text.file), threads=1)
    tokenizer = Tokenizer.from_bytes(bundle.read(text.tokenizer), text.max_length)
    row = 0
    for patient, section in sections:
        known = {key: value for key, value in patient.facts.items() if not key.startswith("survival")}
        tokens = tokenizer.encode(metadata_prompt(tuple(known.items())))
        told = notes(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)[0]
        rows = np.array([[mif_tower.markers.index(marker) + 1 for marker in patient.panel]])
        channels = [MARKERS.index(marker) for marker in patient.panel]
        for number in range(len(section.he)):
            seen = mif(patches=np.ascontiguousarray(section.mif[number : number + 1, channels]), markers=rows)[0]
            np.testing.assert_allclose(cohort.vectors["mif"][row], seen, atol=1e-5)
            np.testing.assert_allclose(
                cohort.vectors["he"][row], he(tiles=section.he[number : number + 1])[0], atol=1e-5
            )
            np.testing.assert_allclose(cohort.vectors["text"][row], told, atol=1e-6)
            np.testing.assert_allclose(cohort.expression[row], section.expression[number], rtol=1e-5)
            assert (cohort.x[row], cohort.y[row]) == tuple(section.origins[number] * MPP)
            row += 1
    assert row == len(cohort)
    assert cohort.side == 256 * MPP
    assert cohort.facts["X000"] == sections[0][0].facts


def test_captions_are_embedded_where_every_patch_has_one(bundle: Bundle, sections: Sections, tmp_path: Path) -> None:
    dataset_from_simulator(tmp_path / "d", {"": sections[:2]})
    dataset = open_dataset(tmp_path / "d")
    vectors = embed_dataset(bundle, dataset, threads=1, modalities=("caption",)).vectors["caption"]
    text = bundle.manifest.need_text()
    tokenizer = Tokenizer.from_bytes(bundle.read(text.tokenizer), text.max_length)
    engine = plain_engine(bundle.read(text.file), threads=1)
    for sample, vector in zip(dataset, vectors, strict=True):
        assert sample.caption is not None
        tokens = tokenizer.encode(sample.caption)
        alone = engine(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)[0]
        np.testing.assert_allclose(vector, alone, atol=1e-6)


def test_a_cohort_survives_its_file(cohort: EmbeddedCohort, tmp_path: Path) -> None:
    write_cohort(tmp_path / "cohort.parquet", cohort)
    read = read_cohort(tmp_path / "cohort.parquet")
    assert read.patches.tolist() == cohort.patches.tolist()
    np.testing.assert_array_equal(read.vectors["mif"], cohort.vectors["mif"])


def test_notes_vectors_do_not_know_the_outcome_unless_they_are_let(
    bundle: Bundle, sections: Sections, tmp_path: Path
) -> None:
    patient, section = sections[0]
    other = replace(patient, facts={**patient.facts, "survival": "1 months", "survival_status": "dead"})
    twin = replace(other, identifier="Y", section="Y-S1")
    dataset_from_simulator(tmp_path / "d", {"": [(patient, section), (twin, section)]})
    dataset = open_dataset(tmp_path / "d")
    text = embed_dataset(bundle, dataset, threads=1, modalities=("text",)).vectors["text"]
    np.testing.assert_array_equal(text[0], text[2])
    told = embed_dataset(bundle, dataset, threads=1, modalities=("text",), outcomes=True).vectors["text"]
    assert not np.array_equal(told[0], told[2])


def small(path: Path, made: list[PatchSample], *, mpp: float = MPP) -> FolderDataset:
    markers = tuple(dict.fromkeys(marker for sample in made for marker in sample.markers))
    write_dataset(path, made, name="small", markers=markers, mpp=mpp, made={})
    dataset = open_dataset(path)
    assert isinstance(dataset, FolderDataset)
    return dataset


def test_markers_that_the_tower_does_not_know_are_refused_or_dropped_aloud(
    bundle: Bundle, sections: Sections, tmp_path: Path
) -> None:
    made = [replace(sample, markers=("CD138", *sample.markers[1:])) for sample in section_samples(*sections[0])]
    dataset = small(tmp_path / "d", made)
    with pytest.raises(PanelError, match="CD138"):
        embed_dataset(bundle, dataset, threads=1)
    told = Lines()
    cohort = embed_dataset(bundle, dataset, told, threads=1, drop_unknown=True, modalities=("mif",))
    assert any("CD138" in line for line in told.lines)
    assert "CD138" not in cohort.markers
    without = [
        replace(sample, markers=sample.markers[1:], mif=None if sample.mif is None else sample.mif[1:])
        for sample in made
    ]
    alone = embed_dataset(bundle, small(tmp_path / "w", without), threads=1, modalities=("mif",))
    np.testing.assert_allclose(cohort.vectors["mif"], alone.vectors["mif"], atol=1e-6)


def test_patches_of_another_scale_are_refused(bundle: Bundle, sections: Sections, tmp_path: Path) -> None:
    dataset = small(tmp_path / "d", list(section_samples(*sections[0])), mpp=0.3775)
    with pytest.raises(PatchShapeError, match=r"--mpp 0\.5"):
        embed_dataset(bundle, dataset, threads=1)
    assert len(embed_dataset(bundle, dataset, threads=1, any_mpp=True, modalities=("he",)))


def test_a_modality_that_some_patches_lack_is_left_out_aloud(
    bundle: Bundle, sections: Sections, tmp_path: Path
) -> None:
    made = list(section_samples(*sections[0]))
    told = Lines()
    dataset = small(tmp_path / "d", [made[0], replace(made[1], he=None, caption=None)])
    cohort = embed_dataset(bundle, dataset, told, threads=1)
    assert set(cohort.vectors) == {"mif", "text"}
    assert sum("Some patches have no" in line for line in told.lines) == 2


def test_regions_of_a_patient_that_contradict_each_other_lose_that_fact(
    bundle: Bundle, sections: Sections, tmp_path: Path
) -> None:
    made = list(section_samples(*sections[0]))
    other = replace(made[1], region="second", facts={**made[1].facts, "type": "another"})
    cohort = embed_dataset(bundle, small(tmp_path / "d", [made[0], other]), threads=1, modalities=("he",))
    expected = {key: value for key, value in made[0].facts.items() if key != "type"}
    assert cohort.facts == {made[0].patient: expected}


def test_the_named_patients_calibrate_and_are_not_evidence(folder: Path, cohort: EmbeddedCohort) -> None:
    dataset = open_dataset(folder)
    parts = atlas_from_dataset(dataset, cohort)
    assert parts.section.patient_count == PATIENTS - 2
    assert parts.calibration is not None
    assert (parts.calibration.patients, parts.calibration.cases) == (2, 2)


def test_whole_patients_are_drawn_where_nobody_is_named(
    cohort: EmbeddedCohort, sections: Sections, tmp_path: Path
) -> None:
    dataset_from_simulator(tmp_path / "d", {"": sections})
    dataset = open_dataset(tmp_path / "d")
    drawn = [split_patients(dataset, cohort, seed=seed, share=0.3) for seed in (0, 0, 1)]
    for split in drawn:
        evidence, calibration = (set(cohort.patients[part].tolist()) for part in (split.atlas, split.calibration))
        assert len(calibration) == round(0.3 * PATIENTS)
        assert evidence | calibration == set(cohort.patients.tolist())
        assert not evidence & calibration
    np.testing.assert_array_equal(drawn[0].calibration, drawn[1].calibration)
    assert not np.array_equal(drawn[0].calibration, drawn[2].calibration)


def test_with_few_patients_nobody_calibrates_and_it_is_said(
    cohort: EmbeddedCohort, sections: Sections, tmp_path: Path
) -> None:
    few = small(tmp_path / "few", [sample for pair in sections[:9] for sample in section_samples(*pair)])
    parts = atlas_from_dataset(few, cohort.select(np.arange(EVIDENCE)))
    assert parts.calibration is None
    assert "none of them is set aside for calibration" in parts.remarks[0]


def test_an_atlas_needs_evidence(bundle: Bundle, sections: Sections, tmp_path: Path) -> None:
    dataset_from_simulator(tmp_path / "d", {"test": sections[:1]})
    dataset = open_dataset(tmp_path / "d")
    with pytest.raises(CohortError, match="evidence"):
        atlas_from_dataset(dataset, embed_dataset(bundle, dataset, threads=1, modalities=("mif", "he")))


def test_a_bundle_without_evidence_gets_an_atlas_that_verifies(
    bare: Bundle, folder: Path, cohort: EmbeddedCohort, tmp_path: Path
) -> None:
    manifest = add_to_bundle(bare, open_dataset(folder), tmp_path / "out", AddSettings(threads=1))
    made = open_bundle(tmp_path / "out")
    atlas = open_atlas(made)
    evidence = cohort.select(np.arange(EVIDENCE))
    assert atlas.patches.tolist() == evidence.patches.tolist()
    np.testing.assert_array_equal(atlas.expression, evidence.expression)
    assert {patient: dict(own) for patient, own in atlas.facts.items()} == evidence.facts
    cases = read_cases(made, atlas)
    assert cases is not None
    assert set(cases.patients.tolist()) == {"X009", "X010"}
    assert manifest.he == bare.manifest.he
    assert all(check.passed for check in verify_atlas(tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_bundle_without_a_text_tower_gets_an_atlas_too(bare: Bundle, folder: Path, tmp_path: Path) -> None:
    description = Description.model_validate_json(bare.manifest.model_dump_json(exclude={"files"}))
    text = bare.manifest.need_text()
    contents = {name: bare.read(name) for name in bare.manifest.files if name not in (text.file, text.tokenizer)}
    write_bundle(tmp_path / "two", description.model_copy(update={"text": None, "heads": ()}), contents)
    add_to_bundle(open_bundle(tmp_path / "two"), open_dataset(folder), tmp_path / "out", AddSettings(threads=1))
    made = open_bundle(tmp_path / "out")
    cases = read_cases(made, open_atlas(made))
    assert cases is not None
    assert cases.text is None
    assert set(cases.patients.tolist()) == {"X009", "X010"}


def test_an_extended_atlas_keeps_the_old_patches_and_finds_the_new(
    bundle: Bundle, folder: Path, cohort: EmbeddedCohort, tmp_path: Path
) -> None:
    before = open_atlas(bundle)
    add_to_bundle(bundle, open_dataset(folder), tmp_path / "out", AddSettings(threads=1))
    made = open_bundle(tmp_path / "out")
    after = open_atlas(made)
    old, new = len(before.patches), EVIDENCE
    assert len(after.patches) == old + new
    np.testing.assert_array_equal(after.vectors[:old], before.vectors)
    np.testing.assert_array_equal(after.expression[:old], before.expression)
    for row in (0, old - 1):
        assert after.pictures.composite(row) == before.pictures.composite(row)
        assert after.pictures.legend(row) == before.pictures.legend(row)
    found = after.index.search(cohort.vectors["mif"][:new], 1).ids[:, 0]
    assert found.tolist() == list(range(old, old + new))
    cases, earlier = read_cases(made, after), read_cases(bundle, before)
    assert cases is not None
    assert earlier is not None
    assert set(cases.patients.tolist()) - set(earlier.patients.tolist()) == {"X009", "X010"}
    assert all(check.passed for check in verify_atlas(tmp_path / "out"))
    info = atlas_info(tmp_path / "out")
    assert f"{new} patches of simulated were added" in info["statement"]
    assert (info["patches"], info["calibration_patients"]) == (old + new, len(set(cases.patients.tolist())))
    with pytest.raises(CohortError, match="already"):
        add_to_bundle(made, open_dataset(folder), tmp_path / "again", AddSettings(threads=1))
    assert not (tmp_path / "again").exists()


def test_a_new_marker_is_not_measured_in_the_old_patches(
    bundle: Bundle, bare: Bundle, sections: Sections, tmp_path: Path
) -> None:
    narrow = [
        replace(sample, markers=sample.markers[:2], mif=None if sample.mif is None else sample.mif[:2])
        for sample in section_samples(*sections[0])
    ]
    small(tmp_path / "narrow", narrow)
    small(tmp_path / "wide", list(section_samples(*sections[1])))
    first = add_to_bundle(bare, open_dataset(tmp_path / "narrow"), tmp_path / "first", AddSettings(threads=1))
    assert first.need_atlas().markers == narrow[0].markers
    add_to_bundle(
        open_bundle(tmp_path / "first"), open_dataset(tmp_path / "wide"), tmp_path / "b", AddSettings(threads=1)
    )
    atlas = open_atlas(open_bundle(tmp_path / "b"))
    assert atlas.markers[:2] == narrow[0].markers
    assert set(atlas.markers) == set(sections[1][0].panel) | set(narrow[0].markers)
    assert np.isnan(atlas.expression[:2, 2:]).all()
    assert atlas.pictures.channels(0) == narrow[0].markers
    assert set(atlas.pictures.channels(2)) == set(sections[1][0].panel)


def test_a_name_that_looks_like_an_identifier_is_said_before_the_patches_are_embedded(
    bare: Bundle, sections: Sections, tmp_path: Path
) -> None:
    lines = Lines()
    made = [replace(sample, patient="MRN12345678") for sample in section_samples(*sections[0])]
    add_to_bundle(bare, small(tmp_path / "d", made), tmp_path / "out", AddSettings(threads=1), progress=lines)
    assert "Names of patients look as if they held an identifier" in lines.lines[0]
    assert not any("12345678" in line for line in lines.lines)


@pytest.mark.parametrize("damage", ["means", "roles"])
def test_verify_sees_what_does_not_fit(folder: Path, tmp_path: Path, damage: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    copy = tmp_path / "d"
    shutil.copytree(folder, copy)
    assert all(check.passed for check in verify_atlas(copy))
    table = pq.read_table(copy / "patches.parquet")
    changes: dict[str, Callable[[], pa.Table]] = {
        "means": lambda: table.set_column(
            table.column_names.index("expression"), "expression", table["positive"].combine_chunks()
        ),
        "roles": lambda: table.set_column(
            table.column_names.index("role"), "role", pa.array(["test", *table["role"].to_pylist()[1:]])
        ),
    }
    pq.write_table(changes[damage](), copy / "patches.parquet")
    if damage == "roles":
        with pytest.raises(UnreadableDatasetError, match="two roles"):
            verify_atlas(copy)
    else:
        assert [check.name for check in verify_atlas(copy) if not check.passed] == ["means"]
