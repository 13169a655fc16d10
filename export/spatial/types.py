"""What a section of spatial transcriptomics is: as a reader gives it, and as a dataset holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix


@dataclass(frozen=True, slots=True)
class SpotSection:
    """One section's n spots and g genes, as a reader gives them.

    Attributes:
        section: Name, once in a cohort.
        patient: Pseudonym.
        organ: Name of the organ.
        genes: Names of the columns of `counts`, each once.
        spots: (n,) str, barcodes, each once.
        x: (n,) float32, centres, level-0 pixels of the image.
        y: (n,) float32, centres, level-0 pixels of the image.
        counts: (n, g) float32, raw counts: whole numbers, none negative.
        image: Slide or picture; None where the patches come from elsewhere, as the simulator's do.
        mpp: Micrometres per level-0 pixel; None where not known.
        facts: Clinical facts, in the notes' keys.
    """

    section: str
    patient: str
    organ: str
    genes: tuple[str, ...]
    spots: NDArray[np.str_]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    counts: csr_matrix
    image: Path | None
    mpp: float | None
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DatasetSection:
    """What a dataset says of one of its sections.

    Attributes:
        section: Name, once in the dataset.
        patient: Pseudonym.
        organ: Name of the organ.
        spots: Number of spots.
        facts: Clinical facts, in the notes' keys.
        file: Name of its file in the dataset's folder.
        sha256: Of that file, 64 hexadecimal digits.
    """

    section: str
    patient: str
    organ: str
    spots: int
    facts: Mapping[str, str]
    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class SectionSpots:
    """The n spots of one section of a dataset.

    Attributes:
        spots: (n,) str, barcodes, each once.
        x: (n,) float32, centres in the section, micrometres.
        y: (n,) float32, centres in the section, micrometres.
        library: (n,) float32, counts of all genes of the source section, selected or not.
        counts: (n, g) float32 raw counts, a column for each of the dataset's genes.
        patches: n JPEGs of (size, size, 3) RGB; `decode_patch` decodes one.
    """

    spots: NDArray[np.str_]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    library: NDArray[np.float32]
    counts: csr_matrix
    patches: Sequence[bytes]

    def __len__(self) -> int:
        """Number of spots."""
        return len(self.spots)
