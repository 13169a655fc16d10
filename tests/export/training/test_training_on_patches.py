"""`train haiku` on patches on disk: learns, resumes to the same result, holds out patients, and can be exported."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from haiku_edge.export.checkpoint import read_checkpoint, read_trained
from haiku_edge.export.dataset import open_dataset, write_dataset
from haiku_edge.export.model import (
    HeConfig,
    MifConfig,
    TextConfig,
    Towers,
    TowersConfig,
    build_towers,
    published_config,
    read_towers,
)
from haiku_edge.export.training import LoopSettings, Schedule, Trainer, start
from haiku_edge.export.training.batch import Batch
from haiku_edge.export.training.haiku_stage import CACHE_FILE, HaikuOptions, train_haiku
from haiku_edge.export.training.loop import LOG_FOLDER, STATE_FILE, Progress
from haiku_edge.export.training.mif_cache import encode_dataset
from haiku_edge.export.training.mif_stage import MifOptions, train_mif
from haiku_edge.export.training.patients import split_patients
from haiku_edge.export.training.released import fits_released, write_released
from haiku_edge.export.training.tokenizer import train_tokenizer
from haiku_edge.runtime.errors import (
    CheckpointIncompleteError,
    CohortError,
    DatasetError,
    OutputExistsError,
    PanelError,
    UsageError,
)

from .paired_patches import MARKERS, samples, write

SMALL = TowersConfig(
    dimension=16,
    he=HeConfig(tile=256, side=32, stem=(), patch=16, width=16, hidden=32, heads=2, layers=3),
    mif=MifConfig(pool=8, token=16, markers=3, marker_width=8, width=16, hidden=32, heads=2, blocks="hv"),
    text=TextConfig(vocabulary=120, length=64, positions=64, width=16, hidden=32, heads=2, layers=3),
)
OPTIONS = HaikuOptions(epochs=6, batch=8, warm_up=1, threads=1, patience=None)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "pairs")


@pytest.fixture(autouse=True)
def _small_preset(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The embedded preset, smaller, so that a test takes a second."""
    monkeypatch.setattr(start, "TowersConfig", lambda: SMALL)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _same(first: Towers, second: Towers) -> bool:
    pairs = [
        (left, right)
        for name, module in first.modules().items()
        for left, right in zip(module.state_dict().values(), second.modules()[name].state_dict().values(), strict=True)
    ]
    return all(torch.equal(left, right) for left, right in pairs)


def _stop_after(epochs: int) -> object:
    """A report that presses Ctrl-C when so many epochs are done."""
    looks: list[Progress] = []

    def report(progress: Progress) -> None:
        looks.append(progress)
        if len(looks) == epochs:
            raise KeyboardInterrupt

    return report


def test_a_stopped_training_resumes_to_the_same_weights_bit_for_bit(data: Path, tmp_path: Path) -> None:
    train_haiku(data, tmp_path / "straight", OPTIONS)
    with pytest.raises(KeyboardInterrupt):
        train_haiku(data, tmp_path / "stopped", OPTIONS, _stop_after(3))  # type: ignore[arg-type]
    train_haiku(data, tmp_path / "stopped", OPTIONS, resume=True)
    states = [torch.load(tmp_path / run / STATE_FILE, weights_only=True) for run in ("straight", "stopped")]
    assert states[0]["standing"] == states[1]["standing"]
    for tower in ("he", "mif", "text"):
        for name, own in states[0]["towers"][tower].items():
            assert torch.equal(own, states[1]["towers"][tower][name]), name
    moments = [[own["exp_avg"] for own in state["optimiser"]["state"].values()] for state in states]
    assert all(torch.equal(a, b) for a, b in zip(*moments, strict=True))
    assert _same(read_towers(tmp_path / "straight/towers"), read_towers(tmp_path / "stopped/towers"))


def test_the_logs_tell_every_step_in_the_form_that_tensorboard_reads(data: Path, tmp_path: Path) -> None:
    done = train_haiku(data, tmp_path / "run", OPTIONS)
    found = _scalars(tmp_path / "run" / LOG_FOLDER)
    assert [step for step, tag, _ in found if tag == "loss/train"] == list(range(1, done.outcome.steps + 1))
    held_out = {step: value for step, tag, value in found if tag == "loss/held_out"}
    assert min(held_out.values()) == pytest.approx(done.outcome.best, rel=1e-6)
    assert held_out[done.outcome.best_step] == min(held_out.values())


