"""A cohort of random vectors with structure: regions of a patient, overlapping patches, a marker that some lack."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from haiku_edge.export.evaluation.embedded_cohort import EmbeddedCohort

MARKERS = ("DAPI", "CD8", "PanCK", "CD20")
SIDE = 128.0


def unit(rng: np.random.Generator, count: int, dimension: int = 8) -> NDArray[np.float32]:
    """Random unit vectors."""
    vectors = rng.normal(size=(count, dimension))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def small_cohort(
    patients: int = 6, regions: int = 2, patches: int = 4, *, seed: int = 0, step: float = 90.0
) -> EmbeddedCohort:
    """Patients with some regions of some patches in a row, `step` micrometres apart; CD20 is missing for one in six.

    Expression follows the first components of the mIF vectors; the H&E vectors are noisy copies of them; the notes
    are the same all over a patient.
    """
    rng = np.random.default_rng(seed)
    count = patients * regions * patches
    owner = np.repeat(np.arange(patients), regions * patches)
    region = np.repeat(np.arange(patients * regions), patches)
    mif = unit(rng, count)
    he = mif + 0.4 * rng.normal(size=mif.shape).astype(np.float32)
    he /= np.linalg.norm(he, axis=1, keepdims=True)
    expression = (60 + 25 * mif[:, :4] + 4 * rng.normal(size=(count, 4))).astype(np.float32)
    expression[owner % 6 == 5, 3] = np.nan
    return EmbeddedCohort(
        markers=MARKERS,
        patches=np.array([f"R{r}-{i % patches}" for i, r in enumerate(region)]),
        regions=np.array([f"R{r}" for r in region]),
        patients=np.array([f"P{o}" for o in owner]),
        x=(step * (np.arange(count) % patches)).astype(np.float32),
        y=np.zeros(count, np.float32),
        side=SIDE,
        vectors={"he": he, "mif": mif, "text": np.repeat(unit(rng, patients), regions * patches, axis=0)},
        expression=expression,
        positive=np.where(np.isfinite(expression), expression > 60, np.nan).astype(np.float32),
        facts={
            f"P{o}": {"disease": ("Lung cancer", "Breast cancer")[o % 2], "grade": str(1 + o % 3)}
            for o in range(patients)
        },
    )
