"""The marker table, `patches.arrow`: one row a patch, with its origin, what was measured and where its pictures lie."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..arrow import list_column, list_matrix, missing_numbers, table_bytes
from ..errors import BundleContentError

METADATA_KEY = b"haiku_edge.pictures"
"""Key of the Arrow schema's metadata that holds the pictures' legend, as JSON."""

_TEXTS = ("patch", "section", "patient", "organ", "panel")
_CHANNELS = ("channel_offset", "channel_length")
_MAX_INTENSITY = 255
NOT_KNOWN = 255
"""What `positive` holds where it is not known whether a patch is positive; 1 is positive, 0 is not."""
_T = TypeVar("_T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class PictureTable:
    """Where the pictures lie in `pictures.bin`, and how they were coloured.

    Attributes:
        composite_offset: (n,) int64, bytes. The composite of a spot is its H&E.
        composite_length: (n,) int64, bytes.
        channel_offset: (n, m) int64, bytes.
        channel_length: (n, m) int64, bytes; 0 where the marker was not measured, and for genes, of which there is none.
        composite_side: Side of a composite, pixels.
        channel_side: Side of a single channel's picture, pixels.
        colours: Marker → '#rrggbb' in the composite, in the order of the legend.
        ranges: Marker → intensities (0 to 255) shown as black and at full brightness, the same for every patch; none
            for genes.
    """

    composite_offset: NDArray[np.int64]
    composite_length: NDArray[np.int64]
    channel_offset: NDArray[np.int64]
    channel_length: NDArray[np.int64]
    composite_side: int
    channel_side: int
    colours: dict[str, str]
    ranges: dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class PatchTable:
    """The columns of the marker table.

    Attributes:
        patches: (n,) str, identifiers of the patches.
        sections: (n,) str.
        patients: (n,) str, pseudonyms.
        organs: (n,) str.
        panels: (n,) str, names of the antibody panels.
        x: (n,) float32, left edge in the section, micrometres; NaN where not known.
        y: (n,) float32, top edge in the section, micrometres; NaN where not known.
        expression: (n, m) float32 mean raw intensity, 0 to 255, or of genes ln(1 + counts per 10,000); NaN where not
            measured.
        positive: (n, m) float32, 1 or 0; NaN where the marker was not measured, or nothing says what is positive.
        pictures: Where the pictures lie.
    """

    patches: NDArray[np.str_]
    sections: NDArray[np.str_]
    patients: NDArray[np.str_]
    organs: NDArray[np.str_]
    panels: NDArray[np.str_]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    expression: NDArray[np.float32]
    positive: NDArray[np.float32]
    pictures: PictureTable


def patches_schema(markers: int, measure: str = "protein") -> pa.Schema:
    """The Arrow schema of `patches.arrow` for so many markers or genes, without metadata; genes have no channels."""
    texts = [pa.field(name, pa.string(), nullable=False) for name in _TEXTS]
    numbers = [
        ("x", pa.float32()),
        ("y", pa.float32()),
        ("expression", pa.list_(pa.float32(), markers)),
        ("positive", pa.list_(pa.uint8(), markers)),
        ("composite_offset", pa.int64()),
        ("composite_length", pa.int64()),
    ]
    if measure == "protein":
        numbers += [(name, pa.list_(pa.int64(), markers)) for name in _CHANNELS]
    return pa.schema(texts + [pa.field(name, kind, nullable=False) for name, kind in numbers])


def write_patches(table: PatchTable, measure: str = "protein") -> bytes:
    """The bytes of `patches.arrow` (Arrow IPC file), of proteins or of genes."""
    pictures = table.pictures
    columns = [
        *(pa.array(texts.tolist(), pa.string()) for texts in _texts(table)),
        pa.array(table.x, pa.float32()),
        pa.array(table.y, pa.float32()),
        list_column(table.expression),
        list_column(np.where(np.isnan(table.positive), NOT_KNOWN, table.positive), np.uint8),
        pa.array(pictures.composite_offset, pa.int64()),
        pa.array(pictures.composite_length, pa.int64()),
    ]
    if measure == "protein":
        columns += [list_column(getattr(pictures, name), np.int64) for name in _CHANNELS]
    legend = {
        "colours": pictures.colours,
        "ranges": pictures.ranges,
        "composite_side": pictures.composite_side,
        "channel_side": pictures.channel_side,
    }
    schema = patches_schema(table.expression.shape[1], measure)
    schema = schema.with_metadata({METADATA_KEY: json.dumps(legend).encode()})
    return table_bytes(pa.Table.from_arrays(columns, schema=schema))


def read_patches(data: bytes, markers: tuple[str, ...], measure: str = "protein") -> PatchTable:
    """Read the verified bytes of `patches.arrow`.

    Args:
        data: The file.
        markers: Names of the m markers, or genes.
        measure: protein, or gene.

    Raises:
        BundleContentError: Not such a table, not of these markers, or a value is impossible.
    """
    try:
        table = pa.ipc.open_file(pa.BufferReader(data)).read_all().combine_chunks()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _refused(f"it is no Arrow file ({error})") from None
    if not table.schema.remove_metadata().equals(patches_schema(len(markers), measure)):
        raise _refused("its columns are not those of this version, or it has another number of markers")
    lists = (column for column in table.columns if pa.types.is_fixed_size_list(column.type))
    if any(column.null_count for column in table.columns) or any(map(missing_numbers, lists)):
        raise _refused("a value is missing")
    read = PatchTable(
        patches=_strings(table, "patch"),
        sections=_strings(table, "section"),
        patients=_strings(table, "patient"),
        organs=_strings(table, "organ"),
        panels=_strings(table, "panel"),
        x=_numbers(table, "x", np.float32),
        y=_numbers(table, "y", np.float32),
        expression=list_matrix(table, "expression", np.float32, len(markers)),
        positive=_positive(table, len(markers)),
        pictures=_pictures(table, markers, pictured=measure == "protein"),
    )
    _check_values(read, pictured=measure == "protein")
    return read


def _pictures(table: pa.Table, markers: tuple[str, ...], *, pictured: bool) -> PictureTable:
    try:
        legend = json.loads((table.schema.metadata or {})[METADATA_KEY])
        colours = {str(marker): str(colour) for marker, colour in legend["colours"].items()}
        ranges = {str(marker): (float(ends[0]), float(ends[1])) for marker, ends in legend["ranges"].items()}
        sides = int(legend["composite_side"]), int(legend["channel_side"])
    except (LookupError, TypeError, ValueError, AttributeError):
        raise _refused("it has no legend of the pictures") from None
    if not set(colours) <= set(markers) or set(ranges) != (set(markers) if pictured else set()):
        raise _refused("the legend names other markers than the manifest")
    shape = (len(table), len(markers))
    offset, length = (
        list_matrix(table, name, np.int64, len(markers)) if pictured else np.zeros(shape, np.int64)
        for name in _CHANNELS
    )
    return PictureTable(
        composite_offset=_numbers(table, "composite_offset", np.int64),
        composite_length=_numbers(table, "composite_length", np.int64),
        channel_offset=offset,
        channel_length=length,
        colours=colours,
        ranges=ranges,
        composite_side=sides[0],
        channel_side=sides[1],
    )


def _positive(table: pa.Table, markers: int) -> NDArray[np.float32]:
    stored = list_matrix(table, "positive", np.uint8, markers)
    if not np.isin(stored, (0, 1, NOT_KNOWN)).all():
        raise _refused("a patch is neither positive nor negative for a marker")
    return np.where(stored == NOT_KNOWN, np.nan, stored).astype(np.float32)


def _check_values(table: PatchTable, *, pictured: bool) -> None:
    if len(set(table.patches.tolist())) != len(table.patches):
        raise _refused("two patches have the same identifier")
    if any((texts == "").any() for texts in _texts(table)):
        raise _refused("a patch lacks its identifier, section, patient, organ or panel")
    measured = ~np.isnan(table.expression)
    intensity = table.expression[measured]
    if ((intensity < 0) | (intensity > _MAX_INTENSITY)).any():
        raise _refused("an intensity is outside 0 to 255")
    if (~np.isnan(table.positive) & ~measured).any():
        raise _refused("a patch is positive or negative for a marker that it did not measure")
    if not np.array_equal(measured & pictured, table.pictures.channel_length > 0):
        raise _refused("a marker has an intensity and no picture, or a picture and no intensity")
    if (table.pictures.composite_length < 1).any():
        raise _refused("a patch has no composite")


def _texts(table: PatchTable) -> tuple[NDArray[np.str_], ...]:
    return table.patches, table.sections, table.patients, table.organs, table.panels


def _strings(table: pa.Table, name: str) -> NDArray[np.str_]:
    return np.array(table[name].to_pylist(), np.str_)


def _numbers(table: pa.Table, name: str, kind: type[_T]) -> NDArray[_T]:
    return np.asarray(table[name].to_numpy(), kind)


def _refused(why: str) -> BundleContentError:
    return BundleContentError(f"The atlas's marker table can't be used: {why}. Export the bundle again.")
