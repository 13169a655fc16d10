"""At full size: MUSK's vision tower in fp16 gives the embedding that torch computes in fp32."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from haiku_edge.export.engines.variants import to_half
from haiku_edge.export.graph import trace_tower, write_graph
from haiku_edge.export.model import HeTower, prepare_tower, published_config
from haiku_edge.export.synthetic import render_region, simulate_cohort
from haiku_edge.runtime.engine.model import TowerModel
from tests.export.checkpoint.made import PARITY, fill_module

from .test_half_precision import run
from .towers import least_cosine


@pytest.fixture(scope="module")
def tile() -> NDArray[np.uint8]:
    return render_region(simulate_cohort(1, seed=23)[0], 256, 256).he[None]


@torch.inference_mode()
def musk() -> HeTower:
    """Seeded weights, spread as a network's."""
    if not PARITY.is_dir():
        pytest.skip("the parity fixtures (../shared/parity) are not here")
    fill, config = fill_module().fill, published_config()
    tower = HeTower(config.he, config.dimension).train(False)
    for name, parameter in tower.named_parameters():
        parameter.copy_(torch.from_numpy(np.asarray(fill(f"full.{name}", tuple(parameter.shape)))))
    return prepare_tower(tower)


@pytest.mark.slow
def test_musk_in_fp16_gives_the_embedding_of_fp32(tile: NDArray[np.uint8], tmp_path: Path) -> None:
    tower = musk()
    with torch.inference_mode():
        want = tower(torch.from_numpy(tile)).numpy()
    files = write_graph(tower, trace_tower(tower), tmp_path, "he")
    del tower
    gc.collect()
    model = to_half(TowerModel("he", "0" * 64, files.graph.read_bytes(), files.read_weights()), "fp16")
    assert 0.6e9 < model.size < 0.65e9
    assert least_cosine(run(model, {"tiles": tile}), want) > 0.9999
