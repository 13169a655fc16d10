"""Tissue before any stain: smooth random niches, glands, vessels, and the cells that stand in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from .patient import Biology, Patient
from .vocabulary import Niche, Organ, Visible

GRID: Final = 4
"""Pixels per cell of the niche grid."""

Floats = NDArray[np.float32]

FAR_PX: Final = -1e4
"""Where the cell lies that belongs to bare glass."""

SPACING_PX: Final = (40.0, 20.0, 29.0, 12.5, 13.5, 34.0, 12.0, 88.0)
"""Mean distance of neighbouring cells in each niche, in the order of `Niche`."""


@dataclass(frozen=True, slots=True)
class Tissue:
    """Where everything lies, the same for H&E and every marker.

    Attributes:
        width: Pixels at 0.5 µm/px.
        height: Pixels at 0.5 µm/px.
        niche: (height / 4, width / 4) uint8, a `Niche` each.
        openness: (height / 4, width / 4) float32, above 0 in lumina and on glass.
        mucin: (height / 4, width / 4) float32, 0 to 1, how far an opening is filled (blood is drawn as cells).
        flow: (3,) float64: direction of the collagen fibres in radians and the phases of their waves.
        looseness: 0 to 1, how much the stroma is torn by white clefts.
        x: (n,) float32, centres of the nuclei. The last cell lies far outside, so that bare glass has a nearest cell.
        y: (n,) float32.
        visible: (n,) uint8, a `Visible` each.
        cell_niche: (n,) uint8, a `Niche` each.
        angle: (n,) float32, direction of the long axis in radians.
        size: (n,) float32, standard normal, how large the nucleus is among its kind.
        seed: Entropy of everything that is drawn later for this tissue.
    """

    width: int
    height: int
    niche: NDArray[np.uint8]
    openness: Floats
    mucin: Floats
    flow: NDArray[np.float64]
    looseness: float
    x: Floats
    y: Floats
    visible: NDArray[np.uint8]
    cell_niche: NDArray[np.uint8]
    angle: Floats
    size: Floats
    seed: tuple[int, ...]


def plant_tissue(
    patient: Patient, width: int, height: int, *, seed: int | None = None, outline: NDArray[np.bool_] | None = None
) -> Tissue:
    """Grows the tissue of one region.

    Args:
        patient: Whose tissue.
        width: Pixels, a multiple of 16.
        height: Pixels, a multiple of 16.
        seed: Region of the patient's section; None is region 0.
        outline: (height / 4, width / 4) bool, False on bare glass; None is tissue everywhere.
    """
    entropy = (*patient.entropy, 1, 0 if seed is None else seed + 1)
    rng = np.random.default_rng(np.random.SeedSequence(entropy))
    rows, columns = height // GRID, width // GRID
    niche, openness, mucin, inward = _niches(rng, patient.biology, rows, columns)
    if outline is not None:
        niche[~outline] = Niche.GLASS
        openness = np.where(outline, openness, np.float32(1.0))
        mucin = np.where(outline, mucin, np.float32(0.0))
    flow = np.array([rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)])
    x, y, cell_niche = _place(rng, patient.biology, niche, openness)
    visible = _kinds(rng, patient.biology, cell_niche)
    row, column = (y // GRID).astype(np.intp), (x // GRID).astype(np.intp)
    angle = fibre_angle(x, y, flow) + 0.25 * rng.standard_normal(x.size).astype(np.float32)
    loose = np.isin(visible, (Visible.TUMOUR, Visible.LYMPHOCYTE, Visible.MACROPHAGE))
    angle = np.where(loose, rng.uniform(0, np.pi, x.size).astype(np.float32), angle)
    angle = np.where(visible == Visible.EPITHELIUM, inward[row, column], angle)
    angle = np.where(visible == Visible.ENDOTHELIUM, inward[row, column] + np.float32(np.pi / 2), angle)
    size = rng.standard_normal(x.size).astype(np.float32)
    far = np.float32(FAR_PX)
    return Tissue(
        width=width,
        height=height,
        niche=niche,
        openness=openness.astype(np.float32),
        mucin=mucin.astype(np.float32),
        flow=flow,
        looseness=float(np.random.default_rng(np.random.SeedSequence((*patient.entropy, 6))).random()),
        x=np.append(x, far),
        y=np.append(y, far),
        visible=np.append(visible, np.uint8(Visible.DEBRIS)),
        cell_niche=np.append(cell_niche, np.uint8(Niche.GLASS)),
        angle=np.append(angle.astype(np.float32), np.float32(0)),
        size=np.append(size, np.float32(0)),
        seed=entropy,
    )


def smooth_field(rng: np.random.Generator, rows: int, columns: int, scale: float) -> Floats:
    """(rows, columns) float32 Gaussian field of mean 0, deviation near 1 and a correlation length of `scale` cells."""
    shape = (int(np.ceil(rows / scale)) + 4, int(np.ceil(columns / scale)) + 4)
    coarse = rng.standard_normal(shape).astype(np.float32)
    size = (round(shape[1] * scale), round(shape[0] * scale))
    fine = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    top, left = (int(v) for v in (rng.random(2) * 2 * scale).astype(int))
    return np.asarray(fine[top : top + rows, left : left + columns] * 1.35, dtype=np.float32)


def fibre_potential(x: Floats, y: Floats, flow: NDArray[np.float64]) -> Floats:
    """Pixels across the fibres; collagen runs along the lines on which this is constant."""
    a, b, c = (float(v) for v in flow)
    straight = y * np.cos(a) - x * np.sin(a)
    return np.asarray(
        straight + 46 * np.sin(x / 150 + 1.1 * np.sin(y / 290 + b)) + 30 * np.sin(y / 120 - b + c), dtype=np.float32
    )


def fibre_angle(x: Floats, y: Floats, flow: NDArray[np.float64]) -> Floats:
    """Direction of the collagen fibres at points, in radians: across the gradient of `fibre_potential`."""
    step = np.float32(1.0)
    across = fibre_potential(x + step, y, flow) - fibre_potential(x - step, y, flow)
    down = fibre_potential(x, y + step, flow) - fibre_potential(x, y - step, flow)
    return np.asarray(np.arctan2(-across, down), dtype=np.float32)


def _niches(
    rng: np.random.Generator, biology: Biology, rows: int, columns: int
) -> tuple[NDArray[np.uint8], Floats, Floats, Floats]:
    """Niche, openness, mucin and direction towards the centre of the nearest gland or vessel."""
    px = 1.0 / GRID
    broad = smooth_field(rng, rows, columns, 330 * px)
    middle = smooth_field(rng, rows, columns, 110 * px)
    fine = smooth_field(rng, rows, columns, 36 * px)
    normal = smooth_field(rng, rows, columns, 420 * px) + 0.25 * middle
    lymph = smooth_field(rng, rows, columns, 170 * px) + 0.15 * fine
    decay = smooth_field(rng, rows, columns, 220 * px)
    fat = smooth_field(rng, rows, columns, 380 * px) + 0.1 * fine
    niche = np.full((rows, columns), Niche.STROMA, np.uint8)
    tumour = broad + 0.45 * middle + 0.16 * fine > -0.1 + 0.35 * biology.fibrosis
    septa = np.abs(middle + 0.35 * fine) < 0.10 + 0.07 * (3 - biology.grade)
    gland_limit = 0.45 + 0.2 * biology.stage if biology.organ != Organ.HEAD_AND_NECK else 9.0
    glands = (normal > gland_limit) & (not biology.metastasis)
    niche[tumour & ~septa] = Niche.TUMOUR
    niche[tumour & (decay > 1.75 - 0.4 * biology.decay - 0.25 * (biology.grade - 2)) & (broad > 0.2)] = Niche.NECROSIS
    fat_limit = (1.7, 0.9, 2.6, 1.9)[biology.organ]
    niche[(fat > fat_limit) & ~tumour] = Niche.ADIPOSE
    niche[(lymph > 1.75 - 0.45 * biology.infiltration - 0.3 * biology.inflamed) & (niche == Niche.STROMA)] = (
        Niche.LYMPHOID
    )
    gland_d, gland_in = _rings(rng, rows, columns, spacing=118 * px, radius=48 * px, wobble=0.16)
    lumen_d, _ = _rings(rng, rows, columns, spacing=105 * px, radius=30 * px, wobble=0.35)
    vessel_d, vessel_in = _rings(rng, rows, columns, spacing=210 * px, radius=19 * px, wobble=0.22, scatter=0.6)
    openness = np.full((rows, columns), -1.0, np.float32)
    mucin = np.zeros((rows, columns), np.float32)
    niche[glands] = Niche.STROMA
    ring = glands & (gland_d < 1.0)
    niche[ring] = Niche.GLAND
    openness[ring] = 0.38 - gland_d[ring]
    lined = (niche == Niche.TUMOUR) & (lumen_d < 1.0) & (biology.grade < 3) & (not biology.squamous)
    openness[lined] = (0.62 if biology.grade == 1 else 0.42) - lumen_d[lined]
    mucin[glands | lined] = 0.25
    vessels = np.isin(niche, (Niche.STROMA, Niche.LYMPHOID)) & (vessel_d < 1.25) & ~glands
    niche[vessels] = Niche.VESSEL
    openness[vessels] = 0.8 - vessel_d[vessels]
    inward = np.where(niche == Niche.VESSEL, vessel_in, gland_in)
    return niche, openness, mucin, inward


def _rings(
    rng: np.random.Generator,
    rows: int,
    columns: int,
    *,
    spacing: float,
    radius: float,
    wobble: float,
    scatter: float = 0.22,
) -> tuple[Floats, Floats]:
    """Distance to the nearest of scattered centres in radii, wobbled, and the direction towards it in radians."""
    x, y = lattice(rng, rows, columns, spacing, scatter)
    seeds = np.full((rows, columns), 255, np.uint8)
    seeds[y.astype(np.intp), x.astype(np.intp)] = 0
    distance, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    count = int(labels.max()) + 1
    centre = np.zeros((2, count), np.float32)
    centre[:, labels[y.astype(np.intp), x.astype(np.intp)]] = x, y
    radii = (radius * np.exp(0.22 * rng.standard_normal(count))).astype(np.float32)
    dx = np.arange(columns, dtype=np.float32)[None] - centre[0][labels]
    dy = np.arange(rows, dtype=np.float32)[:, None] - centre[1][labels]
    bumps = 1.0 + wobble * smooth_field(rng, rows, columns, radius * 0.8)
    return np.asarray(distance / radii[labels] * bumps, dtype=np.float32), np.arctan2(dy, dx)


def lattice(
    rng: np.random.Generator, rows: float, columns: float, spacing: float, scatter: float
) -> tuple[Floats, Floats]:
    """Points of a hexagonal lattice, each moved by a normal step of `scatter` spacings, inside the grid."""
    pitch = spacing * np.sqrt(3) / 2
    down, across = int(rows / pitch) + 2, int(columns / spacing) + 2
    j, i = np.mgrid[0:down, 0:across]
    # Rounded to float32 first: a point just inside the edge must not be rounded onto it after the test.
    x = ((i + 0.5 * (j % 2)) * spacing + scatter * spacing * rng.standard_normal(j.shape)).astype(np.float32)
    y = (j * pitch + scatter * spacing * rng.standard_normal(j.shape)).astype(np.float32)
    inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    return x[inside], y[inside]


def _place(
    rng: np.random.Generator, biology: Biology, niche: NDArray[np.uint8], openness: Floats
) -> tuple[Floats, Floats, NDArray[np.uint8]]:
    """Centres of the cells and their niche: a lattice of its own spacing in every niche."""
    height, width = (side * GRID for side in niche.shape)
    parts: list[tuple[Floats, Floats, NDArray[np.uint8]]] = []
    for kind in Niche:
        if kind == Niche.GLASS:
            continue
        spacing = SPACING_PX[kind]
        if kind == Niche.TUMOUR:
            spacing *= 1.0 + 0.06 * (biology.grade - 2) + 0.1 * biology.squamous
        x, y = lattice(rng, height, width, spacing, 0.16 if kind != Niche.STROMA else 0.3)
        row, column = (y // GRID).astype(np.intp), (x // GRID).astype(np.intp)
        here = (niche[row, column] == kind) & (openness[row, column] < -0.04)
        if kind == Niche.VESSEL:
            here |= (niche[row, column] == kind) & (np.abs(openness[row, column]) < 0.16)
        parts.append((x[here], y[here], np.full(int(here.sum()), kind, np.uint8)))
    x, y, kinds = (np.concatenate([part[i] for part in parts]) for i in range(3))
    bins = (y // 8).astype(np.int64) * (width // 8 + 1) + (x // 8).astype(np.int64)
    _, first = np.unique(bins, return_index=True)
    return x[first], y[first], kinds[first]


def kind_shares(biology: Biology) -> NDArray[np.float64]:
    """(N, V) how often each visible kind of cell stands in each niche."""
    immune = np.exp(0.6 * biology.infiltration + 0.35 * biology.inflamed)
    shares = np.zeros((len(Niche), len(Visible)))
    v = Visible
    shares[Niche.GLASS, v.DEBRIS] = 1
    shares[Niche.TUMOUR, [v.TUMOUR, v.SPINDLE, v.MACROPHAGE, v.LYMPHOCYTE]] = 1.0, 0.02, 0.04, 0.09 * immune
    shares[Niche.STROMA, [v.SPINDLE, v.MACROPHAGE, v.LYMPHOCYTE, v.ENDOTHELIUM]] = 1.0, 0.2, 0.45 * immune, 0.08
    shares[Niche.LYMPHOID, [v.LYMPHOCYTE, v.MACROPHAGE, v.SPINDLE]] = 1.0, 0.05, 0.03
    shares[Niche.GLAND, [v.EPITHELIUM, v.LYMPHOCYTE]] = 1.0, 0.02 * immune
    shares[Niche.NECROSIS, [v.DEBRIS, v.MACROPHAGE, v.TUMOUR, v.LYMPHOCYTE]] = 1.0, 0.08, 0.08, 0.06
    shares[Niche.VESSEL, [v.ENDOTHELIUM, v.SPINDLE]] = 1.0, 0.25
    shares[Niche.ADIPOSE, [v.ADIPOCYTE, v.MACROPHAGE]] = 1.0, 0.04
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _kinds(rng: np.random.Generator, biology: Biology, niche: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n,) uint8, a `Visible` for every cell."""
    edges = np.cumsum(kind_shares(biology), axis=1)[niche]
    kinds = (rng.random(niche.size)[:, None] > edges).sum(axis=1)
    return np.asarray(np.minimum(kinds, len(Visible) - 1), dtype=np.uint8)
