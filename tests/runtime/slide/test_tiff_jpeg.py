"""The direct TIFF reader gives OpenSlide's pixels, to the last bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from haiku_edge.runtime.slide import Slide, UnreadableTileError, open_slide

DATA = Path(__file__).resolve().parents[3] / "../shared/data"
SMALL_REGION = DATA / "svs/CMU-1-Small-Region.svs"
needs_data = pytest.mark.skipif(not SMALL_REGION.exists(), reason="the shared slides are not here")

HALF_MICROMETRE = (20_000, 20_000)
"""TIFF resolution in pixels per centimetre."""


SUBSAMPLED = {"photometric": "rgb", "subsampling": (2, 2)}


def picture(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Blobs of colour with grain: something that exercises every JPEG coefficient."""
    random = np.random.default_rng(seed)
    coarse = random.integers(60, 256, (height // 40 + 2, width // 40 + 2, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return np.clip(smooth + random.integers(-20, 20, smooth.shape), 0, 255).astype(np.uint8)


def write_pyramid(path: Path, pixels: NDArray[np.uint8], **options: object) -> Path:
    """A plain tiled pyramid of three levels, each half the one before."""
    with tifffile.TiffWriter(path, bigtiff=bool(options.pop("bigtiff", False))) as file:
        for level in range(3):
            step = 2**level
            file.write(
                np.ascontiguousarray(pixels[::step, ::step]),
                tile=(128, 192),
                compression="jpeg",
                resolution=HALF_MICROMETRE,
                resolutionunit="CENTIMETER",
                metadata=None,
                subfiletype=1 if level else 0,
                **options,
            )
    return path


def whole_level(slide: Slide, index: int) -> NDArray[np.uint8]:
    level = slide.info.levels[index]
    rows = [np.hstack([slide.read_tile(index, c, r) for c in range(level.columns)]) for r in range(level.rows)]
    return np.vstack(rows)[: level.height, : level.width]


def by_openslide(path: Path, level: int) -> NDArray[np.uint8]:
    with openslide.OpenSlide(path) as slide:
        return np.asarray(slide.read_region((0, 0), level, slide.level_dimensions[level]).convert("RGB"))


@needs_data
def test_a_real_aperio_slide_is_identical_to_openslide() -> None:
    slide = open_slide(SMALL_REGION)
    assert (slide.info.reader, slide.info.format) == ("tiff-jpeg", "Aperio SVS")
    assert np.array_equal(whole_level(slide, 0), by_openslide(SMALL_REGION, 0))
    slide.close()


@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "rgb", "subsampling": (2, 2)},
        {"photometric": "rgb", "subsampling": (2, 1)},
        {"photometric": "rgb", "subsampling": (1, 1)},
        {"photometric": "rgb", "compressionargs": {"outcolorspace": "rgb"}},
        {"photometric": "rgb", "subsampling": (2, 2), "bigtiff": True},
    ],
    ids=["420", "422", "444", "rgb", "bigtiff"],
)
def test_every_level_of_a_pyramid_is_identical_to_openslide(tmp_path: Path, options: dict[str, object]) -> None:
    path = write_pyramid(tmp_path / "pyramid.tif", picture(900, 700), **options)
    slide = open_slide(path)
    assert slide.info.reader == "tiff-jpeg"
    assert [level.downsample for level in slide.info.levels] == pytest.approx([1, 2, 4], rel=0.01)
    for level in range(3):
        assert np.array_equal(whole_level(slide, level), by_openslide(path, level))
    slide.close()


def test_beyond_the_edge_of_a_level_tiles_are_white(tmp_path: Path) -> None:
    slide = open_slide(write_pyramid(tmp_path / "p.tif", np.full((300, 400, 3), 90, np.uint8), **SUBSAMPLED))
    corner = slide.read_tile(0, 2, 2)
    assert corner.shape == (128, 192, 3)
    assert (corner[:44, :16] < 100).all()
    assert (corner[44:] == 255).all() and (corner[:, 16:] == 255).all()
    slide.close()


