"""Who is positive and what is known of the atlas's patients: kept as given, derived where not, refused where wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from haiku_edge.export.atlas import BuiltAtlas, build_atlas
from haiku_edge.export.atlas.positivity import OTSU_RULE, otsu_positivity, otsu_threshold
from haiku_edge.runtime.atlas import open_atlas, read_facts, write_facts
from haiku_edge.runtime.bundle import Bundle
from haiku_edge.runtime.errors import BundleContentError, UsageError

Make = Callable[[BuiltAtlas], Bundle]
MARKERS = ("DAPI", "PanCK", "CD8")
FACTS = {"P2": {"stage": "IV", "grade": "3"}, "P0": {"survival": "12 months", "stage": "I"}}


def build(source: Any, **more: Any) -> BuiltAtlas:
    return build_atlas(source.vectors, MARKERS, source.patches, source.expression, source.provenance, **more)


def test_given_positivity_and_facts_come_back_as_they_were(source: Any, bundle_of: Make) -> None:
    positive = np.where(np.isnan(source.expression), np.nan, np.arange(36).reshape(12, 3) % 2).astype(np.float32)
    positive[4, 0] = np.nan
    built = build(source, positive=positive, positivity="A pathologist said so.", facts=FACTS)
    atlas = open_atlas(bundle_of(built))
    assert np.array_equal(atlas.positive, positive, equal_nan=True) and atlas.positive.dtype == np.float32
    assert atlas.positivity == "A pathologist said so."
    assert atlas.facts == FACTS and [list(own) for own in atlas.facts.values()] == [
        ["stage", "grade"],
        ["survival", "stage"],
    ]


def test_without_any_positivity_is_otsus_and_no_facts_are_made_up(
    source: Any, built: BuiltAtlas, bundle_of: Make
) -> None:
    atlas = open_atlas(bundle_of(built))
    assert np.array_equal(np.isnan(atlas.positive), np.isnan(source.expression))
    assert atlas.positivity == OTSU_RULE and atlas.facts == {} and "atlas/facts.arrow" not in built.contents


def best_split(values: NDArray[np.float64]) -> set[float]:
    """The upper part of the split into two with the least variance inside the parts, by trying all."""
    ordered = sorted(values)
    inside = [np.var(ordered[:k]) * k + np.var(ordered[k:]) * (len(ordered) - k) for k in range(1, len(ordered))]
    return set(ordered[1 + int(np.argmin(inside)) :])


def test_otsus_threshold_is_the_split_with_the_least_variance_inside() -> None:
    for seed in range(5):
        random = np.random.default_rng(seed)
        values = np.concatenate([random.normal(1, 0.4, 30), random.normal(4, 0.8, 12)])
        assert set(values[values > otsu_threshold(values)]) == best_split(values)


def test_a_marker_that_is_alike_everywhere_has_no_positivity() -> None:
    positive = otsu_positivity(np.array([[3, 1], [3, 50], [np.nan, 60], [3, 2]], np.float32))
    assert np.isnan(positive[:, 0]).all() and positive[:, 1].tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("wrong", ["shape", "value", "unmeasured", "rule"])
def test_positivity_that_does_not_fit_is_refused(source: Any, wrong: str) -> None:
    positive = np.where(np.isnan(source.expression), np.nan, 1).astype(np.float32)
    if wrong == "value":
        positive[0, 0] = 0.5
    if wrong == "unmeasured":
        positive[1, 2] = 1
    given = {"shape": positive[:, :2], "rule": None}.get(wrong, positive)
    with pytest.raises(UsageError):
        build(source, positive=given, positivity="By hand.")


@pytest.mark.parametrize(
    "facts",
    [
        {"stranger": {"stage": "IV"}},
        {"P1": {"stage": ""}},
        {"P1": {"": "IV"}},
        {"P1": {"patient_name": "somebody"}},
        {"P1": {"remark": "MRN-8812345"}},
    ],
)
def test_facts_of_strangers_empty_ones_and_identifiers_are_refused(
    source: Any, facts: dict[str, dict[str, str]]
) -> None:
    with pytest.raises(UsageError) as refused:
        build(source, facts=facts)
    assert "8812345" not in str(refused.value) and "somebody" not in str(refused.value)


def _arrow(**columns: list[str | None]) -> bytes:
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no table",
        _arrow(patient=["P0"], key=["stage"]),
        _arrow(patient=["P0"], key=["stage"], value=["IV"]),
        write_facts({"P9": {"stage": "IV"}}),
        write_facts({"P0": {"stage": ""}}),
    ],
)
def test_a_table_of_facts_that_is_none_is_refused(data: bytes, source: Any, bundle_of: Make) -> None:
    built = build(source, facts=FACTS)
    built.contents["atlas/facts.arrow"] = data
    with pytest.raises(BundleContentError, match="facts"):
        open_atlas(bundle_of(built))


def test_a_fact_given_twice_is_refused() -> None:
    twice = pa.ipc.open_file(pa.BufferReader(write_facts(FACTS))).read_all()
    doubled = pa.concat_tables([twice, twice.slice(0, 1)])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, doubled.schema) as writer:
        writer.write_table(doubled)
    with pytest.raises(BundleContentError, match="twice"):
        read_facts(bytes(sink.getvalue()), {"P0", "P2"})


@pytest.mark.parametrize("value", [2, 254])
def test_a_stored_positivity_that_is_none_is_refused(
    value: int, built: BuiltAtlas, spoil: Callable[..., BuiltAtlas], bundle_of: Make
) -> None:
    with pytest.raises(BundleContentError, match="positive"):
        open_atlas(bundle_of(spoil(file="atlas/patches.arrow", data=_with_positive(built, value))))


def test_a_positive_patch_that_did_not_measure_the_marker_is_refused(
    built: BuiltAtlas, spoil: Callable[..., BuiltAtlas], bundle_of: Make
) -> None:
    with pytest.raises(BundleContentError, match="did not measure"):
        open_atlas(bundle_of(spoil(file="atlas/patches.arrow", data=_with_positive(built, 1))))


def _with_positive(built: BuiltAtlas, value: int) -> bytes:
    """The table with one value everywhere, also where nothing was measured."""
    table = pa.ipc.open_file(pa.BufferReader(built.contents["atlas/patches.arrow"])).read_all()
    place = table.schema.get_field_index("positive")
    column = pa.FixedSizeListArray.from_arrays(pa.array([value] * (3 * len(table)), pa.uint8()), 3)
    changed = table.set_column(place, table.schema.field("positive"), column)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, changed.schema) as writer:
        writer.write_table(changed)
    return bytes(sink.getvalue())
