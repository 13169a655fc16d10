"""Sizes of the towers: values only, so that a checkpoint can say what it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class HeConfig:
    """The H&E tower: MUSK's vision half.

    Attributes:
        tile: Side of an incoming tile in pixels.
        side: Side to which the graph resizes it.
        stem: Channels of convolutional stages that each halve the side before the image is cut into patches; none in
            the published model. A small model that is trained from nothing learns much faster with them.
        patch: Side of a patch in pixels of the resized image; a multiple of what the stem shrinks by.
        width: Length of a token's vector.
        hidden: Width of the feed-forward layers.
        heads: Attention heads.
        layers: Transformer layers.
    """

    tile: int = 256
    side: int = 128
    stem: tuple[int, ...] = (24, 48, 96, 160)
    patch: int = 16
    width: int = 160
    hidden: int = 320
    heads: int = 4
    layers: int = 2


@dataclass(frozen=True, slots=True)
class MifConfig:
    """The mIF tower: Haiku's fork of VirTues.

    Attributes:
        patch: Side of an incoming patch in pixels.
        pool: Factor by which a patch is averaged down before it is cut into tokens; 1 in the published model.
        token: Side of a token in pixels of the averaged patch.
        markers: Rows of the marker table, without row 0 (no channel).
        marker_width: Length of a marker's vector before it is projected.
        width: Length of a token's vector.
        hidden: Width of the feed-forward layers.
        heads: Attention heads.
        blocks: Letters of the blocks in order: h within a channel, v across the channels of one position.
    """

    patch: int = 256
    pool: int = 4
    token: int = 16
    markers: int = 1
    marker_width: int = 32
    width: int = 96
    hidden: int = 192
    heads: int = 4
    blocks: str = "hvhv"


@dataclass(frozen=True, slots=True)
class TextConfig:
    """The text tower: BERT.

    Attributes:
        vocabulary: Word pieces that the tokenizer knows.
        length: Longest text in tokens, with the two special ones.
        positions: Rows of the position table, at least `length`.
        width: Length of a token's vector.
        hidden: Width of the feed-forward layers.
        heads: Attention heads.
        layers: Transformer layers.
    """

    vocabulary: int = 1024
    length: int = 200
    positions: int = 200
    width: int = 96
    hidden: int = 192
    heads: int = 4
    layers: int = 2


@dataclass(frozen=True, slots=True)
class TowersConfig:
    """The towers and the space that they share.

    Attributes:
        dimension: Length of the shared unit vectors.
        he: The H&E tower.
        mif: The mIF tower.
        text: The text tower, or None for a model of two modalities.
    """

    dimension: int = 128
    he: HeConfig = field(default_factory=HeConfig)
    mif: MifConfig = field(default_factory=MifConfig)
    text: TextConfig | None = field(default_factory=TextConfig)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TowersConfig:
        """Rebuild what `dataclasses.asdict` and JSON made of a configuration, where tuples are lists."""
        he: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values["he"].items()
        }
        text = None if values["text"] is None else TextConfig(**values["text"])
        return cls(values["dimension"], HeConfig(**he), MifConfig(**values["mif"]), text)


def published_config(markers: int = 124, *, text: bool = True) -> TowersConfig:
    """The released Haiku's sizes (its config.json; MUSK-L/16 at 384 px, VirTues fork, BiomedBERT base).

    Args:
        markers: Markers of the vocabulary.
        text: False for the sibling of two modalities.
    """
    he = HeConfig(256, 384, stem=(), patch=16, width=1024, hidden=4096, heads=16, layers=24)
    mif = MifConfig(
        256, pool=1, token=16, markers=markers, marker_width=1152, width=512, hidden=1024, heads=8, blocks="hvhvhvhv"
    )
    bert = TextConfig(30522, length=200, positions=512, width=768, hidden=3072, heads=12, layers=12)
    return TowersConfig(1024, he, mif, bert if text else None)
