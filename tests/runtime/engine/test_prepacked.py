"""A prepacked tower computes the same bits from mapped weights, and a damaged one is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from haiku_edge.runtime.engine.onnx import PREPACKED, OnnxEngine, open_prepacked, save_prepacked
from haiku_edge.runtime.errors import BundleContentError, EngineCacheError
from tests.runtime.engine import small_tower

OPEN = """
import sys
from pathlib import Path
import numpy as np
from haiku_edge.runtime.engine import DeviceInfo
from haiku_edge.runtime.engine.onnx import open_prepacked
from haiku_edge.runtime.errors import HaikuEdgeError
try:
    engine = open_prepacked(Path(sys.argv[1]), DeviceInfo("cpu", "cpu", "", "", 2, ""))
    print("ran", engine(tiles=np.zeros((1, 32, 32, 3), np.uint8)).shape)
except HaikuEdgeError as error:
    print(type(error).__name__)
"""


@pytest.fixture(scope="module")
def prepacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepacked")
    assert save_prepacked(small_tower.model("he.weights"), folder, 2) == PREPACKED
    return folder


def test_it_computes_the_same_bits_whether_weights_lay_inside_or_beside(prepacked: Path, tmp_path: Path) -> None:
    inside = small_tower.model()
    save_prepacked(inside, tmp_path, 1)
    plain = OnnxEngine(inside.graph, small_tower.device())(tiles=small_tower.tiles(5))
    for folder in (prepacked, tmp_path):
        engine = open_prepacked(folder / PREPACKED[0], small_tower.device())
        assert np.array_equal(engine(tiles=small_tower.tiles(5)), plain)


def test_its_weights_are_mapped_and_not_copied(prepacked: Path) -> None:
    engine = open_prepacked(prepacked / PREPACKED[0], small_tower.device())
    maps = Path("/proc/self/maps").read_text().splitlines()
    assert engine.spec.dimension == 24
    assert any(line.endswith(str(prepacked / PREPACKED[1])) for line in maps)


def test_nothing_but_its_own_files_is_written(prepacked: Path) -> None:
    assert sorted(path.name for path in prepacked.iterdir()) == sorted(PREPACKED)


def test_a_graph_that_asks_for_another_file_is_not_prepacked(tmp_path: Path) -> None:
    model = small_tower.model("he.weights")
    (tmp_path / "he.weights").write_bytes(model.weights["he.weights"])
    stripped = type(model)(model.tower, model.digest, model.graph, {})
    with pytest.raises(BundleContentError):
        save_prepacked(stripped, tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["he.weights"]


def _flipped(content: bytes, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    damaged = np.frombuffer(content, np.uint8).copy()
    damaged[rng.integers(0, len(content), 20)] ^= 1 << 4
    return damaged.tobytes()


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        (PREPACKED[0], lambda content: b""),
        (PREPACKED[0], lambda content: content[: len(content) // 2]),
        (PREPACKED[0], lambda content: _flipped(content, 1)),
        (PREPACKED[0], lambda content: _flipped(content, 2)),
        (PREPACKED[1], lambda content: b""),
        (PREPACKED[1], lambda content: content[: len(content) // 2]),
    ],
)
def test_a_damaged_one_is_refused_even_past_the_caches_digests(
    prepacked: Path, tmp_path: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(prepacked, folder)
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    command = [sys.executable, "-c", OPEN, str(folder / PREPACKED[0])]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, result.stdout.split()) == (0, ["EngineCacheError"]), result.stderr


def test_a_missing_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineCacheError, match="rebuild"):
        open_prepacked(tmp_path / PREPACKED[0], small_tower.device())