def test_the_resolution_tags_are_read_in_both_directions(tmp_path: Path) -> None:
    slide = open_slide(write_pyramid(tmp_path / "p.tif", picture(300, 300), **SUBSAMPLED))
    resolution = slide.info.resolution
    assert (resolution.x, resolution.y) == pytest.approx((0.5, 0.5))
    assert resolution.source == "TIFF resolution tags"
    slide.close()


def test_threads_read_the_same_tiles_as_one(tmp_path: Path) -> None:
    slide = open_slide(write_pyramid(tmp_path / "p.tif", picture(900, 700), **SUBSAMPLED))
    level = slide.info.levels[0]
    places = [(0, column, row) for row in range(level.rows) for column in range(level.columns)] * 4
    alone = [slide.read_tile(*place) for place in places]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda place: slide.read_tile(*place), places))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
    slide.close()


@pytest.mark.parametrize("coding", ["deflate", None])
def test_tiles_in_another_coding_are_left_to_openslide(tmp_path: Path, coding: str | None) -> None:
    path, pixels = tmp_path / "other.tif", picture(500, 400)
    tifffile.imwrite(
        path,
        pixels,
        tile=(128, 128),
        photometric="rgb",
        compression=coding,
        resolution=HALF_MICROMETRE,
        resolutionunit="CENTIMETER",
        metadata=None,
    )
    slide = open_slide(path)
    assert slide.info.reader == "openslide"
    assert np.array_equal(whole_level(slide, 0), by_openslide(path, 0))
    assert np.array_equal(whole_level(slide, 0), pixels)
    slide.close()


@needs_data
def test_a_damaged_tile_is_refused_alone(tmp_path: Path) -> None:
    with tifffile.TiffFile(SMALL_REGION) as file:
        page = file.pages[0]
        start, count = page.dataoffsets[57], page.databytecounts[57]
    data = bytearray(SMALL_REGION.read_bytes())
    data[start + count // 2 : start + count // 2 + 64] = np.random.default_rng(3).bytes(64)
    (tmp_path / "damaged.svs").write_bytes(data)
    damaged, whole = open_slide(tmp_path / "damaged.svs"), open_slide(SMALL_REGION)
    with pytest.raises(UnreadableTileError):
        damaged.read_tile(0, 7, 5)
    for column, row in [(6, 5), (8, 5), (7, 4), (7, 6)]:
        assert np.array_equal(damaged.read_tile(0, column, row), whole.read_tile(0, column, row))
    damaged.close()
    whole.close()


@needs_data
def test_where_both_readers_give_pixels_of_damaged_tiles_they_are_the_same(tmp_path: Path) -> None:
    with tifffile.TiffFile(SMALL_REGION) as file:
        places = list(zip(file.pages[0].dataoffsets, file.pages[0].databytecounts, strict=True))
    data, random = bytearray(SMALL_REGION.read_bytes()), np.random.default_rng(5)
    for start, count in places:
        data[start + int(random.integers(30, count - 4))] ^= 1 << int(random.integers(8))
    path = tmp_path / "flipped.svs"
    path.write_bytes(data)
    slide = open_slide(path)
    level, refused = slide.info.levels[0], 0
    for row in range(level.rows):
        for column in range(level.columns):
            try:
                tile = slide.read_tile(0, column, row)
            except UnreadableTileError:
                refused += 1
                continue
            width, height = min(240, level.width - column * 240), min(240, level.height - row * 240)
            with openslide.OpenSlide(path) as reference:
                expected = reference.read_region((column * 240, row * 240), 0, (width, height)).convert("RGB")
            assert np.array_equal(tile[:height, :width], np.asarray(expected))
    assert 0.2 * len(places) < refused < len(places)
    slide.close()
