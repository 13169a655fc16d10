"""SPADE's mixture is the published one, and routes as it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from haiku_edge.export.model import Expert, Mixture, MixtureConfig, SpadeTower, soft_target_loss
from tests.export.checkpoint.made import fill_module
from tests.export.model.spade_made import (
    SMALL,
    SMALL_MAP,
    expected,
    fixture_centroids,
    fixture_mixture,
    meta,
    relative,
    small_centroids,
    small_experts,
    small_mixture,
)

FEATURES = torch.randn(9, SMALL.features, generator=torch.Generator().manual_seed(13))


def routed_in_double(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """The fixture's routing in 64-bit arithmetic."""
    differences = features[:, None].astype(np.float64) - fixture_centroids()
    scores = -np.sqrt((differences**2).sum(axis=2)) / 0.1
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (shares / shares.sum(axis=1, keepdims=True)) @ np.eye(16)[meta()["centroid_to_expert"]]


def test_weights_and_embedding_are_the_published_ones() -> None:
    want = expected()
    embedding, weights = fixture_mixture().embed(want["features"])
    assert relative(embedding, want["embedding"]) < 1e-5
    assert np.abs(embedding - want["embedding"]).max() < 1e-5 * np.abs(want["embedding"]).max()
    assert relative(weights, want["expert_weights"]) < 1e-5


def test_where_the_published_weights_differ_they_are_farther_from_exact_arithmetic() -> None:
    """`torch.cdist` multiplies matrices beyond 25 rows: midway between centroids it is off by 1.1e-5."""
    want = expected()
    exact = routed_in_double(want["features"])
    ours = np.abs(fixture_mixture().embed(want["features"])[1] - exact).max()
    assert ours < 1e-5 < np.abs(want["expert_weights"] - exact).max()


@torch.inference_mode()
def test_with_the_published_weights_the_embedding_agrees_to_the_last_digit() -> None:
    want = expected()
    heads = fixture_mixture().images(torch.from_numpy(want["features"])).numpy()
    embedding = np.einsum("enw,ne->nw", heads, want["expert_weights"])
    assert np.abs(embedding - want["embedding"]).max() < 1e-6 * np.abs(want["embedding"]).max()


def test_the_loss_is_the_published_one() -> None:
    uniform = fill_module().uniform if expected() else None
    assert uniform is not None
    spots, images = (
        F.layer_norm(torch.from_numpy(uniform(f"spade/{name}", (16, 256))), (256,)) for name in ("spots", "images")
    )
    loss = expected()["soft_target_loss"]
    assert abs(float(soft_target_loss(spots, images)) - loss) < 1e-5 * loss


def test_the_loss_is_the_formula_written_out() -> None:
    random, rows, temperature = np.random.default_rng(3), range(4), 0.7
    spots, images = random.normal(size=(2, 4, 5))
    alike = (images @ images.T + spots @ spots.T) / 2 * temperature
    targets = np.exp(alike) / np.exp(alike).sum(axis=1, keepdims=True)
    logits = spots @ images.T / temperature

    def entropy(scores: NDArray[Any], wanted: NDArray[Any]) -> float:
        return -float(wanted @ (scores - np.log(np.exp(scores).sum())))

    want = np.mean([(entropy(logits[i], targets[i]) + entropy(logits[:, i], targets[:, i])) / 2 for i in rows])
    assert float(soft_target_loss(torch.from_numpy(spots), torch.from_numpy(images), temperature)) == pytest.approx(
        want
    )


@torch.inference_mode()
def test_the_embedding_is_the_explicit_sum_over_the_experts() -> None:
    embedding, weights = small_mixture()(FEATURES)
    for row, features in enumerate(FEATURES):
        shares = torch.softmax(torch.stack([-(features - c).norm() / 0.5 for c in small_centroids()]), dim=0)
        own = [sum(shares[k] for k, e in enumerate(SMALL_MAP) if e == number) for number in range(SMALL.experts)]
        summed = sum(
            w * expert.image_projection(features[None])[0] for w, expert in zip(own, small_experts(), strict=True)
        )
        assert torch.allclose(weights[row], torch.stack(own), atol=1e-6)
        assert torch.allclose(embedding[row], summed, atol=1e-5)


