"""From a slide and its notes to biomarkers: embed, retrieve, infer, calibrate, and the pipeline that joins them."""

from .biomarkers import Expression, infer_expression
from .calibration import Calibration, CalibrationCases, calibrate, read_cases
from .heads import Head, HeadCases, read_heads
from .look_up import LookUp, look_up
from .model import Model, open_model
from .options import PredictOptions
from .predict import Prediction, predict
from .progress import Progress, Silent
from .query import Query, he_query, mif_query, notes_query, text_query
from .retrieve import Retrieved, fuse, patients_allowed, retrieve

__all__ = [
    "Calibration",
    "CalibrationCases",
    "Expression",
    "Head",
    "HeadCases",
    "LookUp",
    "Model",
    "PredictOptions",
    "Prediction",
    "Progress",
    "Query",
    "Retrieved",
    "Silent",
    "calibrate",
    "fuse",
    "he_query",
    "infer_expression",
    "look_up",
    "mif_query",
    "notes_query",
    "open_model",
    "patients_allowed",
    "predict",
    "read_cases",
    "read_heads",
    "retrieve",
    "text_query",
]
