"""Haematoxylin and eosin by the Beer-Lambert law: I = I0 · 10^-(h·H + e·E), with scanner and stain variation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from .anatomy import Anatomy
from .patient import SCANNERS, Patient
from .tissue import Tissue
from .vocabulary import Visible

Floats = NDArray[np.float32]

# Optical density per unit of stain in (R, G, B), scaled to length 1. Measured on Aperio-like scans; one row a scanner.
HAEMATOXYLIN: Final = np.array([(0.60, 0.69, 0.40), (0.56, 0.70, 0.44), (0.615, 0.69, 0.375)])
EOSIN: Final = np.array([(0.16, 0.88, 0.44), (0.20, 0.87, 0.45), (0.15, 0.89, 0.43)])
LIGHT: Final = np.array([(243.0, 242.0, 243.0), (246.0, 243.0, 240.0), (239.0, 241.0, 246.0)])
PSF_PX: Final = (0.65, 0.8, 0.95)
NOISE_STEPS: Final = (1.6, 2.2, 2.8)
STRENGTH_SPREAD: Final = 0.18
"""Deviation of the logarithm of each stain's strength between sections."""
_TORN: Final = 0.8
"""Ground that is woven more than this is collagen, which tears into clefts."""

# Per `Visible`: haematoxylin of chromatin, haematoxylin and eosin of cytoplasm.
_CELLS: Final = np.array(
    [
        (0.66, 0.16, 0.30),
        (0.74, 0.11, 0.30),
        (0.86, 0.04, 0.40),
        (0.90, 0.05, 0.40),
        (0.66, 0.06, 0.30),
        (1.10, 0.13, 0.30),
        (0.80, 0.05, 0.42),
        (0.90, 0.02, 0.30),
    ],
    dtype=np.float32,
)
# Per `Niche`: haematoxylin and eosin between the cells, and how much collagen texture modulates the eosin.
_GROUND: Final = np.array(
    [
        (0.00, 0.00, 0.0),
        (0.08, 0.30, 0.3),
        (0.025, 0.42, 0.9),
        (0.08, 0.26, 0.3),
        (0.05, 0.28, 0.3),
        (0.06, 0.44, 0.15),
        (0.03, 0.42, 0.5),
        (0.00, 0.01, 0.0),
    ],
    dtype=np.float32,
)


@dataclass(frozen=True, slots=True)
class Stain:
    """How one section was stained and scanned.

    Attributes:
        haematoxylin: (3,) optical density per unit in R, G, B.
        eosin: (3,).
        light: (3,) uint8 steps of bare glass.
        psf_px: Deviation of the optical blur.
        noise_steps: Deviation of the camera's noise.
        vignette: Loss of light towards the corner of the camera's field.
    """

    haematoxylin: NDArray[np.float64]
    eosin: NDArray[np.float64]
    light: NDArray[np.float64]
    psf_px: float
    noise_steps: float
    vignette: float


def draw_stain(patient: Patient) -> Stain:
    """The stain and scan of the patient's section: the scanner's means, and the day's variation."""
    rng = np.random.default_rng(np.random.SeedSequence((*patient.entropy, 4)))
    scanner = SCANNERS.index(patient.scanner)
    strengths = np.exp(STRENGTH_SPREAD * rng.standard_normal(2))
    tint = rng.normal(0, 0.025, (2, 3))
    vectors = [np.abs(v[scanner] + t) for v, t in zip((HAEMATOXYLIN, EOSIN), tint, strict=True)]
    haematoxylin, eosin = (s * v / np.linalg.norm(v) for s, v in zip(strengths, vectors, strict=True))
    light = LIGHT[scanner] + rng.normal(0, 1.5, 3)
    return Stain(haematoxylin, eosin, light, PSF_PX[scanner], NOISE_STEPS[scanner], float(rng.uniform(0.0, 0.03)))


