"""The stream gives the painted pixels, each file tile decoded once, the same for any threads, batch size and start."""

from __future__ import annotations

import threading
import tracemalloc
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from haiku_edge.runtime.errors import CorruptSlideError, UsageError
from haiku_edge.runtime.slide.grid import TilePlan, plan_tiles, source_origins, source_size
from haiku_edge.runtime.slide.open import open_slide
from haiku_edge.runtime.slide.overview import Overview, read_overview
from haiku_edge.runtime.slide.quality import measure_sharpness
from haiku_edge.runtime.slide.stream import TileStream
from haiku_edge.runtime.slide.tissue import Masks, find_masks
from haiku_edge.runtime.slide.types import Level

from .painted import PaintedSlide, chequers, noise

SVS = Path(__file__).resolve().parents[3] / "../shared/data/svs/CMU-1-Small-Region.svs"


def _plan(slide: PaintedSlide, size: int, mpp: float = 0.5, tissue: np.ndarray | None = None) -> TilePlan:
    level = slide.info.levels[0]
    overview = Overview(np.zeros((-(-level.height // 16), -(-level.width // 16), 3), np.uint8), 16.0, 0)
    nothing = np.zeros(overview.image.shape[:2], bool)
    return plan_tiles(
        slide.info, overview, Masks(~nothing if tissue is None else tissue, nothing, nothing), size=size, mpp=mpp
    )


def _drain(stream: TileStream) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Every tile, sharpness and unreadable tile, copied before its buffer is used again."""
    tiles, sharpness, unreadable = [], [], {}
    for batch in stream:
        tiles.append(batch.tiles.copy())
        sharpness.append(batch.sharpness)
        unreadable |= batch.unreadable
    return np.concatenate(tiles), np.concatenate(sharpness), unreadable


def _workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("tiles-")]


@pytest.mark.parametrize("tile", [(256, 256), (240, 240), (100, 333), (5000, 16)])
@pytest.mark.parametrize("size", [256, 384])
def test_every_tile_is_what_was_painted_at_its_origin(tile: tuple[int, int], size: int) -> None:
    pixels = noise(2000, 1500)
    slide = PaintedSlide([pixels], tile=tile)
    plan = _plan(slide, size)
    tiles, sharpness, unreadable = _drain(TileStream(slide, plan, batch_size=5, threads=3))
    assert not unreadable
    for (x, y), found, measured in zip(plan.grid.origins, tiles, sharpness, strict=True):
        assert np.array_equal(found, pixels[y : y + size, x : x + size])
        assert measured == np.float32(measure_sharpness(found))


def test_chequers_stay_in_step_to_the_far_corner_of_a_lower_level() -> None:
    levels = [chequers(6400 // k, 4800 // k, 32 // k) for k in (1, 4)]
    slide = PaintedSlide(levels, mpp=(0.25, 0.25), tile=(240, 240))
    plan = _plan(slide, 64, 1.0)
    tiles, _, _ = _drain(TileStream(slide, plan, batch_size=16, threads=2))
    assert plan.level == 1
    assert (tiles == chequers(64, 64, 8)).all()


@pytest.mark.parametrize("mpp", [(0.25, 0.25), (0.2527, 0.2527), (0.3, 0.4), (0.17, 0.17), (0.7, 0.7)])
def test_a_tile_at_another_resolution_is_the_mean_of_what_lies_under_it(mpp: tuple[float, float]) -> None:
    smooth = cv2.GaussianBlur(noise(1600, 1200), (0, 0), 6)
    pixels = cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX)
    slide = PaintedSlide([pixels], mpp=mpp, tile=(200, 256))
    plan = _plan(slide, 128)
    tiles, _, _ = _drain(TileStream(slide, plan, batch_size=4, threads=2))
    width, height = source_size(slide.info, plan)
    for (x, y), found in list(zip(source_origins(slide.info, plan), tiles, strict=True))[::5]:
        under = pixels[y : y + height, x : x + width].astype(np.float32)
        # Supersampled twelve times, then averaged: an area mean that shares nothing with the way it is computed.
        expected = cv2.resize(under, (128 * 12, 128 * 12), interpolation=cv2.INTER_LINEAR)
        expected = expected.reshape(128, 12, 128, 12, 3).mean((1, 3))
        assert np.abs(found - expected).mean() < 1.0


def test_bytes_are_the_same_for_any_threads_and_batch_size() -> None:
    corrupt = frozenset({(0, 3, 2)})
    reference = None
    for threads, batch_size in [(1, 1), (1, 100), (2, 7), (4, 3), (8, 16)]:
        slide = PaintedSlide([noise(2500, 1500)], mpp=(0.3, 0.3), corrupt=corrupt, pause=2e-4)
        stream = TileStream(slide, _plan(slide, 128), batch_size=batch_size, threads=threads, unreadable_share=0.5)
        found = _drain(stream)
        reference = reference or found
        assert np.array_equal(found[0], reference[0])
        assert np.array_equal(found[1], reference[1], equal_nan=True)
        assert found[2] == reference[2]


def test_going_on_from_any_batch_gives_the_same_tiles() -> None:
    slide = PaintedSlide([noise(2500, 1500)], pause=1e-4)
    plan = _plan(slide, 384)
    whole, sharpness, _ = _drain(TileStream(slide, plan, batch_size=4, threads=2))
    for first in range(0, len(plan.grid), 4):
        tiles, measured, _ = _drain(TileStream(slide, plan, batch_size=4, threads=2, first=first))
        assert np.array_equal(tiles, whole[first:])
        assert np.array_equal(measured, sharpness[first:])


def test_a_run_that_goes_on_reads_only_what_is_left() -> None:
    slide = PaintedSlide([noise(2560, 2560)])
    plan = _plan(slide, 256)
    stream = TileStream(slide, plan, batch_size=10, threads=2, first=90)
    _drain(stream)
    assert stream.decoded == 10
    assert {row for _, _, row in slide.reads} == {9}


@pytest.mark.parametrize("size", [256, 384, 100])
@pytest.mark.parametrize("threads", [1, 4])
def test_each_file_tile_under_the_plan_is_decoded_once(size: int, threads: int) -> None:
    slide = PaintedSlide([noise(3000, 2000)], tile=(240, 240), pause=1e-4)
    tissue = np.random.default_rng(0).random((125, 188)) < 0.5
    tissue[:, 60:120] = False
    plan = _plan(slide, size, tissue=tissue)
    stream = TileStream(slide, plan, batch_size=8, threads=threads)
    _drain(stream)
    touched = {
        (0, column, row)
        for x, y in plan.grid.origins.tolist()
        for column in range(x // 240, (x + size - 1) // 240 + 1)
        for row in range(y // 240, (y + size - 1) // 240 + 1)
    }
    assert set(slide.reads) == touched
    assert set(slide.reads.values()) == {1}
    assert stream.decoded == stream.file_tiles == len(touched)


def test_beyond_its_cap_the_cache_decodes_again_for_each_row_and_the_bytes_stay() -> None:
    slide = PaintedSlide([noise(2000, 2000)])
    plan = _plan(slide, 384)
    whole, _, _ = _drain(TileStream(slide, plan, batch_size=4, threads=2))
    slide.reads.clear()
    again, _, _ = _drain(TileStream(slide, plan, batch_size=4, threads=2, cache_bytes=0))
    assert np.array_equal(again, whole)
    assert set(slide.reads.values()) == {1, 2}


def test_every_tile_over_an_unreadable_file_tile_is_white_and_listed() -> None:
    pixels = noise(2560, 2560)
    slide = PaintedSlide([pixels], corrupt=frozenset({(0, 3, 4)}))
    plan = _plan(slide, 384)
    stream = TileStream(slide, plan, batch_size=8, threads=2, unreadable_share=0.2)
    tiles, sharpness, unreadable = _drain(stream)
    left, upper = 3 * 256, 4 * 256
    x, y = plan.grid.origins.T
    touched = (x < left + 256) & (x + 384 > left) & (y < upper + 256) & (y + 384 > upper)
    assert sorted(unreadable) == np.flatnonzero(touched).tolist()
    assert (tiles[touched] == 255).all()
    assert np.isnan(sharpness).tolist() == touched.tolist()
    assert all("column 3, row 4 of level 0: painted as corrupt" in reason for reason in unreadable.values())
    for index in np.flatnonzero(~touched):
        assert np.array_equal(tiles[index], pixels[y[index] : y[index] + 384, x[index] : x[index] + 384])


def test_too_many_unreadable_tiles_refuse_the_slide_with_the_count() -> None:
    slide = PaintedSlide([noise(2560, 2560)], corrupt=frozenset({(0, column, 5) for column in range(6)}))
    plan = _plan(slide, 256)
    _drain(TileStream(slide, plan, batch_size=10, threads=2, unreadable_share=0.06))
    before = 0
    with pytest.raises(CorruptSlideError, match="6 of its 100 tiles could not be read"):
        for batch in TileStream(slide, plan, batch_size=10, threads=2):
            before += len(batch.tiles)
    assert before == 50
    with pytest.raises(CorruptSlideError):
        _drain(TileStream(slide, plan, batch_size=10, threads=2, first=60, unreadable_before=6))
    assert not _workers()


def test_a_batch_stays_valid_until_the_next_but_one() -> None:
    pixels = noise(2560, 2560)
    slide = PaintedSlide([pixels])
    plan = _plan(slide, 256)
    batches = iter(TileStream(slide, plan, batch_size=5, threads=2))
    for earlier, later in pairwise(batches):
        for batch in (earlier, later):
            for offset, tile in enumerate(batch.tiles):
                x, y = plan.grid.origins[batch.first + offset]
                assert np.array_equal(tile, pixels[y : y + 256, x : x + 256])


def test_reading_ahead_stops_when_the_ring_is_full() -> None:
    slide = PaintedSlide([noise(2560, 2560)])
    batches = iter(TileStream(slide, _plan(slide, 256), batch_size=5, threads=2))
    next(batches)
    threading.Event().wait(0.3)
    assert len(slide.reads) <= 15
    batches.close()


class Unending(PaintedSlide):
    """A slide of any height that keeps no pixels."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__([np.zeros((1, 1, 3), np.uint8)])
        self.info = replace(self.info, levels=(Level(width, height, 256, 256, 1.0),))

    def read_tile(self, level: int, column: int, row: int) -> np.ndarray:
        return np.full((256, 256, 3), (column * 31 + row * 17) % 256, np.uint8)


def test_memory_does_not_grow_with_the_slide_s_height() -> None:
    peaks = []
    for height in (3_000, 24_000):
        slide = Unending(6_000, height)
        stream = TileStream(slide, _plan(slide, 384), batch_size=8, threads=2)
        tracemalloc.start()
        assert sum(len(batch.tiles) for batch in stream) == 15 * (height // 384)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The ring is 14 MB; two to three rows of 24 decoded file tiles are up to 14 MB more.
    assert max(peaks) < 32e6
    assert peaks[1] < peaks[0] * 1.2


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_leaving_early_stops_the_threads(taken: int) -> None:
    slide = PaintedSlide([noise(2560, 2560)], pause=1e-3)
    with TileStream(slide, _plan(slide, 256), batch_size=4, threads=4) as stream:
        for _, _batch in zip(range(taken), stream, strict=False):
            pass
    assert not _workers()
    assert len(slide.reads) < 100


def test_what_a_thread_raises_reaches_the_consumer() -> None:
    class Failing(PaintedSlide):
        def read_tile(self, level: int, column: int, row: int) -> np.ndarray:
            if row == 5:
                raise OSError("the disk is gone")
            return super().read_tile(level, column, row)

    slide = Failing([noise(2560, 2560)])
    with pytest.raises(OSError, match="the disk is gone"):
        _drain(TileStream(slide, _plan(slide, 256), batch_size=4, threads=3))
    assert not _workers()


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"batch_size": 0}, {"first": 3}, {"first": -4}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    slide = PaintedSlide([noise(600, 600)])
    with pytest.raises(UsageError):
        TileStream(slide, _plan(slide, 256), **{"batch_size": 4, "threads": 1, **wrong})


def test_a_real_slide_streams_what_its_file_holds() -> None:
    if not SVS.exists():
        pytest.skip("needs CMU-1-Small-Region.svs in ../shared/data")
    openslide = pytest.importorskip("openslide")
    slide = open_slide(SVS)
    overview = read_overview(slide)
    plan = plan_tiles(slide.info, overview, find_masks(overview), size=256, mpp=0.5)
    assert 0.35 < len(plan.grid) / plan.counts["grid"] < 0.65
    tiles, _, unreadable = _drain(TileStream(slide, plan, batch_size=16, threads=2))
    slide.close()
    assert not unreadable
    with openslide.OpenSlide(SVS) as reference:
        for (x, y), tile in zip(plan.grid.origins.tolist(), tiles, strict=True):
            assert np.array_equal(tile, np.asarray(reference.read_region((x, y), 0, (256, 256)).convert("RGB")))
