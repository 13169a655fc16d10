"""A slide with a few damaged tiles is predicted without them, and says so; one with many is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from haiku_edge.export.synthetic import MPP, render_region, simulate_cohort, write_svs
from haiku_edge.runtime.errors import CorruptSlideError
from haiku_edge.runtime.inference import PredictOptions, predict


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SVS of 12 × 9 tiles of 256 px, full of tissue."""
    region = render_region(simulate_cohort(1, seed=5)[0], 1024, 768).he
    path = tmp_path_factory.mktemp("healthy") / "slide.svs"
    write_svs(path, np.tile(region, (3, 3, 1)), mpp=MPP)
    return path


def _damage(healthy: Path, folder: Path, tiles: list[int]) -> Path:
    """A copy in which the coded data of these level-0 file tiles is overwritten."""
    data = bytearray(healthy.read_bytes())
    with tifffile.TiffFile(healthy) as tiff:
        page = tiff.pages[0]
        places = [(page.dataoffsets[i], page.databytecounts[i]) for i in tiles]
    for offset, length in places:
        data[offset + length // 2 : offset + length // 2 + 64] = b"\xff\xd8\xff\xee" * 16
    path = folder / "damaged.svs"
    path.write_bytes(bytes(data))
    return path


def test_a_few_damaged_tiles_are_listed_and_left_out(healthy: Path, tmp_path: Path) -> None:
    damaged = _damage(healthy, tmp_path, [17, 40])
    whole = predict(healthy, None, PredictOptions(out=tmp_path / "whole"))
    run = predict(damaged, None, PredictOptions(out=tmp_path / "out"))
    section = run.result.tiles
    assert (
        section.unreadable == len(section.unreadable_tiles) == run.tiles["status"].to_pylist().count("unreadable") >= 2
    )
    assert any("could not be read" in warning for warning in run.result.warnings)
    lost = {(tile.x, tile.y) for tile in section.unreadable_tiles}
    ours, theirs = ({(r["x"], r["y"]): r["vector"] for r in t.to_pylist()} for t in (run.tiles, whole.tiles))
    shared = (ours.keys() & theirs.keys()) - lost
    assert len(shared) > 90
    assert all(np.allclose(ours[place], theirs[place], atol=1e-6) for place in shared)


def test_a_slide_with_many_damaged_tiles_is_refused(healthy: Path, tmp_path: Path) -> None:
    damaged = _damage(healthy, tmp_path, list(range(0, 100, 4)))
    with pytest.raises(CorruptSlideError, match="could not be read"):
        predict(damaged, None, PredictOptions(out=tmp_path / "out"))
    assert not list((tmp_path / "out").rglob("result.json"))
