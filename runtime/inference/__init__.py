"""From a slide and its notes to biomarkers: embed, retrieve, infer, calibrate, and the pipeline that joins them."""

from .biomarkers import Expression, infer_expression
from .calibration import Calibration, CalibrationCases, calibrate, read_cases
from .model import Model, open_model
from .options import PredictOptions
from .predict import Prediction, predict
from .progress import Progress, Silent
from .retrieve import Retrieved, fuse, patients_allowed, retrieve

__all__ = [
    "Calibration",
    "CalibrationCases",
    "Expression",
    "Model",
    "PredictOptions",
    "Prediction",
    "Progress",
    "Retrieved",
    "Silent",
    "calibrate",
    "fuse",
    "infer_expression",
    "open_model",
    "patients_allowed",
    "predict",
    "read_cases",
    "retrieve",
]