@torch.inference_mode()
def test_counts_are_embedded_by_the_experts_of_their_images() -> None:
    mixture, counts = small_mixture(), torch.arange(36.0).reshape(9, 4)
    heads = torch.stack([expert.spot_projection(counts) for expert in small_experts()], dim=1)
    want = (mixture(FEATURES)[1][:, :, None] * heads).sum(dim=1)
    assert torch.allclose(mixture.embed_spots(FEATURES, counts), want, atol=1e-5)


@torch.inference_mode()
def test_hard_routing_takes_the_nearest_centroids_expert_alone() -> None:
    embedding, weights = small_mixture(replace(SMALL, top=1))(FEATURES)
    nearest = [SMALL_MAP[int((small_centroids() - row).norm(dim=1).argmin())] for row in FEATURES]
    assert weights.argmax(dim=1).tolist() == nearest and weights.unique().tolist() == [0.0, 1.0]
    alone = [small_experts()[e].image_projection(row[None])[0] for e, row in zip(nearest, FEATURES, strict=True)]
    assert torch.allclose(embedding, torch.stack(alone), atol=1e-5)


@torch.inference_mode()
def test_the_largest_experts_are_kept_and_weighed_again() -> None:
    soft, kept = (small_mixture(replace(SMALL, top=top))(FEATURES)[1].numpy() for top in (None, 2))
    for before, after in zip(soft, kept, strict=True):
        least = before.argmin()
        assert after[least] == 0
        assert np.allclose(np.delete(after, least), np.delete(before, least) / (1 - before[least]), atol=1e-6)
    everyone = small_mixture(replace(SMALL, top=SMALL.experts))(FEATURES)[1].numpy()
    assert np.allclose(everyone, soft, atol=1e-6)


def test_rows_do_not_depend_on_the_batch_that_they_are_in() -> None:
    want = expected()["features"]
    together, alone = fixture_mixture().embed(want), [fixture_mixture().embed(row[None]) for row in want]
    assert np.abs(together[1] - np.concatenate([weights for _, weights in alone])).max() < 1e-6


@torch.inference_mode()
def test_a_tower_gives_embedding_and_weights_of_the_middle_of_a_tile() -> None:
    class Corner(torch.nn.Module):
        """The six first values of a tile."""

        def forward(self, tiles: torch.Tensor) -> torch.Tensor:
            return tiles.float().flatten(1)[:, : SMALL.features] / 50

    mixture, tiles = small_mixture(), torch.randint(0, 256, (2, 9, 9, 3), dtype=torch.uint8)
    tower = SpadeTower(Corner().eval(), mixture, takes=4, tile=9)
    features = tiles[:, 2:6, 2:6].float().flatten(1)[:, :6] / 50
    assert torch.equal(tower(tiles), torch.cat(mixture(features), dim=1))
    assert tower.dimension == SMALL.width + SMALL.experts
    with pytest.raises(ValueError, match="more than the 3"):
        SpadeTower(Corner(), mixture, takes=4, tile=3)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="not of the stated size"):
        Mixture.from_parts(SMALL, small_centroids()[:-1], torch.tensor(SMALL_MAP), small_experts())
    with pytest.raises(ValueError, match="needs a head of each"):
        Mixture.from_parts(SMALL, small_centroids(), torch.tensor(SMALL_MAP), small_experts()[:-1])
    for wrong in ({"top": 4}, {"top": 0}, {"temperature": 0.0}, {"temperature": float("nan")}, {"experts": 8}):
        with pytest.raises(ValueError, match=r"kept|temperature|centroid"):
            replace(SMALL, **wrong)


def test_an_expert_has_the_published_names_and_drops_out_in_training_alone() -> None:
    expert = Expert(1024, 7986)
    assert {key: list(value.shape) for key, value in expert.state_dict().items()} == meta()["checkpoint_layout"]
    features, counts = torch.ones(2, 1024), torch.ones(2, 7986)
    assert not torch.equal(expert(features, counts)[0], expert(features, counts)[0])
    expert.eval()
    assert torch.equal(expert(features, counts)[1], expert(features, counts)[1])


def test_the_published_mixture_has_its_published_size() -> None:
    heads = fixture_mixture().images
    assert MixtureConfig(1024) == MixtureConfig(1024, 256, 16, 240, 0.1, None)
    assert sum(parameter.numel() for parameter in heads.parameters()) == 16 * 328_704
