"""The published towers as torch modules that export cleanly, at any size: H&E, mIF and text, to unit vectors."""

from __future__ import annotations

from .bert import TextTower
from .config import HeConfig, MifConfig, TextConfig, TowersConfig, published_config
from .heads import ProjectionHead, unit
from .mobile import MobileConfig, MobileTower
from .musk import HeTower
from .resize import Resize
from .spade import Expert, Mixture, MixtureConfig, ResidualHead, SpadeTower, soft_target_loss
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
from .tile_encoder import TileEncoder, TileEncoderConfig
from .towers import Towers, build_towers, count_parameters, prepare_tower, read_towers, save_towers
from .virtues import MarkerTable, MifTower
from .vit import VisionTransformer, VitConfig

__all__ = [
    "KINDS",
    "Expert",
    "HeConfig",
    "HeTower",
    "Kind",
    "MarkerTable",
    "MifConfig",
    "MifTower",
    "Mixture",
    "MixtureConfig",
    "MobileConfig",
    "MobileTower",
    "ProjectionHead",
    "ResidualHead",
    "Resize",
    "SpadeTower",
    "Standardise",
    "StudentConfig",
    "StudentTower",
    "TextConfig",
    "TextTower",
    "TileEncoder",
    "TileEncoderConfig",
    "Towers",
    "TowersConfig",
    "VisionTransformer",
    "VitConfig",
    "build_student",
    "build_towers",
    "count_parameters",
    "prepare_tower",
    "published_config",
    "read_student",
    "read_towers",
    "save_student",
    "save_towers",
    "soft_target_loss",
    "student_config",
    "unit",
]
