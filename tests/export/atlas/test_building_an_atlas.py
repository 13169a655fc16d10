"""What an atlas is made of: budget, ranges, colours, and arguments that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from haiku_edge.export.atlas import (
    Provenance,
    build_atlas,
    build_index,
    composite_colours,
    display_ranges,
    measure_recall,
)
from haiku_edge.export.synthetic import MARKERS, patches, render_region, simulate_cohort
from haiku_edge.runtime.atlas import ExactIndex, probe_hnswlib
from haiku_edge.runtime.errors import BundleContentError, UsageError

BYTES_A_PATCH = 12_000


def unit(count: int, dimension: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(0).normal(size=(count, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def names(count: int) -> Provenance:
    each = tuple(f"n{i}" for i in range(count))
    return Provenance(each, each, each, each, each)


def test_the_pictures_of_simulated_tissue_keep_their_budget() -> None:
    regions = [patches(render_region(patient, 512, 512)).mif for patient in simulate_cohort(6, seed=11)]
    mif = np.concatenate(regions)
    built = build_atlas(
        unit(len(mif), 8), tuple(MARKERS), list(mif), mif.mean(axis=(2, 3)).astype(np.float32), names(len(mif))
    )
    assert mif.shape[1] == len(MARKERS) >= 18
    assert len(built.contents["atlas/pictures.bin"]) / len(mif) <= BYTES_A_PATCH


def test_the_shown_range_runs_from_background_to_the_brightest_pixels() -> None:
    patch = np.full((1, 256, 256), 12, np.uint8)
    patch[0, :32] = 180
    unmeasured = np.full((1, 256, 256), 255, np.uint8)
    ranges = display_ranges([patch, unmeasured], np.array([[True], [False]]))
    assert ranges.tolist() == [[12, 180]]


def test_a_marker_that_nobody_measured_is_shown_over_the_whole_range() -> None:
    ranges = display_ranges([np.zeros((1, 256, 256), np.uint8)], np.array([[False]]))
    assert ranges.tolist() == [[0, 255]]


def test_markers_are_found_in_the_palette_however_they_are_written() -> None:
    colours = composite_colours(("Hoechst", "pan-cytokeratin", "αSMA", "CD8a", "FoxP3"))
    assert list(colours) == ["Hoechst", "pan-cytokeratin", "CD8a", "αSMA"]
    assert len(set(colours.values())) == 4
    assert list(composite_colours(("X", "Y", "Z", "W"))) == ["X", "Y", "Z"]


def test_an_iterator_of_patches_needs_the_ranges_and_then_gives_the_same_pictures() -> None:
    mif = list(np.random.default_rng(1).integers(0, 255, (3, 2, 256, 256), np.uint8))
    expression = np.stack([patch.mean(axis=(1, 2)) for patch in mif]).astype(np.float32)
    vectors, markers = unit(3, 4), ("DAPI", "CD8")
    with pytest.raises(UsageError, match="iterator"):
        build_atlas(vectors, markers, iter(mif), expression, names(3))
    ranges = display_ranges(mif, np.ones((3, 2), bool))
    once = build_atlas(vectors, markers, iter(mif), expression, names(3), ranges=ranges)
    assert once.contents == build_atlas(vectors, markers, mif, expression, names(3)).contents


def test_arguments_that_do_not_fit_each_other_are_refused() -> None:
    mif = [np.zeros((1, 256, 256), np.uint8)] * 2
    good = np.zeros((2, 1), np.float32)
    for vectors, expression, provenance in (
        (unit(2, 4) * 2, good, names(2)),
        (unit(2, 4), good, names(3)),
        (unit(2, 4), good[:1], names(2)),
        (unit(2, 4)[:0], good[:0], names(0)),
    ):
        with pytest.raises(UsageError):
            build_atlas(vectors, ("DAPI",), mif, expression, provenance)
    with pytest.raises(UsageError, match="uint8"):
        build_atlas(unit(2, 4), ("DAPI",), [patch.astype(np.float32) for patch in mif], good, names(2))  # type: ignore[misc]


def test_a_small_atlas_is_searched_exactly() -> None:
    data, section = build_index(unit(100, 8), "atlas/index.hnsw")
    assert data is None and section.kind == "exact" and section.file is None


@pytest.mark.skipif(probe_hnswlib() is not None, reason="hnswlib does not work on this processor")
def test_a_graph_states_how_it_was_built_and_is_measured() -> None:
    data, section = build_index(unit(500, 8), "atlas/index.hnsw", kind="hnsw")
    assert data is not None and section.file == "atlas/index.hnsw"
    assert (section.m, section.count, section.dimension) == (16, 500, 8)
    assert str(section.library).startswith("hnswlib ")


@pytest.mark.skipif(probe_hnswlib() is not None, reason="hnswlib does not work on this processor")
def test_a_graph_that_finds_too_little_is_not_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two links an element and the narrowest build and search, in 128 dimensions without structure."""
    monkeypatch.setattr("haiku_edge.export.atlas.index.M", 2)
    monkeypatch.setattr("haiku_edge.export.atlas.index.EF_CONSTRUCTION", 2)
    monkeypatch.setattr("haiku_edge.export.atlas.index.EF_SEARCH", 1)
    with pytest.raises(BundleContentError, match="finds"):
        build_index(unit(3000, 128), "atlas/index.hnsw", kind="hnsw")


def test_exact_search_has_full_recall() -> None:
    vectors = unit(300, 16)
    assert measure_recall(ExactIndex(vectors), vectors) == 1
