"""The published towers as torch modules that export cleanly, at any size: H&E, mIF and text, to unit vectors."""

from __future__ import annotations

from .bert import TextTower
from .config import HeConfig, MifConfig, TextConfig, TowersConfig, published_config
from .heads import ProjectionHead, unit
from .musk import HeTower
from .resize import Resize
from .standardise import Standardise
from .towers import Towers, build_towers, count_parameters, prepare_tower, read_towers, save_towers
from .virtues import MarkerTable, MifTower

__all__ = [
    "HeConfig",
    "HeTower",
    "MarkerTable",
    "MifConfig",
    "MifTower",
    "ProjectionHead",
    "Resize",
    "Standardise",
    "TextConfig",
    "TextTower",
    "Towers",
    "TowersConfig",
    "build_towers",
    "count_parameters",
    "prepare_tower",
    "published_config",
    "read_towers",
    "save_towers",
    "unit",
]
