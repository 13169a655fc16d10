"""What runs on the workstation: slides in, biomarker predictions and their mIF evidence out. Never imports PyTorch."""

from .offline import disable_telemetry

# Here, because this runs before any module that could import ONNX Runtime.
disable_telemetry()
