"""One section of a dataset as an Arrow file (IPC): a row a spot, with its counts as a sparse row and its patch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, overload

import numpy as np
import pyarrow as pa
import simplejpeg
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from haiku_edge.runtime.errors import PanelError, PatchShapeError, UnreadableDatasetError
from haiku_edge.runtime.inference import Progress

from .genes import library_of
from .types import DatasetSection, SectionSpots, SpotSection

CHUNK: Final = 256
"""Spots whose patches are held while a section is written: 39 MB at 224 px."""

QUALITY: Final = 95
"""Of the patches' JPEGs, with colour at full resolution."""

_SCHEMA: Final = pa.schema(
    [
        ("spot", pa.string()),
        ("x", pa.float32()),
        ("y", pa.float32()),
        ("library", pa.float32()),
        ("genes", pa.list_(pa.int32())),
        ("counts", pa.list_(pa.float32())),
        ("patch", pa.binary()),
    ]
)


class Patches(Sequence[bytes]):
    """The JPEGs of a section, in the order of its spots."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def __len__(self) -> int:
        """Number of spots."""
        return len(self._column)

    @overload
    def __getitem__(self, row: int) -> bytes: ...

    @overload
    def __getitem__(self, row: slice) -> Sequence[bytes]: ...

    def __getitem__(self, row: int | slice) -> bytes | Sequence[bytes]:
        """One JPEG, or those of some spots."""
        if isinstance(row, slice):
            return [self[place] for place in range(*row.indices(len(self)))]
        return bytes(self._column[int(row)].as_py())


def encode_patch(patch: NDArray[np.uint8]) -> bytes:
    """(size, size, 3) uint8 RGB as a JPEG."""
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(patch), quality=QUALITY, colorsubsampling="444"))


def decode_patch(jpeg: bytes) -> NDArray[np.uint8]:
    """A patch's JPEG as (size, size, 3) uint8 RGB.

    Raises:
        UnreadableDatasetError: It is no JPEG, or a damaged one.
    """
    try:
        return np.asarray(simplejpeg.decode_jpeg(jpeg, "RGB", strict=True), np.uint8)
    except ValueError as error:
        raise UnreadableDatasetError(f"A patch is no JPEG ({error}). Make the dataset again.") from None


def write_section(
    path: Path,
    section: SpotSection,
    patches: Iterable[NDArray[np.uint8]],
    genes: Sequence[str],
    size: int,
    mpp: float,
    progress: Progress,
) -> str:
    """Write one section; at most `CHUNK` patches are held.

    Args:
        path: The file.
        section: A section that was checked.
        patches: (size, size, 3) uint8 RGB, in the order of its spots.
        genes: Which genes to keep, in this order.
        size: Side of a patch, pixels.
        mpp: Micrometres per level-0 pixel of the section.
        progress: Told about every spot.

    Returns:
        SHA-256 of the file.

    Raises:
        PanelError: The section lacks a gene.
        PatchShapeError: A patch is of another size or type, or there is not one for every spot.
    """
    library = library_of(section.counts)
    counts = _columns(section, genes)
    remaining = iter(patches)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        for first in range(0, len(section.spots), CHUNK):
            rows = slice(first, min(first + CHUNK, len(section.spots)))
            jpegs = list(_jpegs(islice(remaining, rows.stop - first), size, section.section))
            if len(jpegs) < rows.stop - first:
                raise _unlike(section.section, f"ends after {first + len(jpegs)} of {len(section.spots)} spots")
            writer.write_batch(_batch(section, rows, mpp, library, counts, jpegs))
            progress.advance(len(jpegs))
    if next(remaining, None) is not None:
        raise _unlike(section.section, f"goes on after the last of {len(section.spots)} spots")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_section(path: Path, about: DatasetSection, genes: int) -> SectionSpots:
    """Read one section, once its bytes are found to be those that the dataset names.

    Args:
        path: The file.
        about: What the dataset says of it.
        genes: Number of the dataset's genes.

    Raises:
        UnreadableDatasetError: It is missing, changed or damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _damaged(about, f"can't be read ({error.strerror})") from None
    if hashlib.sha256(content).hexdigest() != about.sha256:
        raise _damaged(about, "is not the one that the dataset was written with")
    try:
        table = pa.ipc.open_file(pa.BufferReader(content)).read_all()
        if table.schema != _SCHEMA or len(table) != about.spots:
            raise _damaged(about, "has other columns or rows than it should")
        return SectionSpots(
            spots=np.array(table["spot"].to_pylist(), np.str_),
            x=_numbers(table["x"]),
            y=_numbers(table["y"]),
            library=_numbers(table["library"]),
            counts=_sparse(table, genes),
            patches=Patches(table["patch"]),
        )
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise _damaged(about, f"can't be understood ({error})") from None


