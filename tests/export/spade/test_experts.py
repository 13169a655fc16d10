"""Experts: learn which spot belongs to which image, alone or beside each other, and go on where they were stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, random_array

from haiku_edge.export.model.spade import Expert
from haiku_edge.export.spade.expert_table import append_spots, open_table
from haiku_edge.export.spade.expert_trainer import (
    ExpertJob,
    SpotSource,
    build_expert,
    read_expert,
    train_expert,
)
from haiku_edge.export.spade.experts import train_experts
from haiku_edge.export.training.loop import LOG_FOLDER, STATE_FILE, Progress
from haiku_edge.runtime.errors import CheckpointIncompleteError, UsageError

GENES, FEATURES, SPOTS = 40, 12, 400


def _planted(rows: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Image features and counts that the same six hidden numbers of each spot decide; the law is always the same."""
    law, draw = np.random.default_rng(7), np.random.default_rng(seed)
    to_image, to_genes = law.normal(size=(6, FEATURES)), law.normal(size=(6, GENES))
    hidden = draw.normal(size=(rows, 6))
    counts = draw.poisson(np.exp(0.5 * hidden @ to_genes) * 3)
    return (hidden @ to_image).astype(np.float32), counts.astype(np.float32)


def _job(folder: Path, number: int = 0, epochs: int = 25) -> ExpertJob:
    features, counts = _planted(SPOTS, seed=number)
    table = folder / f"table{number}"
    append_spots(table, features, csr_matrix(counts), np.arange(SPOTS) >= SPOTS - 60)
    out = folder / f"expert{number}"
    out.mkdir(parents=True)
    return ExpertJob(number, table, out, epochs, 32, 3, 1, "cpu", "this", resume=False)


def _stop_after(epochs: int) -> object:
    looks: list[Progress] = []

    def report(progress: Progress) -> None:
        looks.append(progress)
        if len([own for own in looks if own.held_out is not None]) == epochs:
            raise KeyboardInterrupt

    return report


def _loaded(folder: Path) -> Expert:
    expert = build_expert(FEATURES, GENES, 0)
    expert.load_state_dict(read_expert(folder))
    return expert.eval()


def _found(expert: Expert, seed: int, reader: Expert | None = None) -> float:
    """Share of 100 new spots whose own image is nearest among the 100, by the product that the loss compares.

    Counts are read by another expert's gene head where one is given.
    """
    features, counts = _planted(100, seed)
    with torch.no_grad():
        images, _ = expert(torch.from_numpy(features), torch.from_numpy(counts))
        _, spots = (reader or expert)(torch.from_numpy(features), torch.from_numpy(counts))
    return float((spots @ images.t()).argmax(1).eq(torch.arange(100)).float().mean())


def test_an_expert_learns_which_image_belongs_to_which_spot(tmp_path: Path) -> None:
    job = _job(tmp_path)
    losses: list[float] = []
    done = train_expert(job, lambda progress: losses.append(progress.loss))
    assert losses[-1] < 0.5 * losses[0]
    assert (done.number, done.spots, done.held_out) == (0, SPOTS - 60, 60)
    before = _found(build_expert(FEATURES, GENES, 0).eval(), seed=50)
    assert before < 0.06 and _found(_loaded(job.folder), seed=50) > 0.3
    assert list((job.folder / LOG_FOLDER).iterdir())


def test_experts_of_one_mixture_begin_alike_and_so_share_a_space(tmp_path: Path) -> None:
    """They learn from other spots; one's image head still finds what the other's gene head says."""
    jobs = [_job(tmp_path, number) for number in range(2)]
    foreign = replace(_job(tmp_path / "foreign", 1), seed=4)
    for job in (*jobs, foreign):
        train_expert(job)
    first, second, stranger = (_loaded(job.folder) for job in (*jobs, foreign))
    assert _found(first, seed=50, reader=second) > 0.15 > 0.06 > _found(first, seed=50, reader=stranger)