def test_a_finished_training_can_be_exported_and_a_refused_one_leaves_nothing(data: Path, tmp_path: Path) -> None:
    train_haiku(data, tmp_path / "run", OPTIONS)
    trained = read_trained(tmp_path / "run")
    assert trained.markers == tuple(open_dataset(data).markers) and trained.mpp == open_dataset(data).mpp
    assert _same(trained.towers(), read_towers(tmp_path / "run/towers"))
    bare = (replace(sample, he=None) for sample in samples(6, 3))
    write_dataset(tmp_path / "bare", bare, name="bare", markers=MARKERS, mpp=0.5, made={}, with_he=False)
    with pytest.raises(DatasetError, match="H&E"):
        train_haiku(tmp_path / "bare", tmp_path / "refused", OPTIONS)
    assert not (tmp_path / "refused").exists()


def _scalars(folder: Path) -> list[tuple[int, str, float]]:
    """Read event files by their published form: length, its checksum, the record, its checksum."""
    from tensorboardX.crc32c import crc32c
    from tensorboardX.proto.event_pb2 import Event

    def masked(data: bytes) -> int:
        crc = crc32c(data)
        return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF

    found = []
    for file in sorted(folder.glob("*tfevents*")):
        content, place = file.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            record = content[place + 12 : place + 12 + length]
            assert struct.unpack_from("<I", content, place + 8)[0] == masked(content[place : place + 8])
            assert struct.unpack_from("<I", content, place + 12 + length)[0] == masked(record)
            place += 16 + length
            event = Event.FromString(record)
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
    return found


def test_training_lowers_the_loss(data: Path, tmp_path: Path) -> None:
    done = train_haiku(data, tmp_path / "run", replace(OPTIONS, epochs=25))
    values = [value for _, tag, value in _scalars(tmp_path / "run" / LOG_FOLDER) if tag == "loss/train"]
    assert np.mean(values[-5:]) < np.mean(values[:5]) - 0.3
    assert done.patients == (5, 1)


def test_a_training_stopped_in_its_first_pass_begins_again_with_resume(data: Path, tmp_path: Path) -> None:
    def stop(line: str) -> None:
        raise KeyboardInterrupt

    options = replace(OPTIONS, epochs=1)
    with pytest.raises(KeyboardInterrupt):
        train_haiku(data, tmp_path / "run", options, say=stop)
    assert train_haiku(data, tmp_path / "run", options, resume=True).outcome.steps == 1


def test_a_damaged_state_is_refused(data: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, epochs=1)
    train_haiku(data, tmp_path / "run", options)
    state = tmp_path / "run" / STATE_FILE
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(CheckpointIncompleteError, match="damaged"):
        train_haiku(data, tmp_path / "run", options, resume=True)


def test_a_loss_that_is_no_number_ends_the_training_before_it_spoils_the_weights() -> None:
    towers = build_towers(SMALL, 0)
    trainer = Trainer(towers, LoopSettings(Schedule(2, 1)), torch.device("cpu"))
    before = {name: own.clone() for name, own in towers.he.state_dict().items() if "head.norm" not in name}
    ids = torch.ones((4, 5), dtype=torch.int64)
    batch = Batch(torch.full((4, 3, 32, 32), np.nan), torch.arange(4), None, None, torch.randn(4, 16), ids, ids)
    with pytest.raises(DatasetError, match="no number") as refused:
        trainer.train_on(batch)
    assert "--" not in str(refused.value), "an option that not every training has"
    assert all(torch.equal(towers.he.state_dict()[name], own) for name, own in before.items())


def test_patience_ends_a_training_and_the_best_towers_are_kept(data: Path, tmp_path: Path) -> None:
    done = train_haiku(data, tmp_path / "run", replace(OPTIONS, epochs=60, patience=2))
    assert done.outcome.stopped_early and done.outcome.steps < 60
    assert done.outcome.steps - done.outcome.best_step == 2  # one batch an epoch
    again = train_haiku(data, tmp_path / "run", replace(OPTIONS, epochs=60, patience=2), resume=True)
    assert again.outcome == done.outcome


