"""The demonstration slide: a simulated section on glass, with its notes and its truth."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .patch import PATCH_PX, Patches, patches
from .patient import Patient, draw_patient, known_facts
from .region import render_window
from .svs import write_svs
from .tissue import GRID, Tissue, plant_tissue, smooth_field
from .vocabulary import MARKERS, MPP

DEMO_SEED: Final = 1
"""Gives a case with all niches: breast, grade 2, stage IIB, all markers stained."""
DEMO_WIDTH_PX: Final = 4096
DEMO_HEIGHT_PX: Final = 3072
WINDOW_PX: Final = 1024
REMARK: Final = "Comment = SYNTHETIC tissue simulated by haiku-edge, no patient"

_PEN: Final = np.array([0.20, 0.33, 0.78], dtype=np.float32)
"""Share of light in R, G, B that blue ink lets through."""
_BLUR_PX: Final = 5.0
_GLASS: Final = np.array([243, 242, 243], dtype=np.float32)

Mask = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Demo:
    """The files of a demonstration.

    Attributes:
        slide: Aperio-style SVS at 0.5 µm/px.
        notes: notes.json of the same patient.
        truth: Parquet, one row for each tile of 256 px: x, y (int32, level-0 pixels), tissue, pen, blur, fold (float32,
            shares of the tile) and for each marker M: `M` (measured mean intensity in uint8 steps), `M_expected` and
            `M_expected_without_facts` (float32).
        patient: Who was simulated; in no cohort.
    """

    slide: Path
    notes: Path
    truth: Path
    patient: Patient


def write_demo(
    directory: Path,
    seed: int = DEMO_SEED,
    *,
    width: int = DEMO_WIDTH_PX,
    height: int = DEMO_HEIGHT_PX,
    threads: int = 2,
) -> Demo:
    """Simulates a section and writes slide, notes and truth; the same seed writes the same bytes.

    Args:
        directory: Where; made if it isn't there. Existing files of the same names are replaced.
        seed: Of the demonstration. Its patient is drawn from a stream that no cohort uses.
        width: Pixels, a multiple of 1024.
        height: Pixels, a multiple of 1024.
        threads: Windows that are drawn at the same time.
    """
    directory.mkdir(parents=True, exist_ok=True)
    patient = draw_patient("DEMO", (seed, 0))
    rng = np.random.default_rng(np.random.SeedSequence((seed, 0, 9)))
    outline = tissue_outline(rng, height // GRID, width // GRID)
    tissue = plant_tissue(patient, width, height, outline=outline)
    image, table = _render(patient, tissue, threads)
    masks = _add_artefacts(rng, image, outline)
    for name, mask in masks.items():
        table[name] = _tile_means(mask)
    demo = Demo(directory / "demo.svs", directory / "notes.json", directory / "truth.parquet", patient)
    write_svs(demo.slide, image, mpp=MPP, remark=REMARK)
    demo.notes.write_text(json.dumps(known_facts(patient.facts), indent=2) + "\n", encoding="utf-8")
    pq.write_table(pa.table(table), demo.truth)
    return demo


def tissue_outline(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.bool_]:
    """(rows, columns) bool: one irregular piece of tissue with ragged edges in the middle of the glass."""
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    reach = np.hypot((x / columns - 0.5) / 0.44, (y / rows - 0.52) / 0.40)
    shape = reach + 0.16 * smooth_field(rng, rows, columns, columns / 5) + 0.02 * smooth_field(rng, rows, columns, 8.0)
    inside = (shape < 0.95).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(inside)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return np.asarray(labels == largest)


def _render(patient: Patient, tissue: Tissue, threads: int) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.generic]]]:
    """The H&E image and the truth of every tile, window by window."""
    image = np.empty((tissue.height, tissue.width, 3), np.uint8)
    corners = [(x, y) for y in range(0, tissue.height, WINDOW_PX) for x in range(0, tissue.width, WINDOW_PX)]

    def draw(corner: tuple[int, int]) -> Patches:
        x, y = corner
        region = render_window(patient, tissue, x, y, WINDOW_PX, WINDOW_PX, panel=MARKERS)
        image[y : y + WINDOW_PX, x : x + WINDOW_PX] = region.he
        return patches(region)

    with ThreadPoolExecutor(threads) as pool:
        parts = [_truth(part, *corner) for part, corner in zip(pool.map(draw, corners), corners, strict=True)]
    table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((table["x"], table["y"]))
    return image, {name: column[order] for name, column in table.items()}


def _truth(part: Patches, x: int, y: int) -> dict[str, NDArray[np.generic]]:
    """Columns of the truth table for the tiles of one window."""
    table: dict[str, NDArray[np.generic]] = {
        "x": part.origins[:, 0] + np.int32(x),
        "y": part.origins[:, 1] + np.int32(y),
        "tissue": part.tissue_share,
    }
    for index, marker in enumerate(MARKERS):
        table[marker] = part.expression[:, index]
        table[f"{marker}_expected"] = part.expected[:, index]
        table[f"{marker}_expected_without_facts"] = part.expected_without_facts[:, index]
    return table


def _add_artefacts(rng: np.random.Generator, image: NDArray[np.uint8], outline: NDArray[np.bool_]) -> dict[str, Mask]:
    """Draws a fold, an area out of focus and a pen stroke into the image; returns where, as (h, w) float32 masks."""
    height, width = image.shape[:2]
    fold = _stroke(rng, height, width, (0.58, 0.25), (0.70, 0.70), 26)
    fold *= cv2.resize(outline.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    blur = np.zeros((height, width), np.float32)
    cv2.circle(blur, (round(0.33 * width), round(0.62 * height)), round(0.085 * width), 1.0, -1)
    blur = cv2.GaussianBlur(blur, (0, 0), 18)
    pen = _stroke(rng, height, width, (0.03, 0.74), (0.31, 0.86), 60)
    for top in range(0, height, WINDOW_PX):
        rows = slice(max(top - 32, 0), min(top + WINDOW_PX + 32, height))
        inner = slice(top - rows.start, top - rows.start + WINDOW_PX)
        soft = cv2.GaussianBlur(image[rows], (0, 0), _BLUR_PX)[inner].astype(np.float32)
        here = slice(top, min(top + WINDOW_PX, height))
        band = image[here].astype(np.float32)
        band *= 1 - fold[here, :, None] * (1 - np.clip(band / _GLASS, 0, 1))
        band += blur[here, :, None] * (soft - band)
        band *= 1 - pen[here, :, None] * (1 - _PEN)
        image[here] = np.clip(np.rint(band), 0, 255).astype(np.uint8)
    return {"pen": pen, "blur": blur, "fold": fold}


def _stroke(
    rng: np.random.Generator, height: int, width: int, start: tuple[float, float], end: tuple[float, float], radius: int
) -> Mask:
    """(height, width) float32 wavy stroke between two points, given as shares of width and height."""
    t = np.linspace(0, 1, 60)
    line = np.stack([start[i] + (end[i] - start[i]) * t for i in range(2)], axis=1) * (width, height)
    sway = 0.012 * width * np.sin(t * 7 + rng.uniform(0, 6)) * np.sin(np.pi * t)
    across = np.array([end[1] - start[1], start[0] - end[0]])
    line += sway[:, None] * across / np.linalg.norm(across)
    mask = np.zeros((height, width), np.float32)
    cv2.polylines(mask, [np.round(line).astype(np.int32)], False, 1.0, 2 * radius, cv2.LINE_8)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 4), dtype=np.float32)


def _tile_means(mask: Mask) -> Mask:
    """(n,) float32 mean of each tile, row by row."""
    size = (mask.shape[1] // PATCH_PX, mask.shape[0] // PATCH_PX)
    return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA).ravel(), dtype=np.float32)
