"""A written SVS is what OpenSlide takes for an Aperio slide, with the painted pixels at the right places."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import openslide
import pytest
from numpy.typing import NDArray

from haiku_edge.export.synthetic.svs import write_svs
from haiku_edge.runtime.errors import UsageError

RED, GREEN = (220, 60, 90), (60, 200, 120)


def _chequer(width: int, height: int, side: int = 64) -> NDArray[np.uint8]:
    y, x = np.mgrid[0:height, 0:width]
    return np.where(((x // side + y // side) % 2)[..., None], RED, GREEN).astype(np.uint8)


def _read(slide: openslide.OpenSlide, level: int) -> NDArray[np.int16]:
    return np.asarray(slide.read_region((0, 0), level, slide.level_dimensions[level]).convert("RGB")).astype(np.int16)


@pytest.mark.parametrize(("subsampling", "error"), [("420", 3.0), ("444", 1.5)])
def test_openslide_reads_the_painted_chequer(tmp_path: Path, subsampling: str, error: float) -> None:
    image = _chequer(2100, 1300)
    write_svs(tmp_path / "chequer.svs", image, mpp=0.5, subsampling=subsampling)  # type: ignore[arg-type]
    with openslide.OpenSlide(tmp_path / "chequer.svs") as slide:
        assert slide.properties["openslide.vendor"] == "aperio"
        assert float(slide.properties["openslide.mpp-x"]) == float(slide.properties["openslide.mpp-y"]) == 0.5
        assert slide.properties["openslide.objective-power"] == "20"
        assert slide.level_dimensions == ((2100, 1300), (525, 325))
        pixels = _read(slide, 0)
        assert np.abs(pixels - image).mean() < error
        for x, y in ((32, 32), (96, 32), (2080, 1270), (1056, 1056)):
            assert np.abs(pixels[y, x] - image[y, x]).max() <= 4
        small = _read(slide, 1)
        assert np.abs(small[8, 8] - GREEN).max() <= 6
        assert np.abs(small[8, 24] - RED).max() <= 6


def test_a_large_slide_has_three_levels_and_a_thumbnail(tmp_path: Path) -> None:
    write_svs(tmp_path / "large.svs", _chequer(8300, 1100), mpp=0.25, magnification=40)
    with openslide.OpenSlide(tmp_path / "large.svs") as slide:
        assert slide.level_count == 3
        assert slide.level_downsamples == pytest.approx((1, 4, 16), rel=0.01)
        assert slide.properties["aperio.AppMag"] == "40"
        assert slide.associated_images["thumbnail"].size[0] <= 1024


def test_a_function_gives_the_same_file_as_the_array(tmp_path: Path) -> None:
    image = _chequer(700, 2500)
    write_svs(tmp_path / "array.svs", image, mpp=0.5)
    write_svs(tmp_path / "function.svs", lambda x, y, w, h: image[y : y + h, x : x + w], size=(700, 2500), mpp=0.5)
    assert (tmp_path / "array.svs").read_bytes() == (tmp_path / "function.svs").read_bytes()


def test_a_slide_smaller_than_a_tile_opens(tmp_path: Path) -> None:
    write_svs(tmp_path / "small.svs", _chequer(130, 70), mpp=0.5, remark="Comment = painted")
    with openslide.OpenSlide(tmp_path / "small.svs") as slide:
        assert slide.dimensions == (130, 70)
        assert slide.properties["aperio.Comment"] == "painted"


def test_a_function_without_a_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        write_svs(tmp_path / "none.svs", lambda x, y, w, h: _chequer(w, h), mpp=0.5)


def test_the_lean_install_can_write_a_slide_though_it_has_no_imagecodecs(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['imagecodecs'] = None\n"
        "import numpy as np; from pathlib import Path; from haiku_edge.export.synthetic import write_svs\n"
        f"write_svs(Path({str(tmp_path / 'slide.svs')!r}), np.full((300, 300, 3), 200, np.uint8), mpp=0.5)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert openslide.OpenSlide(tmp_path / "slide.svs").properties["openslide.vendor"] == "aperio"
