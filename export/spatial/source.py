"""What a file or folder of spots says by itself, before a table says whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from haiku_edge.runtime.errors import PanelError, UnreadableDatasetError

PITCH_UM: Final = 100.0
"""Distance of neighbouring Visium spots, micrometres; their rows lie half the square root of 3 of that apart."""

_MOST_SKEW = 1.02
"""A grid whose directions differ by more than this in scale is no Visium grid."""


@dataclass(frozen=True, slots=True)
class OwnPicture:
    """A picture that came with the spots.

    Attributes:
        path: A picture file, a slide, or an image of a SpatialData folder.
        x: (n,) float32, centres in it, pixels.
        y: (n,) float32, centres in it, pixels.
        scale: Pixels of it per pixel of the image that the source's own places count in.
    """

    path: Path
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    scale: float


@dataclass(frozen=True, slots=True)
class SpotSource:
    """n spots in tissue and g genes, as a file or folder holds them.

    Attributes:
        genes: Names, each once.
        spots: (n,) str, barcodes.
        x: (n,) float32, centres, pixels of the full-resolution image.
        y: (n,) float32, centres, pixels of the full-resolution image.
        counts: (n, g) float32, raw counts.
        mpp: Micrometres per pixel of the full-resolution image; None where not known.
        picture: What came with it; None where nothing did.
        summed: Number of columns that were added to another of the same name.
    """

    genes: tuple[str, ...]
    spots: NDArray[np.str_]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    counts: csr_matrix
    mpp: float | None
    picture: OwnPicture | None
    summed: int = 0


def make_source(
    genes: Sequence[str],
    spots: Sequence[str],
    places: NDArray[Any],
    counts: csr_matrix,
    *,
    mpp: float | None,
    picture: tuple[Path, float] | None = None,
) -> SpotSource:
    """A source from parallel columns; columns of one name are added up.

    Args:
        genes: Names, g.
        spots: Barcodes, n.
        places: (n, 2) centres (x, y), pixels of the full-resolution image; `check_section` refuses those that are no
            numbers.
        counts: (n, g).
        mpp: Micrometres per pixel of that image.
        picture: A smaller version of it, and its pixels per full-resolution pixel.
    """
    names, merged = sum_duplicates(genes, counts)
    with np.errstate(over="ignore"):  # what float32 does not hold is refused with the other places that are no numbers
        x, y = np.asarray(places, np.float32).T
        own = None if picture is None else OwnPicture(picture[0], x * picture[1], y * picture[1], picture[1])
    return SpotSource(names, np.array(spots, np.str_), x, y, merged, mpp, own, len(genes) - len(names))


def select_spots(source: SpotSource, keep: NDArray[np.bool_] | NDArray[np.int64]) -> SpotSource:
    """The source of these spots alone, in this order."""
    picture = source.picture
    own = None if picture is None else replace(picture, x=picture.x[keep], y=picture.y[keep])
    return replace(
        source,
        spots=source.spots[keep],
        x=source.x[keep],
        y=source.y[keep],
        counts=source.counts[keep],
        picture=own,
    )


def sum_duplicates(genes: Sequence[str], counts: csr_matrix) -> tuple[tuple[str, ...], csr_matrix]:
    """Add up the columns of genes of one name, at the place of the first.

    Reference genomes name a few genes twice, under two identifiers. A name is all that sections share, and a read
    that fits either was counted under one of them.

    Raises:
        PanelError: A gene has no name.
    """
    names = tuple(dict.fromkeys(genes))
    if "" in names:
        raise PanelError("A gene has no name. Give every column of the counts one.")
    if len(names) == len(genes):
        return names, counts
    places = {name: column for column, name in enumerate(names)}
    target = np.array([places[gene] for gene in genes])
    ones = np.ones(len(genes), np.float32)
    return names, csr_matrix(counts @ csr_matrix((ones, (np.arange(len(genes)), target)), (len(genes), len(names))))


def as_counts(matrix: Any, name: str) -> csr_matrix:
    """Any matrix of numbers, sparse or not, as (n, g) float32, once its indices are found to lie within it.

    Raises:
        UnreadableDatasetError: It is no such matrix.
    """
    try:
        sparse = csr_matrix(matrix)
        sparse.check_format(full_check=True)
        return csr_matrix(sparse, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise UnreadableDatasetError(
            f"The counts of {name} are no matrix of numbers ({error}). Write the file again."
        ) from None


def fault_of_counts(counts: csr_matrix) -> str | None:
    """Why numbers are no raw counts, as a part of a sentence; None where they are."""
    values = counts.data
    if not np.isfinite(values).all():
        return "some are no numbers"
    if (values < 0).any():
        return "some are negative"
    if (values != np.floor(values)).any():
        return "some are fractions, as normalised or logarithmic values are"
    return None


def grid_mpp(places: NDArray[Any], rows: NDArray[Any], columns: NDArray[Any]) -> float | None:
    """Micrometres per pixel, from where the spots of a Visium grid lie in the image.

    A spot whose place or row or column is no number is left out.

    Args:
        places: (n, 2) centres (x, y), pixels.
        rows: (n,) row of each spot on the grid.
        columns: (n,) column; neighbours in a row are two apart.

    Returns:
        None where the spots do not tell: too few, in one line, or not on such a grid.
    """
    known = _numbers(np.column_stack([places, columns, rows]))
    if len(known) < 3:
        return None
    pixels, on_slide = known[:, :2], known[:, 2:] * [1 / 2, np.sqrt(3) / 2]
    centred = on_slide - on_slide.mean(axis=0)
    if np.linalg.matrix_rank(centred) < 2:
        return None
    fitted = np.linalg.lstsq(centred, pixels - pixels.mean(axis=0), rcond=None)[0]
    longest, shortest = np.linalg.svd(fitted, compute_uv=False).tolist()
    if not shortest > 0 or longest / shortest > _MOST_SKEW:
        return None
    return float(PITCH_UM / np.sqrt(longest * shortest))


def _numbers(table: NDArray[Any]) -> NDArray[np.float64]:
    """The rows of a table that hold only numbers, and none that is too large for float32."""
    values = np.asarray(table, np.float64)
    kept: NDArray[np.float64] = values[(np.abs(values) <= np.finfo(np.float32).max).all(axis=1)]
    return kept
