"""A bundle's trained heads, and what they said of their own training patients.

Each head ships with its out-of-fold predictions: for every training patient, what a head of the nested cross-validation
that had not seen this patient said. From these, and never from predictions on seen patients, outputs are calibrated.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..bundle import Bundle, HeadSection
from ..errors import BundleContentError


@dataclass(frozen=True, slots=True)
class HeadCases:
    """Out-of-fold predictions, one row a training patient (tile classifiers may have several rows a patient).

    Attributes:
        patients: (c,) pseudonyms.
        scores: (c, classes) float64 logits, or (c, 1) log-risk, higher is worse.
        labels: (c,) int64 class of each row; empty for survival.
        months: (c,) float64 follow-up in months; empty for classifiers.
        events: (c,) bool, whether the event happened at that time; empty for classifiers.
    """

    patients: NDArray[np.str_]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    months: NDArray[np.float64]
    events: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Head:
    """A head of the bundle.

    Attributes:
        section: What the manifest says of it.
        graph: Its ONNX graph.
        cases: Its out-of-fold predictions.
    """

    section: HeadSection
    graph: bytes
    cases: HeadCases

    @property
    def patients(self) -> NDArray[np.str_]:
        """Pseudonyms of the training patients, sorted, each once."""
        return np.unique(self.cases.patients)


def read_heads(bundle: Bundle) -> tuple[Head, ...]:
    """Read the heads of a bundle.

    Raises:
        BundleContentError: A table of cases does not fit its head.
    """
    return tuple(
        Head(section, bundle.read(section.file), read_head_cases(bundle.read(section.cases), section))
        for section in bundle.manifest.heads
    )


def read_head_cases(data: bytes, section: HeadSection) -> HeadCases:
    """Read an Arrow table of out-of-fold predictions.

    Columns: patient (string), scores (fixed-size list of float32, as many as classes, or one), and label (string) for a
    classifier or time (float32, months) and event (bool) for survival.

    Raises:
        BundleContentError: It is no such table, or a value is not finite.
    """
    try:
        table = pa.ipc.open_file(io.BytesIO(data)).read_all()
        cases = _survival_cases(table) if section.kind == "survival" else _class_cases(table, section.classes)
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise _refused(section, f"its table of cases can't be read ({error})") from None
    _check(cases, section)
    return cases


def _class_cases(table: pa.Table, classes: tuple[str, ...]) -> HeadCases:
    labels = np.array([classes.index(label) for label in table["label"].to_pylist()], np.int64)
    return HeadCases(*_common(table, len(classes)), labels, np.empty(0), np.empty(0, np.bool_))


def _survival_cases(table: pa.Table) -> HeadCases:
    months = np.asarray(table["time"].to_pylist(), np.float64)
    events = np.asarray(table["event"].to_pylist(), np.bool_)
    return HeadCases(*_common(table, 1), np.empty(0, np.int64), months, events)


def _common(table: pa.Table, width: int) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    scores = np.asarray(table["scores"].to_pylist(), np.float64)
    return np.asarray(table["patient"].to_pylist(), np.str_), scores.reshape(len(table), width)


def _check(cases: HeadCases, section: HeadSection) -> None:
    if not len(cases.patients):
        raise _refused(section, "its table of cases is empty")
    if not np.isfinite(cases.scores).all() or not np.isfinite(cases.months).all():
        raise _refused(section, "its table of cases holds values that are not finite")
    if (cases.months < 0).any():
        raise _refused(section, "its table of cases holds follow-up below zero")
    if section.kind != "tile_classifier" and len(np.unique(cases.patients)) != len(cases.patients):
        raise _refused(section, "its table of cases names a patient twice")


def _refused(section: HeadSection, why: str) -> BundleContentError:
    return BundleContentError(f"The bundle's head {section.name} can't be used: {why}. Train or export it again.")
