"""Multiplexed immunofluorescence: cell levels in compartments, blur, background, bleed-through, shot noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from .anatomy import Anatomy
from .expression import WEIGHTS
from .patient import Patient
from .vocabulary import MARKERS, Compartment

Floats = NDArray[np.float32]

PSF_PX: Final = 1.0
BACKGROUND_STEPS: Final = 3.0
"""Mean camera offset."""
AUTOFLUORESCENCE_STEPS: Final = 5.0
"""Mean signal of unstained tissue."""
BLEED_FORWARD: Final = 0.05
BLEED_BACKWARD: Final = 0.015
"""Share of a channel seen in the next and in the previous channel of the panel."""
PHOTONS_PER_STEP: Final = 1.6
READ_NOISE_STEPS: Final = 1.2
FIBRE_REACH_PX: Final = 7.0
"""How far a cell's protein spreads along and across the fibres it made."""
GAIN_SPREAD: Final = 0.08
"""Deviation of the logarithm of a channel's gain between sections."""
HAZE_SPREAD: Final = 0.08


@dataclass(frozen=True, slots=True)
class Exposure:
    """How one section was imaged.

    Attributes:
        gain: (M,) factor of each channel, log-normal around 1.
        background: (M,) uint8 steps everywhere.
        autofluorescence: (M,) uint8 steps in tissue.
    """

    gain: NDArray[np.float64]
    background: NDArray[np.float64]
    autofluorescence: NDArray[np.float64]


MEAN_EXPOSURE: Final = Exposure(
    np.ones(len(MARKERS)),
    np.full(len(MARKERS), BACKGROUND_STEPS),
    np.full(len(MARKERS), AUTOFLUORESCENCE_STEPS),
)
"""What is known of the imaging of a section that wasn't imaged yet."""


def draw_exposure(patient: Patient) -> Exposure:
    """The gains and backgrounds of the patient's section."""
    rng = np.random.default_rng(np.random.SeedSequence((*patient.entropy, 5)))
    gain = np.exp(GAIN_SPREAD * rng.standard_normal(len(MARKERS)) - GAIN_SPREAD**2 / 2)
    background = BACKGROUND_STEPS * rng.uniform(0.85, 1.15, len(MARKERS))
    haze = AUTOFLUORESCENCE_STEPS * np.exp(HAZE_SPREAD * rng.standard_normal(len(MARKERS)) - HAZE_SPREAD**2 / 2)
    return Exposure(gain, background, haze)


def bleed_matrix(panel: Sequence[str]) -> NDArray[np.float64]:
    """(M, M): row m holds the share of every channel that channel m shows; only stained neighbours bleed."""
    matrix = np.eye(len(MARKERS))
    order = [MARKERS.index(marker) for marker in MARKERS if marker in panel]
    for earlier, later in pairwise(order):
        matrix[later, earlier] = BLEED_FORWARD
        matrix[earlier, later] = BLEED_BACKWARD
    return matrix


def haze_map(anatomy: Anatomy) -> Floats:
    """(h, w) autofluorescence relative to its mean in tissue: collagen and blood glow, glass does not."""
    return np.asarray((1 - anatomy.white) * (0.75 + 0.5 * anatomy.fibre) + 1.5 * anatomy.red, dtype=np.float32)


def _signal(level: Floats, weights: NDArray[np.float64], compartments: Floats) -> Floats:
    """Light of one marker: each cell's level in its compartments, and along the fibres a mean of the cells nearby."""
    nucleus, membrane, cytoplasm, fibre = (float(weight) for weight in weights)
    signal = np.float32(nucleus) * compartments[Compartment.NUCLEUS]
    signal += np.float32(membrane) * compartments[Compartment.MEMBRANE]
    signal += np.float32(cytoplasm) * compartments[Compartment.CYTOPLASM]
    signal *= level
    if fibre:
        strands = compartments[Compartment.FIBRE]
        # Weighted by the fibres, so that a block's total stays what its cells hold.
        nearby = cv2.GaussianBlur(level * strands, (0, 0), FIBRE_REACH_PX)
        nearby /= cv2.GaussianBlur(strands, (0, 0), FIBRE_REACH_PX) + np.float32(1e-3)
        signal += np.float32(fibre) * strands * nearby
    return np.asarray(signal, dtype=np.float32)


def image_markers(
    anatomy: Anatomy, levels: Floats, panel: Sequence[str], exposure: Exposure, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """(M, h, w) uint8 images in the order of `MARKERS`; channels that aren't in the panel are zero.

    Args:
        anatomy: The window.
        levels: (n, M) level of each of the tissue's cells.
        panel: The stained markers.
        exposure: How the section was imaged.
        rng: For the noise; each channel draws from its own child.
    """
    local = levels[anatomy.cells]
    haze = haze_map(anatomy)
    clean = {}
    for index in (MARKERS.index(marker) for marker in MARKERS if marker in panel):
        level = np.ascontiguousarray(local[:, index])[anatomy.label]
        signal = _signal(level, WEIGHTS[index], anatomy.compartments)
        signal += haze * np.float32(exposure.autofluorescence[index])
        clean[index] = cv2.GaussianBlur(signal, (0, 0), PSF_PX)
    images = np.zeros((len(MARKERS), *anatomy.label.shape), np.uint8)
    matrix = bleed_matrix(panel)
    for (index, _), child in zip(clean.items(), rng.spawn(len(clean)), strict=True):
        seen = sum(np.float32(matrix[index, other]) * clean[other] for other in clean if matrix[index, other])
        light = seen * np.float32(exposure.gain[index]) + np.float32(exposure.background[index])
        noise = child.standard_normal(light.shape, dtype=np.float32)
        light += noise * np.sqrt(light / np.float32(PHOTONS_PER_STEP) + np.float32(READ_NOISE_STEPS**2))
        images[index] = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    return images
