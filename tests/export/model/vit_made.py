"""Weights and tiles that any machine makes alike, for small transformers in timm's naming."""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from haiku_edge.export.model import VitConfig

SMALL = {
    "scaled": VitConfig(side=32, patch=8, width=24, depth=2, heads=3, hidden=96),
    "plain": VitConfig(side=32, patch=8, width=24, depth=2, heads=3, hidden=96, qkv_bias=False, layer_scale=False),
    "gated": VitConfig(28, 7, 24, 2, 3, 128, "swiglu", registers=8, prefix_positions=False),
    "pooled": VitConfig(28, 7, 24, 2, 3, 128, "swiglu", registers=4, pool="token+mean"),
    "pre-normed": VitConfig(32, 8, 24, 2, 3, 96, layer_scale=False, pre_norm=True, eps=1e-5),
}
"""UNI's kind, a plain ViT, UNI2-h's, Virchow2's and CLIP's, each small."""


def uniform(key: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Values of −√3…√3 from the raw bits of Philox, whose stream never changes."""
    raw = np.random.Philox(key=zlib.crc32(key.encode())).random_raw(math.prod(shape))
    unit = (raw >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)
    return ((2 * unit - 1) * np.float32(math.sqrt(3))).reshape(shape)


def weight(key: str, shape: tuple[int, ...]) -> Tensor:
    """Weights of one key, as large as a trained network's."""
    values = uniform(key, shape)
    if len(shape) == 1:
        values = 1 + values / 5 if key.endswith(("weight", "gamma")) else values / 5
    elif key.endswith("weight"):
        values = values / np.sqrt(np.float32(math.prod(shape[1:])))
    return torch.from_numpy(values)


def state_of(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """A state of these shapes."""
    return {key: weight(key, shape) for key, shape in shapes.items()}


def images_of(side: int) -> Tensor:
    """(2, 3, side, side) float32."""
    return torch.from_numpy(uniform("images", (2, 3, side, side)))
