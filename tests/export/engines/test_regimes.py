"""The shapes that plans are built for come from the bundle, and whatever its towers serve fits in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haiku_edge.export.engines.regimes import (
    MOST_CHANNELS,
    MOST_ROWS,
    TYPICAL_CHANNELS,
    TYPICAL_TOKENS,
    describe_ranges,
    most_rows,
    patch_ranges,
    section_ranges,
    text_ranges,
    tower_regimes,
)
from haiku_edge.runtime.bundle import HETower, MifTower, TextTower
from haiku_edge.runtime.engine.gpu.shapes import Profile, fit, rows_at_once
from haiku_edge.runtime.errors import EngineBuildError, EngineError

from .towers import embedded, embedded_tower


def profiles(markers: int) -> list[Profile]:
    """What a plan of an mIF tower says of itself."""
    return [
        Profile(
            index,
            *({"patches": (r["batch"][end], r["channels"][end]), "markers": (r["batch"][end],)} for end in (0, 2)),
        )
        for index, r in enumerate(patch_ranges(markers))
    ]


def test_shapes_are_the_towers_own() -> None:
    (regime,) = tower_regimes(embedded_tower("mif"), [{"batch": (1, 2, 3), "channels": (4, 5, 6)}])
    assert regime.least == {"patches": (1, 4, 256, 256), "markers": (1, 4)}
    assert regime.most == {"patches": (3, 6, 256, 256), "markers": (3, 6)}
    with pytest.raises(EngineBuildError, match="'channels'"):
        tower_regimes(embedded_tower("mif"), [{"batch": (1, 2, 3)}])


def test_ranges_are_described_for_a_fingerprint() -> None:
    described = describe_ranges([{"length": (2, 64, 200), "batch": (1, 16, 64)}, {"batch": (1, 1, 2)}])
    assert described == "batch 1..16..64, length 2..64..200 or batch 1..1..2"


@pytest.mark.parametrize("name", ["he", "text", "mif"])
def test_the_embedded_towers_get_the_ranges_that_their_manifest_states(name: str) -> None:
    manifest = embedded().manifest
    section = {"he": manifest.he, "text": manifest.need_text(), "mif": manifest.need_mif()}[name]
    (ranges,) = section_ranges(section)
    stated = {"he": {}, "text": {"length": 200}, "mif": {"channels": len(manifest.need_mif().markers)}}[name]
    assert {key: sizes[-1] for key, sizes in ranges.items() if key != "batch"} == stated
    assert len(tower_regimes(embedded_tower(name), [ranges])) == 1


def test_longer_texts_and_larger_panels_come_from_the_manifest() -> None:
    text = TextTower(file="t", tokenizer="k", max_length=512)
    mif = MifTower(file="m", patch_size=256, mpp=0.5, markers=tuple(f"m{n}" for n in range(124)))
    (words,) = section_ranges(text)
    assert words["length"] == (2, 64, 512)
    assert section_ranges(mif)[-1]["channels"][-1] == 124
    assert section_ranges(HETower(file="h", tile_size=256, mpp=0.5))[0]["batch"][-1] == MOST_ROWS


@given(st.integers(3, 5000))
def test_texts_of_any_length_take_no_more_memory_than_the_published_ones(longest: int) -> None:
    (ranges,) = text_ranges(longest)
    least, usual, most = ranges["batch"]
    assert 1 == least <= usual <= most <= MOST_ROWS
    assert ranges["length"][1] <= ranges["length"][2] == longest
    assert most == 1 or most * longest <= MOST_ROWS * TYPICAL_TOKENS


@given(st.integers(1, 600), st.integers(1, 40), st.data())
def test_every_panel_of_the_towers_markers_fits_in_some_batch(markers: int, rows: int, data: st.DataObject) -> None:
    """Any panel up to the marker table, cut as the engine says, fits, within the memory of a typical full batch."""
    panel = data.draw(st.integers(1, min(markers, MOST_CHANNELS)))
    shapes = {"patches": (rows, panel), "markers": (rows,)}
    at_once = rows_at_once(shapes, profiles(markers), 16)
    piece = {"patches": (min(rows, at_once), panel), "markers": (min(rows, at_once),)}
    chosen = dict(fit(piece, profiles(markers), 16).shapes)
    assert chosen["patches"][1] >= panel
    assert chosen["patches"][0] * chosen["patches"][1] <= 16 * TYPICAL_CHANNELS
    assert at_once == (16 if panel <= TYPICAL_CHANNELS else 864 // min(markers, MOST_CHANNELS))


def test_typical_panels_keep_full_batches_where_larger_ones_are_served() -> None:
    assert most_rows(patch_ranges(124)) == most_rows(patch_ranges(54)) == 16
    assert len(patch_ranges(54)) == 1
    assert len(patch_ranges(55)) == 2


def test_a_panel_beyond_the_tower_is_refused_with_what_fits_and_what_to_do() -> None:
    with pytest.raises(EngineError, match=r"\(16, 54\).* or patches \(6, 124\).*--device cuda or --device cpu"):
        fit({"patches": (1, 125), "markers": (1,)}, profiles(124), 16)
