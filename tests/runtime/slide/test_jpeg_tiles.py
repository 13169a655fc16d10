"""A JPEG tile is decoded as its container says, whatever its own marks say, or refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from haiku_edge.runtime.slide.jpeg import Colour, decode_tile, prefix
from haiku_edge.runtime.slide.types import UnreadableTileError

SIDE = 64


def tissue(seed: int = 0) -> NDArray[np.uint8]:
    """Smooth pink and violet on white, so that chroma subsampling loses little."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def coded(pixels: NDArray[np.uint8], *, rgb: bool = False) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=98, subsampling=0, keep_rgb=rgb)
    return file.getvalue()


def adobe(transform: int) -> bytes:
    return b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes((transform,))


def close(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> bool:
    return float(np.abs(a.astype(int) - b).mean()) < 2


@pytest.mark.parametrize("rgb", [False, True])
@pytest.mark.parametrize(
    "mark", [b"", adobe(0), adobe(1), b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"]
)
def test_the_container_decides_the_colour_whatever_the_tile_bears(rgb: bool, mark: bytes) -> None:
    pixels = tissue()
    marked = coded(pixels, rgb=rgb)
    marked = marked[:2] + mark + marked[2:]
    true, false = (Colour.RGB, Colour.YCBCR) if rgb else (Colour.YCBCR, Colour.RGB)
    assert close(decode_tile(marked, prefix(b"", true), SIDE, SIDE), pixels)
    assert not close(decode_tile(marked, prefix(b"", false), SIDE, SIDE), pixels)


def test_an_ordinary_jpeg_gives_what_pillow_gives() -> None:
    data = coded(tissue(1))
    assert np.array_equal(
        decode_tile(data, prefix(b"", Colour.YCBCR), SIDE, SIDE),
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB")),
    )


@pytest.mark.parametrize("width, height", [(SIDE, SIDE + 1), (SIDE - 16, SIDE)])
def test_a_tile_of_another_size_than_promised_is_refused(width: int, height: int) -> None:
    with pytest.raises(UnreadableTileError, match="promises"):
        decode_tile(coded(tissue()), prefix(b"", Colour.YCBCR), width, height)


def test_a_forged_size_is_refused_before_memory_is_asked_for() -> None:
    data = bytearray(coded(tissue()))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = b"\xff\xdc\xff\xdc"
    with pytest.raises(UnreadableTileError, match="65500 × 65500"):
        decode_tile(bytes(data), prefix(b"", Colour.YCBCR), SIDE, SIDE)


def test_grey_tiles_are_refused() -> None:
    data = simplejpeg.encode_jpeg(np.zeros((SIDE, SIDE, 1), np.uint8), colorspace="GRAY")
    with pytest.raises(UnreadableTileError, match="1 × 8 bits"):
        decode_tile(data, prefix(b"", Colour.YCBCR), SIDE, SIDE)


def test_no_cut_or_overwritten_tile_gives_pixels_or_another_error() -> None:
    data = coded(tissue(2))
    random = np.random.default_rng(7)
    for cut in [0, 1, 2, 3, 20, 200, *random.integers(0, len(data) - 2, 60)]:
        with pytest.raises(UnreadableTileError):
            decode_tile(data[: int(cut)], prefix(b"", Colour.YCBCR), SIDE, SIDE)
    for _ in range(300):
        broken = bytearray(data)
        at = int(random.integers(2, len(data) - 40))
        broken[at : at + 40] = random.bytes(40)
        try:
            tile = decode_tile(bytes(broken), prefix(b"", Colour.YCBCR), SIDE, SIDE)
        except UnreadableTileError:
            continue
        assert tile.shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("tables", [b"\x00\x01\x02\x03", b"\xff\xd8\xff\xdb\x00", b"\xff\xd8\x00\x00\x00\x00\xff\xd9"])
def test_damaged_tables_are_refused(tables: bytes) -> None:
    with pytest.raises(UnreadableTileError):
        prefix(tables, Colour.YCBCR)


def test_tables_shared_by_all_tiles_are_put_before_each() -> None:
    data = coded(tissue(3))
    position, tables, own = 2, b"", b""
    while data[position + 1] != 0xDA:
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4])
        if data[position + 1] in (0xDB, 0xC4):
            tables += data[position:end]
        else:
            own += data[position:end]
        position = end
    abbreviated = b"\xff\xd8" + own + data[position:]
    before = prefix(b"\xff\xd8" + adobe(0) + tables + b"\xff\xd9", Colour.YCBCR)
    whole = decode_tile(data, prefix(b"", Colour.YCBCR), SIDE, SIDE)
    assert np.array_equal(decode_tile(abbreviated, before, SIDE, SIDE), whole)
    with pytest.raises(UnreadableTileError):
        decode_tile(abbreviated, prefix(b"", Colour.YCBCR), SIDE, SIDE)
