"""Attention MIL: what it can learn, what it must not depend on, and that nothing leaks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from haiku_edge.export.heads import MilSettings, RidgeSettings, evaluate_classes, preset
from haiku_edge.export.heads.bags import MOST_PATCHES, make_bags
from haiku_edge.export.heads.fit import fit_network, predict_bags, to_tensors
from haiku_edge.export.heads.folds import fold_numbers
from haiku_edge.export.heads.nested import cross_validate
from haiku_edge.export.heads.network import AttentionMil, Inputs
from haiku_edge.export.heads.targets import ClassTarget, read_classes
from haiku_edge.runtime.errors import UsageError
from tests.export.heads.small_cohort import alike_bags, cohort_of, names

QUICK = MilSettings(width=8, learning_rate=1e-2, batch=64, epochs=20, patience=5, attention=16)


def _needles(rng: np.random.Generator, patients: int) -> tuple[list[np.ndarray], list[dict[str, str]]]:
    """One patch among some decides; the mean over patches hardly shows it."""
    bags, facts = [], []
    for number in range(patients):
        bag = rng.normal(size=(int(rng.integers(6, 14)), 6))
        bag[0, 0] = 6.0
        bag[0, 1] = 4.0 if number % 2 else -4.0
        bags.append(rng.permutation(bag))
        facts.append({"response": "yes" if number % 2 else "no"})
    return bags, facts


def test_attention_finds_the_patch_that_decides() -> None:
    bags, facts = _needles(np.random.default_rng(0), 60)
    found = evaluate_classes(cohort_of(bags, facts), target="response", grids={"mil": (QUICK,)}, folds=2)
    assert found.models[0].scores.auroc.value > 0.8

    cohort = cohort_of(bags, facts)
    target = read_classes(cohort, "response")
    own = make_bags(cohort, "he", target.patients)
    network = fit_network(own, target, QUICK, seed=1, epochs=30).network
    with torch.inference_mode():
        weights = [network(torch.from_numpy(own.bag(i))[None])[1][0].numpy() for i in range(len(own))]
    share = [weight[int(np.argmax(own.bag(i)[:, 0]))] for i, weight in enumerate(weights)]
    assert np.mean(share) > 1.4 * np.mean([1 / len(weight) for weight in weights])


def test_random_labels_stay_at_chance_however_alike_the_patches_are() -> None:
    rng = np.random.default_rng(1)
    cohort = cohort_of(alike_bags(rng, 40, 5, 12), [{"grade": str(i % 2)} for i in range(40)])
    found = evaluate_classes(cohort, target="grade", grids={"mil": (QUICK,), "ridge": (RidgeSettings(1.0),)}, folds=2)
    for model in found.models:
        assert abs(model.scores.auroc.value - 0.5) < 0.25  # three standard deviations of 40 patients


@pytest.mark.parametrize("settings", [QUICK, RidgeSettings(1.0)], ids=["mil", "ridge"])
def test_a_patients_score_knows_nothing_of_their_own_class(settings: MilSettings | RidgeSettings) -> None:
    rng = np.random.default_rng(2)
    cohort = cohort_of(alike_bags(rng, 24, 2, 4), [{"grade": str(i % 2)} for i in range(24)])
    target = read_classes(cohort, "grade")
    bags, folds = make_bags(cohort, "he", target.patients), fold_numbers(target.strata, 3, 0)
    flipped = target.codes.copy()
    flipped[folds == 1] = 1 - flipped[folds == 1]
    other = ClassTarget(target.name, target.classes, target.patients, flipped)
    first = cross_validate(bags, target, (settings,), folds, seed=5).scores
    second = cross_validate(bags, other, (settings,), folds, seed=5).scores
    np.testing.assert_array_equal(first[folds == 1], second[folds == 1])
    assert (first[folds != 1] != second[folds != 1]).any()


def test_same_seed_gives_the_same_network_and_another_seed_another() -> None:
    bags, facts = _needles(np.random.default_rng(3), 12)
    cohort = cohort_of(bags, facts)
    target = read_classes(cohort, "response")
    own = make_bags(cohort, "he", target.patients)
    before = torch.random.get_rng_state()
    scores = [predict_bags(fit_network(own, target, QUICK, seed, epochs=4).network, own) for seed in (7, 7, 8)]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert (scores[0] != scores[2]).any()
    assert torch.equal(before, torch.random.get_rng_state())


def test_padding_neighbours_and_order_of_patches_change_no_score() -> None:
    bags, facts = _needles(np.random.default_rng(4), 10)
    cohort = cohort_of(bags, facts)
    target = read_classes(cohort, "response")
    own = make_bags(cohort, "he", target.patients)
    network = fit_network(own, target, QUICK, seed=1, epochs=3).network
    alone = predict_bags(network, own)
    training = to_tensors(own, target, network.inputs)
    with torch.inference_mode():
        padded, attention = network(*training.batch(torch.arange(10)))
        turned, _ = network(torch.from_numpy(own.bag(3)[::-1].copy())[None])
    np.testing.assert_allclose(padded.numpy(), alone, atol=1e-5)
    np.testing.assert_allclose(turned.numpy()[0], alone[3], atol=1e-5)
    np.testing.assert_allclose(attention.sum(dim=1).numpy(), 1, atol=1e-6)
    assert not attention[~training.real[:, : attention.shape[1]]].any()


def test_layers_are_those_of_the_paper() -> None:
    network = AttentionMil(Inputs("unit", np.eye(5, dtype=np.float32)), 5, 1, preset("crc-survival")[0])
    kinds = [type(layer).__name__ for layer in network.embed]
    assert kinds == ["Linear", "GELU", "Dropout", "LayerNorm", "Linear", "GELU", "LayerNorm"]
    assert [type(layer).__name__ for layer in network.attend] == ["Linear", "Tanh", "Linear"]
    assert network.attend[0].out_features == 128 and network.embed[0].out_features == 16
    assert [type(layer).__name__ for layer in network.head] == ["Linear", "GELU", "Dropout", "Linear"]
    vectors = torch.randn(1, 4, 5)
    network.eval()
    torch.testing.assert_close(network(vectors)[0], network(7 * vectors)[0])


def test_standardised_inputs_do_not_depend_on_the_scale_of_the_data() -> None:
    bags, facts = _needles(np.random.default_rng(5), 20)
    scores = []
    for factor in (1.0, 1000.0):
        cohort = cohort_of([factor * bag for bag in bags], facts)
        target = read_classes(cohort, "response")
        own = make_bags(cohort, "he", target.patients)
        scores.append(predict_bags(fit_network(own, target, RidgeSettings(1.0), seed=0).network, own))
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-3, atol=1e-4)


def test_bags_are_their_patients_rows_and_large_ones_are_thinned_evenly() -> None:
    rng = np.random.default_rng(6)
    cohort = cohort_of([rng.normal(size=(n, 3)) for n in (4, 2500, 1)], [{"a": str(i)} for i in range(3)])
    bags = make_bags(cohort, "he", np.array([names(3)[i] for i in (2, 0, 1)]))
    assert [len(bags.bag(i)) for i in range(3)] == [1, 4, 2500]
    np.testing.assert_array_equal(bags.bag(1), cohort.vectors["he"][:4])
    place, real = bags.layout()
    assert real.sum(axis=1).tolist() == [1, 4, 834] and place.shape[1] <= MOST_PATCHES
    assert set(np.diff(place[2, real[2]])) == {3}


def test_an_unknown_preset_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UsageError, match="crc-survival"):
        preset("best")
