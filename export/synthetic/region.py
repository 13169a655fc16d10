"""One region of a section: its H&E, its marker images and what could be known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.errors import UsageError

from .anatomy import BLOCK_PX, dissect, occupancy
from .expectation import known_levels, levels_without_facts
from .expression import WEIGHTS, express
from .fluorescence import MEAN_EXPOSURE, bleed_matrix, draw_exposure, haze_map, image_markers
from .histology import densities, draw_stain, expose
from .patient import Patient
from .tissue import Tissue, plant_tissue
from .vocabulary import MARKERS, STATES

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Region:
    """A rendered region at 0.5 µm/px.

    Attributes:
        patient: Whose.
        tissue: What lies where.
        he: (h, w, 3) uint8.
        mif: (M, h, w) uint8 in the order of `MARKERS`; zero where the panel lacks the marker.
        measured: (M,) bool, which markers the panel holds.
        expected: (M, h / 16, w / 16) float32, uint8 steps: mean of the noise-free image of each 16-px block, given
            the visible cell classes, the niches and the clinical facts. Also for markers that the panel lacks.
        expected_without_facts: The same without the clinical facts.
        occupancy: (4, h / 16, w / 16, STATES) float32, mean weight of each compartment by visible state.
        haze: (h / 16, w / 16) float32, mean relative autofluorescence.
        tissue_share: (h / 16, w / 16) float32, share of each block that is neither glass nor lumen.
    """

    patient: Patient
    tissue: Tissue
    he: NDArray[np.uint8]
    mif: NDArray[np.uint8]
    measured: NDArray[np.bool_]
    expected: Floats
    expected_without_facts: Floats
    occupancy: Floats
    haze: Floats
    tissue_share: Floats


def render_region(
    patient: Patient,
    width: int = 1024,
    height: int = 1024,
    *,
    seed: int | None = None,
    layout: Tissue | None = None,
    panel: Sequence[str] | None = None,
) -> Region:
    """Draws a region of the patient's section.

    Args:
        patient: Whose section.
        width: Pixels, a multiple of 16.
        height: Pixels, a multiple of 16.
        seed: Which region of the section; None is the first. The same seed gives the same bytes.
        layout: Tissue to draw, with the same cells under this patient's facts; None grows the patient's own.
        panel: Markers to stain; None is the patient's panel.
    """
    if min(width, height) < BLOCK_PX or width % BLOCK_PX or height % BLOCK_PX:
        raise UsageError(f"A region of {width} x {height} px can't be drawn. Use multiples of {BLOCK_PX} px.")
    tissue = plant_tissue(patient, width, height, seed=seed) if layout is None else layout
    return render_window(patient, tissue, 0, 0, width, height, panel=panel)


def render_window(
    patient: Patient, tissue: Tissue, x: int, y: int, width: int, height: int, *, panel: Sequence[str] | None = None
) -> Region:
    """Draws a window of a tissue; x, y, width and height are multiples of 16 pixels."""
    stained = tuple(patient.panel if panel is None else panel)
    anatomy = dissect(tissue, patient.biology, x, y, width, height)
    rng = np.random.default_rng(np.random.SeedSequence((*tissue.seed, 3, x, y)))
    camera, microscope = rng.spawn(2)
    h, e = densities(tissue, anatomy, patient.biology.grade)
    he = expose(h, e, draw_stain(patient), x, y, camera)
    mif = image_markers(anatomy, express(patient, tissue), stained, draw_exposure(patient), microscope)
    held = occupancy(tissue, anatomy)
    haze, share = block_means(haze_map(anatomy)), block_means(1 - anatomy.white)
    return Region(
        patient,
        tissue,
        he,
        mif,
        np.array([marker in stained for marker in MARKERS]),
        expected_image(held, haze, known_levels(patient), stained),
        expected_image(held, haze, levels_without_facts(), stained),
        held,
        haze,
        share,
    )


def expected_image(held: Floats, haze: Floats, levels: NDArray[np.float64], panel: Sequence[str]) -> Floats:
    """(M, h / 16, w / 16) float32 mean noise-free intensity, from what the cells hold and their mean levels.

    Markers that the panel lacks are computed as if they alone had been added, so that they have a truth too.
    """
    table = levels.reshape(STATES, len(MARKERS)).astype(np.float32)
    signal = np.einsum("cm,cyxm->myx", WEIGHTS.T.astype(np.float32), held @ table)
    signal = signal + haze * MEAN_EXPOSURE.autofluorescence[:, None, None]
    mixed = np.tensordot(bleed_matrix(panel), signal, axes=1)
    return np.asarray(mixed + MEAN_EXPOSURE.background[:, None, None], dtype=np.float32)


def block_means(image: Floats) -> Floats:
    """(h / 16, w / 16) float32 mean of each block."""
    height, width = image.shape
    size = (width // BLOCK_PX, height // BLOCK_PX)
    return np.asarray(cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_AREA), dtype=np.float32)
