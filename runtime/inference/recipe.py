"""What an embedded tile depends on: an earlier run's tiles count only where all of it is the same."""

from __future__ import annotations

import hashlib

from ..slide import TilePlan
from ..version import product
from .model import Model


def embedding_recipe(model: Model, plan: TilePlan, digest: str) -> dict[str, object]:
    """Everything that decides the bytes of an embedded tile, for the store of unfinished ones."""
    device, batching, grid = model.engine.device, model.batching, plan.grid
    return {
        "product": product(),
        "slide": digest,
        "bundle": model.bundle.digest,
        "tower": model.tower.name,
        "provider": device.provider,
        "precision": device.precision,
        "processor": device.name,
        "grid": [grid.size, grid.mpp, grid.extent, grid.extent_y, plan.level],
        "origins": hashlib.sha256(grid.origins.tobytes()).hexdigest(),
        "batch": [batching.tiles, batching.per_chunk],
    }
