"""Laws that the towers keep whatever their weights are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from haiku_edge.export.model import (
    MifConfig,
    ProjectionHead,
    TextConfig,
    Towers,
    TowersConfig,
    build_towers,
    read_towers,
    save_towers,
)
from haiku_edge.export.model.multiplex import Standardise
from haiku_edge.export.model.resize import Resize

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
