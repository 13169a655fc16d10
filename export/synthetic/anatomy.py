"""Pixel maps of a window of tissue: nuclei, membranes, cytoplasm, fibres and openings, from cells by Voronoi."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from .patient import Biology
from .tissue import GRID, Tissue, fibre_potential
from .vocabulary import STATES, Niche, Visible

Floats = NDArray[np.float32]

BLOCK_PX: Final = 16
"""Side of the blocks in which truth is summed."""

MARGIN_PX: Final = 96
"""How far cells outside a window still shape it: more than the radius of the largest cell."""

_TEXTURE_PX: Final = 512
_RED_CELL_PITCH_PX: Final = 14.2

MEMBRANE_PX: Final = 1.25
"""Half width of a membrane."""

# Per `Visible`: radius of the nucleus (px), spread of its logarithm, elongation; radius of the body (px), elongation;
# roughness of the nuclear outline (share of the radius).
_SHAPES: Final = np.array(
    [
        (7.3, 0.13, 1.3, 15.0, 1.1, 0.13),
        (6.0, 0.08, 1.7, 15.0, 1.3, 0.06),
        (4.6, 0.18, 3.4, 8.0, 4.5, 0.10),
        (4.4, 0.12, 2.8, 6.5, 2.8, 0.08),
        (5.6, 0.12, 1.4, 11.5, 1.25, 0.12),
        (5.3, 0.09, 1.1, 6.9, 1.06, 0.06),
        (3.0, 0.35, 1.3, 9.0, 1.1, 0.30),
        (3.2, 0.25, 2.2, 46.0, 1.0, 0.05),
    ]
)


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Maps of one window, each (h, w) and float32 unless said otherwise.

    Attributes:
        label: int32, index of the nearest cell in `cells`.
        cells: (c,) int64, the tissue's cells that shape the window.
        compartments: (4, h, w), weight of each `Compartment`, 0 to about 1.
        nucleus: Nuclei without texture, 0 to 1.
        depth: Pixels from the rim into the nucleus (negative outside).
        chromatin: Texture of the nuclei, mean 1.
        body: Cell bodies, 0 to 1.
        fibre: Texture of the collagen, 0 to about 1, mean near 0.5.
        bundle: Coarse texture of the collagen, mean 0.
        grain: Fine texture, mean 0, deviation 1.
        white: Lumen and glass, 0 to 1.
        red: Red blood cells, 0 to 1.
        mucin: 0 to 1.
        niche: uint8, a `Niche` each.
        offset: (2, h, w), pixels from the centre of the nearest cell along and across its axis.
    """

    label: NDArray[np.int32]
    cells: NDArray[np.int64]
    compartments: Floats
    nucleus: Floats
    depth: Floats
    chromatin: Floats
    body: Floats
    fibre: Floats
    bundle: Floats
    grain: Floats
    white: Floats
    red: Floats
    mucin: Floats
    niche: NDArray[np.uint8]
    offset: Floats


def dissect(tissue: Tissue, biology: Biology, x: int, y: int, width: int, height: int) -> Anatomy:
    """The maps of the window whose top-left pixel is (x, y); the maps of neighbouring windows continue each other."""
    near = (tissue.x > x - MARGIN_PX) & (tissue.x < x + width + MARGIN_PX)
    near &= (tissue.y > y - MARGIN_PX) & (tissue.y < y + height + MARGIN_PX)
    cells = np.flatnonzero(near) if near.any() else np.array([tissue.x.size - 1])
    px, py = np.meshgrid(np.arange(x, x + width, dtype=np.float32), np.arange(y, y + height, dtype=np.float32))
    label, border = _territories(tissue.x[cells] - x, tissue.y[cells] - y, width, height)
    rough = _sample(_noise(1), px * 0.11, py * 0.11)
    depth, inside, offset = _cell_maps(tissue, biology, cells, label, border, px, py, rough)
    white, mucin, niche = _openings(tissue, x, y, width, height, rough)
    nucleus = np.clip(depth * 0.8 + 0.5, 0, 1)
    white = np.maximum(white, _fat_droplets(tissue, cells, label, inside) * (1 - nucleus))
    grain = _sample(_noise(0), px, py)
    chromatin = np.clip(1.0 + 0.16 * _sample(_noise(2), px * 0.5, py * 0.5) + 0.06 * grain, 0.3, 1.8)
    bundle, fibre = _fibres(tissue, px, py)
    return Anatomy(
        label=label,
        cells=cells,
        compartments=_compartments(nucleus * chromatin, nucleus, inside, fibre, white, niche),
        nucleus=nucleus,
        depth=depth,
        chromatin=chromatin,
        body=np.clip(inside + 0.5, 0, 1),
        fibre=fibre,
        bundle=bundle,
        grain=grain,
        white=white,
        red=_red_cells(px, py) * white * (niche == Niche.VESSEL),
        mucin=mucin,
        niche=niche,
        offset=offset,
    )


