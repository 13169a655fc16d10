"""Split-conformal intervals where cases come in patients.

Tiles of one patient are alike, so the patient is what is exchangeable. A new patient's slide is covered by the
ordinary split conformal quantile over patients; a new patient's tile by the hierarchical one, which gives every
calibration patient the same weight however many tiles it has (Lee, Barber and Willett, Distribution-free inference
with hierarchical data, 2306.06342).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def patient_quantile(scores: NDArray[np.floating], coverage: float) -> float:
    """Half width that covers a new patient with probability ≥ `coverage`.

    Args:
        scores: (patients,) absolute errors, one a patient; NaN entries are left out.
        coverage: Between 0 and 1.

    Returns:
        The ⌈coverage · (patients + 1)⌉-th smallest score, or infinity where there are too few patients.
    """
    known = np.sort(scores[np.isfinite(scores)].astype(np.float64))
    rank = int(np.ceil(coverage * (len(known) + 1) - 1e-9))
    return float(known[rank - 1]) if 1 <= rank <= len(known) else float("inf")


def least_patients(coverage: float) -> int:
    """Fewest patients whose quantile, of a slide or of a tile, is finite: the least n with n / (n + 1) ≥ `coverage`."""
    return int(np.ceil(coverage / (1 - coverage) - 1e-9))


def tile_quantile(scores: NDArray[np.floating], patients: NDArray[np.str_], coverage: float) -> float:
    """Half width that covers one tile of a new patient with probability ≥ `coverage`.

    Args:
        scores: (tiles,) absolute errors; NaN entries are left out.
        patients: (tiles,) whose tile each is.
        coverage: Between 0 and 1.

    Returns:
        The smallest score at which the patient-weighted distribution, with one unseen patient at infinity, reaches
        `coverage`; infinity where it never does.
    """
    known = np.isfinite(scores)
    if not known.any():
        return float("inf")
    values = scores[known].astype(np.float64)
    weights = patient_weights(patients[known])
    count = len(np.unique(patients[known]))
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order]) * count / (count + 1)
    position = int(np.searchsorted(reached, coverage - 1e-9))
    return float(values[order][position]) if position < len(values) else float("inf")


def patient_weights(patients: NDArray[np.str_]) -> NDArray[np.float64]:
    """(tiles,) weights that sum to 1, with the same total for each patient."""
    _, owner, sizes = np.unique(patients, return_inverse=True, return_counts=True)
    weights: NDArray[np.float64] = 1.0 / (sizes[owner] * len(sizes))
    return weights
