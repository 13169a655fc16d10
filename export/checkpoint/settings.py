"""What the checkpoint's config.json says: sizes of the towers, and the markers that they know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from haiku_edge.runtime.errors import CheckpointLayoutError

from ..model import TowersConfig, published_config
from ..vocabulary import PUBLISHED_MARKERS
from .files import read_small_file

CONFIG_FILE = "config.json"
MAX_CONFIG_BYTES = 4 << 20
_MAX_MARKERS = 10_000


@dataclass(frozen=True, slots=True)
class HaikuSettings:
    """The released configuration.

    Attributes:
        towers: Sizes of the towers; what config.json does not say (depths, heads) is the published code's.
        esm_markers: Names with a protein vector, '.' written as '_'.
        learned_markers: Names without one, which have a learned vector.
        language_model: Where the text encoder comes from, for the record.
    """

    towers: TowersConfig
    esm_markers: tuple[str, ...]
    learned_markers: tuple[str, ...]
    language_model: str

    @property
    def markers(self) -> tuple[str, ...]:
        """The rows of the marker table, from row 1 on: in the published vocabulary's order, then in config.json's."""
        places = {name: place for place, name in enumerate(PUBLISHED_MARKERS)}
        names = self.esm_markers + self.learned_markers
        return tuple(sorted(names, key=lambda name: places.get(name, len(places))))


def read_settings(directory: Path, base: TowersConfig | None = None) -> HaikuSettings:
    """Read `config.json`; class defaults of the published code are not the released values, so nothing is assumed.

    Args:
        directory: The checkpoint's folder.
        base: Sizes that config.json does not hold; the published ones by default.

    Raises:
        CheckpointIncompleteError: The file is missing.
        CheckpointLayoutError: It is no JSON object, lacks a field, or asks for what the published model is not.
    """
    return parse_settings(read_config(directory), base or published_config())


def read_config(directory: Path) -> dict[str, Any]:
    """Read `config.json`, whatever it says; see `read_settings` for what it raises."""
    data = read_small_file(directory / CONFIG_FILE, MAX_CONFIG_BYTES)
    try:
        values = json.loads(data)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise wrong_config(f"is not JSON ({type(error).__name__})") from None
    if not isinstance(values, dict):
        raise wrong_config("holds no JSON object")
    return values


def parse_settings(values: Mapping[str, Any], base: TowersConfig) -> HaikuSettings:
    """Turn the fields of config.json into settings; see `read_settings`."""
    if values.get("shared_projection"):
        raise wrong_config(
            "asks for a shared projection head (shared_projection), which the released model does not have"
        )
    esm = _markers(values, "esm_marker_names")
    learned = tuple(name for name in _markers(values, "known_markers") if name not in esm)
    if not esm + learned:
        raise wrong_config("names no marker")
    with_text = values.get("use_text", True)
    if not isinstance(with_text, bool):
        raise wrong_config("has a field use_text that is neither true nor false")
    return HaikuSettings(
        towers=_sizes(values, base, len(esm + learned), with_text),
        esm_markers=esm,
        learned_markers=learned,
        language_model=str(values.get("hf_model", ""))[:200] if with_text else "",
    )


def _sizes(values: Mapping[str, Any], base: TowersConfig, markers: int, with_text: bool) -> TowersConfig:
    width, token = _positive(values, "codex_dim"), _positive(values, "marker_model_dim")
    if width != token:
        raise wrong_config(f"has codex_dim {width} and marker_model_dim {token}, which must be the same")
    text = None
    if with_text:
        if base.text is None:
            raise wrong_config("asks for a text tower, and the sizes given hold none")
        text = replace(base.text, width=_positive(values, "text_dim"))
    return TowersConfig(
        dimension=_positive(values, "projection_dim"),
        he=replace(base.he, width=_positive(values, "he_dim")),
        mif=replace(base.mif, width=width, marker_width=_positive(values, "embedding_dim"), markers=markers),
        text=text,
    )


def _positive(values: Mapping[str, Any], field: str) -> int:
    number = _field(values, field)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= 1 << 16:
        raise wrong_config(f"has a field {field} that is no size")
    return number


def _markers(values: Mapping[str, Any], field: str) -> tuple[str, ...]:
    """Names in file order, '.' written as '_' because no key of a state may hold one; each once."""
    names = _field(values, field)
    if not isinstance(names, list) or len(names) > _MAX_MARKERS or not all(_is_name(name) for name in names):
        raise wrong_config(f"has a field {field} that is no list of marker names")
    return tuple(dict.fromkeys(name.replace(".", "_") for name in names))


def _is_name(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) <= 200 and name.isprintable()


def _field(values: Mapping[str, Any], field: str) -> Any:
    if field not in values:
        raise wrong_config(f"lacks the field {field}")
    return values[field]


def wrong_config(what: str) -> CheckpointLayoutError:
    """The error that says what is the matter with config.json."""
    return CheckpointLayoutError(
        f"{CONFIG_FILE} of the checkpoint {what}. Use the file that was released with these weights."
    )
