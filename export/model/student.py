"""Small H&E towers that learn from a large one: their kinds and sizes, and their weights on disk."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from .config import HeConfig
from .mobile import MobileConfig, MobileTower
from .musk import HeTower

Kind = Literal["vit-s", "mobile"]
"""A vision transformer of MUSK's layers at the size of ViT-S/16, or inverted residuals of convolutions."""

KINDS: tuple[Kind, ...] = ("vit-s", "mobile")
PRESETS = ("published", "embedded")
"""Sizes: for the teacher of a published model, or for the embedded bundle's."""

StudentTower = HeTower | MobileTower

_VIT = {
    "published": HeConfig(side=224, stem=(), patch=16, width=384, hidden=1536, heads=6, layers=12),
    "embedded": HeConfig(side=64, stem=(16, 32, 64), patch=8, width=96, hidden=192, heads=4, layers=2),
}
_MOBILE = {
    "published": MobileConfig(),
    "embedded": MobileConfig(side=128, stem=16, stages=(16, 32, 64, 96), depth=2, expansion=3, width=192),
}


@dataclass(frozen=True, slots=True)
class StudentConfig:
    """What a student is.

    Attributes:
        kind: Its class.
        dimension: Length of its vectors, the teacher's.
        sizes: Of its class.
    """

    kind: Kind
    dimension: int
    sizes: HeConfig | MobileConfig


def student_config(kind: Kind, preset: str, tile: int, dimension: int) -> StudentConfig:
    """The sizes of a preset (one of `PRESETS`), for tiles of `tile` pixels and vectors of length `dimension`."""
    sizes = _VIT[preset] if kind == "vit-s" else _MOBILE[preset]
    if isinstance(sizes, MobileConfig):
        # A whole factor, so that averaging is exact: tiles of other sizes are taken as they are.
        side = sizes.side if tile % sizes.side == 0 else tile
        return StudentConfig(kind, dimension, replace(sizes, tile=tile, side=side))
    return StudentConfig(kind, dimension, replace(sizes, tile=tile))


def build_student(config: StudentConfig, seed: int) -> StudentTower:
    """Build a student with random weights that depend on the seed alone."""
    torch.manual_seed(seed)
    if isinstance(config.sizes, MobileConfig):
        return MobileTower(config.sizes, config.dimension)
    return HeTower(config.sizes, config.dimension)


def save_student(config: StudentConfig, tower: StudentTower, directory: Path) -> None:
    """Write `config.json` and `he.pt` for `read_student`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(asdict(config), indent=1) + "\n")
    torch.save(tower.state_dict(), directory / "he.pt")


def read_student(directory: Path) -> StudentTower:
    """Read what `save_student` wrote, running nothing pickled, strictly; the tower infers."""
    stated: dict[str, Any] = json.loads((directory / "config.json").read_text())
    sizes: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in stated["sizes"].items()
    }
    made = MobileConfig(**sizes) if stated["kind"] == "mobile" else HeConfig(**sizes)
    tower = build_student(StudentConfig(stated["kind"], stated["dimension"], made), seed=0)
    tower.load_state_dict(torch.load(directory / "he.pt", weights_only=True))
    return tower.eval()
