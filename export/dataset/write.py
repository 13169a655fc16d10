"""Write the open layout: block by block, and the whole folder or nothing."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from haiku_edge.runtime.arrow import list_column
from haiku_edge.runtime.atomic import output_error, sync_directory
from haiku_edge.runtime.errors import CohortError, OutputExistsError, PanelError, UnreadableDatasetError
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY
from haiku_edge.runtime.version import product

from ..atlas.positivity import OTSU_RULE, otsu_positivity
from ._check import checked_he, checked_mif
from .folder import ABOUT_FILE, FORMAT, IMAGES_FILE, ROLES, TABLE_FILE, VERSION
from .types import SIDE, PatchSample

BLOCK = 32
"""Patches that are held in memory and written as one file: 113 MB at 54 markers."""

_LEVEL = 3


@dataclass
class _Columns:
    """The table as it grows."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    expression: list[NDArray[np.float32]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)


def write_dataset(
    path: Path,
    samples: Iterable[PatchSample],
    *,
    name: str,
    markers: tuple[str, ...],
    mpp: float | None,
    made: Mapping[str, Any],
    roles: Mapping[str, str] | None = None,
    with_he: bool = True,
    notes: Mapping[str, Any] | None = None,
) -> int:
    """Write patches as a folder of the open layout.

    Args:
        path: The folder; must not exist.
        samples: Patches, one at a time; no more than `BLOCK` are held.
        name: What messages call it.
        markers: Every marker that any patch measured.
        mpp: Micrometres per pixel, or None where not known.
        made: How it was made: settings, as JSON.
        roles: Patient → atlas, calibration or test; others get none.
        with_he: False keeps no room for H&E.
        notes: What came up while the samples were made; read after the last one.

    Returns:
        The number of patches.

    Raises:
        OutputExistsError: Something is there already.
        CohortError: No sample came.
        PanelError, PatchShapeError, UnreadableDatasetError: A sample doesn't fit, or comes twice.
        OutputNotWritableError, DiskFullError: It can't be written.
    """
    if path.exists():
        raise OutputExistsError(f"{path} is there already. Name another folder, or move it away.")
    try:
        with _beside(path) as folder:
            columns = _write_images(folder / IMAGES_FILE, samples, markers, with_he)
            if not columns.rows:
                raise CohortError(f"No patch was left for {name}, so nothing was written.")
            pq.write_table(_table(columns, roles or {}), folder / TABLE_FILE)
            about = {
                "format": FORMAT,
                "version": VERSION,
                "name": name,
                "notice": RESEARCH_USE_ONLY,
                "mpp": mpp,
                "side": SIDE,
                "markers": list(markers),
                "patches": len(columns.rows),
                "patients": len({row["patient"] for row in columns.rows}),
                "positivity": OTSU_RULE,
                "created_by": product(),
                "made": {**made, **(notes or {})},
            }
            (folder / ABOUT_FILE).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise output_error(error, path) from error
    return len(columns.rows)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A folder beside `path` that takes its place once the block ends well, and is gone otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
    try:
        beside.chmod(0o755)
        yield beside
        for place, _, files in os.walk(beside):
            for file in files:
                _flush(Path(place) / file)
            sync_directory(Path(place))
        beside.rename(path)
        sync_directory(path.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _write_images(path: Path, samples: Iterable[PatchSample], markers: tuple[str, ...], with_he: bool) -> _Columns:
    group = zarr.create_group(path)
    shapes = {"mif": (len(markers), SIDE, SIDE)} | ({"he": (SIDE, SIDE, 3)} if with_he else {})
    arrays = {
        name: group.create_array(
            name,
            shape=(0, *shape),
            shards=(BLOCK, *shape),
            chunks=(1, *shape),
            dtype=np.uint8,
            compressors=ZstdCodec(level=_LEVEL),
            fill_value=0,
        )
        for name, shape in shapes.items()
    }
    blocks = {name: np.zeros((BLOCK, *shape), np.uint8) for name, shape in shapes.items()}
    columns, held = _Columns(), 0
    for sample in samples:
        _place(sample, markers, held, blocks, columns)
        held += 1
        if held == BLOCK:
            _append(arrays, blocks, held)
            held = 0
    if held:
        _append(arrays, blocks, held)
    return columns


def _place(
    sample: PatchSample, markers: tuple[str, ...], row: int, blocks: Mapping[str, NDArray[np.uint8]], columns: _Columns
) -> None:
    """Put one sample into the block, and its row into the table."""
    if sample.patch in columns.names:
        raise UnreadableDatasetError(f"Two patches are called {sample.patch}. Give regions names of their own.")
    foreign = [marker for marker in sample.markers if marker not in markers]
    if foreign or len(set(sample.markers)) < len(sample.markers):
        raise PanelError(f"{sample.patch} has a marker twice, or one that the dataset does not name ({foreign}).")
    expression = np.full(len(markers), np.nan, np.float32)
    blocks["mif"][row] = 0
    if sample.mif is not None:
        places = [markers.index(marker) for marker in sample.markers]
        blocks["mif"][row, places] = checked_mif(sample.mif, len(places), sample.patch)
        expression[places] = sample.mif.mean(axis=(1, 2), dtype=np.float64)
    if sample.he is not None and "he" in blocks:
        blocks["he"][row] = checked_he(sample.he, sample.patch)
    elif "he" in blocks:
        blocks["he"][row] = 0
    columns.names.add(sample.patch)
    columns.expression.append(expression)
    columns.rows.append(
        {
            "patch": sample.patch,
            "region": sample.region,
            "patient": sample.patient,
            "x": np.nan if sample.x is None else sample.x,
            "y": np.nan if sample.y is None else sample.y,
            "caption": sample.caption,
            "facts": json.dumps(dict(sample.facts), ensure_ascii=False),
            "channels": list(sample.markers) if sample.mif is not None else [],
            "has_he": sample.he is not None and "he" in blocks,
        }
    )


def _append(arrays: Mapping[str, Any], blocks: Mapping[str, NDArray[np.uint8]], count: int) -> None:
    for name, array in arrays.items():
        first = array.shape[0]
        array.resize((first + count, *array.shape[1:]))
        array[first : first + count] = blocks[name][:count]


def _table(columns: _Columns, roles: Mapping[str, str]) -> pa.Table:
    rows = columns.rows
    wrong = sorted({role for role in roles.values() if role not in ROLES})
    if wrong:
        raise UnreadableDatasetError(f"The role {wrong[0]!r} is none of {', '.join(ROLES[1:])}.")
    kinds = {name: pa.string() for name in ("patch", "region", "patient", "caption", "facts")}
    kinds |= {"x": pa.float32(), "y": pa.float32(), "channels": pa.list_(pa.string()), "has_he": pa.bool_()}
    table = {name: pa.array([row[name] for row in rows], kind) for name, kind in kinds.items()}
    table["role"] = pa.array([roles.get(row["patient"], "") for row in rows], pa.string())
    expression = np.stack(columns.expression)
    table["expression"] = list_column(expression)
    table["positive"] = list_column(otsu_positivity(expression))
    return pa.table(table)
