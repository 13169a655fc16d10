"""The architectures and arguments of timm that we build; a name that stands nowhere here is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Values = Mapping[str, Any]

_SMALL: Values = {"embed_dim": 384, "depth": 12, "num_heads": 6}
_BASE: Values = {"embed_dim": 768, "depth": 12, "num_heads": 12}
_LARGE: Values = {"embed_dim": 1024, "depth": 24, "num_heads": 16}
_HUGE: Values = {"embed_dim": 1280, "depth": 32, "num_heads": 16}
_LITTLE_GIANT: Values = {"embed_dim": 1408, "depth": 40, "num_heads": 16, "mlp_ratio": 48 / 11}
_GIANT: Values = {
    "embed_dim": 1536,
    "depth": 40,
    "num_heads": 24,
    "mlp_ratio": 2.66667 * 2,
    "mlp_layer": "SwiGLUPacked",
}
_DINO: Values = {"patch_size": 14, "init_values": 1e-5}
_REGISTERS: Values = {**_DINO, "reg_tokens": 4, "no_embed_class": True}

ARCHITECTURES: Mapping[str, Values] = {
    "vit_small_patch16_224": {**_SMALL, "patch_size": 16},
    "vit_base_patch16_224": {**_BASE, "patch_size": 16},
    "vit_large_patch16_224": {**_LARGE, "patch_size": 16},
    "vit_large_patch14_224": {**_LARGE, "patch_size": 14},
    "vit_large_patch14_clip_224": {**_LARGE, "patch_size": 14, "pre_norm": True, "eps": 1e-5},
    "vit_huge_patch14_224": {**_HUGE, "patch_size": 14},
    "vit_giant_patch14_224": {**_LITTLE_GIANT, "patch_size": 14},
    "vit_small_patch14_dinov2": {**_SMALL, **_DINO},
    "vit_base_patch14_dinov2": {**_BASE, **_DINO},
    "vit_large_patch14_dinov2": {**_LARGE, **_DINO},
    "vit_giant_patch14_dinov2": {**_GIANT, **_DINO},
    "vit_small_patch14_reg4_dinov2": {**_SMALL, **_REGISTERS},
    "vit_base_patch14_reg4_dinov2": {**_BASE, **_REGISTERS},
    "vit_large_patch14_reg4_dinov2": {**_LARGE, **_REGISTERS},
    "vit_giant_patch14_reg4_dinov2": {**_GIANT, **_REGISTERS},
}
"""timm's architectures that we build, each with what timm sets for it (timm 1.0, models/vision_transformer.py)."""

SIZES = ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio", "init_values", "reg_tokens")
VARIANTS = ("no_embed_class", "qkv_bias", "pre_norm", "mlp_layer", "act_layer", "global_pool", "num_classes")
BUILT = (*SIZES, *VARIANTS)

ALWAYS: Values = {"in_chans": 3, "class_token": True, "pos_embed": "learn", "final_norm": True, "proj_bias": True}
NEVER = ("qk_norm", "scale_attn_norm", "scale_mlp_norm", "fc_norm", "pool_include_prefix", "dynamic_img_pad")
"""Arguments that we build with one value only, which is also timm's default: see `_check_fixed`."""

NO_MATTER = (
    "dynamic_img_size",
    "strict_img_size",
    "weight_init",
    "fix_init",
    "drop_rate",
    "pos_drop_rate",
    "patch_drop_rate",
    "proj_drop_rate",
    "attn_drop_rate",
    "drop_path_rate",
)
"""Arguments of training, and of images of other sizes than the stated one: they change nothing here."""
