"""A zip of DICOM that is damaged is refused as such, and its files are called by the names that the user knows."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from haiku_edge.runtime.errors import CorruptSlideError, IncompleteSlideError, NotASlideError, SlideError
from haiku_edge.runtime.slide import open_slide

from .written_dicom import cut, header, jpeg, picture, save, write_slide

METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflate": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "LZMA": zipfile.ZIP_LZMA,
}


def pack(folder: Path, method: int, name: str = "a.dcm") -> Path:
    data = write_slide(folder / "s.dcm", picture()).read_bytes()
    with zipfile.ZipFile(folder / "s.zip", "w", method) as packed:
        packed.writestr(name, data)
    return folder / "s.zip"


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_whole_zip_is_read_however_it_is_packed(tmp_path: Path, method: int) -> None:
    open_slide(pack(tmp_path, method)).close()


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_zip_with_a_damaged_byte_is_corrupt(tmp_path: Path, method: int) -> None:
    path = pack(tmp_path, method)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as packed:
        size = packed.infolist()[0].compress_size
    start = 30 + len("a.dcm")
    for place in (start + 9, *(start + np.random.default_rng(5).integers(9, size - 9, 12))):
        data = bytearray(whole)
        data[place] ^= 0xFF
        path.write_bytes(data)
        with pytest.raises(CorruptSlideError, match=r"s\.zip is a zip that is damaged or cut short"):
            open_slide(path)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_whatever_byte_of_a_zip_is_damaged_it_is_refused_or_read(tmp_path: Path, method: int) -> None:
    path = pack(tmp_path, method)
    whole = path.read_bytes()
    for place in (*range(60), *range(len(whole) - 75, len(whole))):  # the headers before, and the directory after
        data = bytearray(whole)
        data[place] ^= 0xFF
        path.write_bytes(data)
        try:
            open_slide(path).close()
        except SlideError:
            continue


def test_a_zip_cut_at_any_byte_is_corrupt(tmp_path: Path) -> None:
    path = pack(tmp_path, zipfile.ZIP_DEFLATED)
    whole = path.read_bytes()
    for size in (4, 40, len(whole) // 2, len(whole) - 60, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CorruptSlideError, match=r"s\.zip is a zip that is damaged or cut short"):
            open_slide(path)


def test_an_empty_zip_holds_no_slide(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "s.zip", "w"):
        pass
    with pytest.raises(NotASlideError, match="holds no DICOM"):
        open_slide(tmp_path / "s.zip")


def test_a_bad_file_in_a_zip_is_called_by_its_name_there(tmp_path: Path) -> None:
    pixels = picture()
    frames = [jpeg(tile) for tile in cut(pixels)]
    whole = write_slide(tmp_path / "whole.dcm", pixels).read_bytes()
    few = save(tmp_path / "few.dcm", header(pixels, 20), frames[:18]).read_bytes()
    odd = write_slide(tmp_path / "odd.dcm", pixels, Rows=0).read_bytes()
    for contents, error in [
        (whole[:600], CorruptSlideError),
        (whole[:-2000], CorruptSlideError),
        (odd, CorruptSlideError),
        (few, IncompleteSlideError),
    ]:
        with zipfile.ZipFile(tmp_path / "s.zip", "w") as packed:
            packed.writestr("readme.txt", "first")
            packed.writestr("Case\\of\\Jane/level \x1b[0.dcm", contents)
        with pytest.raises(error, match=r"level \?\[0\.dcm in s\.zip") as caught:
            open_slide(tmp_path / "s.zip")
        assert "00000" not in str(caught.value)
        assert "Jane" not in str(caught.value)
