"""An atlas opens with what it was built from, or is refused in words."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from haiku_edge.export.atlas import BuiltAtlas, build_atlas
from haiku_edge.runtime.atlas import EXACT_BELOW, ExactIndex, HnswIndex, open_atlas, probe_hnswlib, standardise
from haiku_edge.runtime.bundle import Bundle
from haiku_edge.runtime.errors import BundleContentError, DeviceUnavailableError, UsageError

Make = Callable[[BuiltAtlas], Bundle]


def test_an_atlas_holds_what_it_was_built_from(source: Any, built: BuiltAtlas, bundle_of: Make) -> None:
    atlas = open_atlas(bundle_of(built))
    assert atlas.markers == ("DAPI", "PanCK", "CD8")
    assert np.array_equal(atlas.vectors, source.vectors)
    assert np.array_equal(atlas.expression, source.expression, equal_nan=True)
    assert atlas.patients.tolist() == list(source.provenance.patients)
    assert atlas.patches.tolist() == list(source.provenance.patches)
    assert atlas.sections.tolist() == list(source.provenance.sections)
    assert atlas.panels.tolist() == list(source.provenance.panels)
    assert atlas.organs.tolist() == list(source.provenance.organs)
    assert atlas.y.tolist() == source.provenance.y.tolist()
    assert isinstance(atlas.index, ExactIndex) and atlas.warnings == ()


def test_z_scores_are_taken_over_the_patches_that_measured_the_marker(source: Any) -> None:
    mean, std, z = standardise(source.expression)
    measured = [float(value) for value in source.expression[::2, 2]]
    by_hand = sum(measured) / len(measured)
    spread = (sum((value - by_hand) ** 2 for value in measured) / len(measured)) ** 0.5
    assert mean[2] == pytest.approx(by_hand, rel=1e-5) and std[2] == pytest.approx(spread, rel=1e-4)
    assert z[0, 2] == pytest.approx((measured[0] - by_hand) / spread, rel=1e-3)
    assert np.isnan(z[1::2, 2]).all() and not np.isnan(z[:, :2]).any()


def test_a_marker_that_no_patch_measured_has_no_statistics_and_one_without_spread_has_z_zero() -> None:
    mean, std, z = standardise(np.array([[np.nan, 7], [np.nan, 7]], np.float32))
    assert np.isnan(mean[0]) and np.isnan(std[0]) and np.isnan(z[:, 0]).all()
    assert mean[1] == 7 and std[1] == 1 and (z[:, 1] == 0).all()


@pytest.mark.skipif(probe_hnswlib() is not None, reason="hnswlib does not work on this processor")
def test_a_graph_is_used_where_the_bundle_has_one(source: Any, bundle_of: Make) -> None:
    built = build_atlas(
        source.vectors, ("DAPI", "PanCK", "CD8"), source.patches, source.expression, source.provenance, index="hnsw"
    )
    bundle = bundle_of(built)
    graph, exact = open_atlas(bundle, index="hnsw"), open_atlas(bundle, index="exact")
    assert isinstance(graph.index, HnswIndex) and isinstance(exact.index, ExactIndex)
    assert np.array_equal(graph.index.search(source.vectors, 3).ids, exact.index.search(source.vectors, 3).ids)


def test_a_small_atlas_is_searched_exactly_even_where_it_has_a_graph(source: Any, bundle_of: Make) -> None:
    built = build_atlas(
        source.vectors, ("DAPI", "PanCK", "CD8"), source.patches, source.expression, source.provenance, index="hnsw"
    )
    assert len(source.vectors) < EXACT_BELOW
    assert isinstance(open_atlas(bundle_of(built)).index, ExactIndex)


def test_without_a_working_hnswlib_auto_steps_down_and_an_explicit_choice_does_not(
    source: Any, bundle_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = build_atlas(
        source.vectors, ("DAPI", "PanCK", "CD8"), source.patches, source.expression, source.provenance, index="hnsw"
    )
    bundle = bundle_of(built)
    monkeypatch.setattr("haiku_edge.runtime.atlas.open.EXACT_BELOW", 1)
    monkeypatch.setattr("haiku_edge.runtime.atlas.open.probe_hnswlib", lambda: "hnswlib ends the process (SIGILL)")
    atlas = open_atlas(bundle)
    assert isinstance(atlas.index, ExactIndex) and "SIGILL" in atlas.warnings[0]
    with pytest.raises(DeviceUnavailableError, match="SIGILL"):
        open_atlas(bundle, index="hnsw")


def test_a_graph_that_the_bundle_lacks_is_not_made_up(built: BuiltAtlas, bundle_of: Make) -> None:
    with pytest.raises(UsageError, match="no graph"):
        open_atlas(bundle_of(built), index="hnsw")


def _npy(array: Any) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array, allow_pickle=True)
    return sink.getvalue()


@pytest.mark.parametrize(
    "array",
    [
        np.eye(12, 9, dtype=np.float32),
        np.eye(11, 8, dtype=np.float32),
        np.zeros((12, 8), np.float32),
        np.full((12, 8), np.nan, np.float32),
        np.full((12, 8), 8**-0.5, np.float64),
        np.array([{"a": "pickled object"}]),
        None,
    ],
)
def test_vectors_that_are_not_unit_vectors_of_the_stated_shape_are_refused(
    array: Any, spoil: Callable[..., BuiltAtlas], bundle_of: Make
) -> None:
    data = b"no array" if array is None else _npy(array)
    with pytest.raises(BundleContentError, match="vector"):
        open_atlas(bundle_of(spoil(file="atlas/vectors.npy", data=data)))


@pytest.mark.parametrize("facts", [{"patient_count": 5}, {"markers": ("DAPI", "PanCK")}, {"markers": ("A", "B", "C")}])
def test_a_manifest_that_says_otherwise_than_the_table_is_refused(
    facts: dict[str, Any], spoil: Callable[..., BuiltAtlas], bundle_of: Make
) -> None:
    with pytest.raises(BundleContentError):
        open_atlas(bundle_of(spoil(**facts)))


def _arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(name), values)


def _beyond(table: pa.Table) -> pa.Table:
    return _column(table, "composite_offset", pa.array([1 << 40] * len(table), pa.int64()))


def _negative(table: pa.Table) -> pa.Table:
    return _column(table, "composite_offset", pa.array([-8] * len(table), pa.int64()))


def _overflowing(table: pa.Table) -> pa.Table:
    return _column(table, "composite_length", pa.array([2**63 - 1] * len(table), pa.int64()))


def _empty(table: pa.Table) -> pa.Table:
    return _column(table, "composite_length", pa.array([0] * len(table), pa.int64()))


def _same_names(table: pa.Table) -> pa.Table:
    return _column(table, "patch", pa.array(["x"] * len(table)))


def _nobody(table: pa.Table) -> pa.Table:
    return _column(table, "patient", pa.array([""] * len(table)))


def _column_missing(table: pa.Table) -> pa.Table:
    return table.drop_columns(["organ"])


def _no_legend(table: pa.Table) -> pa.Table:
    return table.replace_schema_metadata({})


def _too_bright(table: pa.Table) -> pa.Table:
    flat = pa.array(np.full(len(table) * 3, 300, np.float32))
    return _column(table, "expression", pa.FixedSizeListArray.from_arrays(flat, 3))


def _fewer_rows(table: pa.Table) -> pa.Table:
    return table.slice(0, len(table) - 1)


@pytest.mark.parametrize(
    "change",
    [
        _beyond,
        _negative,
        _overflowing,
        _empty,
        _same_names,
        _nobody,
        _column_missing,
        _no_legend,
        _too_bright,
        _fewer_rows,
    ],
)
def test_a_table_with_impossible_values_is_refused(
    change: Callable[[pa.Table], pa.Table], built: BuiltAtlas, spoil: Callable[..., BuiltAtlas], bundle_of: Make
) -> None:
    table = pa.ipc.open_file(pa.BufferReader(built.contents["atlas/patches.arrow"])).read_all()
    with pytest.raises(BundleContentError):
        open_atlas(bundle_of(spoil(file="atlas/patches.arrow", data=_arrow(change(table)))))


@pytest.mark.parametrize("data", [b"", b"ARROW1", b"ARROW1\0\0" * 20])
def test_what_is_no_table_is_refused(data: bytes, spoil: Callable[..., BuiltAtlas], bundle_of: Make) -> None:
    with pytest.raises(BundleContentError):
        open_atlas(bundle_of(spoil(file="atlas/patches.arrow", data=data)))


def test_pictures_cut_short_are_refused(built: BuiltAtlas, spoil: Callable[..., BuiltAtlas], bundle_of: Make) -> None:
    pictures = built.contents["atlas/pictures.bin"]
    with pytest.raises(BundleContentError, match="outside"):
        open_atlas(bundle_of(spoil(file="atlas/pictures.bin", data=pictures[:-1])))


def test_bytes_that_are_no_picture_are_not_given_out(
    built: BuiltAtlas, spoil: Callable[..., BuiltAtlas], bundle_of: Make
) -> None:
    blank = bytes(len(built.contents["atlas/pictures.bin"]))
    atlas = open_atlas(bundle_of(spoil(file="atlas/pictures.bin", data=blank)))
    with pytest.raises(BundleContentError, match="WebP"):
        atlas.pictures.composite(0)


def test_the_atlas_is_frozen(built: BuiltAtlas, bundle_of: Make) -> None:
    atlas = open_atlas(bundle_of(built))
    with pytest.raises(dataclasses.FrozenInstanceError):
        atlas.markers = ()  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        atlas.vectors[0, 0] = 1
