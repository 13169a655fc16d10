"""The loss is the published one, and batches keep their promises."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from haiku_edge.export.model import MifConfig, TextConfig, TowersConfig
from haiku_edge.export.training import TrainingSet, train_tokenizer, train_towers
from haiku_edge.export.training.augment import choose_channels, jitter_stain, orient
from haiku_edge.export.training.fit import Recipe, learning_rate, sample_patches
from haiku_edge.export.training.loss import pairwise_clip
from haiku_edge.runtime.notes import Tokenizer


def _info_nce(a: np.ndarray, b: np.ndarray, temperature: float) -> float:
    """Symmetric InfoNCE written out as a loop over the softmax."""
    a = a / np.linalg.norm(a, axis=1, keepdims=True)
    b = b / np.linalg.norm(b, axis=1, keepdims=True)
    total = 0.0
    for matrix in (a @ b.T / temperature, b @ a.T / temperature):
        for i in range(len(matrix)):
            total -= np.log(np.exp(matrix[i, i]) / np.exp(matrix[i]).sum()) / len(matrix)
    return total / 2


@pytest.mark.parametrize("told", [None, [0, 2, 4]])
def test_loss_is_the_mean_of_three_symmetric_pairs(told: list[int] | None) -> None:
    rng = np.random.default_rng(0)
    he, mif, text = (rng.normal(size=(6, 4)) for _ in range(3))
    own = slice(None) if told is None else told
    text = text[own]
    want = np.mean([_info_nce(mif[own], text, 0.07), _info_nce(mif, he, 0.07), _info_nce(text, he[own], 0.07)])
    chosen = None if told is None else torch.tensor(told)
    found = pairwise_clip(*(torch.from_numpy(x) for x in (he, mif, text)), chosen)
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


def _tiny_training_set() -> TrainingSet:
    rng = np.random.default_rng(0)
    facts = tuple({"tissue_type": "Colon", "disease": f"kind {i}"} for i in range(4))
    return TrainingSet(
        he=torch.from_numpy(rng.integers(0, 256, (8, 3, 128, 128), np.uint8)),
        mif=torch.from_numpy(rng.normal(size=(8, 3, 64, 64)).astype(np.float16)),
        measured=np.ones((8, 3), bool),
        owners=np.repeat(np.arange(4), 2),
        facts=facts,
        narratives=("",) * 8,
    )


def test_the_same_seed_trains_the_same_towers() -> None:
    tokenizer_json = train_tokenizer(["kind 0 colon tissue"])
    config = TowersConfig(mif=MifConfig(markers=3), text=TextConfig(vocabulary=200, length=64))
    recipe = Recipe(steps=2, patients=4, channels=(2, 3))
    first, second, other = (
        train_towers(_tiny_training_set(), config, Tokenizer.from_bytes(tokenizer_json, 64), recipe, seed)
        for seed in (1, 1, 2)
    )
    pairs = list(zip(first.parameters(), second.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
