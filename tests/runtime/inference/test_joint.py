"""Several towers over the same tiles."""

from __future__ import annotations

import cv2
import numpy as np

from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.engine import open_tower
from haiku_edge.runtime.inference.joint import JointEngine, View, common_view
from haiku_edge.runtime.inference.mixture import split_mixture
from haiku_edge.runtime.inference.spade_result import effective_experts

RNG = np.random.default_rng(3)


def test_a_view_of_the_same_scale_is_the_middle() -> None:
    tiles = RNG.integers(0, 256, (2, 20, 20, 3), dtype=np.uint8)
    assert np.array_equal(View(16, 0.5).cut(tiles, 0.5), tiles[:, 2:18, 2:18])


def test_a_coarser_view_is_shrunk_about_the_same_centre() -> None:
    tile = np.zeros((1, 60, 60, 3), np.uint8)
    tile[:, 10:50, 10:50] = 200
    cut = View(20, 1.0).cut(tile, 0.5)
    assert cut.shape == (1, 20, 20, 3) and (cut == 200).all()
    assert np.array_equal(View(30, 1.0).cut(tile, 0.5)[0], cv2.resize(tile[0], (30, 30), interpolation=cv2.INTER_AREA))


def test_the_common_tile_holds_every_view_at_the_finest_scale() -> None:
    haiku, spade = View(256, 0.3775), View(224, 0.5)
    common = common_view([haiku, spade])
    assert common.mpp == 0.3775 and abs(common.extent - spade.extent) < 0.2
    tiles = np.zeros((1, common.size, common.size, 3), np.uint8)
    assert [view.cut(tiles, common.mpp).shape[1] for view in (haiku, spade)] == [256, 224]


def test_joint_engines_give_what_each_gives_alone() -> None:
    bundle = open_bundle()
    engine = open_tower(bundle, bundle.manifest.need_he(), device="cpu", strict=True)
    views = [View(256, 0.5), View(256, 0.5)]
    joint = JointEngine([engine, engine], views)
    tiles = RNG.integers(0, 256, (3, 256, 256, 3), dtype=np.uint8)
    alone, parts = engine(tiles=tiles), joint.split(joint(tiles=tiles))
    assert len(parts) == 2 and all(np.array_equal(part, alone) for part in parts)
    (batch,) = joint.embed_batches([{"tiles": tiles}])
    assert batch.shape == (3, joint.spec.dimension) == (3, 2 * engine.spec.dimension)


def test_a_mixtures_output_is_taken_apart() -> None:
    output = RNG.normal(size=(4, 11)).astype(np.float32)
    output[3, :8] = 0
    mixture = split_mixture(output, 8)
    assert np.array_equal(mixture.embedding, output[:, :8]) and np.array_equal(mixture.experts, output[:, 8:])
    assert np.allclose(np.linalg.norm(mixture.vectors, axis=1), [1, 1, 1, 0])
    assert np.allclose(mixture.vectors[0] * np.linalg.norm(output[0, :8]), output[0, :8], atol=1e-6)


def test_the_number_of_experts_that_speak() -> None:
    assert effective_experts(np.eye(5, dtype=np.float32)) == 1
    assert np.isclose(effective_experts(np.full((7, 4), 0.25, np.float32)), 4)
