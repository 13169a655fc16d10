"""What a timm checkpoint's config.json says, as sizes of our transformer; what is not built is refused by name."""

from __future__ import annotations

import math
from typing import Any, cast

from ..model.resize import Interpolation
from ..model.tile_encoder import Colour, TileEncoderConfig
from ..model.vit import Pool, VitConfig
from .settings import wrong_config
from .timm_known import ALWAYS, ARCHITECTURES, BUILT, NEVER, NO_MATTER, Values

DESCRIPTIONS = ("architecture", "num_features", "model_args", "pretrained_cfg", "license", "library_name", "tags")
"""Fields of config.json that are no arguments."""

MOST_SIZE = 1 << 14
MOST_BLOCKS = 256


def parse_config(values: Values, *, packed: bool, mpp: float, tile: int | None) -> TileEncoderConfig:
    """Turn config.json into a tile encoder's configuration.

    Args:
        values: The file. Arguments stand in `model_args`, or beside it (as in UNI's file), or in both if they agree.
        packed: Whether the weights' shapes are those of a packed SwiGLU, which timm can't write into config.json.
        mpp: Micrometres per pixel of a tile; no such file states it.
        tile: Side of an incoming tile in pixels; by default what the network takes.

    Raises:
        CheckpointLayoutError: The architecture is unknown, or a field is missing, contradictory or not built.
    """
    architecture = values.get("architecture")
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise wrong_config(
            f"names the architecture {_shown(architecture)}, which is not built here (built are "
            f"{', '.join(ARCHITECTURES)})"
        )
    stated = _arguments(values)
    prepared = _object(values, "pretrained_cfg")
    side = _side(stated, prepared)
    vit = _vit({**ARCHITECTURES[architecture], **stated}, side, packed)
    if values.get("num_features", vit.width) != vit.width:
        raise wrong_config(f"states num_features {_shown(values['num_features'])} and a width of {vit.width}")
    return TileEncoderConfig(
        vit=vit,
        tile=side if tile is None else tile,
        mpp=mpp,
        scaled=_scaled(prepared, side),
        interpolation=_interpolation(prepared),
        mean=_colour(prepared, "mean"),
        std=_spread(prepared),
    )


def states_feed(values: Values) -> bool:
    """Whether the file, which `parse_config` took, says or implies which feed-forward layer the weights are of."""
    return "mlp_layer" in {**ARCHITECTURES[values["architecture"]], **_arguments(values)}


def _arguments(values: Values) -> dict[str, Any]:
    """The model's arguments, from both places; each is one that we know."""
    own = _object(values, "model_args") if "model_args" in values else {}
    beside = {name: value for name, value in values.items() if name not in DESCRIPTIONS}
    torn = sorted(name for name in own if name in beside and own[name] != beside[name])
    if torn:
        raise wrong_config(f"states {torn[0]} twice: {_shown(own[torn[0]])} and {_shown(beside[torn[0]])}")
    both = {**beside, **own}
    foreign = sorted(name for name in both if name not in (*BUILT, *ALWAYS, *NEVER, *NO_MATTER))
    if foreign:
        raise wrong_config(f"asks for {', '.join(_shown(name) for name in foreign)}, which is not built here")
    _check_fixed(both)
    return {name: value for name, value in both.items() if name in BUILT}


def _check_fixed(arguments: Values) -> None:
    wrong = [name for name, only in ALWAYS.items() if arguments.get(name, only) != only]
    wrong += [name for name in NEVER if arguments.get(name)]
    if wrong:
        raise wrong_config(f"asks for {wrong[0]} {_shown(arguments[wrong[0]])}, which is not built here")


def _vit(arguments: Values, side: int, packed: bool) -> VitConfig:
    width, ratio = _size(arguments, "embed_dim"), _number(arguments, "mlp_ratio", 4.0)
    gated = packed or _short(arguments.get("mlp_layer")) == "swiglupacked"
    _check_feed(arguments, gated)
    try:
        vit = VitConfig(
            side=side,
            patch=_size(arguments, "patch_size"),
            width=width,
            depth=_size(arguments, "depth", most=MOST_BLOCKS),
            heads=_size(arguments, "num_heads"),
            hidden=int(width * ratio),
            feed="swiglu" if gated else "gelu",
            qkv_bias=_flag(arguments, "qkv_bias", True),
            layer_scale=bool(_number(arguments, "init_values", 0.0)),
            registers=_size(arguments, "reg_tokens", 0),
            prefix_positions=not _flag(arguments, "no_embed_class", False),
            pre_norm=_flag(arguments, "pre_norm", False),
            pool=_pool(arguments),
            eps=arguments.get("eps", 1e-6),
        )
        vit.check()
    except ValueError as error:
        raise wrong_config(f"has sizes that do not fit: {str(error).rstrip('.')}") from None
    return vit


