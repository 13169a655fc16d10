"""Towers compiled for this machine: the engine protocol, the chooser, and the engines."""

from .choose import DEVICES, DeviceReport, choose_engine, survey_devices
from .onnx import OnnxEngine
from .types import DeviceInfo, Engine, TensorSpec

__all__ = [
    "DEVICES",
    "DeviceInfo",
    "DeviceReport",
    "Engine",
    "OnnxEngine",
    "TensorSpec",
    "choose_engine",
    "survey_devices",
]