def test_a_stopped_expert_resumes_to_the_same_weights_bit_for_bit(tmp_path: Path) -> None:
    straight, stopped = _job(tmp_path / "a", epochs=6), _job(tmp_path / "b", epochs=6)
    train_expert(straight)
    with pytest.raises(KeyboardInterrupt):
        train_expert(stopped, _stop_after(3))  # type: ignore[arg-type]
    done = train_expert(replace(stopped, resume=True))
    assert done == train_expert(replace(straight, resume=True))
    states = [torch.load(job.folder / STATE_FILE, weights_only=True) for job in (straight, stopped)]
    for name, own in states[0]["towers"]["expert"].items():
        assert torch.equal(own, states[1]["towers"]["expert"][name]), name
    moments = [[own["exp_avg_sq"] for own in state["optimiser"]["state"].values()] for state in states]
    assert all(torch.equal(a, b) for a, b in zip(*moments, strict=True))
    best = [read_expert(job.folder) for job in (straight, stopped)]
    assert all(torch.equal(own, best[1][name]) for name, own in best[0].items())


def test_experts_in_processes_are_those_of_one_process(tmp_path: Path) -> None:
    alone, beside = ([_job(tmp_path / name, number, epochs=2) for number in range(2)] for name in ("one", "many"))
    said: list[int] = []
    assert train_experts(alone, 1) == train_experts(beside, 2, lambda done: said.append(done.number))
    assert sorted(said) == [0, 1]
    for left, right in zip(alone, beside, strict=True):
        weights = read_expert(right.folder)
        assert all(torch.equal(own, weights[name]) for name, own in read_expert(left.folder).items())
    assert not torch.equal(*(read_expert(job.folder)["image_projection.fc.weight"] for job in alone[:2]))


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_one_expert_that_fails_ends_the_training_with_its_reason(tmp_path: Path, workers: int) -> None:
    jobs = [_job(tmp_path, number, epochs=2) for number in range(3)]
    train_expert(jobs[1])
    wrong = [jobs[0], replace(jobs[1], resume=True, fingerprint="other"), jobs[2]]
    with pytest.raises(UsageError, match="other data or other settings"):
        train_experts(wrong, workers)


def test_the_learning_rate_goes_from_its_peak_to_nothing_along_half_a_cosine(tmp_path: Path) -> None:
    job = _job(tmp_path, epochs=2)
    train_expert(job)
    state = torch.load(job.folder / STATE_FILE, weights_only=True)
    steps = state["standing"][0]
    model = torch.nn.Linear(1, 1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    published = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=steps)
    for _ in range(steps - 1):
        optimiser.step()
        published.step()
    assert state["optimiser"]["param_groups"][0]["lr"] == pytest.approx(published.get_last_lr()[0], rel=1e-6)
    assert state["optimiser"]["param_groups"][0]["weight_decay"] == 0.01
    assert steps == 2 * (340 // 32)


def test_no_held_out_spot_is_learned_from_and_all_others_come_round(tmp_path: Path) -> None:
    job = _job(tmp_path)
    source = SpotSource(open_table(job.table), 34, seed=1)
    features = open_table(job.table).features
    met = np.concatenate([source.batch(step).features.numpy() for step in range(10)])
    assert np.array_equal(np.unique(met, axis=0), np.unique(features[: SPOTS - 60], axis=0))
    judged = np.concatenate([batch.features.numpy() for batch in source.held_out()])
    assert np.array_equal(np.unique(judged, axis=0), np.unique(features[SPOTS - 60 :], axis=0))


def test_a_table_holds_its_spots_as_they_came(tmp_path: Path) -> None:
    counts = [csr_matrix(random_array((rows, 9), density=0.3, rng=rows, dtype=np.float32)) for rows in (5, 7)]
    features = [np.full((rows, 2), rows, np.float32) for rows in (5, 7)]
    for own, row in zip(counts, features, strict=True):
        append_spots(tmp_path / "table", row, own, np.zeros(len(row), bool))
    table = open_table(tmp_path / "table")
    rows = np.array([11, 0, 5])
    assert np.array_equal(table.counts(rows), np.concatenate([own.toarray() for own in counts])[rows])
    assert np.array_equal(table.features, np.concatenate(features))


def test_spots_without_any_count_are_zeros(tmp_path: Path) -> None:
    append_spots(tmp_path / "t", np.zeros((3, 2), np.float32), csr_matrix((3, 4), dtype=np.float32), np.zeros(3, bool))
    assert not open_table(tmp_path / "t").counts(np.arange(3)).any()


def test_a_damaged_expert_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointIncompleteError, match="missing or damaged"):
        read_expert(tmp_path)