def test_no_patient_is_both_trained_on_and_held_out() -> None:
    patients = np.repeat([f"P{i}" for i in range(17)], 3)
    train, held_out = split_patients(patients, seed=4)
    assert not set(patients[train]) & set(patients[held_out])
    assert len(train) + len(held_out) == len(patients) and len(set(patients[held_out])) == 2
    order = np.random.default_rng(0).permutation(len(patients))
    assert set(patients[order][split_patients(patients[order], seed=4)[1]]) == set(patients[held_out])


def test_patients_kept_for_calibration_or_test_are_not_learned_from(tmp_path: Path) -> None:
    """Nor do they judge: who judges chooses the weights. Those who did either are named by digests, not by name."""
    roles = {"P0": "calibration", "P1": "test", "P2": "atlas", "P3": "atlas"}
    write(tmp_path / "kept", roles=roles)
    encoder = train_mif(tmp_path / "kept", tmp_path / "mif", MifOptions(epochs=1, batch=4, at_once=4, threads=1))
    options = replace(OPTIONS, epochs=1, mif=encoder.folder)
    done = train_haiku(tmp_path / "kept", tmp_path / "run", options)
    expected = {hashlib.sha256(f"P{number}".encode()).hexdigest() for number in (2, 3, 4, 5)}
    for file, key in (("mif/run.json", "patient_digests"), ("run/run.json", "patient_digests")):
        stated = json.loads((tmp_path / file).read_text())[key]
        assert {*stated["train"], *stated["held_out"]} == expected
    beside = json.loads((done.towers / "patients.json").read_text())
    assert {*beside["train"], *beside["held_out"]} == expected
    assert sum(done.patients) == 4


def test_patients_of_the_encoder_that_a_training_starts_from_are_known_too(tmp_path: Path) -> None:
    write(tmp_path / "first", roles={f"P{number}": "test" for number in (0, 1, 2)})
    write(tmp_path / "second", roles={f"P{number}": "test" for number in (3, 4, 5)})
    encoder = train_mif(tmp_path / "first", tmp_path / "mif", MifOptions(epochs=1, batch=4, at_once=4, threads=1))
    train_haiku(tmp_path / "second", tmp_path / "run", replace(OPTIONS, epochs=1, batch=4, mif=encoder.folder))
    stated = json.loads((tmp_path / "run" / "run.json").read_text())["patient_digests"]
    everybody = {hashlib.sha256(f"P{number}".encode()).hexdigest() for number in range(6)}
    assert {*stated["train"], *stated["held_out"]} == everybody


def test_a_dataset_of_patients_that_are_all_kept_trains_nothing(tmp_path: Path) -> None:
    write(tmp_path / "kept", roles={f"P{number}": "test" for number in range(6)})
    with pytest.raises(CohortError, match="none is left to train on"):
        train_haiku(tmp_path / "kept", tmp_path / "run", OPTIONS)
    with pytest.raises(CohortError, match="none is left to train on"):
        train_mif(tmp_path / "kept", tmp_path / "run", MifOptions())
    assert not (tmp_path / "run").exists()


def test_one_patient_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="one patient"):
        train_haiku(write(tmp_path / "one", patients=1), tmp_path / "run", OPTIONS)
    assert not (tmp_path / "run").exists()


def test_a_folder_with_a_training_is_never_overwritten_and_resume_needs_the_same_options(
    data: Path, tmp_path: Path
) -> None:
    options = replace(OPTIONS, epochs=1)
    train_haiku(data, tmp_path / "run", options)
    with pytest.raises(OutputExistsError, match="--resume"):
        train_haiku(data, tmp_path / "run", options)
    with pytest.raises(UsageError, match="other settings"):
        train_haiku(data, tmp_path / "run", replace(options, batch=4), resume=True)


