"""The loss is the published one, and batches keep their promises."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from haiku_edge.export.model import MifConfig, TextConfig, TowersConfig
from haiku_edge.export.training import ContrastiveLoss, LossSettings, Recipe, Sampling, Schedule, TrainingSet
from haiku_edge.export.training.augment import choose_channels, jitter_stain, orient
from haiku_edge.export.training.cohort_source import CohortSource
from haiku_edge.export.training.fit import train_towers
from haiku_edge.export.training.loss import LEAST_TEMPERATURE
from haiku_edge.export.training.tokenizer import train_tokenizer
from haiku_edge.runtime.notes import Tokenizer

REGIONS = [0, 0, 1, 2, 2, 2]


def _info_nce(a: np.ndarray, b: np.ndarray, temperature: float, regions: list[int], weight: float) -> float:
    """Symmetric InfoNCE written out as loops, with weights in the denominator."""
    a = a / np.linalg.norm(a, axis=1, keepdims=True)
    b = b / np.linalg.norm(b, axis=1, keepdims=True)
    total = 0.0
    for left, right in ((a, b), (b, a)):
        for i in range(len(left)):
            below = 0.0
            for j in range(len(right)):
                own = weight if i != j and regions[i] == regions[j] else 1.0
                below += own * np.exp(left[i] @ right[j] / temperature)
            total -= np.log(np.exp(left[i] @ right[i] / temperature) / below) / len(left)
    return total / 2


def _vectors() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(6, 4)), rng.normal(size=(6, 4)), rng.normal(size=(6, 4))


def _loss(settings: LossSettings, *vectors: np.ndarray | None) -> float:
    tensors = [None if own is None else torch.from_numpy(own) for own in vectors]
    return float(ContrastiveLoss(settings)(*tensors, torch.tensor(REGIONS)))


@pytest.mark.parametrize("weight", [1.0, 0.5, 0.0])
def test_loss_is_the_mean_of_three_symmetric_pairs_with_region_weights(weight: float) -> None:
    he, mif, text = _vectors()
    want = np.mean([_info_nce(a, b, 0.07, REGIONS, weight) for a, b in ((mif, text), (mif, he), (text, he))])
    assert _loss(LossSettings(region_weight=weight), he, mif, text) == pytest.approx(want, rel=1e-5)


def test_loss_of_two_modalities_is_their_pair_alone() -> None:
    he, mif, _ = _vectors()
    want = _info_nce(mif, he, 0.07, REGIONS, 0.5)
    assert _loss(LossSettings(region_weight=0.5), he, mif, None) == pytest.approx(want, rel=1e-5)


def test_pairs_with_notes_can_have_their_own_weights() -> None:
    he, mif, text = _vectors()
    told = _info_nce(mif, text, 0.1, REGIONS, 0.0) + _info_nce(text, he, 0.1, REGIONS, 0.0)
    want = (_info_nce(mif, he, 0.1, REGIONS, 1.0) + 2.0 * told) / 5.0
    settings = LossSettings(temperature=0.1, notes_region_weight=0.0, notes_share=2.0)
    assert _loss(settings, he, mif, text) == pytest.approx(want, rel=1e-5)


def test_loss_of_perfect_pairs_is_near_zero_and_of_swapped_ones_is_not() -> None:
    loss, vectors, regions = ContrastiveLoss(LossSettings()), torch.eye(8), torch.arange(8)
    assert float(loss(vectors, vectors, vectors, regions)) < 1e-4
    assert float(loss(vectors, vectors.roll(1, 0), vectors, regions)) > 5


def test_temperature_is_constant_unless_asked_for_and_never_below_its_floor() -> None:
    assert not list(ContrastiveLoss(LossSettings()).parameters())
    learned = ContrastiveLoss(LossSettings(learn_temperature=True))
    assert float(learned.scale().detach()) == pytest.approx(1 / 0.07)
    with torch.no_grad():
        next(learned.parameters()).fill_(50.0)
    assert float(learned.scale().detach()) == pytest.approx(1 / LEAST_TEMPERATURE, rel=1e-4)


def _training_set(owners: list[int]) -> TrainingSet:
    rng = np.random.default_rng(0)
    count = len(owners)
    return TrainingSet(
        he=torch.from_numpy(rng.integers(0, 256, (count, 3, 128, 128), np.uint8)),
        mif=torch.from_numpy(rng.normal(size=(count, 3, 64, 64)).astype(np.float16)),
        measured=np.ones((count, 3), bool),
        owners=np.array(owners),
        facts=tuple({"tissue_type": "Colon", "disease": f"kind {i}"} for i in range(max(owners) + 1)),
        narratives=("",) * count,
    )


def _source(owners: list[int], sampling: Sampling) -> CohortSource:
    return CohortSource(_training_set(owners), Tokenizer.from_bytes(train_tokenizer(["kind"]), 64), sampling, 5)


def test_every_patient_comes_once_before_any_comes_again() -> None:
    owners = np.repeat(np.arange(10), 4)
    source = _source(owners.tolist(), Sampling(patients=5, patches=2))
    batches = [source.choose(step, np.random.default_rng(step)) for step in range(6)]
    for batch in batches:
        assert len(set(batch.tolist())) == 10
        assert np.bincount(owners[batch], minlength=10).max() == 2
    for first, second in zip(batches[::2], batches[1::2], strict=True):
        assert set(owners[first]) | set(owners[second]) == set(range(10))


def test_patients_with_a_single_patch_still_take_part() -> None:
    batch = _source([0, 1, 1], Sampling(patients=2, patches=2)).choose(0, np.random.default_rng(0))
    assert sorted(batch.tolist()) == [0, 0, 1, 2]


def test_a_batch_depends_on_its_number_alone() -> None:
    source = _source([0, 0, 1, 1, 2, 2], Sampling(patients=2, channels=(2,)))
    source.batch(3)
    again, other = source.batch(1), source.batch(2)
    fresh = _source([0, 0, 1, 1, 2, 2], Sampling(patients=2, channels=(2,))).batch(1)
    assert torch.equal(again.he, fresh.he) and torch.equal(again.mif, fresh.mif)
    assert not torch.equal(again.he, other.he)


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
    schedule = Schedule(steps=100, warm_up=10)
    rates = [schedule.share(step) for step in range(100)]
    assert rates[9] == 1.0 and rates[0] == pytest.approx(0.1)
    assert all(a >= b for a, b in itertools.pairwise(rates[9:])) and rates[-1] < 0.001


def test_the_same_seed_trains_the_same_towers() -> None:
    tokenizer_json = train_tokenizer(["kind 0 colon tissue"])
    config = TowersConfig(mif=MifConfig(markers=3), text=TextConfig(vocabulary=200, length=64))
    recipe = Recipe(steps=2, sampling=Sampling(patients=4, channels=(2, 3)))
    data = _training_set([0, 0, 1, 1, 2, 2, 3, 3])
    first, second, other = (
        train_towers(data, config, Tokenizer.from_bytes(tokenizer_json, 64), recipe, seed) for seed in (1, 1, 2)
    )
    pairs = list(zip(first.parameters(), second.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
