"""Mixtures to test with: the parity fixture's, and small ones with random weights."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from haiku_edge.export.model import Expert, Mixture, MixtureConfig
from tests.export.checkpoint.made import PARITY, fill_module

SPADE = PARITY / "spade"


@cache
def meta() -> dict[str, Any]:
    """The fixture's description; the test is skipped where the fixture is not here."""
    if not SPADE.is_dir():
        pytest.skip("the parity fixtures (../shared/parity) are not here")
    return json.loads((SPADE / "meta.json").read_text())


def expected() -> dict[str, NDArray[np.float32]]:
    """Inputs and outputs of the published implementation."""
    meta()
    return dict(np.load(SPADE / "expected.npz"))


def fixture_expert(number: int, genes: int | None = None) -> dict[str, Tensor]:
    """The state of an expert, as a released file holds it; with another number of genes where one is given."""
    shapes = dict(meta()["checkpoint_layout"])
    if genes is not None:
        shapes["spot_projection.projection.weight"] = [256, genes]
    fill = fill_module().fill
    return {key: torch.from_numpy(fill(f"expert{number}.{key}", tuple(shape))) for key, shape in shapes.items()}


def fixture_centroids() -> NDArray[np.float32]:
    return fill_module().uniform("spade/centroids", (240, 1024))


@cache
def fixture_mixture(top: int | None = None) -> Mixture:
    """The fixture's 16 experts over 240 centroids, with few genes."""
    experts = [Expert(1024, 5) for _ in range(16)]
    for number, expert in enumerate(experts):
        expert.load_state_dict(fixture_expert(number, genes=5))
    expert_of = torch.tensor(meta()["centroid_to_expert"])
    return Mixture.from_parts(MixtureConfig(1024, top=top), torch.from_numpy(fixture_centroids()), expert_of, experts)


SMALL = MixtureConfig(features=6, width=8, experts=3, centroids=7, temperature=0.5)
SMALL_MAP = (0, 1, 2, 0, 1, 1, 0)


def small_experts(genes: int = 4, features: int = SMALL.features) -> list[Expert]:
    """Experts with random weights, their norms' scales and shifts too."""
    torch.manual_seed(11)
    experts = [Expert(features, genes, SMALL.width).eval() for _ in range(SMALL.experts)]
    for expert in experts:
        for head in (expert.image_projection, expert.spot_projection):
            torch.nn.init.normal_(head.layer_norm.weight)
            torch.nn.init.normal_(head.layer_norm.bias)
    return experts


def small_centroids(features: int = SMALL.features) -> Tensor:
    return torch.randn(SMALL.centroids, features, generator=torch.Generator().manual_seed(12))


def small_mixture(config: MixtureConfig = SMALL) -> Mixture:
    experts = small_experts(features=config.features)
    return Mixture.from_parts(config, small_centroids(config.features), torch.tensor(SMALL_MAP), experts)


def relative(got: NDArray[Any], want: NDArray[Any]) -> float:
    """Length of the difference, as a share of the length of what is wanted."""
    return float(np.linalg.norm(got.astype(np.float64) - want) / np.linalg.norm(want.astype(np.float64)))
