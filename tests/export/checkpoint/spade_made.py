"""SPADE checkpoint folders as they are released, small, with random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.export.model.spade_made import SMALL, SMALL_MAP, small_centroids, small_experts

Wrap = Callable[[Mapping[str, Tensor], int], Any]


def today(state: Mapping[str, Tensor], number: int) -> dict[str, Any]:
    """As the training of today saves an expert."""
    return {"model": state, "epoch": 12, "proto": number, "val_loss": 0.5, "cfg": {"lr": 1e-4, "name": "uni_k3"}}


SCHEMES: dict[str, tuple[str, Wrap]] = {
    "today": ("uni_k3_best_proto{}_ep012_val0.5123.pt", today),
    "router": ("ep12_trloss0.41_valloss0.5123_proto{}.pt", lambda state, number: {"state_dict": dict(state)}),
    "bare": ("ep12_trloss0.41_valloss0.5123_proto{}.pt", lambda state, number: dict(state)),
}
"""Name of an expert's file, and how it is wrapped."""


def states() -> list[dict[str, Tensor]]:
    """The state of each small expert."""
    return [expert.state_dict() for expert in small_experts()]


def make_released(folder: Path, scheme: str = "today") -> Path:
    """Write a released checkpoint of the small mixture."""
    folder.mkdir(parents=True)
    name, wrap = SCHEMES[scheme]
    for number, state in enumerate(states()):
        torch.save(wrap(state, number), folder / name.format(number))
    np.save(folder / "centroids.npy", small_centroids().numpy())
    np.save(folder / "reassigned_clusters.npy", np.array(SMALL_MAP, np.int32))
    return folder


def expert_file(folder: Path, number: int) -> Path:
    """The file of an expert, of whatever scheme or form."""
    (found,) = [*folder.glob(f"*proto{number}[_.]*"), *folder.glob(f"expert_{number:02d}.*")]
    return found


def same_mixture(got: torch.nn.Module) -> bool:
    """Whether a mixture computes what the small experts do."""
    features = torch.randn(5, SMALL.features, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        embedding, weights = got(features)
        heads = torch.stack([expert.image_projection(features) for expert in small_experts()], dim=1)
    return torch.allclose(embedding, (weights[:, :, None] * heads).sum(dim=1), atol=1e-5)
