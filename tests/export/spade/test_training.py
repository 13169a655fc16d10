"""`train spade`, from a dataset of spots to a checkpoint: split by patient, resumed, refused, read again."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from haiku_edge.cli.app import app
from haiku_edge.export.checkpoint import read_known
from haiku_edge.export.checkpoint.spade import read_spade
from haiku_edge.export.spade import read_clusters
from haiku_edge.export.spade.expert_table import open_table
from haiku_edge.export.spade.split import held_out_patients, without
from haiku_edge.export.spade.stage import SpadeOptions, TrainedSpade, train_spade
from haiku_edge.export.spade.training_spots import gather_spots, table_of, write_tables
from haiku_edge.export.spatial import DatasetSection, log_normalise, open_spots
from haiku_edge.export.training.loop import STATE_FILE
from haiku_edge.runtime.bundle.known import patient_digest
from haiku_edge.runtime.errors import (
    CheckpointIncompleteError,
    CohortError,
    DatasetError,
    HaikuEdgeError,
    OutputExistsError,
    UsageError,
)
from haiku_edge.runtime.inference.progress import Silent

from .planted_spots import GENES, PATIENTS, SPOTS, Colours, write

OPTIONS = SpadeOptions(experts=2, per_organ=4, least_spots=10, epochs=4, batch=16, workers=1, device="cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "spots").path


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedSpade:
    return train_spade(data, Colours(), tmp_path_factory.mktemp("run") / "run", OPTIONS)


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class _StopAt(Silent):
    """Presses Ctrl-C when a line is said that begins so."""

    def __init__(self, line: str) -> None:
        self._line = line

    def say(self, line: str) -> None:
        """Stop at the line."""
        if line.startswith(self._line):
            raise KeyboardInterrupt


def test_a_training_ends_as_a_checkpoint_that_embeds_tiles(data: Path, trained: TrainedSpade) -> None:
    checkpoint, dataset = read_spade(trained.checkpoint), open_spots(data)
    assert checkpoint.genes == GENES and checkpoint.encoder == Colours.digest
    assert checkpoint.config.experts == 2 and checkpoint.centroids.shape == (8, 12)
    assert checkpoint.about["counts"] == "raw" and checkpoint.about["tile"] == {"size": 16, "mpp": 0.5}
    cohort = gather_spots(dataset, Colours(), trained.checkpoint.parent / "features", seed=0)
    embedding, weights = checkpoint.mixture().embed(np.array(cohort.features(cohort.sections[0])))
    assert embedding.shape == (SPOTS, 256) and np.allclose(weights.sum(1), 1)
    clusters = read_clusters(trained.checkpoint.parent / "clusters.npz")
    assert clusters.digest == checkpoint.clustering
    hard = clusters.expert_of_spots(cohort.features(cohort.sections[0]), cohort.sections[0].organ)
    assert (weights.argmax(1) == hard).mean() > 0.9 and trained.routed_alike > 0.9


def test_spots_and_images_find_each_other_better_than_by_chance(data: Path, tmp_path: Path) -> None:
    done = train_spade(data, Colours(), tmp_path / "run", replace(OPTIONS, epochs=20))
    checkpoint, dataset = read_spade(done.checkpoint), open_spots(data)
    cohort = gather_spots(dataset, Colours(), tmp_path / "run/features", seed=0)
    mixture = checkpoint.mixture(spots=True)
    for section in cohort.sections:
        if section.patient not in cohort.judges:
            continue
        features = torch.from_numpy(np.array(cohort.features(section)))
        counts = torch.from_numpy(dataset.read(section.section).counts.toarray())
        with torch.no_grad():
            images, _ = mixture(features)
            alike = mixture.embed_spots(features, counts) @ images.t()
        better = (alike > alike.diagonal()[:, None]).float().mean(1)
        assert better.median() < 0.25  # by chance a half


def test_the_run_says_whom_it_has_seen_and_no_name(data: Path, trained: TrainedSpade) -> None:
    known, run = read_known(trained.checkpoint), trained.checkpoint.parent
    judges = held_out_patients(open_spots(data).sections, OPTIONS.seed)
    assert known.held_out == tuple(sorted(map(patient_digest, judges)))
    assert {*known.train, *known.held_out} == {patient_digest(patient) for patient, _ in PATIENTS}
    text = (run / "run.json").read_text() + (trained.checkpoint / "spade.json").read_text()
    assert not any(f'"{patient}"' in text for patient, _ in PATIENTS)
    outcome = json.loads((run / "run.json").read_text())["outcome"]
    assert sum(own["spots"] + own["held_out"] for own in outcome["experts"]) == len(PATIENTS) * SPOTS
    assert sum(own["held_out"] for own in outcome["experts"]) == len(judges) * SPOTS
    assert not (run / "tables").exists() and (run / "elbow.svg").exists()


@pytest.mark.parametrize("line", ["training", "expert 1"])
def test_a_stopped_training_resumes_to_the_same_checkpoint_byte_for_byte(
    data: Path, trained: TrainedSpade, tmp_path: Path, line: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_spade(data, Colours(), tmp_path / "run", OPTIONS, _StopAt(line))
    state = tmp_path / "run/experts/00" / STATE_FILE
    assert state.exists() == (line == "expert 1") and not (tmp_path / "run/checkpoint").exists()
    kept = state.stat().st_mtime_ns if state.exists() else None
    done = train_spade(data, Colours(), tmp_path / "run", OPTIONS, resume=True)
    assert _content(done.checkpoint) == _content(trained.checkpoint)
    assert kept is None or state.stat().st_mtime_ns == kept
    again = train_spade(data, Colours(), tmp_path / "run", OPTIONS, resume=True)
    assert _content(again.checkpoint) == _content(trained.checkpoint) and again == done


def test_the_order_of_the_sections_decides_nothing(data: Path, trained: TrainedSpade, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "spots")
    about = json.loads((tmp_path / "spots/dataset.json").read_text())
    about["sections"].reverse()
    (tmp_path / "spots/dataset.json").write_text(json.dumps(about))
    done = train_spade(tmp_path / "spots", Colours(), tmp_path / "run", OPTIONS)
    assert _content(done.checkpoint) == _content(trained.checkpoint)


class _Lines(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        """Keep the line."""
        self.lines.append(line)


def test_experts_are_told_of_from_one_with_their_files_and_by_passes(data: Path, tmp_path: Path) -> None:
    told = _Lines()
    done = train_spade(data, Colours(), tmp_path / "run", OPTIONS, told)
    assert told.lines[-3] == "training 2 experts, 1 at a time"
    for line, own in zip(told.lines[-2:], done.experts, strict=True):
        batches_a_pass = own.spots // OPTIONS.batch
        assert own.outcome.best_step % batches_a_pass == 0
        expected = f"{own.held_out} held-out spots after pass {own.outcome.best_step // batches_a_pass}"
        assert line.startswith(f"expert {own.number + 1} (0{own.number} in names of files): {own.spots} spots; loss")
        assert line.endswith(expected)
        assert (tmp_path / f"run/experts/0{own.number}").is_dir()
        assert (done.checkpoint / f"expert_0{own.number}.safetensors").is_file()


def test_features_are_shared_and_baselines_differ_where_they_should(data: Path, tmp_path: Path) -> None:
    shared = replace(OPTIONS, features=tmp_path / "features", epochs=1)
    one = train_spade(data, Colours(), tmp_path / "one", replace(shared, experts=1))
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "features").rglob("*") if path.is_file()}
    shuffled = train_spade(data, Colours(), tmp_path / "shuffled", replace(shared, shuffled=True))
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "features").rglob("*") if path.is_file()}
    assert len(before) >= len(PATIENTS) and before == after
    alone, apart = read_spade(one.checkpoint), read_spade(shuffled.checkpoint)
    assert alone.config.experts == 1 and np.array_equal(alone.centroids, apart.centroids)
    assert apart.config.experts == 2 and apart.about["options"]["shuffled"] is True


def test_gene_heads_may_read_log_normalised_counts(data: Path, tmp_path: Path) -> None:
    done = train_spade(data, Colours(), tmp_path / "run", replace(OPTIONS, counts="log", epochs=1, experts=1))
    assert read_spade(done.checkpoint).about["counts"] == "log"
    spots = open_spots(data).read("S9")
    scaled = log_normalise(spots.counts, spots.library)
    assert np.allclose(np.expm1(scaled).sum(1), 1e4 * spots.counts.sum(1).A1 / spots.library, rtol=1e-4)


def test_tables_of_log_counts_hold_the_normalised_counts(data: Path, trained: TrainedSpade, tmp_path: Path) -> None:
    clusters = read_clusters(trained.checkpoint.parent / "clusters.npz")
    training = gather_spots(open_spots(data), Colours(), tmp_path / "features", seed=0)
    write_tables(training, clusters, tmp_path / "tables", Silent(), log=True)
    for number in range(2):
        wanted = []
        for section in training.sections:
            spots = training.dataset.read(section.section)
            own = clusters.expert_of_spots(training.features(section), section.organ) == number
            scaled = spots.counts.toarray().astype(np.float64) * (np.float32(1e4) / spots.library)[:, None]
            wanted.append(np.log1p(scaled).astype(np.float32)[own])
        table = open_table(table_of(tmp_path / "tables", number))
        every = np.concatenate(wanted)
        np.testing.assert_array_equal(table.counts(np.arange(len(every))), every)


def test_another_run_s_clusters_or_other_settings_are_refused_on_resume(
    data: Path, trained: TrainedSpade, tmp_path: Path
) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(trained.checkpoint.parent, run)
    train_spade(data, Colours(), other, replace(OPTIONS, epochs=1, seed=9))
    for settings in (replace(OPTIONS, epochs=5), replace(OPTIONS, counts="log"), replace(OPTIONS, exclude=("P1",))):
        with pytest.raises(UsageError, match="other data or other settings"):
            train_spade(data, Colours(), run, settings, resume=True)
    shutil.copy(other / "clusters.npz", run / "clusters.npz")
    with pytest.raises(UsageError, match=r"clusters.npz is of another training"):
        train_spade(data, Colours(), run, OPTIONS, resume=True)


@pytest.mark.parametrize("about", ["[]", "7", '{"organs": 3}', '{"wcss": []}', "fingerprint"])
def test_a_file_of_clusters_that_states_something_else_is_called_damaged(
    trained: TrainedSpade, tmp_path: Path, about: str
) -> None:
    with np.load(trained.checkpoint.parent / "clusters.npz") as stored:
        arrays = dict(stored)
    stated = json.loads(str(arrays["about"]))
    if about == "fingerprint":
        del stated["fingerprint"]
    else:
        stated = stated | json.loads(about) if about.startswith("{") else json.loads(about)
    np.savez(tmp_path / "clusters.npz", **arrays | {"about": np.array(json.dumps(stated))})
    with pytest.raises(CheckpointIncompleteError, match="missing or damaged"):
        read_clusters(tmp_path / "clusters.npz", "0")


def test_a_run_is_replaced_only_by_force_and_only_by_its_like(
    data: Path, trained: TrainedSpade, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.checkpoint.parent, run)
    short = replace(OPTIONS, epochs=1)
    with pytest.raises(OutputExistsError):
        train_spade(data, Colours(), run, short)
    assert read_spade(train_spade(data, Colours(), run, short, force=True).checkpoint).about["options"]["epochs"] == 1
    (run / "run.json").write_text('{"stage": "haiku"}')
    for folder in (run, data):
        with pytest.raises(OutputExistsError):
            train_spade(data, Colours(), folder, short, force=True)
    assert (run / "checkpoint").exists() and (data / "dataset.json").exists()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (replace(OPTIONS, experts=9), UsageError, "9 experts need"),
        (replace(OPTIONS, counts="cooked"), UsageError, "raw or log"),
        (replace(OPTIONS, exclude=("P1", "Nobody")), UsageError, "1 of the patients"),
        (replace(OPTIONS, exclude=("P2", "P3", "P4", "P5", "P6")), CohortError, "one patient only"),
        (replace(OPTIONS, batch=1), UsageError, "at least two spots"),
        (replace(OPTIONS, experts=1, shuffled=True), UsageError, "nothing to shuffle"),
        (replace(OPTIONS, experts="elbow"), UsageError, "at least three"),
    ],
)
def test_what_can_not_be_trained_is_refused_and_leaves_nothing(
    data: Path, tmp_path: Path, options: SpadeOptions, error: type[HaikuEdgeError], said: str
) -> None:
    with pytest.raises(error, match=said):
        train_spade(data, Colours(), tmp_path / "run", options)
    assert not (tmp_path / "run").exists()


def test_an_encoder_that_takes_larger_tiles_is_refused_with_the_way_out(data: Path, tmp_path: Path) -> None:
    large = Colours()
    large.size = 32
    with pytest.raises(DatasetError, match="--size 32"):
        train_spade(data, large, tmp_path / "run", OPTIONS)


def _sections(patients: list[tuple[str, str]]) -> list[DatasetSection]:
    return [
        DatasetSection(f"S{number}", patient, organ, 1, {}, "", "") for number, (patient, organ) in enumerate(patients)
    ]


def test_whole_patients_are_held_out_from_the_organs_in_proportion() -> None:
    patients = [(f"A{number}", "Bowel") for number in range(40)] + [(f"B{number}", "Skin") for number in range(20)]
    sections = _sections([*patients, *patients, ("C0", "Eye")])
    judges = held_out_patients(sections, seed=4)
    assert [sum(name.startswith(letter) for name in judges) for letter in "ABC"] == [4, 2, 0]
    assert judges == held_out_patients(sections[::-1], seed=4) != held_out_patients(sections, seed=5)


def test_somebody_judges_even_where_every_organ_has_one_patient() -> None:
    assert len(held_out_patients(_sections([("A", "Bowel"), ("B", "Skin"), ("C", "Eye")]), seed=0)) == 1
    assert len(held_out_patients(_sections([("A", "Bowel"), ("B", "Bowel")]), seed=0)) == 1
    with pytest.raises(CohortError):
        held_out_patients(_sections([("A", "Bowel"), ("A", "Skin")]), seed=0)
    assert [own.section for own in without(_sections([("B", "Bowel"), ("A", "Skin")])[::-1], ("A",))] == ["S0"]


def test_the_command_trains_with_the_embedded_bundle_and_goes_on(tmp_path: Path) -> None:
    write(tmp_path / "spots", PATIENTS[:4], spots=12, size=256)
    command = ["train", "spade", str(tmp_path / "spots"), "--out", str(tmp_path / "run"), "--experts", "2"]
    command += ["--per-organ", "3", "--least-spots", "5", "--epochs", "2", "--batch", "8", "--workers", "1"]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.output
    assert "Trained 2 experts on 36 spots of 3 patients (1 more held out)." in first.stdout
    assert read_spade(tmp_path / "run/checkpoint").config.features > 0
    assert CliRunner().invoke(app, command).exit_code == OutputExistsError.exit_code
    assert f"`haiku-edge export spade {tmp_path / 'run/checkpoint'} --out BUNDLE` makes" in first.stdout
    again = CliRunner().invoke(app, [*command, "--resume"])
    assert again.exit_code == 0 and again.stdout == first.stdout
    for wrong, said in (("none", "--experts none"), ("0", "--experts 0")):
        refused = CliRunner().invoke(app, [*command, "--experts", wrong])
        assert refused.exit_code == UsageError.exit_code and said in refused.stderr


def test_a_mixture_of_which_one_expert_is_left_is_told_as_that(tmp_path: Path) -> None:
    write(tmp_path / "spots", PATIENTS[:4], spots=12, size=256)
    command = ["train", "spade", str(tmp_path / "spots"), "--out", str(tmp_path / "run"), "--experts", "4"]
    command += ["--per-organ", "3", "--epochs", "1", "--batch", "8"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "Trained 1 expert on 36 spots of 3 patients (1 more held out)." in done.stdout
    assert (
        "4 experts were asked for and 1 is left, since the others had fewer than 500 spots: lower --least-spots, or "
        "take more spots."
    ) in done.stdout
    assert "export spade" not in done.stdout and done.stderr.count("merged") == 1
    outcome = json.loads((tmp_path / "run/run.json").read_text())["outcome"]
    assert sum("was merged into cluster" in note for note in outcome["notes"]) == 3
