"""SPADE's fused graph is encoder, then routing, then experts, in every form and precision that it is kept in."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from torch import nn
from torch.nn import functional as F

from haiku_edge.export.checkpoint import read_spade
from haiku_edge.export.checkpoint.timm_folder import expected_weights
from haiku_edge.export.engines.variants import Half, to_half
from haiku_edge.export.graph import (
    EngineEncoder,
    GraphMismatchError,
    check_spade,
    fuse,
    trace_spade,
    trace_tower,
    write_graph,
)
from haiku_edge.export.graph.compare import session
from haiku_edge.export.graph.convert import serialise
from haiku_edge.export.graph.spade import trace_mixture
from haiku_edge.export.model import (
    Mixture,
    MixtureConfig,
    ResidualHead,
    SpadeTower,
    TileEncoder,
    TileEncoderConfig,
    VitConfig,
)
from haiku_edge.runtime.engine import OnnxEngine, TowerModel, plain_engine
from haiku_edge.runtime.errors import BundleContentError
from tests.export.checkpoint.made import PARITY, fill_module
from tests.export.engines.test_half_precision import element_types
from tests.export.engines.towers import embedded_tower
from tests.export.model.spade_made import SMALL as SIZES
from tests.export.model.spade_made import (
    expected,
    fixture_centroids,
    fixture_expert,
    fixture_mixture,
    meta,
    relative,
    small_mixture,
)

SIDE = 32
SMALL = replace(SIZES, features=24)
ENCODER = TileEncoderConfig(
    VitConfig(side=SIDE, patch=8, width=24, depth=1, heads=3, hidden=48), tile=SIDE, scaled=SIDE
)


def some_tiles(side: int, count: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(side).integers(0, 256, (count, side, side, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def encoder() -> TileEncoder:
    torch.manual_seed(5)
    return TileEncoder(ENCODER).eval()


@pytest.fixture(scope="module")
def tower(encoder: TileEncoder) -> SpadeTower:
    return SpadeTower(encoder, small_mixture(SMALL), takes=SIDE)


@pytest.fixture(scope="module")
def traced(tower: SpadeTower) -> bytes:
    """The traced tower; writing uses a trace up."""
    return serialise(trace_spade(tower))


@pytest.fixture(scope="module")
def encoder_traced(encoder: TileEncoder) -> bytes:
    return serialise(trace_tower(encoder))


def test_the_graph_gives_the_published_weights_and_embedding() -> None:
    want = expected()
    (packed,) = session(serialise(trace_mixture(fixture_mixture()))).run(None, {"features": want["features"]})
    assert packed.shape == (32, 272)
    assert relative(packed[:, :256], want["embedding"]) < 1e-5
    assert relative(packed[:, 256:], want["expert_weights"]) < 1e-5


@pytest.mark.parametrize("top", [1, 2])
def test_hard_and_partial_routing_are_in_the_graph(top: int) -> None:
    mixture = small_mixture(replace(SMALL, top=top))
    features = np.random.default_rng(4).normal(size=(11, 24)).astype(np.float32)
    (packed,) = session(serialise(trace_mixture(mixture))).run(None, {"features": features})
    assert np.allclose(packed, np.concatenate(mixture.embed(features), axis=1), atol=1e-5)
    assert ((packed[:, 8:] > 0).sum(axis=1) == top).all()


def test_the_fused_graph_is_the_encoder_and_then_the_mixture(encoder: TileEncoder, traced: bytes) -> None:
    tiles, engine = some_tiles(SIDE, 5), plain_engine(traced)
    assert engine.spec.dimension == 11
    with torch.inference_mode():
        features = encoder(torch.from_numpy(tiles)).numpy()
    want = np.concatenate(small_mixture(SMALL).embed(features), axis=1)
    assert np.allclose(engine(tiles=tiles), want, atol=1e-5)
    assert np.allclose(np.concatenate([engine(tiles=tile[None]) for tile in tiles]), want, atol=1e-5)


def test_the_middle_of_larger_tiles_is_encoded(encoder: TileEncoder) -> None:
    tower = SpadeTower(encoder, small_mixture(SMALL), takes=SIDE, tile=SIDE + 9)
    engine, tiles = plain_engine(serialise(trace_spade(tower))), some_tiles(SIDE + 9)
    assert engine.spec.inputs["tiles"][1] == (None, 41, 41, 3)
    with torch.inference_mode():
        features = encoder(torch.from_numpy(tiles[:, 4:36, 4:36].copy())).numpy()
    assert np.allclose(engine(tiles=tiles)[:, :8], small_mixture(SMALL).embed(features)[0], atol=1e-5)
    assert check_spade(tower, engine, tiles)[1] < 1e-4


def test_storage_in_half_precision_leaves_the_centroids_alone(tower: SpadeTower, tmp_path: Path) -> None:
    wide = replace(SMALL, centroids=400)
    centroids = torch.randn(400, 24)
    heads = [ResidualHead(24, 8).eval() for _ in range(3)]
    many = SpadeTower(tower.encoder, Mixture(wide, centroids, torch.arange(400) % 3, heads), takes=SIDE)
    files = write_graph(many, trace_spade(many), tmp_path, "spade", storage="fp16", inline_below=0)
    stored = onnx.load(str(files.graph)).graph.initializer
    (kept,) = [numpy_helper.to_array(tensor) for tensor in stored if tuple(tensor.dims) == (400, 24)]
    assert kept.dtype == np.float32 and np.array_equal(kept, centroids.numpy())
    engine = plain_engine(files.graph.read_bytes(), weights=files.read_weights())
    assert 0 < check_spade(many, engine, some_tiles(SIDE), "fp16")[1] < 5e-2


@pytest.mark.parametrize("tile", [None, 301])
def test_a_bundles_tower_is_fused_as_it_is(tile: int | None) -> None:
    model, side = embedded_tower("he"), tile or 256
    experts = [ResidualHead(128).eval() for _ in range(4)]
    centroids = F.normalize(torch.randn(12, 128, generator=torch.Generator().manual_seed(1)))
    mixture = Mixture(MixtureConfig(128, experts=4, centroids=12), centroids, torch.arange(12) % 4, experts)
    engine = plain_engine(fuse(model.graph, mixture, tile=tile), weights=model.weights)
    plain = plain_engine(model.graph, weights=model.weights)
    tiles, first = some_tiles(side), (side - 256) // 2
    middle = np.ascontiguousarray(tiles[:, first : first + 256, first : first + 256])
    want = np.concatenate(mixture.embed(plain(tiles=middle)), axis=1)
    assert np.allclose(engine(tiles=tiles), want, atol=1e-5)
    reference = SpadeTower(EngineEncoder(plain), mixture, takes=256, tile=side)
    assert check_spade(reference, engine, tiles)[1] < 1e-5


def test_weights_beside_a_bundles_tower_stay_where_they_are(
    encoder: TileEncoder, encoder_traced: bytes, tmp_path: Path
) -> None:
    traced = ir.from_proto(onnx.load_from_string(encoder_traced))
    files = write_graph(encoder, traced, tmp_path, "he", inline_below=0)
    graph = fuse(files.graph.read_bytes(), small_mixture(SMALL))
    outside = [t for t in onnx.load_from_string(graph).graph.initializer if t.data_location == TensorProto.EXTERNAL]
    assert {entry.value for t in outside for entry in t.external_data if entry.key == "location"} == {"he.weights"}
    fused, plain = (plain_engine(g, weights=files.read_weights()) for g in (graph, files.graph.read_bytes()))
    want = small_mixture(SMALL).embed(plain(tiles=some_tiles(SIDE)))
    assert np.allclose(fused(tiles=some_tiles(SIDE)), np.concatenate(want, axis=1), atol=1e-5)


class HalfEnded(nn.Module):
    """An encoder that ends in a product, which half-precision graphs compute in half: the worst case for routing."""

    def __init__(self) -> None:
        super().__init__()
        self.product = nn.Linear(8 * 8 * 3, 24, bias=False)

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        return self.product(tiles.float().flatten(1)[:, None] / 255)[:, 0]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def half_ended() -> bytes:
    return serialise(trace_spade(SpadeTower(HalfEnded().eval(), small_mixture(SMALL), takes=8)))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_distances_and_all_that_follows_them_are_in_single(precision: Half, half_ended: bytes) -> None:
    model = to_half(TowerModel("spade", "0" * 64, half_ended), precision)
    types, nodes = element_types(model), onnx.load_from_string(model.graph).graph.node
    half = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}[precision]
    made_by = {name: node for node in nodes for name in node.output}
    difference, scores, heads = (next(n for n in nodes if n.op_type == op) for op in ("Sub", "Softmax", "Gemm"))
    assert types[made_by[difference.input[0]].input[0]] == half  # what comes from the encoder

    def back(name: str) -> Iterator[str]:
        yield name
        if name in made_by and made_by[name] != difference:
            for given in made_by[name].input:
                yield from back(given)

    routing = {types[name] for name in back(scores.output[0])} | {types[name] for name in difference.input}
    assert routing == {TensorProto.FLOAT, TensorProto.INT64}
    assert types[heads.input[0]] == TensorProto.FLOAT
    weights = next(n for n in nodes if n.op_type == "Concat" and n.output[0] == "vector").input[1]
    assert types[weights] == types[made_by[weights].input[0]] == TensorProto.FLOAT


def test_what_does_not_fit_is_refused(traced: bytes, encoder: TileEncoder, encoder_traced: bytes) -> None:
    with pytest.raises(BundleContentError, match="length 6, and the H&E tower gives 24"):
        fuse(encoder_traced, small_mixture())
    with pytest.raises(BundleContentError, match="no ONNX model"):
        fuse(b"\xff" * 40, small_mixture(SMALL))
    with pytest.raises(BundleContentError, match="other inputs than tiles"):
        fuse(embedded_tower("text").graph, small_mixture(SMALL))
    with pytest.raises(ValueError, match="more than the 31"):
        fuse(encoder_traced, small_mixture(SMALL), tile=31)
    other = SpadeTower(encoder, small_mixture(replace(SMALL, temperature=5.0)), takes=SIDE)
    with pytest.raises(GraphMismatchError, match="differs from torch"):
        check_spade(other, plain_engine(traced), some_tiles(SIDE))


def full_size_encoder() -> TileEncoder:
    config, fill = TileEncoderConfig(VitConfig()), fill_module().fill
    with torch.device("meta"):
        vit = TileEncoder(config).vit
    state = {key: torch.from_numpy(np.asarray(fill(key, e.shape))) for key, e in expected_weights(config).items()}
    vit.load_state_dict(state, assign=True)
    encoder = TileEncoder(replace(config, vit=replace(config.vit, depth=0)))
    encoder.vit = vit
    return encoder.eval()


def released_at_full_size(folder: Path) -> Path:
    """16 experts over 7,986 genes: 150 MB."""
    folder.mkdir()
    for number in range(16):
        torch.save(
            {"model": fixture_expert(number), "epoch": 100, "proto": number},
            folder / f"uni_k16_best_proto{number}_ep100_val2.1.pt",
        )
    np.save(folder / "centroids.npy", fixture_centroids())
    np.save(folder / "reassigned_clusters.npy", np.array(meta()["centroid_to_expert"], np.int32))
    return folder


@pytest.mark.slow
def test_a_full_size_checkpoint_behind_a_full_size_encoder_exports_and_runs(tmp_path: Path) -> None:
    meta()
    if shutil.disk_usage(tmp_path).free < 4e9:
        pytest.skip("a full-size checkpoint and its graph need 4 GB of disk")
    mixture = read_spade(released_at_full_size(tmp_path / "released")).mixture()
    want = expected()
    embedding, weights = mixture.embed(want["features"])
    assert relative(embedding, want["embedding"]) < 1e-5 and relative(weights, want["expert_weights"]) < 1e-5
    tower = SpadeTower(full_size_encoder(), mixture, takes=224)
    files = write_graph(tower, trace_spade(tower), tmp_path, "spade")
    gc.collect()
    assert files.graph.stat().st_size < 1 << 20 and files.weights[0].stat().st_size > 1.2e9
    engine: OnnxEngine = plain_engine(files.graph.read_bytes(), weights=files.read_weights())
    tiles = np.ascontiguousarray(np.load(PARITY / "haiku" / "inputs.npz")["he"][:, 16:240, 16:240])
    packed, difference = check_spade(tower, engine, tiles)
    assert packed.shape == (2, 272) and engine.spec.dimension == 272
    assert difference < 1e-4
    assert np.allclose(packed[:, 256:].sum(axis=1), 1, atol=1e-6)
