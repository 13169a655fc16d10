"""Gated ABMIL, TransMIL and hazards in stretches of time: their layers, their likelihood, what they may depend on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from haiku_edge.export.heads import MilSettings, evaluate_classes, preset, train_slide_head, train_survival_head
from haiku_edge.export.heads.bags import MOST_PATCHES, Bags
from haiku_edge.export.heads.fit import fit_network, predict_bags
from haiku_edge.export.heads.graph import check_head, export_head
from haiku_edge.export.heads.hazards import hazard_edges, hazard_loss, hazard_risk
from haiku_edge.export.heads.network import GatedMil, HeadEnsemble, Inputs
from haiku_edge.export.heads.targets import ClassTarget, SurvivalTarget
from haiku_edge.export.heads.transmil import TransMil
from haiku_edge.runtime.errors import UsageError
from tests.export.heads.small_cohort import cohort_of, names, survival_facts

GATED = MilSettings(width=8, learning_rate=1e-2, batch=16, epochs=12, attention=6, network="gated")
TRANSMIL = MilSettings(width=16, learning_rate=3e-3, batch=16, epochs=12, network="transmil")
NETWORKS = pytest.mark.parametrize("settings", [GATED, TRANSMIL], ids=["gated", "transmil"])


def bags_of(bags: list[NDArray[np.float64]]) -> Bags:
    starts = np.cumsum([0, *map(len, bags)], dtype=np.int64)
    return Bags(np.array(names(len(bags))), np.concatenate(bags).astype(np.float32), starts)


def needles(rng: np.random.Generator, patients: int) -> list[NDArray[np.float64]]:
    """One patch among some decides; the mean over patches hardly shows it."""
    bags = [rng.normal(size=(int(rng.integers(5, 12)), 6)) for _ in range(patients)]
    for number, bag in enumerate(bags):
        bag[rng.integers(len(bag)), :2] = 5.0, 4.0 if number % 2 else -4.0
    return bags


@NETWORKS
def test_network_finds_the_patch_that_decides(settings: MilSettings) -> None:
    bags = needles(np.random.default_rng(0), 60)
    codes = np.arange(60) % 2
    target = ClassTarget("response", ("no", "yes"), np.array(names(60)), codes)
    train, test = np.arange(0, 40), np.arange(40, 60)
    every = bags_of(bags)
    fitted = fit_network(every.select(train), target.select(train), settings, seed=3, epochs=20)
    scores = predict_bags(fitted.network, every.select(test))
    assert (scores.argmax(axis=1) == codes[test]).mean() >= 0.75


@NETWORKS
def test_padding_and_company_change_no_score(settings: MilSettings) -> None:
    bags = needles(np.random.default_rng(1), 9)
    kind = GatedMil if settings.network == "gated" else TransMil
    torch.manual_seed(0)
    network = kind(Inputs("standard", np.concatenate(bags).astype(np.float32)), 6, 3, settings).eval()
    longest = max(map(len, bags))
    vectors, real = torch.randn(9, longest, 6), torch.zeros(9, longest, dtype=torch.bool)
    for number, bag in enumerate(bags):
        vectors[number, : len(bag)], real[number, : len(bag)] = torch.from_numpy(bag), True
    with torch.inference_mode():
        together, attention = network(vectors, real)
        alone = torch.cat([network(vectors[i : i + 1, : len(bag)])[0] for i, bag in enumerate(bags)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(attention.sum(dim=1), torch.ones(9))
    assert not attention[~real].any()


def test_gated_layers_are_the_published_ones() -> None:
    network = GatedMil(Inputs("none", np.eye(256, dtype=np.float32)), 256, 2, preset("abmil-published")[0])
    assert [tuple(layer.weight.shape) for layer in (network.embed[0], network.content[0], network.gate[0])] == [
        (512, 256),
        (384, 512),
        (384, 512),
    ]
    assert {layer.p for layer in network.modules() if isinstance(layer, torch.nn.Dropout)} == {0.25}
    network.eval()
    vectors = torch.randn(1, 5, 256)
    hidden = torch.relu(vectors[0] @ network.embed[0].weight.T + network.embed[0].bias)
    content = torch.tanh(hidden @ network.content[0].weight.T + network.content[0].bias)
    gate = torch.sigmoid(hidden @ network.gate[0].weight.T + network.gate[0].bias)
    weights = torch.softmax((content * gate) @ network.attend.weight[0], dim=0)
    torch.testing.assert_close(network(vectors)[1][0], weights)
    torch.testing.assert_close(network(vectors)[0], network.head((weights @ hidden)[None]))


def test_transmil_attends_exactly_and_knows_the_order_of_patches() -> None:
    torch.manual_seed(1)
    network = TransMil(Inputs("none", np.eye(5, dtype=np.float32)), 5, 2, TRANSMIL).eval()
    layer, hidden = network.first, torch.randn(7, 16)
    query, key, value = layer._parts(hidden)
    mixed = torch.softmax(query @ key.transpose(1, 2) / 2**0.5, dim=-1) @ value
    wanted = hidden + layer.out[0](mixed.permute(1, 0, 2).reshape(7, 16))
    torch.testing.assert_close(layer(hidden), wanted)
    vectors = torch.randn(1, 9, 5)
    first, turned = network(vectors)[0], network(vectors.flip(1))[0]
    assert (first - turned).abs().max() > 1e-4
    for conv in network.places:
        torch.nn.init.zeros_(conv.weight)
        torch.nn.init.zeros_(conv.bias)
    torch.testing.assert_close(network(vectors)[0], network(vectors.flip(1))[0])


def test_transmil_looks_at_no_more_patches_than_it_was_trained_on() -> None:
    torch.manual_seed(2)
    network = TransMil(Inputs("none", np.eye(5, dtype=np.float32)), 5, 2, TRANSMIL).eval()
    vectors = torch.randn(1, 2 * MOST_PATCHES + 10, 5)
    with torch.inference_mode():
        scores, attention = network(vectors)
        thinned, _ = network(vectors[:, ::3])
    torch.testing.assert_close(scores, thinned)
    assert not attention[0].reshape(-1)[1::3].any() and attention.sum() == pytest.approx(1, abs=1e-5)


def test_hazard_likelihood_is_that_of_living_and_dying_in_stretches() -> None:
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(6, 4))
    months = np.array([1.0, 5.0, 9.0, 30.0, 5.0, 20.0])
    events = np.array([True, True, False, True, False, False])
    edges = np.array([4.0, 8.0, 16.0])
    hazard = 1 / (1 + np.exp(-scores))
    total = 0.0
    for row in range(6):
        stretch = int((months[row] >= edges).sum())
        chance = np.prod(1 - hazard[row, : stretch + (not events[row])])
        total -= np.log(chance * (hazard[row, stretch] if events[row] else 1.0))
    found = hazard_loss(*map(torch.from_numpy, (scores, months, events, edges)))
    assert float(found) == pytest.approx(total / 6)
    np.testing.assert_allclose(hazard_risk(torch.from_numpy(scores))[:, 0], -np.cumprod(1 - hazard, axis=1).sum(axis=1))


def test_stretches_hold_as_many_deaths_of_the_training_patients() -> None:
    months, events = np.arange(1.0, 201.0), np.arange(200) % 2 == 0
    edges = hazard_edges(months, events, 4).numpy()
    assert np.bincount(np.searchsorted(edges, months[events], side="right")).tolist() == [25] * 4
    months[~events] *= 100
    np.testing.assert_array_equal(hazard_edges(months, events, 4).numpy(), edges)


@NETWORKS
def test_hazards_order_patients_by_their_risk(settings: MilSettings) -> None:
    rng = np.random.default_rng(3)
    hazard = rng.normal(size=40)
    death = rng.exponential(30 / np.exp(2 * hazard))
    bags = [np.concatenate([[h], np.zeros(3)]) + 0.1 * rng.normal(size=(4, 4)) for h in hazard]
    target = SurvivalTarget("t", np.array(names(40)), np.minimum(death, 60), death <= 60)
    fitted = fit_network(bags_of(bags), target, replace(settings, bins=4), seed=1, epochs=12)
    risk = predict_bags(fitted.network, bags_of(bags))
    assert risk.shape == (40, 1) and np.corrcoef(risk[:, 0], hazard)[0, 1] > 0.7


def test_gated_head_is_exported_as_it_was_trained() -> None:
    bags = needles(np.random.default_rng(4), 12)
    target = ClassTarget("response", ("no", "yes"), np.array(names(12)), np.arange(12) % 2)
    network = fit_network(bags_of(bags), target, GATED, seed=0, epochs=2).network
    ensemble = HeadEnsemble([network], np.zeros(2, np.float32)).eval()
    graph = export_head(ensemble, 6, ("scores", "attention"))
    assert check_head(ensemble, graph, [bag.astype(np.float32) for bag in bags[:3]]) < 1e-5


def test_what_does_not_ship_is_refused_before_training() -> None:
    rng = np.random.default_rng(5)
    facts = [{**own, "grade": str(i % 2)} for i, own in enumerate(survival_facts(rng, rng.normal(size=12)))]
    cohort = cohort_of(needles(rng, 12), facts)
    with pytest.raises(UsageError, match="order of the tiles"):
        train_slide_head(cohort, name="a", target="grade", features="he", grid=preset("transmil"), folds=2)
    with pytest.raises(UsageError, match="abmil"):
        train_survival_head(
            cohort,
            name="a",
            time="survival",
            event="survival_status",
            features="he",
            grid=preset("abmil-hazards"),
            folds=2,
        )
    with pytest.raises(UsageError, match="classes have none"):
        evaluate_classes(cohort, target="grade", grids={"x": preset("abmil-hazards")}, folds=2)
