"""Spots of a rendered region: raw counts, the patch around each, and what could be known of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.errors import UsageError

from ..anatomy import BLOCK_PX
from ..patient import Patient
from ..region import Region, render_region
from ..tissue import Tissue
from .capture import (
    DENSE_PITCH_PX,
    REACH_PX,
    SPOT_PX,
    Caught,
    catch,
    draw_capture,
    draw_depth,
    hexagons,
    sequence,
    surround,
)
from .law import cell_counts
from .truth import expected_logs, possible_with_facts, possible_without_facts

LEAST_TISSUE: Final = 0.25
"""Least share of tissue of a spot that is kept: others lie on glass or in a lumen."""
LEAST_COUNTS: Final = 20
"""Least library of a spot that is kept."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Spots:
    """Spots of one region, row by row.

    Attributes:
        patches: (n, size, size, 3) uint8 H&E, centred on each spot.
        counts: (n, G) int32 raw counts in the order of `GENES`.
        centres: (n, 2) float32, (x, y) in pixels of the region.
        expected: (n, G) float32, expected log1p(counts / library * 10 000) given the visible cells in and around the
            spot and the clinical facts: the best that a predictor could say.
        expected_without_facts: The same without the clinical facts.
        patch_expected: (n, G) float32, the same for a spot made of all cells of the patch, each in its share.
        patch_expected_without_facts: The same without the clinical facts.
    """

    patches: NDArray[np.uint8]
    counts: NDArray[np.int32]
    centres: Floats
    expected: Floats
    expected_without_facts: Floats
    patch_expected: Floats
    patch_expected_without_facts: Floats


def render_spots(
    patient: Patient,
    side: int = 1024,
    *,
    region: int | None = None,
    size: int = 224,
    pitch: float = DENSE_PITCH_PX,
) -> Spots:
    """Draws a region of the patient's section, without its marker images, and places spots on it.

    Args:
        patient: Whose section.
        side: Pixels, a multiple of 16.
        region: Which region of the section, see `render_region`; None is the first.
        size: Side of the patches in pixels, even.
        pitch: Pixels from spot to spot.
    """
    return cut_spots(render_region(patient, side, side, seed=region, panel=()), size=size, pitch=pitch)


def cut_spots(region: Region, *, size: int = 224, pitch: float = DENSE_PITCH_PX) -> Spots:
    """Places spots on a rendered region wherever patch and leaking ring lie inside, and counts RNA.

    Args:
        region: From `render_region`; its panel does not matter.
        size: Side of the patches in pixels, even.
        pitch: Pixels from spot to spot; at least the width of a spot.
    """
    centres = _centres(region, size, pitch)
    counts = measure(region.patient, region.tissue, centres)
    keep = counts.sum(axis=1) >= LEAST_COUNTS
    return _describe(region, centres[keep], counts[keep], size)


def _centres(region: Region, size: int, pitch: float) -> Floats:
    """(n, 2) centres (x, y), whole pixels, of the spots that lie on tissue."""
    if size < 2 or size % 2 or pitch < SPOT_PX:
        raise UsageError(
            f"Spots {pitch:g} px apart with patches of {size} px can't be cut. "
            f"Use an even size, and a pitch of at least {SPOT_PX:g} px."
        )
    height, width = region.he.shape[:2]
    centres = np.round(hexagons(width, height, pitch, max(size / 2, REACH_PX)))
    share = [region.tissue_share[_blocks(x, y)].mean() for x, y in centres.tolist()]
    return np.asarray(centres[np.array(share, dtype=np.float64) >= LEAST_TISSUE], dtype=np.float32)


def _blocks(x: float, y: float) -> tuple[slice, slice]:
    """Blocks of the region's truth around a spot."""
    radius = SPOT_PX / 2
    first, last = (np.array([y, x]) - radius) // BLOCK_PX, (np.array([y, x]) + radius) // BLOCK_PX
    return slice(int(first[0]), int(last[0]) + 1), slice(int(first[1]), int(last[1]) + 1)


def measure(patient: Patient, tissue: Tissue, centres: Floats) -> NDArray[np.int32]:
    """(n, G) raw counts of spots on a patient's tissue."""
    rng = np.random.default_rng(np.random.SeedSequence((*tissue.seed, 21)))
    rna = catch(tissue, centres).sum(cell_counts(patient, tissue).astype(np.float64))
    return sequence(rng, rna, draw_depth(patient) * draw_capture(rng, len(centres)))


def _describe(region: Region, centres: Floats, counts: NDArray[np.int32], size: int) -> Spots:
    """The spots with their patches and their truth."""
    known, unknown = possible_with_facts(region.patient), possible_without_facts()

    def truth(caught: Caught) -> tuple[Floats, Floats]:
        return expected_logs(region.tissue, caught, known), expected_logs(region.tissue, caught, unknown)

    own = truth(catch(region.tissue, centres))
    around = truth(surround(region.tissue, centres, size))
    corners = (centres - size / 2).astype(np.int64).tolist()
    he = [region.he[y : y + size, x : x + size] for x, y in corners]
    patches = np.stack(he) if he else np.zeros((0, size, size, 3), np.uint8)
    return Spots(patches, counts, centres, own[0], own[1], around[0], around[1])
