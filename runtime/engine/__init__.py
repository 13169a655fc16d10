"""Towers compiled for this machine: the engine protocol, the chooser, and the engines."""

from .choose import DEVICES, DeviceReport, check_device, choose_engine, survey_devices
from .onnx import OnnxEngine
from .tower import open_tower
from .types import DeviceInfo, Engine, TensorSpec

__all__ = [
    "DEVICES",
    "DeviceInfo",
    "DeviceReport",
    "Engine",
    "OnnxEngine",
    "TensorSpec",
    "check_device",
    "choose_engine",
    "open_tower",
    "survey_devices",
]
