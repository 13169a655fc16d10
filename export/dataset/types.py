"""What a patch on disk is, and what every layout offers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

SIDE = 256
"""Side of a patch in pixels, H&E and mIF alike (Haiku, 2605.00925, code)."""

PUBLISHED_MPP = 0.3775
"""Micrometres per pixel of the published patches. The paper's own figure is not known; this is the default of a helper
in its code, and the range of the scanner (PhenoCycler-Fusion, 20x)."""


@dataclass(frozen=True, slots=True)
class PatchSample:
    """One patch with everything that is known of it.

    Attributes:
        patch: Identifier, once in a dataset.
        region: Name of its region.
        patient: Pseudonym.
        he: (256, 256, 3) uint8 RGB, or None where no H&E is there.
        mif: (c, 256, 256) uint8, or None where no mIF is there.
        markers: Names of the c channels; empty without mIF.
        caption: What the patch shows, in words (Haiku, 2605.00925, text recipe, step B), or None.
        facts: Clinical facts of the region without identifiers, in the order of their source.
        x: Left edge in the region, micrometres, or None where not known.
        y: Top edge in the region, micrometres, or None.
    """

    patch: str
    region: str
    patient: str
    he: NDArray[np.uint8] | None
    mif: NDArray[np.uint8] | None
    markers: tuple[str, ...]
    caption: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    x: float | None = None
    y: float | None = None


class PatchDataset(Protocol):
    """Patches on disk, read one at a time."""

    @property
    def name(self) -> str:
        """How messages call it."""
        ...

    @property
    def mpp(self) -> float | None:
        """Micrometres per pixel, or None where not known."""
        ...

    @property
    def markers(self) -> tuple[str, ...]:
        """Every marker that any patch measured."""
        ...

    @property
    def patches(self) -> NDArray[np.str_]:
        """(n,) identifiers."""
        ...

    @property
    def regions(self) -> NDArray[np.str_]:
        """(n,) region of each patch."""
        ...

    @property
    def patients(self) -> NDArray[np.str_]:
        """(n,) patient of each patch."""
        ...

    def __len__(self) -> int:
        """Number of patches."""
        ...

    def __getitem__(self, row: int) -> PatchSample:
        """Read one patch.

        Raises:
            UnreadableDatasetError, PanelError, PatchShapeError: It can't be used.
        """
        ...

    def __iter__(self) -> Iterator[PatchSample]:
        """Read all patches, one after the other, in the order of `patches`."""
        ...
