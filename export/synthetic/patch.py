"""Patches of a rendered region, their truth, and how it shifts when clinical facts are edited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.errors import UsageError

from .anatomy import BLOCK_PX
from .expectation import known_levels
from .patient import Patient, edit_patient
from .region import Region, expected_image, render_region
from .vocabulary import MARKERS

PATCH_PX: Final = 256

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Patches:
    """Non-overlapping squares of a region, row by row.

    Attributes:
        he: (n, size, size, 3) uint8.
        mif: (n, M, size, size) uint8; zero where the panel lacks the marker.
        expression: (n, M) float32, mean uint8 intensity of the noisy channel; NaN where not measured.
        expected: (n, M) float32, mean of `Region.expected`; the best that a predictor could say.
        expected_without_facts: (n, M) float32.
        tissue_share: (n,) float32, 0 to 1.
        origins: (n, 2) int32, top-left corners (x, y) in pixels.
        measured: (M,) bool.
    """

    he: NDArray[np.uint8]
    mif: NDArray[np.uint8]
    expression: Floats
    expected: Floats
    expected_without_facts: Floats
    tissue_share: Floats
    origins: NDArray[np.int32]
    measured: NDArray[np.bool_]


def patches(region: Region, size: int = PATCH_PX) -> Patches:
    """Cuts a region into squares of `size` pixels (a multiple of 16); what is left over at the edges is dropped."""
    if size < BLOCK_PX or size % BLOCK_PX:
        raise UsageError(f"Patches of {size} px can't be cut. Use a multiple of {BLOCK_PX} px.")
    rows, columns = region.he.shape[0] // size, region.he.shape[1] // size
    height, width, markers = rows * size, columns * size, len(MARKERS)
    he = region.he[:height, :width].reshape(rows, size, columns, size, 3).transpose(0, 2, 1, 3, 4)
    mif = region.mif[:, :height, :width].reshape(markers, rows, size, columns, size).transpose(1, 3, 0, 2, 4)
    mif = mif.reshape(-1, markers, size, size)
    expression = mif.mean(axis=(2, 3), dtype=np.float64).astype(np.float32)
    expression[:, ~region.measured] = np.nan
    y, x = np.divmod(np.arange(rows * columns), columns)
    return Patches(
        he=he.reshape(-1, size, size, 3),
        mif=mif,
        expression=expression,
        expected=pool_blocks(region.expected, size),
        expected_without_facts=pool_blocks(region.expected_without_facts, size),
        tissue_share=pool_blocks(region.tissue_share[None], size)[:, 0],
        origins=(np.stack([x, y], axis=1) * size).astype(np.int32),
        measured=region.measured,
    )


def pool_blocks(blocks: Floats, size: int) -> Floats:
    """(n, c) float32: means over patches of `size` pixels, row by row, of (c, h / 16, w / 16) block values."""
    step = size // BLOCK_PX
    rows, columns = blocks.shape[1] // step, blocks.shape[2] // step
    cut = blocks[:, : rows * step, : columns * step].reshape(-1, rows, step, columns, step)
    return np.ascontiguousarray(cut.mean(axis=(2, 4)).reshape(len(blocks), -1).T, dtype=np.float32)


def true_shift(
    patient: Patient, edits: Mapping[str, str], *, region: Region | None = None, size: int = PATCH_PX
) -> Floats:
    """How the expected expression really changes when facts are edited and every cell stays where it is.

    Args:
        patient: Whose facts are edited.
        edits: New values in the keys of `Patient.facts`.
        region: A rendered region of the patient; None renders the first.
        size: Side of the patches in pixels.

    Returns:
        (n, M) float32, uint8 steps, edited minus original, patch by patch as `patches` orders them.
    """
    shown = render_region(patient) if region is None else region
    panel = [marker for marker, measured in zip(MARKERS, shown.measured, strict=True) if measured]
    edited = known_levels(edit_patient(patient, edits))
    change = expected_image(shown.occupancy, shown.haze, edited, panel) - shown.expected
    return pool_blocks(np.asarray(change, dtype=np.float32), size)