def _cell_maps(
    tissue: Tissue,
    biology: Biology,
    cells: NDArray[np.int64],
    label: NDArray[np.int32],
    border: Floats,
    px: Floats,
    py: Floats,
    rough: Floats,
) -> tuple[Floats, Floats, Floats]:
    """Pixels into the nucleus, pixels into the cell body, and (2, h, w) offsets along and across the cell's axis."""
    shape = cell_shapes(biology, tissue.visible[cells], tissue.size[cells])
    dx, dy = px - tissue.x[cells][label], py - tissue.y[cells][label]
    cos, sin = np.cos(tissue.angle[cells])[label], np.sin(tissue.angle[cells])[label]
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    # The nucleus of a fat cell is pressed to its rim; all others lie in the middle.
    aside = across + shape["shift"][label]
    reach = np.sqrt((along * shape["inverse_a"][label]) ** 2 + (aside * shape["inverse_b"][label]) ** 2)
    depth = (1.0 - reach * (1.0 + shape["rough"][label] * rough)) * shape["radius"][label]
    inside = 1.0 - np.sqrt((along * shape["inverse_p"][label]) ** 2 + (across * shape["inverse_q"][label]) ** 2)
    inside = np.minimum(inside * shape["body"][label], border - 0.5)
    return depth, inside, np.stack([along, across])


def _compartments(
    stained: Floats, nucleus: Floats, inside: Floats, fibre: Floats, white: Floats, niche: NDArray[np.uint8]
) -> Floats:
    """(4, h, w) float32 weight of each `Compartment`."""
    body = np.clip(inside + 0.5, 0, 1)
    woven = np.isin(niche, (Niche.STROMA, Niche.VESSEL, Niche.ADIPOSE, Niche.TUMOUR))
    membrane = np.exp(-np.square((inside - 1.0) / MEMBRANE_PX)) * np.clip(inside + 2, 0, 1)
    cytoplasm = body * (1 - nucleus) * (1 - white)
    return np.stack([stained, membrane, cytoplasm, fibre * (1 - body) * (1 - white) * woven]).astype(np.float32)


def _fat_droplets(tissue: Tissue, cells: NDArray[np.int64], label: NDArray[np.int32], inside: Floats) -> Floats:
    """The washed-out fat in adipocytes, 0 to 1."""
    fat = (tissue.visible[cells] == Visible.ADIPOCYTE)[label]
    return np.asarray(np.clip(inside * 0.7 - 1.2, 0, 1) * fat, dtype=np.float32)


