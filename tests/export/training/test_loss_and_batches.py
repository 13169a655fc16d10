"""The loss is the published one, and batches keep their promises."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from haiku_edge.export.training.augment import choose_channels, jitter_stain, orient
from haiku_edge.export.training.fit import Recipe, learning_rate, sample_patches
from haiku_edge.export.training.loss import pairwise_clip


def _info_nce(a: np.ndarray, b: np.ndarray, allowed: np.ndarray, temperature: float) -> float:
    """Symmetric InfoNCE written out as a double loop over the softmax."""
    a = a / np.linalg.norm(a, axis=1, keepdims=True)
    b = b / np.linalg.norm(b, axis=1, keepdims=True)
    logits = a @ b.T / temperature
    total = 0.0
    for matrix, mask in ((logits, allowed), (logits.T, allowed.T)):
        for i in range(len(matrix)):
            others = [np.exp(matrix[i, j]) for j in range(len(matrix)) if mask[i, j]]
            total -= np.log(np.exp(matrix[i, i]) / sum(others)) / len(matrix)
    return total / 2


@pytest.mark.parametrize("regions", [None, [0, 0, 1, 1, 2, 3]])
def test_loss_is_the_mean_of_three_symmetric_pairs(regions: list[int] | None) -> None:
    rng = np.random.default_rng(0)
    he, mif, text = (rng.normal(size=(6, 4)) for _ in range(3))
    every = np.ones((6, 6), bool)
    apart = every if regions is None else (np.not_equal.outer(regions, regions) | np.eye(6, dtype=bool))
    want = np.mean(
        [_info_nce(mif, text, apart, 0.07), _info_nce(mif, he, every, 0.07), _info_nce(text, he, apart, 0.07)]
    )
    groups = None if regions is None else torch.tensor(regions)
    found = pairwise_clip(*(torch.from_numpy(x) for x in (he, mif, text)), groups)
    assert float(found) == pytest.approx(want, rel=1e-6)


def test_loss_of_perfect_pairs_is_near_zero_and_of_swapped_ones_is_not() -> None:
    vectors = torch.eye(8)
    assert float(pairwise_clip(vectors, vectors, vectors)) < 1e-4
    assert float(pairwise_clip(vectors, vectors.roll(1, 0), vectors)) > 5


def test_every_patient_comes_once_before_any_comes_again() -> None:
    owners = np.repeat(np.arange(10), 4)
    recipe = Recipe(patients=5, patches=2)
    batches = list(itertools.islice(sample_patches(owners, recipe, np.random.default_rng(0)), 6))
    for batch in batches:
        assert len(set(batch.tolist())) == 10
        assert np.bincount(owners[batch], minlength=10).max() == 2
    for first, second in zip(batches[::2], batches[1::2], strict=True):
        assert set(owners[first]) | set(owners[second]) == set(range(10))


def test_patients_with_a_single_patch_still_take_part() -> None:
    batch = next(sample_patches(np.array([0, 1, 1]), Recipe(patients=2, patches=2), np.random.default_rng(0)))
    assert sorted(batch.tolist()) in ([0, 0, 1, 2],)


def test_orientation_is_the_same_in_every_modality() -> None:
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.random((8, 3, 6, 6)))
    turns = np.arange(8)
    turned = orient(image, turns)
    torch.testing.assert_close(orient(image[:, :1], turns), turned[:, :1])
    assert len({tuple(np.round(turned[i].flatten().tolist(), 6)) for i in range(8)}) == 8
    torch.testing.assert_close(turned[1], torch.rot90(image[1], 1, (1, 2)))
    torch.testing.assert_close(turned[4], image[4].flip(-1))


def test_stain_jitter_keeps_glass_bright_and_nuclei_dark() -> None:
    image = torch.full((50, 3, 2, 2), 245.0)
    image[:, :, 0, 0] = torch.tensor([90.0, 40.0, 120.0])
    changed = jitter_stain(image, np.random.default_rng(0))
    assert changed.min() >= 0 and changed.max() <= 255
    assert bool((changed[:, :, 1, 1].mean(1) > changed[:, :, 0, 0].mean(1) + 40).all())


def test_drawn_channels_were_measured_and_come_once() -> None:
    rng = np.random.default_rng(0)
    measured = rng.random((20, 12)) < 0.5
    chosen = choose_channels(measured, 6, rng)
    for row, own in zip(chosen, measured, strict=True):
        known = row[row >= 0]
        assert own[known].all() and len(set(known.tolist())) == len(known) == min(6, own.sum())


def test_learning_rate_rises_then_falls_to_zero() -> None:
    recipe = Recipe(steps=100, warm_up=0.1)
    rates = [learning_rate(step, recipe) for step in range(100)]
    assert rates[9] == 1.0 and rates[0] == pytest.approx(0.1)
    assert all(a >= b for a, b in itertools.pairwise(rates[9:])) and rates[-1] < 0.001