def densities(tissue: Tissue, anatomy: Anatomy, grade: int) -> tuple[Floats, Floats]:
    """Haematoxylin and eosin of every pixel, in units of `Stain`'s vectors."""
    visible = tissue.visible[anatomy.cells]
    chromatin, blue, pink = (column[visible][anatomy.label] for column in _cell_stains(grade).T)
    ground_blue, ground_pink, woven = (column[anatomy.niche] for column in _GROUND.T)
    filled = 1.0 - anatomy.white
    weave = 1.0 + woven * ((anatomy.fibre - 0.5) * 1.3)
    cleft = np.clip((-anatomy.bundle - 1.5 + 1.2 * tissue.looseness) * 2.0, 0, 0.95) * (woven > _TORN)
    body = anatomy.body
    h = (body * blue + (1 - body) * ground_blue) * filled
    e = (body * pink + (1 - body) * ground_pink * weave * (1 - cleft)) * filled
    speckle = 1.0 + 0.10 * anatomy.grain
    h, e = h * speckle, e * speckle
    rim = np.exp(-np.square((anatomy.depth - 1.0) * 0.8))
    clumps = 1.0 + 1.5 * (anatomy.chromatin - 1.0)
    stained = chromatin * (0.85 * clumps + 0.40 * rim + 0.65 * _nucleoli(tissue, anatomy))
    h = h + anatomy.nucleus * (stained - h)
    e = e + anatomy.nucleus * (0.18 - e)
    e = e + 0.55 * anatomy.red
    h = h + 0.12 * anatomy.white * anatomy.mucin * np.clip(0.4 + 0.5 * anatomy.bundle, 0, 1)
    return h.astype(np.float32), np.maximum(e, 0).astype(np.float32)


def _cell_stains(grade: int) -> Floats:
    """(V, 3) stains of each visible kind; chromatin of tumour cells darkens with grade."""
    table = _CELLS.copy()
    table[Visible.TUMOUR, 0] *= 1 + 0.07 * (grade - 2)
    return table


def _nucleoli(tissue: Tissue, anatomy: Anatomy) -> Floats:
    """Dark spots, 0 to 1, in the nuclei of about two thirds of the tumour cells, off the centre."""
    size = tissue.size[anatomy.cells]
    has = (tissue.visible[anatomy.cells] == Visible.TUMOUR) & (size > -0.4)
    along, across = anatomy.offset[0] - (2.0 * np.cos(40 * size))[anatomy.label], anatomy.offset[1]
    across = across - (1.8 * np.sin(40 * size))[anatomy.label]
    spot = np.exp(-(np.square(along) + np.square(across)) / 3.2)
    return np.asarray(spot * has[anatomy.label], dtype=np.float32)


def expose(h: Floats, e: Floats, stain: Stain, x: int, y: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(h, w, 3) uint8: light through the stains, blurred by the optics, with the camera's shading and noise."""
    density = h[..., None] * stain.haematoxylin.astype(np.float32) + e[..., None] * stain.eosin.astype(np.float32)
    image = np.exp(density * np.float32(-np.log(10.0)))
    image = cv2.GaussianBlur(image, (0, 0), stain.psf_px)
    image *= stain.light.astype(np.float32)
    image *= _shade(x, y, h.shape[1], h.shape[0], stain.vignette)[..., None]
    noise = rng.standard_normal(h.shape, dtype=np.float32) * np.float32(stain.noise_steps)
    image += cv2.GaussianBlur(noise, (0, 0), 0.6)[..., None]
    return np.asarray(np.clip(np.rint(image), 0, 255), dtype=np.uint8)


def _shade(x: int, y: int, width: int, height: int, vignette: float) -> Floats:
    """Illumination of the camera's stripes, 1024 px wide."""
    u = ((np.arange(x, x + width) % 1024) / 512.0 - 1.0) ** 2
    v = ((np.arange(y, y + height) % 1024) / 512.0 - 1.0) ** 2
    return (1.0 - vignette * 0.5 * (u[None] + v[:, None])).astype(np.float32)
