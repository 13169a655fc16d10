"""A GPU that vanishes in the middle of a slide costs what was under way: the same command goes on from there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.engine import Engine, plain_engine
from haiku_edge.runtime.engine.gpu import cuda
from haiku_edge.runtime.errors import DeviceError, DeviceMemoryError, EngineError
from haiku_edge.runtime.inference.batching import Batching
from haiku_edge.runtime.inference.chunks import ChunkStore
from haiku_edge.runtime.inference.embed import EmbeddedTiles, embed_tiles
from haiku_edge.runtime.inference.progress import Silent
from haiku_edge.runtime.inference.survey import survey_slide
from haiku_edge.runtime.slide import open_slide

FEW = Batching(tiles=2, per_chunk=2)
WHOLE_BATCHES = 5


class Vanishing:
    """The embedded H&E tower, which CUDA reports as gone after some batches."""

    def __init__(self, tower: Engine, code: str) -> None:
        self.spec, self.device = tower.spec, tower.device
        self._tower, self._code = tower, code

    def __call__(self, **inputs: NDArray[Any]) -> NDArray[np.float32]:
        return self._tower(**inputs)

    def embed_batches(self, batches: Iterable[Mapping[str, NDArray[Any]]]) -> Iterator[NDArray[np.float32]]:
        for number, vectors in enumerate(self._tower.embed_batches(batches)):
            if number == WHOLE_BATCHES:
                raise cuda.as_error(getattr(cuda.bindings().cudaError_t, self._code))
            yield vectors


@pytest.fixture(scope="module")
def tower() -> Engine:
    bundle = open_bundle()
    return plain_engine(bundle.read(bundle.manifest.he.file), threads=1)


def embed(slide_path: Path, engine: Engine, folder: Path) -> EmbeddedTiles:
    view = open_bundle().manifest.he
    with contextlib.closing(open_slide(slide_path)) as slide:
        plan = survey_slide(slide, size=view.tile_size, mpp=view.mpp).plan
        store = ChunkStore(folder, {"slide": slide_path.name})
        return embed_tiles(slide, plan, engine, store, Silent(), threads=1, batching=FEW)


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        ("cudaErrorUnknown", EngineError, "vanished or stopped answering.*What was finished is kept"),
        ("cudaErrorECCUncorrectable", EngineError, "vanished or stopped answering"),
        ("cudaErrorMemoryAllocation", DeviceMemoryError, "memory is used up"),
    ],
)
def test_finished_tiles_are_kept_and_the_next_run_goes_on(
    small_slide: Path, tower: Engine, tmp_path: Path, code: str, kind: type[DeviceError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        embed(small_slide, Vanishing(tower, code), tmp_path)
    again = embed(small_slide, tower, tmp_path)
    assert again.resumed == WHOLE_BATCHES // FEW.per_chunk * FEW.chunk > 0
    (tmp_path / "undisturbed").mkdir()
    undisturbed = embed(small_slide, tower, tmp_path / "undisturbed")
    assert undisturbed.resumed == 0
    assert len(again.vectors) > again.resumed
    assert np.allclose(again.vectors, undisturbed.vectors, atol=1e-6)