def occupancy(tissue: Tissue, anatomy: Anatomy) -> Floats:
    """(4, h / 16, w / 16, STATES) float32: mean weight of each compartment that cells of each visible state hold."""
    height, width = anatomy.label.shape
    rows, columns = height // BLOCK_PX, width // BLOCK_PX
    state = tissue.visible[anatomy.cells].astype(np.int32) * len(Niche) + tissue.cell_niche[anatomy.cells]
    block = (np.arange(height) // BLOCK_PX)[:, None] * columns + (np.arange(width) // BLOCK_PX)[None]
    key = (block * STATES + state[anatomy.label]).ravel()
    sums = [np.bincount(key, weights=m.ravel(), minlength=rows * columns * STATES) for m in anatomy.compartments]
    return (np.stack(sums).reshape(-1, rows, columns, STATES) / BLOCK_PX**2).astype(np.float32)


def cell_shapes(biology: Biology, visible: NDArray[np.uint8], size: Floats) -> dict[str, Floats]:
    """Per cell: axes of nucleus (a, b) and body (p, q) inverted, radii, roughness and shift of the nucleus, in pixels.

    Grade g enlarges tumour nuclei by 8 % a step and spreads their size (pleomorphism) by half as much again.
    """
    table = _SHAPES.copy()
    step = biology.grade - 2
    table[Visible.TUMOUR, :2] *= 1 + 0.08 * step, 1 + 0.55 * step
    table[Visible.TUMOUR, 5] *= 1 + 0.5 * step
    radius, spread, long, body, stretch, rough = table[visible].T
    radius = radius * np.exp(spread * size)
    a, b = radius * np.sqrt(long), radius / np.sqrt(long)
    body = np.maximum(body, radius * 1.25)
    p, q = body * np.sqrt(stretch), body / np.sqrt(stretch)
    shift = np.where(visible == Visible.ADIPOCYTE, body - 4.0, 0.0)
    values = {
        "radius": b, "inverse_a": 1 / a, "inverse_b": 1 / b, "body": q, "inverse_p": 1 / p, "inverse_q": 1 / q,
        "rough": rough, "shift": shift,
    }  # fmt: skip
    return {name: value.astype(np.float32) for name, value in values.items()}


def _territories(x: Floats, y: Floats, width: int, height: int) -> tuple[NDArray[np.int32], Floats]:
    """(height, width) int32 index of the nearest cell, and pixels to the border of its Voronoi territory.

    Cells may lie up to the margin outside.
    """
    seeds = np.full((height + 2 * MARGIN_PX, width + 2 * MARGIN_PX), 255, np.uint8)
    row = np.clip(np.round(y).astype(np.intp) + MARGIN_PX, 0, seeds.shape[0] - 1)
    column = np.clip(np.round(x).astype(np.intp) + MARGIN_PX, 0, seeds.shape[1] - 1)
    seeds[row, column] = 0
    _, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    cell_of = np.zeros(int(labels.max()) + 1, np.int32)
    cell_of[labels[row, column]] = np.arange(x.size)
    rim = MARGIN_PX // 2
    inner = np.full((height + 2 * rim, width + 2 * rim), 255, np.uint8)
    near = labels[MARGIN_PX - rim : MARGIN_PX + height + rim, MARGIN_PX - rim : MARGIN_PX + width + rim]
    inner[:, 1:][near[:, 1:] != near[:, :-1]] = 0
    inner[1:][near[1:] != near[:-1]] = 0
    border = cv2.distanceTransform(inner, cv2.DIST_L2, 3)[rim : rim + height, rim : rim + width]
    label = cell_of[near[rim : rim + height, rim : rim + width]]
    return np.asarray(label, dtype=np.int32), np.asarray(border, dtype=np.float32)


def _openings(
    tissue: Tissue, x: int, y: int, width: int, height: int, rough: Floats
) -> tuple[Floats, Floats, NDArray[np.uint8]]:
    """White and mucin (float32, 0 to 1) and niche (uint8) of every pixel, from the niche grid."""
    left, top = x // GRID, y // GRID
    # One cell more on each side lets bilinear interpolation agree between neighbouring windows.
    rows = np.clip(np.arange(top - 1, top + height // GRID + 1), 0, tissue.niche.shape[0] - 1)
    columns = np.clip(np.arange(left - 1, left + width // GRID + 1), 0, tissue.niche.shape[1] - 1)
    take = np.ix_(rows, columns)

    def enlarge(grid: Floats) -> Floats:
        size = (grid.shape[1] * GRID, grid.shape[0] * GRID)
        fine = cv2.resize(grid, size, interpolation=cv2.INTER_LINEAR)
        return np.asarray(fine[GRID : GRID + height, GRID : GRID + width], dtype=np.float32)

    openness = enlarge(tissue.openness[take])
    white = np.clip(openness * 22 + 0.5 + 0.3 * rough, 0, 1)
    niche = _ragged(tissue.niche, x, y, width, height, rough)
    return white, enlarge(tissue.mucin[take]), niche


def _ragged(grid: NDArray[np.uint8], x: int, y: int, width: int, height: int, rough: Floats) -> NDArray[np.uint8]:
    """The niche of every pixel; borders waver by a few pixels instead of following the grid."""
    px, py = np.meshgrid(np.arange(x, x + width, dtype=np.float32), np.arange(y, y + height, dtype=np.float32))
    shift = 3.0 * rough
    column = np.clip((px + shift) / GRID - 0.5, 0, grid.shape[1] - 1).astype(np.float32)
    row = np.clip((py - shift) / GRID - 0.5, 0, grid.shape[0] - 1).astype(np.float32)
    return np.asarray(cv2.remap(grid, column, row, cv2.INTER_NEAREST), dtype=np.uint8)


def _fibres(tissue: Tissue, px: Floats, py: Floats) -> tuple[Floats, Floats]:
    """Coarse bundles (mean 0) and fibres (0 to about 1) along the flow."""
    a = float(tissue.flow[0])
    along: Floats = np.asarray(px * np.cos(a) + py * np.sin(a), dtype=np.float32)
    across = fibre_potential(px, py, tissue.flow)
    bundle = _sample(_noise(3), along * 0.025, across * 0.11)
    strand = _sample(_noise(4), along * 0.06, across * 0.36)
    thread = _sample(_noise(5), along * 0.16, across * 0.8)
    return bundle, np.clip(0.5 + 0.2 * bundle + 0.17 * strand + 0.10 * thread, 0, 1.2)


def _sample(texture: Floats, x: Floats, y: Floats) -> Floats:
    """The periodic texture at points, bilinear."""
    period = np.float32(_TEXTURE_PX)
    return np.asarray(
        cv2.remap(texture, np.mod(x, period), np.mod(y, period), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP),
        dtype=np.float32,
    )


@lru_cache(maxsize=8)
def _noise(number: int) -> Floats:
    """(512, 512) float32 periodic smooth noise of mean 0 and deviation 1."""
    rng = np.random.default_rng(np.random.SeedSequence((11, number)))
    white = np.pad(rng.standard_normal((_TEXTURE_PX, _TEXTURE_PX)).astype(np.float32), 16, mode="wrap")
    smooth = cv2.GaussianBlur(white, (0, 0), 0.9)[16:-16, 16:-16]
    return np.asarray((smooth - smooth.mean()) / smooth.std(), dtype=np.float32)


def _red_cells(px: Floats, py: Floats) -> Floats:
    """Discs of red blood cells on a jittered periodic lattice, lying in clumps."""
    clump = np.clip(_sample(_noise(6), px * 0.02, py * 0.02) * 2 + 0.6, 0, 1)
    return np.asarray(_sample(_discs(), px, py) * clump, dtype=np.float32)


@lru_cache(maxsize=1)
def _discs() -> Floats:
    """(512, 512) float32 periodic discs, 0 to 1."""
    rng = np.random.default_rng(np.random.SeedSequence((11, 99)))
    count = round(_TEXTURE_PX / _RED_CELL_PITCH_PX)
    pitch = _TEXTURE_PX / count
    canvas = np.zeros((3 * _TEXTURE_PX, 3 * _TEXTURE_PX), np.float32)
    for row in range(count):
        for column in range(count):
            cx, cy = (np.array([column, row]) + 0.5 + 0.16 * rng.standard_normal(2)) * pitch
            for sx in range(3):
                for sy in range(3):
                    centre = (round(cx + sx * _TEXTURE_PX), round(cy + sy * _TEXTURE_PX))
                    cv2.circle(canvas, centre, 5, 1.0, -1, cv2.LINE_AA)
    inner = canvas[_TEXTURE_PX : 2 * _TEXTURE_PX, _TEXTURE_PX : 2 * _TEXTURE_PX]
    return np.asarray(cv2.GaussianBlur(inner, (0, 0), 0.7), dtype=np.float32)