def _check_feed(arguments: Values, gated: bool) -> None:
    """The feed-forward layer and its activation are the two that we build."""
    layer, activation = _short(arguments.get("mlp_layer")), _short(arguments.get("act_layer"))
    if layer not in ("", "mlp", "swiglupacked"):
        raise wrong_config(f"asks for mlp_layer {_shown(arguments['mlp_layer'])}, which is not built here")
    if layer == "mlp" and gated:
        raise wrong_config("asks for mlp_layer Mlp, and the weights are those of a SwiGLUPacked")
    if activation not in ("", "silu" if gated else "gelu"):
        raise wrong_config(f"asks for act_layer {_shown(arguments['act_layer'])}, which is not built here")


def _pool(arguments: Values) -> Pool:
    pool = arguments.get("global_pool", "token")
    if pool not in ("", "token"):
        raise wrong_config(f"asks for global_pool {_shown(pool)}, which is not built here")
    if arguments.get("num_classes", 0) != 0:
        raise wrong_config(f"asks for a classifier of {_shown(arguments['num_classes'])} classes; features need none")
    return "token" if pool == "token" else "token+mean"


def _side(stated: Values, prepared: Values) -> int:
    size = _field(prepared, "input_size")
    if not isinstance(size, list) or len(size) != 3 or size[0] != 3 or size[1] != size[2]:
        raise wrong_config(f"has an input_size {_shown(size)} that is no square of three colours")
    side = _size({"input_size": size[1]}, "input_size")
    asked = stated.get("img_size", side)
    if asked not in (side, [side, side]):
        raise wrong_config(f"states img_size {_shown(asked)} and an input_size of {side}")
    return side


def _scaled(prepared: Values, side: int) -> int | None:
    """The side before the middle is cut out, as timm computes it; tiles are square, so center is squash."""
    share = _number(prepared, "crop_pct")
    if not 0 < share <= 1:
        raise wrong_config(f"has a crop_pct {_shown(share)} that is no share")
    if prepared.get("crop_mode", "center") not in ("center", "squash"):
        raise wrong_config(f"asks for crop_mode {_shown(prepared['crop_mode'])}, which is not built here")
    scaled = math.floor(side / share)
    return None if scaled == side else scaled


def _interpolation(prepared: Values) -> Interpolation:
    kernel = _field(prepared, "interpolation")
    if kernel not in ("bicubic", "bilinear"):
        raise wrong_config(f"asks for interpolation {_shown(kernel)}, which is not built here")
    return cast(Interpolation, kernel)


def _colour(prepared: Values, field: str) -> Colour:
    three = _field(prepared, field)
    if not isinstance(three, list) or len(three) != 3 or not all(_is_number(value) for value in three):
        raise wrong_config(f"has a field {field} that is no three numbers of colours")
    return float(three[0]), float(three[1]), float(three[2])


def _spread(prepared: Values) -> Colour:
    three = _colour(prepared, "std")
    if min(three) <= 0:
        raise wrong_config("has a field std that holds no spread of colours")
    return three


def _size(values: Values, field: str, default: int | None = None, most: int = MOST_SIZE) -> int:
    number = values.get(field, default)
    least = 0 if default == 0 else 1
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
        raise wrong_config(f"has a field {field} that is no size")
    return number


def _number(values: Values, field: str, default: float | None = None) -> float:
    number = values.get(field, default) if default is not None else _field(values, field)
    if number is None and default is not None:
        return default
    if not _is_number(number) or not 0 <= number <= MOST_SIZE:
        raise wrong_config(f"has a field {field} that is no number")
    return float(number)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _flag(values: Values, field: str, default: bool) -> bool:
    flag = values.get(field, default)
    if not isinstance(flag, bool):
        raise wrong_config(f"has a field {field} that is neither true nor false")
    return flag


def _object(values: Values, field: str) -> Values:
    found = _field(values, field)
    if not isinstance(found, dict):
        raise wrong_config(f"has a field {field} that is no object")
    return found


def _field(values: Values, field: str) -> Any:
    if field not in values:
        raise wrong_config(f"lacks the field {field}")
    return values[field]


def _short(name: object) -> str:
    """A class's bare name in lower case, from `torch.nn.SiLU` or `SiLU`; empty for none."""
    return "" if name is None else str(name).rpartition(".")[2].lower()


def _shown(value: object) -> str:
    return ascii(value)[:60]