def _checkpoint(folder: Path, markers: tuple[str, ...] = MARKERS) -> Path:
    """A small checkpoint in the released layout."""
    pieces = train_tokenizer(["colon lung breast cancer tissue"], 120)
    from tokenizers import Tokenizer

    text = replace(SMALL.text, vocabulary=Tokenizer.from_buffer(pieces).get_vocab_size())
    config = replace(SMALL, mif=replace(SMALL.mif, markers=len(markers), pool=1, token=16), text=text)
    towers = build_towers(config, 3)
    towers.train(False)
    write_released(folder, towers, markers, pieces)
    return folder


def _sizes(folder: Path) -> TowersConfig:
    rows = len(json.loads((folder / "config.json").read_text())["known_markers"])
    pieces = json.loads((folder / "tokenizer/tokenizer.json").read_text())["model"]["vocab"]
    mif = replace(SMALL.mif, markers=rows, pool=1, token=16)
    return replace(SMALL, mif=mif, text=replace(SMALL.text, vocabulary=len(pieces)))


def test_a_released_checkpoint_reads_back_as_the_towers_that_were_written(tmp_path: Path) -> None:
    folder = _checkpoint(tmp_path / "released")
    sizes = _sizes(folder)
    towers = build_towers(sizes, 3)
    found = read_checkpoint(folder, sizes=sizes).towers()
    assert _same(found, towers)


def test_only_depths_that_the_released_config_implies_fit_its_layout() -> None:
    assert fits_released(replace(published_config(5), dimension=256))
    assert fits_released(published_config(5, text=False))
    assert not fits_released(SMALL) and not fits_released(TowersConfig())
    shallow = replace(published_config(5).he, layers=23)
    assert not fits_released(replace(published_config(5), he=shallow))


def test_fine_tuning_changes_only_what_the_paper_tunes_and_computes_the_mif_once(data: Path, tmp_path: Path) -> None:
    folder = _checkpoint(tmp_path / "released")
    sizes = _sizes(folder)
    run = tmp_path / "run"
    train_haiku(data, run, replace(OPTIONS, start=folder, epochs=2, batch=5), sizes=sizes)
    before, after = read_checkpoint(folder, sizes=sizes).towers(), read_towers(run / "towers")
    changed = {
        f"{tower}.{name}"
        for tower, module in before.modules().items()
        for name, own in module.named_parameters()
        if not torch.equal(own, after.modules()[tower].state_dict()[name])
    }
    assert changed and not [name for name in changed if name.startswith("mif.encoder")]
    assert not [name for name in changed if "layers.0." in name or "words" in name or "patches" in name]
    assert {"he.encoder.vision_head.weight", "he.head.first.weight", "mif.head.first.weight"} <= changed
    dataset = open_dataset(data)
    with np.load(run / CACHE_FILE) as kept:
        vectors = kept["vectors"]
    sample = dataset[1]
    with torch.no_grad():
        mif = before.mif.standardise(torch.from_numpy(sample.mif)[None])
        rows = torch.tensor([[MARKERS.index(name) + 1 for name in sample.markers]])
        alone = before.mif.encode(mif, rows)[0].numpy()
    np.testing.assert_allclose(vectors[1], alone, atol=1e-5)


def test_mif_vectors_of_another_encoder_are_never_taken(data: Path, tmp_path: Path) -> None:
    dataset, device = open_dataset(data), torch.device("cpu")
    first, second = build_towers(SMALL, 0).mif, build_towers(SMALL, 1).mif
    path = tmp_path / "vectors.npz"
    one = encode_dataset(first, dataset, MARKERS, path, device)
    other = encode_dataset(second, dataset, MARKERS, path, device)
    assert not np.allclose(one, other)
    np.testing.assert_array_equal(encode_dataset(second, dataset, MARKERS, path, device), other)


def test_a_marker_that_the_checkpoint_does_not_know_is_refused(data: Path, tmp_path: Path) -> None:
    folder = _checkpoint(tmp_path / "released", ("DAPI", "PanCK"))
    with pytest.raises(PanelError, match="CD8"):
        train_haiku(data, tmp_path / "run", replace(OPTIONS, start=folder), sizes=_sizes(folder))


def test_a_model_of_two_modalities_trains_without_text(data: Path, tmp_path: Path) -> None:
    done = train_haiku(data, tmp_path / "run", replace(OPTIONS, epochs=1, text=False))
    assert read_towers(done.towers).text is None