def _columns(section: SpotSection, genes: Sequence[str]) -> csr_matrix:
    places = {gene: column for column, gene in enumerate(section.genes)}
    if missing := [gene for gene in genes if gene not in places]:
        raise PanelError(
            f"The section {section.section} lacks {len(missing)} of the dataset's {len(genes)} genes, such as "
            f"{missing[0]}. Choose genes that every section has."
        )
    counts = csr_matrix(section.counts[:, [places[gene] for gene in genes]], dtype=np.float32)
    counts.sum_duplicates()
    counts.eliminate_zeros()
    return counts


def _jpegs(patches: Iterable[NDArray[np.uint8]], size: int, section: str) -> Iterator[bytes]:
    for patch in patches:
        if patch.shape != (size, size, 3) or patch.dtype != np.uint8:
            raise _unlike(section, f"has {patch.shape} {patch.dtype}, not ({size}, {size}, 3) uint8")
        yield encode_patch(patch)


def _batch(
    section: SpotSection,
    rows: slice,
    mpp: float,
    library: NDArray[np.float32],
    counts: csr_matrix,
    jpegs: Sequence[bytes],
) -> pa.RecordBatch:
    part = counts[rows]
    columns: list[Any] = [
        pa.array(section.spots[rows].tolist(), pa.string()),
        pa.array(np.asarray(section.x[rows] * mpp, np.float32)),
        pa.array(np.asarray(section.y[rows] * mpp, np.float32)),
        pa.array(library[rows]),
        pa.ListArray.from_arrays(np.asarray(part.indptr, np.int32), np.asarray(part.indices, np.int32)),
        pa.ListArray.from_arrays(np.asarray(part.indptr, np.int32), np.asarray(part.data, np.float32)),
        pa.array(jpegs, pa.binary()),
    ]
    return pa.record_batch(columns, schema=_SCHEMA)


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float32]:
    values = np.asarray(column.to_numpy(), np.float32)
    if not np.isfinite(values).all():
        raise ValueError("a place or a sum of counts is no number")
    return values


def _sparse(table: pa.Table, genes: int) -> csr_matrix:
    """The rows as one sparse matrix; its indices are checked, since native code follows them."""
    own, others = (np.asarray(table[name].combine_chunks().value_lengths(), np.int64) for name in ("genes", "counts"))
    indices = np.asarray(table["genes"].combine_chunks().flatten(), np.int32)
    values = np.asarray(table["counts"].combine_chunks().flatten(), np.float32)
    if not np.array_equal(own, others) or ((indices < 0) | (indices >= genes)).any():
        raise ValueError("counts do not fit the genes")
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError("a count is negative or no number")
    starts = np.concatenate([[0], np.cumsum(own)])
    return csr_matrix((values, indices, starts), shape=(len(table), genes))


def _unlike(section: str, why: str) -> PatchShapeError:
    return PatchShapeError(f"The section {section} {why}. Give one patch of the dataset's size for every spot.")


def _damaged(about: DatasetSection, why: str) -> UnreadableDatasetError:
    return UnreadableDatasetError(
        f"The file {about.file} of the section {about.section} {why}. Make the dataset again."
    )
