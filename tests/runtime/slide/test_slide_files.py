"""Files that are no slide, or a damaged one, are refused in plain words; the rest are read by the reader that can."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile

from haiku_edge.runtime.errors import (
    CorruptSlideError,
    ImplausibleResolutionError,
    MissingResolutionError,
    NotASlideError,
    SlideError,
    UsageError,
)
from haiku_edge.runtime.slide import UnreadableTileError, open_slide, slide_digest

from .written_dicom import picture, write_slide

DATA = Path(__file__).resolve().parents[3] / "../shared/data/svs"
SMALL_REGION, JPEG_2000 = DATA / "CMU-1-Small-Region.svs", DATA / "TCGA-CR-7395-01A-01-TS1.svs"
needs_data = pytest.mark.skipif(not SMALL_REGION.exists(), reason="the shared slides are not here")


def plain_tiff(path: Path, **options: object) -> Path:
    settings: dict[str, object] = {
        "tile": (128, 128),
        "photometric": "rgb",
        "resolution": (20_000, 20_000),
        "resolutionunit": "CENTIMETER",
        "metadata": None,
    }
    pixels = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    tifffile.imwrite(path, pixels, **(settings | options))
    return path


@pytest.mark.parametrize("contents", [b"text, no slide\n", b"\x89PNG\r\n\x1a\n" + bytes(200), bytes(5000)])
def test_what_no_reader_knows_is_no_slide(tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / "case.svs"
    path.write_bytes(contents)
    with pytest.raises(NotASlideError, match="is not a slide that any reader knows"):
        open_slide(path)


def test_nothing_and_an_empty_file_are_no_slide(tmp_path: Path) -> None:
    with pytest.raises(NotASlideError, match="is not there"):
        open_slide(tmp_path / "missing.svs")
    (tmp_path / "empty.svs").touch()
    with pytest.raises(NotASlideError, match="is empty"):
        open_slide(tmp_path / "empty.svs")


@needs_data
@pytest.mark.parametrize(
    "name, error, said",
    [
        ("histolab_broken.svs", NotASlideError, "not a slide"),
        ("openslide_unopenable.tiff", CorruptSlideError, "52479"),
        ("TCGA-CR-7395-01A-01-TS1.svs", MissingResolutionError, "--mpp"),
    ],
)
def test_each_odd_file_is_refused_by_its_own_error(name: str, error: type[SlideError], said: str) -> None:
    with pytest.raises(error, match=said):
        open_slide(DATA / name)


@needs_data
def test_a_slide_whose_only_tile_is_corrupt_opens_and_says_so_at_the_tile() -> None:
    slide = open_slide(DATA / "openslide_unreadable.svs")
    with pytest.raises(UnreadableTileError):
        slide.read_tile(0, 0, 0)
    slide.close()


@needs_data
def test_a_slide_cut_at_any_byte_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    data, path = SMALL_REGION.read_bytes(), tmp_path / "cut.svs"
    random = np.random.default_rng(11).integers(0, len(data), 16)
    for size in [1000, 200_000, 900_000, 1_275_950, 1_475_812, 1_900_000, len(data) - 300, len(data) - 1, *random]:
        path.write_bytes(data[: int(size)])
        with pytest.raises(CorruptSlideError, match="cut short"):
            open_slide(path)


@pytest.mark.parametrize("bigtiff", [False, True])
def test_a_plain_tiff_cut_at_any_byte_is_refused(tmp_path: Path, bigtiff: bool) -> None:
    data = plain_tiff(tmp_path / "whole.tif", bigtiff=bigtiff).read_bytes()
    path = tmp_path / "cut.tif"
    for size in [*np.random.default_rng(12).integers(20, len(data), 16), len(data) - 1]:
        path.write_bytes(data[: int(size)])
        with pytest.raises(CorruptSlideError, match="cut short"):
            open_slide(path)


@needs_data
def test_jpeg_2000_goes_through_openslide_with_its_pixels() -> None:
    slide = open_slide(JPEG_2000, mpp=0.25)
    assert slide.info.reader == "openslide"
    assert (slide.info.resolution.mean, slide.info.resolution.source) == (0.25, "--mpp")
    with openslide.OpenSlide(JPEG_2000) as reference:
        expected = np.asarray(reference.read_region((512, 256), 0, (512, 256)).convert("RGB"))
    assert np.array_equal(np.hstack([slide.read_tile(0, 2, 1), slide.read_tile(0, 3, 1)]), expected)
    level = slide.info.levels[0]
    corner = slide.read_tile(0, level.columns - 1, level.rows - 1)
    assert corner.shape == (256, 256, 3)
    assert (corner[level.height % 256 :] == 255).all() and (corner[:, level.width % 256 :] == 255).all()
    assert corner[: level.height % 256, : level.width % 256].min() < 255
    slide.close()


def test_openslide_reads_on_after_a_corrupt_tile_from_several_threads(tmp_path: Path) -> None:
    path = plain_tiff(tmp_path / "deflate.tif", compression="deflate")
    with tifffile.TiffFile(path) as file:
        start, count = file.pages[0].dataoffsets[5], file.pages[0].databytecounts[5]
    pixels = tifffile.imread(path)
    data = bytearray(path.read_bytes())
    data[start : start + count] = bytes(count)
    path.write_bytes(data)
    slide = open_slide(path)
    assert slide.info.reader == "openslide"

    def read(place: int) -> bool:
        column, row = place % 4, place // 4 % 3
        try:
            tile = slide.read_tile(0, column, row)
        except UnreadableTileError:
            return (column, row) == (1, 1)
        inside = pixels[row * 128 : row * 128 + 128, column * 128 : column * 128 + 128]
        return (column, row) != (1, 1) and np.array_equal(tile[: inside.shape[0], : inside.shape[1]], inside)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(120)))
    slide.close()


@pytest.mark.parametrize(
    "per_centimetre, mpp, error",
    [
        ((300, 300), None, ImplausibleResolutionError),  # 33 µm: an overview
        ((400_000, 400_000), None, ImplausibleResolutionError),  # 0.025 µm
        ((20_000, 10_000), None, ImplausibleResolutionError),  # pixels of 0.5 × 1 µm
        ((20_000, 20_000), 250.0, ImplausibleResolutionError),  # nanometres
        ((20_000, 20_000), 0.0, UsageError),
        ((20_000, 20_000), float("nan"), UsageError),
    ],
)
def test_resolutions_that_no_scanner_gives_are_refused(
    tmp_path: Path, per_centimetre: tuple[int, int], mpp: float | None, error: type[Exception]
) -> None:
    path = plain_tiff(tmp_path / "slide.tif", resolution=per_centimetre)
    with pytest.raises(error):
        open_slide(path, mpp=mpp)


def test_the_users_resolution_wins_and_a_contradiction_is_said(tmp_path: Path) -> None:
    path = plain_tiff(tmp_path / "slide.tif")
    agreed, contradicted = open_slide(path, mpp=0.5), open_slide(path, mpp=0.25)
    assert not agreed.info.warnings
    assert any("0.5" in warning for warning in contradicted.info.warnings)
    assert contradicted.info.resolution.mean == 0.25
    agreed.close()
    contradicted.close()


def test_no_resolution_is_never_guessed(tmp_path: Path) -> None:
    path = plain_tiff(tmp_path / "slide.tif", resolution=None, resolutionunit=None)
    with pytest.raises(MissingResolutionError, match="--mpp"):
        open_slide(path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take only file names that are text")
@pytest.mark.parametrize("kind", ["tif", "dcm", "folder", "zip"])
def test_a_slide_whose_file_name_is_no_text_has_a_name_that_can_be_printed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / os.fsdecode(b"sl\xefde \x07 \xc3\xa9" + (b"" if kind == "folder" else b"." + kind.encode()))
    if kind == "tif":
        shutil.move(plain_tiff(tmp_path / "plain.tif"), path)
    else:
        written = write_slide((path if kind == "folder" else tmp_path) / "plain.dcm", picture())
    if kind == "dcm":
        shutil.move(written, path)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as packed:
            packed.write(written, "a.dcm")
    slide = open_slide(path)
    assert slide.info.name == "sl?de ? é"
    slide.close()


def test_the_digest_is_that_of_the_bytes_whatever_the_name(tmp_path: Path) -> None:
    path = plain_tiff(tmp_path / "slide.tif")
    slide = open_slide(path)
    digest = slide_digest(slide.info)
    slide.close()
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    slide = open_slide(path.rename(tmp_path / "renamed.tif"))
    assert slide_digest(slide.info) == digest
    slide.close()
