"""Laws that the towers keep whatever their weights are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import BertConfig, BertModel

from haiku_edge.export.checkpoint.assign import text_keys
from haiku_edge.export.model import (
    MifConfig,
    ProjectionHead,
    Resize,
    Standardise,
    TextConfig,
    TextTower,
    Towers,
    TowersConfig,
    build_towers,
    read_towers,
    save_towers,
)
from haiku_edge.export.model.attention import Attention
from haiku_edge.export.model.rotary import Rotary

CONFIG = TowersConfig(mif=MifConfig(markers=9), text=TextConfig(vocabulary=50))


@pytest.fixture(scope="module")
def towers() -> Iterator[Towers]:
    torch.set_num_threads(2)
    built = build_towers(CONFIG, seed=3)
    rng = np.random.default_rng(0)
    with torch.no_grad():  # move the running statistics away from 0 and 1, as training does
        built.train()
        for _ in range(3):
            built.he(torch.from_numpy(rng.integers(0, 256, (4, 256, 256, 3), np.uint8)))
            built.mif(_patches(rng, 4, 3), torch.arange(1, 4).expand(4, 3))
            built.text(torch.randint(0, 50, (4, 7)), torch.ones(4, 7, dtype=torch.int64))
    built.train(False)
    yield built.for_inference()


def _patches(rng: np.random.Generator, count: int, channels: int) -> torch.Tensor:
    return torch.from_numpy(rng.integers(0, 256, (count, channels, 256, 256), np.uint8))


@torch.no_grad()
def test_vectors_have_length_one(towers: Towers) -> None:
    rng = np.random.default_rng(1)
    vectors = (
        towers.he(torch.from_numpy(rng.integers(0, 256, (2, 256, 256, 3), np.uint8))),
        towers.mif(_patches(rng, 2, 4), torch.arange(1, 5).expand(2, 4)),
        towers.text(torch.randint(0, 50, (2, 9)), torch.ones(2, 9, dtype=torch.int64)),
    )
    for vector in vectors:
        assert vector.shape == (2, CONFIG.dimension)
        torch.testing.assert_close(vector.norm(dim=1), torch.ones(2))


@torch.no_grad()
def test_order_of_mif_channels_does_not_matter(towers: Towers) -> None:
    patches, markers = _patches(np.random.default_rng(2), 2, 5), torch.tensor([[1, 4, 2, 9, 7]] * 2)
    order = [3, 0, 4, 1, 2]
    torch.testing.assert_close(
        towers.mif(patches[:, order], markers[:, order]), towers.mif(patches, markers), atol=1e-5, rtol=0
    )


@torch.no_grad()
def test_padded_mif_channels_change_nothing_whatever_they_hold(towers: Towers) -> None:
    rng = np.random.default_rng(3)
    patches, markers = _patches(rng, 2, 3), torch.tensor([[5, 1, 8]] * 2)
    padded = torch.cat([patches, _patches(rng, 2, 2)], dim=1)
    rows = torch.cat([markers, torch.zeros(2, 2, dtype=torch.int64)], dim=1)
    torch.testing.assert_close(towers.mif(padded, rows), towers.mif(patches, markers), atol=1e-5, rtol=0)


@torch.no_grad()
def test_gain_and_offset_of_a_channel_change_nothing(towers: Towers) -> None:
    patches = torch.randint(0, 100, (1, 2, 256, 256), dtype=torch.uint8)
    markers = torch.tensor([[1, 2]])
    brighter = patches.clone()
    brighter[:, 1] = patches[:, 1] * 2 + 5
    torch.testing.assert_close(towers.mif(brighter, markers), towers.mif(patches, markers), atol=1e-5, rtol=0)


@torch.no_grad()
def test_identity_of_a_marker_matters(towers: Towers) -> None:
    patches = _patches(np.random.default_rng(4), 1, 2)
    one, other = towers.mif(patches, torch.tensor([[1, 2]])), towers.mif(patches, torch.tensor([[2, 1]]))
    assert (one - other).abs().max() > 1e-3


@torch.no_grad()
def test_padding_of_a_text_changes_nothing(towers: Towers) -> None:
    ids = torch.tensor([[2, 17, 31, 40, 3]])
    padded = torch.cat([ids, torch.tensor([[11, 12, 13]])], dim=1)
    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 0, 0]])
    torch.testing.assert_close(towers.text(padded, mask), towers.text(ids, torch.ones_like(ids)), atol=1e-6, rtol=0)


@torch.no_grad()
def test_folded_head_is_the_head_in_evaluation() -> None:
    head = ProjectionHead(7, 5)
    head.train()
    for _ in range(5):
        head(torch.randn(16, 7) * 3 + 1)
    torch.nn.init.normal_(head.norm.weight)
    torch.nn.init.normal_(head.norm.bias)
    head.eval()
    inputs = torch.randn(9, 7)
    torch.testing.assert_close(head.folded()(inputs), head(inputs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("source", "target"), [(256, 128), (256, 384), (64, 48)])
def test_resize_is_the_antialiased_bicubic_of_torch(source: int, target: int) -> None:
    image = torch.rand(2, source, source, 3, dtype=torch.float64) * 255
    want = F.interpolate(image.permute(0, 3, 1, 2), target, mode="bicubic", antialias=True, align_corners=False)
    torch.testing.assert_close(Resize(source, target)(image.float()), want.float(), atol=2e-3, rtol=0)


def test_standardisation_is_the_published_order_of_steps() -> None:
    patches = _patches(np.random.default_rng(5), 2, 3)
    patches[1, 2] = 9  # a constant channel becomes zeros
    values = patches.double()
    deviation = values.std(dim=(2, 3), keepdim=True, unbiased=True)
    scaled = (values - values.mean(dim=(2, 3), keepdim=True)) / torch.where(deviation > 0, deviation, 1.0)
    line = torch.exp(-0.5 * torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64) ** 2)
    line = line / line.sum()
    padded = F.pad(scaled.reshape(6, 1, 256, 256), (1, 1, 1, 1), mode="reflect")
    blurred = F.conv2d(padded, torch.outer(line, line)[None, None])
    want = F.avg_pool2d(blurred, 4).reshape(2, 3, 64, 64).float()
    torch.testing.assert_close(Standardise(256, 4)(patches), want, atol=1e-5, rtol=0)


@torch.no_grad()
def test_checkpoint_reads_back_as_the_same_towers(tmp_path: Path) -> None:
    towers = build_towers(CONFIG, seed=5)
    towers.train(False)
    save_towers(towers, tmp_path)
    again = read_towers(tmp_path)
    assert again.config == CONFIG
    ids = torch.tensor([[2, 5, 3]])
    torch.testing.assert_close(again.text(ids, torch.ones_like(ids)), towers.text(ids, torch.ones_like(ids)))


@torch.no_grad()
def test_folding_leaves_the_original_towers_as_they_were() -> None:
    built = build_towers(CONFIG, seed=6)
    built.train(False)
    patches, markers = _patches(np.random.default_rng(6), 1, 3), torch.tensor([[2, 3, 9]])
    before = built.mif(patches, markers)
    folded = built.for_inference()
    torch.testing.assert_close(folded.mif(patches, markers), before, atol=1e-6, rtol=0)
    assert len(list(built.mif.encoder.marker_table.parameters())) == 3
    torch.testing.assert_close(built.mif(patches, markers), before)


def test_folding_refuses_towers_in_training() -> None:
    with pytest.raises(ValueError, match="train"):
        build_towers(CONFIG, seed=7).for_inference()


@torch.no_grad()
def test_last_block_may_compute_the_summary_channel_alone() -> None:
    tower = build_towers(CONFIG, seed=8).mif.eval()
    prepared, markers = tower.standardise(_patches(np.random.default_rng(7), 2, 4)), torch.tensor([[1, 2, 3, 0]] * 2)
    every = tower.encoder.run_blocks(tower.encoder.tokens(prepared, markers), markers)[:, 0].mean(dim=1)
    torch.testing.assert_close(tower.encode(prepared, markers), every, atol=1e-6, rtol=0)


@torch.no_grad()
def test_place_in_the_grid_matters_within_a_channel() -> None:
    tower = build_towers(CONFIG, seed=9).mif.eval()
    patches = _patches(np.random.default_rng(8), 1, 2)
    moved = torch.roll(patches, shifts=64, dims=-1)  # whole tokens: without places the sums would be the same
    prepared, turned = tower.standardise(patches), tower.standardise(moved)
    markers = torch.tensor([[1, 2]])
    assert (tower.encode(prepared, markers) - tower.encode(turned, markers)).abs().max() > 1e-5


def test_rotation_depends_on_the_distance_of_two_places_alone() -> None:
    rotary = Rotary(grid=5, size=8)
    query, key = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    rotary = rotary.double()
    queries, keys = (rotary(vector.expand(1, 1, 25, 8))[0, 0] for vector in (query, key))
    scores = (queries @ keys.T).reshape(5, 5, 5, 5)
    torch.testing.assert_close(scores[0, 0, 1, 2], scores[2, 2, 3, 4], atol=1e-6, rtol=0)
    torch.testing.assert_close(scores[1, 0, 0, 3], scores[4, 1, 3, 4], atol=1e-6, rtol=0)
    assert (scores[0, 0, 1, 2] - scores[0, 0, 2, 1]).abs() > 1e-6


@torch.no_grad()
def test_text_encoder_is_the_bert_of_transformers() -> None:
    config = TextConfig(vocabulary=60, length=20, positions=32, width=24, hidden=40, heads=3, layers=2)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
    bert = BertModel(BertConfig(vocab_size=60, max_position_embeddings=32, **sizes), add_pooling_layer=False).eval()
    projection = ProjectionHead(24, 8).state_dict()
    state = {f"text_encoder.text_encoder.{name}": value for name, value in bert.state_dict().items()}
    places = {"first": "0", "second": "2", "norm": "3"}
    for name, value in projection.items():
        layer, part = name.split(".")
        state[f"text_projection.{places[layer]}.{part}"] = value
    tower = TextTower(config, 8)
    names = {own: state[key] for own, key in text_keys(2)}
    names["encoder.segment"] = names["encoder.segment"][0]
    tower.load_state_dict(names)
    ids, mask = torch.randint(0, 60, (3, 9)), torch.ones(3, 9, dtype=torch.int64)
    mask[1, 5:] = 0
    hidden = bert(input_ids=ids, attention_mask=mask).last_hidden_state
    mean = (hidden * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    torch.testing.assert_close(tower.eval().encode(ids, mask), F.normalize(mean), atol=2e-6, rtol=0)


@torch.no_grad()
def test_attention_is_the_one_of_torch() -> None:
    attention, reference = Attention(24, 4), torch.nn.MultiheadAttention(24, 4, batch_first=True)
    parts = (attention.query, attention.key, attention.value)
    reference.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
    reference.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    reference.out_proj.load_state_dict(attention.output.state_dict())
    tokens = torch.randn(2, 7, 24)
    want, _ = reference(tokens, tokens, tokens)
    torch.testing.assert_close(attention(tokens), want, atol=1e-6, rtol=1e-5)
