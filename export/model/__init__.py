"""The published towers as torch modules that export cleanly, at any size: H&E, mIF and text, to unit vectors."""

from __future__ import annotations

from .bert import TextTower
from .config import HeConfig, MifConfig, TextConfig, TowersConfig, published_config
from .heads import ProjectionHead, unit
from .mobile import MobileConfig, MobileTower
from .musk import HeTower
from .resize import Resize
from .standardise import Standardise
from .student import (
    KINDS,
    Kind,
    StudentConfig,
    StudentTower,
    build_student,
    read_student,
    save_student,
    student_config,
)
from .towers import Towers, build_towers, count_parameters, prepare_tower, read_towers, save_towers
from .virtues import MarkerTable, MifTower

__all__ = [
    "KINDS",
    "HeConfig",
    "HeTower",
    "Kind",
    "MarkerTable",
    "MifConfig",
    "MifTower",
    "MobileConfig",
    "MobileTower",
    "ProjectionHead",
    "Resize",
    "Standardise",
    "StudentConfig",
    "StudentTower",
    "TextConfig",
    "TextTower",
    "Towers",
    "TowersConfig",
    "build_student",
    "build_towers",
    "count_parameters",
    "prepare_tower",
    "published_config",
    "read_student",
    "read_towers",
    "save_student",
    "save_towers",
    "student_config",
    "unit",
]
