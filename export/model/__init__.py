"""The three towers as torch modules that export cleanly: H&E, mIF and text, each ending in a unit vector."""

from __future__ import annotations

from .config import HeConfig, MifConfig, TextConfig, TowersConfig
from .heads import ProjectionHead
from .histology import HeTower
from .multiplex import MifTower
from .notes import TextTower
from .towers import Towers, build_towers, count_parameters, read_towers, save_towers

__all__ = [
    "HeConfig",
    "HeTower",
    "MifConfig",
    "MifTower",
    "ProjectionHead",
    "TextConfig",
    "TextTower",
    "Towers",
    "TowersConfig",
    "build_towers",
    "count_parameters",
    "read_towers",
    "save_towers",
]
