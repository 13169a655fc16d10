"""A student comes closer to its teacher on patients that it did not see, and no patient is on both sides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from haiku_edge.export.distill import DistillLoss, Options, distill, relational_divergence
from haiku_edge.export.distill.agreement import pearson
from haiku_edge.export.distill.attach import check_place
from haiku_edge.export.distill.learner import Distiller, Views, ViewSource
from haiku_edge.export.distill.run import open_teacher
from haiku_edge.export.distill.sources import draw_held_out, evenly, split_groups
from haiku_edge.export.distill.views import embed, views_of
from haiku_edge.export.model import KINDS, build_student, read_student, save_student, student_config
from haiku_edge.export.model.mobile import MobileConfig
from haiku_edge.export.model.student import StudentConfig
from haiku_edge.export.training import LoopSettings, Progress, Schedule, fit
from haiku_edge.runtime.bundle import Bundle, open_bundle, read_known_patients
from haiku_edge.runtime.engine import plain_engine
from haiku_edge.runtime.errors import CohortError, OutputExistsError, UnreadableDatasetError, UsageError
from haiku_edge.runtime.inference.gate import judge, run_golden
from haiku_edge.runtime.inference.golden import GoldenCases
from tests.export.distill.painted_tiles import painted_groups, plain_groups
from tests.runtime.inference.bundles import rewrite

QUICK = Options("mobile", "embedded", steps=60, batch=16, views=2, rate=4e-3, held_out=0.25)
PATIENTS = 8


def units(rng: np.random.Generator, count: int, width: int = 12) -> np.ndarray:
    vectors = rng.normal(size=(count, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_the_relation_is_the_divergence_of_what_both_see_in_the_atlas() -> None:
    rng = np.random.default_rng(0)
    student, teacher, atlas = units(rng, 4), units(rng, 4), units(rng, 9)
    want = []
    for got, taught in zip(student.astype(float), teacher.astype(float), strict=True):
        p, q = (np.exp(vector @ atlas.T / 0.2) for vector in (taught, got))
        p, q = p / p.sum(), q / q.sum()
        want.append(np.sum(p * np.log(p / q)))
    tensors = [torch.from_numpy(array) for array in (student, teacher, atlas)]
    assert float(relational_divergence(*tensors, 0.2)) == pytest.approx(np.mean(want), rel=1e-4)
    cosine = np.mean(np.sum(student * teacher, axis=1))
    whole = DistillLoss(temperature=0.2, relation=0.5)
    assert float(whole(*tensors)) == pytest.approx(1 - cosine + 0.5 * np.mean(want), rel=1e-4)
    assert float(whole(tensors[0], tensors[1], None)) == pytest.approx(1 - cosine, rel=1e-4)


def test_a_student_that_is_its_teacher_loses_nothing() -> None:
    rng = np.random.default_rng(1)
    same, atlas = torch.from_numpy(units(rng, 5)), torch.from_numpy(units(rng, 7))
    assert float(DistillLoss()(same, same, atlas)) == pytest.approx(0, abs=1e-5)


@given(names=st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=20), seed=st.integers(0, 99))
def test_no_patient_is_learned_from_and_measured_on(names: list[str], seed: int) -> None:
    if len(set(names)) < 2:
        names = [*names, "another"]
    groups = plain_groups(*names)
    learned, held_out = split_groups(groups, draw_held_out(groups, 0.3, seed))
    assert learned and held_out and len(learned) + len(held_out) == len(groups)
    assert not {group.patient for group in learned} & {group.patient for group in held_out}


def test_one_patient_or_none_is_refused() -> None:
    with pytest.raises(CohortError, match="one slide or patient"):
        draw_held_out(plain_groups("a", "a"), 0.1, 0)
    with pytest.raises(UnreadableDatasetError, match="No H&E tile"):
        draw_held_out((), 0.1, 0)


def test_tiles_are_thinned_evenly() -> None:
    assert evenly(5, 10).tolist() == [0, 1, 2, 3, 4]
    assert evenly(100, 3).tolist() == [0, 50, 99]


def test_the_first_view_is_the_tile_and_the_others_keep_their_tissue() -> None:
    (group,) = painted_groups(1)
    first, second, third = views_of(group, 3, seed=4)
    assert (first.read() == group.read()).all() and len({first.key, second.key, third.key}) == 3
    again = list(views_of(group, 3, seed=4))[1]
    assert (again.read() == second.read()).all() and not (second.read() == third.read()).all()
    assert abs(second.read().mean() - group.read().mean()) < 30 and second.read().dtype == np.uint8


def test_correlations_pass_over_what_was_not_measured() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(2, 20, 3)).astype(np.float32)
    second[::2, 1], second[:, 2] = np.nan, 1.0
    found = pearson(first, second)
    assert found[0] == pytest.approx(np.corrcoef(first[:, 0], second[:, 0])[0, 1])
    assert found[1] == pytest.approx(np.corrcoef(first[1::2, 1], second[1::2, 1])[0, 1])
    assert np.isnan(found[2])


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_reads_back_as_it_was(kind: str, tmp_path: Path) -> None:
    config = student_config(kind, "embedded", 256, 16)
    tower = build_student(config, seed=3).eval()
    save_student(config, tower, tmp_path)
    tiles = torch.randint(0, 256, (2, 256, 256, 3), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(read_student(tmp_path)(tiles), tower(tiles))


def test_the_published_vit_has_the_size_of_a_vit_s() -> None:
    parameters = sum(
        own.numel() for own in build_student(student_config("vit-s", "published", 256, 384), 0).parameters()
    )
    assert 21e6 < parameters < 23e6


def test_a_tile_that_can_not_be_averaged_down_is_taken_as_it_is() -> None:
    assert student_config("mobile", "embedded", 256, 8).sizes.side == 128
    assert student_config("mobile", "embedded", 200, 8).sizes.side == 200


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The embedded bundle with a student of a few steps."""
    folder = tmp_path_factory.mktemp("distilled")
    distill(open_bundle(None), painted_groups(PATIENTS), folder / "bundle", folder / "work", QUICK)
    assert not (folder / "work" / "run").exists() and list((folder / "work" / "cache").iterdir())
    return open_bundle(folder / "bundle")


