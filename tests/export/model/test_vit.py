"""Transformers in timm's naming compute what timm computes, and make clean graphs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional as F

from haiku_edge.export.graph import OPSET, check_graph, trace_tower
from haiku_edge.export.graph.convert import serialise
from haiku_edge.export.model import TileEncoder, TileEncoderConfig, VisionTransformer, VitConfig
from haiku_edge.export.model.vit import Block, FeedForward
from haiku_edge.runtime.engine import plain_engine

from .vit_made import SMALL, images_of, state_of

TIMM: dict[str, Any] = json.loads((Path(__file__).parent / "timm_features.json").read_text())["cases"]


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def made(name: str) -> VisionTransformer:
    """A small transformer with timm's keys, loaded strictly."""
    vit = VisionTransformer(SMALL[name])
    vit.load_state_dict(state_of({key: tuple(shape) for key, shape in TIMM[name]["shapes"].items()}), strict=True)
    return vit.eval()


def encoder(name: str, **fields: Any) -> TileEncoder:
    vit = made(name)
    built = TileEncoder(TileEncoderConfig(vit.config, **{"tile": vit.config.side, **fields})).eval()
    built.vit = vit
    return built


def tiles(count: int, side: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8))


@pytest.mark.parametrize("name", SMALL)
def test_features_are_those_of_timm_on_the_same_weights(name: str) -> None:
    features = made(name)(images_of(SMALL[name].side))
    want = torch.tensor(TIMM[name]["features"])
    assert features.shape == (2, SMALL[name].dimension)
    torch.testing.assert_close(features, want, atol=1e-5, rtol=1e-5)


def test_a_block_is_the_pre_norm_layer_of_torch() -> None:
    config = VitConfig(width=24, heads=3, hidden=40, layer_scale=False, eps=1e-6)
    block = Block(config).eval()
    layer = torch.nn.TransformerEncoderLayer(
        24, 3, 40, 0.0, "gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    ).eval()
    pairs = {
        layer.self_attn.in_proj_weight: block.attn.qkv.weight,
        layer.self_attn.in_proj_bias: block.attn.qkv.bias,
    }
    for target, source in pairs.items():
        target.copy_(source)
    modules = (
        (layer.self_attn.out_proj, block.attn.proj),
        (layer.norm1, block.norm1),
        (layer.norm2, block.norm2),
        (layer.linear1, block.mlp.fc1),
        (layer.linear2, block.mlp.fc2),
    )
    for theirs, own in modules:
        theirs.load_state_dict(own.state_dict())
    tokens = torch.randn(2, 7, 24)
    torch.testing.assert_close(block(tokens), layer(tokens), atol=1e-5, rtol=1e-5)


def test_the_gated_layer_passes_its_second_half_through_the_first() -> None:
    feed = FeedForward(VitConfig(width=6, heads=1, hidden=10, feed="swiglu"))
    tokens = torch.randn(4, 6)
    risen = tokens.numpy() @ feed.fc1.weight.numpy().T + feed.fc1.bias.numpy()
    gate, value = risen[:, :5], risen[:, 5:]
    want = (gate / (1 + np.exp(-gate)) * value) @ feed.fc2.weight.numpy().T + feed.fc2.bias.numpy()
    np.testing.assert_allclose(feed(tokens).numpy(), want, atol=1e-6)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("tile", "scaled"), [(48, None), (48, 36), (20, 32)])
def test_tiles_are_resized_cut_and_standardised_as_torch_would(
    interpolation: str, tile: int, scaled: int | None
) -> None:
    mean, std = (0.7, 0.5, 0.6), (0.2, 0.25, 0.3)
    built = encoder("scaled", tile=tile, scaled=scaled, interpolation=interpolation, mean=mean, std=std)
    given = tiles(2, tile)
    whole = scaled or 32
    image = given.permute(0, 3, 1, 2).double() / 255
    image = F.interpolate(image, whole, mode=interpolation, antialias=True, align_corners=False)
    first = (whole - 32) // 2
    image = image[:, :, first : first + 32, first : first + 32]
    image = (image - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(built(given), built.vit(image.float()), atol=2e-4, rtol=1e-4)


def test_a_tile_of_the_networks_own_side_is_not_touched() -> None:
    built, given = encoder("scaled"), tiles(2, 32)
    assert torch.equal(built.resize(given.float()), given.permute(0, 3, 1, 2).float())


def test_features_keep_their_length_and_do_not_depend_on_the_batch() -> None:
    built, given = encoder("pooled"), tiles(3, 28)
    features = built(given)
    assert features.shape == (3, built.dimension) == (3, 48)
    assert features.dtype == torch.float32
    assert (features.norm(dim=1) - 1).abs().min() > 0.1
    torch.testing.assert_close(features[1:2], built(given[1:2]), atol=1e-5, rtol=1e-5)


def test_sizes_that_do_not_fit_are_refused() -> None:
    for config in (VitConfig(side=30), VitConfig(width=25), VitConfig(hidden=7, feed="swiglu")):
        with pytest.raises(ValueError, match=r"fit|multiple|even"):
            VisionTransformer(config)
    with pytest.raises(ValueError, match="middle"):
        TileEncoder(TileEncoderConfig(SMALL["scaled"], scaled=31))


def test_a_configuration_survives_json() -> None:
    config = TileEncoderConfig(replace(SMALL["pooled"], eps=1e-5), 50, 0.25, 30, "bilinear", (0.1, 0.2, 0.3))
    assert TileEncoderConfig.from_json(json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize("name", SMALL)
def test_the_graph_is_pure_onnx_and_the_torch_tower_for_any_batch(name: str) -> None:
    built = encoder(name, tile=40, interpolation="bilinear")
    graph = serialise(trace_tower(built))
    model = onnx.load_from_string(graph)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert {node.op_type for node in model.graph.node}.isdisjoint({"Attention", "IsNaN", "Where", "Resize"})
    for count in (1, 4):
        given = tiles(count, 40, seed=count).numpy()
        check_graph("H&E", built, plain_engine(graph), {"tiles": given}, tolerance=2e-5)


@pytest.mark.parametrize(
    ("config", "millions"),
    [
        (VitConfig(), 303.35),
        (VitConfig(224, 14, 1536, 24, 24, 8192, "swiglu", registers=8, prefix_positions=False), 681.39),
        (VitConfig(224, 14, 1280, 32, 16, 6832, "swiglu", registers=4, pool="token+mean"), 631.23),
    ],
    ids=["UNI", "UNI2-h", "Virchow2"],
)
def test_published_sizes_have_the_published_number_of_weights(config: VitConfig, millions: float) -> None:
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in VisionTransformer(config).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.01)
