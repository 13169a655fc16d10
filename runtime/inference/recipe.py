"""What an embedded tile depends on: an earlier run's tiles count only where all of it is the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ..bundle import Bundle
from ..engine import Engine
from ..slide import TilePlan
from ..version import product
from .batching import Batching


def embedding_recipe(
    bundle: Bundle, towers: Sequence[tuple[str, Engine]], batching: Batching, plan: TilePlan, digest: str
) -> dict[str, object]:
    """Everything that decides the bytes of an embedded tile, for the store of unfinished ones.

    Args:
        bundle: The bundle.
        towers: Name and engine of each tower that embeds the tiles.
        batching: How they are fed.
        plan: The tiles.
        digest: Of the slide.
    """
    grid = plan.grid
    return {
        "product": product(),
        "slide": digest,
        "bundle": bundle.digest,
        "towers": [
            [name, engine.device.provider, engine.device.precision, engine.device.name] for name, engine in towers
        ],
        "grid": [grid.size, grid.mpp, grid.extent, grid.extent_y, plan.level],
        "origins": hashlib.sha256(grid.origins.tobytes()).hexdigest(),
        "batch": [batching.tiles, batching.per_chunk],
    }