def test_a_student_comes_closer_to_its_teacher_on_patients_that_it_did_not_see(distilled: Bundle) -> None:
    groups = painted_groups(PATIENTS)
    held_out = split_groups(groups, draw_held_out(groups, QUICK.held_out, QUICK.seed))[1]
    tiles = np.concatenate([group.read() for group in held_out])
    teacher = embed(open_teacher(distilled).engine, tiles)
    (section,) = distilled.manifest.students
    trained = embed(plain_engine(distilled.read(section.file)), tiles)
    config = student_config("mobile", "embedded", 256, 128)
    with torch.no_grad():
        untrained = build_student(config, QUICK.seed).eval()(torch.from_numpy(tiles)).numpy()
    before, after = ((vectors * teacher).sum(axis=1) for vectors in (untrained, trained))
    assert after.mean() > before.mean() + 0.3
    assert section.agreement.cosine_mean == pytest.approx(after.mean(), abs=1e-3)
    assert section.agreement.cosine_least == pytest.approx(after.min(), abs=1e-3)
    assert (section.agreement.tiles, section.agreement.patients) == (len(tiles), len(held_out))


def test_the_bundle_keeps_all_that_it_had_and_names_whom_the_student_learned_from(distilled: Bundle) -> None:
    before = open_bundle(None)
    changed = {before.manifest.golden.file, "training/patients.json"}
    for name, entry in before.manifest.files.items():
        assert name in changed or distilled.manifest.files[name] == entry
    learned = read_known_patients(distilled).among(f"p{number}" for number in range(PATIENTS))
    agreement = distilled.manifest.students[0].agreement
    assert len(learned) == PATIENTS - agreement.patients and agreement.patients == round(0.25 * PATIENTS)
    assert distilled.manifest.students[0].calibration is None


def test_engines_of_the_student_are_judged_by_its_own_golden_vectors(distilled: Bundle) -> None:
    golden, section = GoldenCases(distilled), distilled.manifest.students[0]
    engine = plain_engine(distilled.read(section.file))
    got = run_golden(engine, golden.inputs(section.name))
    assert judge(got, golden.vectors(section.name), precision="fp32").equals_fp32
    assert not judge(got, golden.vectors("he"), precision="fp32").passed


def learner(steps: int) -> tuple[Distiller, ViewSource]:
    """A small student and what it learns: one view of random pixels, with random vectors."""
    rng = np.random.default_rng(3)
    sizes = MobileConfig(tile=32, side=32, stem=4, stages=(4, 8), depth=1, expansion=2, width=8)
    config = StudentConfig("mobile", 12, sizes)
    settings = LoopSettings(Schedule(steps, 1), check_every=2)
    seen = rng.integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)
    source = ViewSource([Views((seen,), (units(rng, 10),))], size=4, seed=1)
    tower = build_student(config, seed=2)
    return Distiller(config, tower, settings, DistillLoss(), units(rng, 6), torch.device("cpu")), source


def test_a_killed_training_goes_on_to_the_same_student(tmp_path: Path) -> None:
    whole, source = learner(6)
    fit(whole, source)

    def stop(progress: Progress) -> None:
        if progress.step == 4:
            raise KeyboardInterrupt

    killed, source = learner(6)
    with pytest.raises(KeyboardInterrupt):
        fit(killed, source, stop, folder=tmp_path, fingerprint="this")
    resumed, source = learner(6)
    fit(resumed, source, folder=tmp_path, fingerprint="this", resume=True)
    for one, other in zip(whole.tower.state_dict().values(), resumed.tower.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_what_a_stopped_command_left_is_resumed_only_with_the_same_settings(tmp_path: Path) -> None:
    bundle, groups = open_bundle(None), painted_groups(3)
    options = replace(QUICK, steps=2, views=1, batch=4)
    places = tmp_path / "out", tmp_path / "work"

    def stop(line: str) -> None:
        if line.startswith("measuring"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(bundle, groups, *places, options, say=stop)
    with pytest.raises(OutputExistsError, match="--resume"):
        distill(bundle, groups, *places, options)
    with pytest.raises(UsageError, match="other settings"):
        distill(bundle, groups, *places, replace(options, seed=8), resume=True)
    with pytest.raises(KeyboardInterrupt):
        distill(bundle, groups, *places, options, say=stop, resume=True)
    assert not places[0].exists()


@pytest.mark.slow
def test_a_bundle_without_an_atlas_teaches_its_vectors_alone(tmp_path: Path) -> None:
    folder = rewrite(tmp_path / "bare", atlas=None, calibration=None, heads=())
    said: list[str] = []
    options = replace(QUICK, kind="vit-s", steps=2, views=1)
    done = distill(
        open_bundle(folder), painted_groups(2), tmp_path / "out", tmp_path / "work", options, say=said.append
    )
    assert done.student.agreement.neighbour_overlap is None and done.student.kind == "vit-s"
    assert any("no atlas" in line for line in said)


def test_a_bundle_is_not_replaced_unasked(distilled: Bundle, tmp_path: Path) -> None:
    with pytest.raises(OutputExistsError, match="--force"):
        check_place(open_bundle(None), distilled.root, force=False)
    with pytest.raises(UsageError, match="made from"):
        check_place(distilled, distilled.root, force=True)
