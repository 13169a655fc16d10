"""Towers compiled for this machine: the engine protocol, the chooser, the engines, and the cache that keeps them."""

from .cache import EngineCache
from .choose import DEVICES, DeviceReport, check_device, survey_devices
from .entry import CachedEngine, GateRecord
from .fingerprint import Fingerprint
from .model import TowerModel, read_model, tower_digest
from .onnx import OnnxEngine
from .open import plain_engine
from .tower import open_tower
from .types import DeviceInfo, Engine, TensorSpec

__all__ = [
    "DEVICES",
    "CachedEngine",
    "DeviceInfo",
    "DeviceReport",
    "Engine",
    "EngineCache",
    "Fingerprint",
    "GateRecord",
    "OnnxEngine",
    "TensorSpec",
    "TowerModel",
    "check_device",
    "open_tower",
    "plain_engine",
    "read_model",
    "survey_devices",
    "tower_digest",
]
