"""How sure the numbers are: intervals and abstention from calibration patients that ship with the bundle.

The bundle holds the embeddings and the measured expression of patients who are neither in the atlas nor in training.
At run time they go through the very inference that the slide goes through, with the same weight of text, number of
neighbours and excluded patients, so an interval always belongs to the prediction beside it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..arrow import list_matrix
from ..atlas import Atlas
from ..bundle import Bundle, CalibrationSection, read_known_patients
from ..errors import BundleContentError
from .biomarkers import infer_expression
from .conformal import patient_quantile, patient_weights, tile_quantile
from .retrieve import retrieve

# One in fifty tiles of ordinary tissue is turned away: few enough to keep a slide whole, enough to notice strange
# tissue.
ABSTENTION_RATE = 0.02
METHOD = (
    "split conformal by patient: slide values by the quantile over patients, tile values by the patient-weighted "
    "hierarchical quantile"
)


@dataclass(frozen=True, slots=True)
class CalibrationCases:
    """Held-out tiles with their measured expression.

    Attributes:
        patients: (c,) pseudonyms.
        he: (c, d) unit vectors of the H&E tiles.
        text: (c, d) unit vectors of each patient's notes; None where the bundle has no text tower.
        z: (c, m) measured expression in standard deviations of the atlas; NaN where not measured.
    """

    patients: NDArray[np.str_]
    he: NDArray[np.float32]
    text: NDArray[np.float32] | None
    z: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the calibration patients say about one way of predicting.

    Attributes:
        coverage: Probability that an interval covers the measured value of a new patient.
        patients: Number of calibration patients.
        cases: Number of calibration tiles.
        tile_half_width: (m,) float32 in z; infinite where too few patients measured the marker.
        slide_half_width: (m,) float32 in z, for the mean over a slide's tiles.
        similarity_threshold: Best H&E similarity below which a tile abstains.
        similarities: (c,) float32 best H&E similarities of the calibration tiles, ascending.
        similarity_weights: (c,) float64 patient weights of them.
    """

    coverage: float
    patients: int
    cases: int
    tile_half_width: NDArray[np.float32]
    slide_half_width: NDArray[np.float32]
    similarity_threshold: float
    similarities: NDArray[np.float32]
    similarity_weights: NDArray[np.float64]

    def percentile(self, similarity: NDArray[np.float32]) -> NDArray[np.float32]:
        """Share (0 to 100) of held-out tiles whose own best match is less similar; NaN where there are none."""
        if not len(self.similarities):
            return np.full(similarity.shape, np.nan, np.float32)
        cumulative = np.concatenate([[0.0], np.cumsum(self.similarity_weights)])
        share = cumulative[np.searchsorted(self.similarities, similarity, side="left")]
        return np.where(np.isfinite(similarity), 100 * share, np.nan).astype(np.float32)


def uncalibrated(markers: int, coverage: float = 0.9) -> Calibration:
    """What nobody says: no interval anywhere, and no tile abstains."""
    unknown = np.full(markers, np.inf, np.float32)
    return Calibration(coverage, 0, 0, unknown, unknown, -np.inf, np.empty(0, np.float32), np.empty(0, np.float64))


def read_cases(bundle: Bundle, atlas: Atlas, section: CalibrationSection | None = None) -> CalibrationCases:
    """Read the bundle's calibration patients, as its own H&E tower embeds them or as `section` holds them.

    Raises:
        BundleContentError: There are none, the table does not fit the atlas, or a patient is in both, or the towers
            have learned from one.
    """
    section = section or bundle.manifest.need_calibration()
    try:
        table = pa.ipc.open_file(io.BytesIO(bundle.read(section.file))).read_all()
        cases = CalibrationCases(
            patients=np.asarray(table["patient"].to_pylist(), dtype=np.str_),
            he=list_matrix(table, "he", np.float32),
            text=list_matrix(table, "text", np.float32) if _with_notes(bundle, atlas) else None,
            z=(list_matrix(table, "expression", np.float32) - atlas.mean) / atlas.std,
        )
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise BundleContentError(f"The bundle's calibration table can't be read: {error}") from error
    check_cases(cases, atlas)
    check_unseen(cases, bundle)
    return cases


