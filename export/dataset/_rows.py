"""What every layout offers in the same way, once it can read one row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .types import PatchSample


class DatasetOfRows(ABC):
    """Patches that are read one row at a time.

    Attributes:
        patches: (n,) str, identifiers.
        regions: (n,) str, region of each patch.
        patients: (n,) str, patient of each patch.
    """

    patches: NDArray[np.str_]
    regions: NDArray[np.str_]
    patients: NDArray[np.str_]

    def __len__(self) -> int:
        """Number of patches."""
        return len(self.patches)

    def __iter__(self) -> Iterator[PatchSample]:
        """Read all patches, in the order of `patches`."""
        return (self[row] for row in range(len(self)))

    @abstractmethod
    def __getitem__(self, row: int) -> PatchSample:
        """Read one patch."""