def _with_notes(bundle: Bundle, atlas: Atlas) -> bool:
    """Whether the cases have vectors of notes: spots are searched without."""
    return bundle.manifest.text is not None and atlas.measure == "protein"


def without_patients(cases: CalibrationCases, excluded: tuple[str, ...]) -> CalibrationCases:
    """The cases of everybody else: a patient's own tiles never calibrate that patient's slide."""
    keep = ~np.isin(cases.patients, np.asarray(excluded, dtype=np.str_))
    text = None if cases.text is None else cases.text[keep]
    return CalibrationCases(cases.patients[keep], cases.he[keep], text, cases.z[keep])


def calibrate(
    atlas: Atlas,
    cases: CalibrationCases,
    *,
    with_notes: bool,
    text_weight: float,
    neighbours: int,
    allowed: NDArray[np.bool_] | None = None,
    coverage: float = 0.9,
) -> Calibration:
    """Predict the calibration patients as the slide is predicted, and measure the errors.

    Where no case is left, nothing has an interval and nothing abstains.
    """
    if not len(cases.patients):
        return uncalibrated(len(atlas.markers), coverage)
    search = partial(retrieve, atlas, cases.he, text_weight=text_weight, neighbours=neighbours, allowed=allowed)
    alone = search(None)
    found = search(cases.text) if with_notes else alone
    best = alone.he_similarity[:, 0]
    threshold = _lower_quantile(best, cases.patients, ABSTENTION_RATE)
    error = infer_expression(atlas, found).value - cases.z
    # A tile that would abstain gets no interval, so its error must not shape one.
    error[best < threshold] = np.nan
    order = np.argsort(best, kind="stable")
    markers = range(len(atlas.markers))
    return Calibration(
        coverage=coverage,
        patients=len(np.unique(cases.patients)),
        cases=len(cases.patients),
        tile_half_width=_float32([tile_quantile(np.abs(error[:, m]), cases.patients, coverage) for m in markers]),
        slide_half_width=_float32(
            [patient_quantile(np.abs(_patient_means(error[:, m], cases.patients)), coverage) for m in markers]
        ),
        similarity_threshold=threshold,
        similarities=best[order],
        similarity_weights=patient_weights(cases.patients)[order],
    )


def _patient_means(values: NDArray[np.float32], patients: NDArray[np.str_]) -> NDArray[np.float64]:
    means = []
    for patient in np.unique(patients):
        own = values[patients == patient]
        own = own[np.isfinite(own)]
        means.append(own.mean(dtype=np.float64) if len(own) else np.nan)
    return np.asarray(means, dtype=np.float64)


def _lower_quantile(values: NDArray[np.float32], patients: NDArray[np.str_], share: float) -> float:
    """The value that all but `share` of a new patient's tiles lie above."""
    quantile = -tile_quantile(-values, patients, 1 - share)
    return float(values.min()) if np.isinf(quantile) else float(quantile)


def _float32(values: list[float]) -> NDArray[np.float32]:
    return np.asarray(values, dtype=np.float32)


def check_cases(cases: CalibrationCases, atlas: Atlas) -> None:
    """See that the cases fit the atlas, and that no patient is in both.

    Raises:
        BundleContentError: They don't.
    """
    dimension = atlas.vectors.shape[1]
    vectors = [part for part in (cases.he, cases.text) if part is not None]
    if any(part.shape[1] != dimension for part in vectors) or cases.z.shape[1] != len(atlas.markers):
        raise BundleContentError("The bundle's calibration table does not have the shape of its atlas.")
    shared = set(cases.patients.tolist()) & set(map(str, atlas.patients))
    if shared:
        raise BundleContentError(
            f"{len(shared)} calibration patients are also in the atlas: intervals would be too narrow."
        )


def check_unseen(cases: CalibrationCases, bundle: Bundle) -> None:
    """See that no calibration patient is among those that the towers learned from, as far as the bundle names them.

    Raises:
        BundleContentError: One is.
    """
    seen = read_known_patients(bundle).among(cases.patients.tolist())
    if seen:
        raise BundleContentError(
            f"{len(seen)} calibration patients of the bundle {bundle.manifest.name} are also among those that its "
            "towers learned from: intervals would be too narrow. Make the bundle again with other patients for "
            "calibration."
        )
