"""Sizes of the towers: values only, so that a checkpoint can say what it is."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class HeConfig:
    """The H&E tower.

    Attributes:
        tile: Side of an incoming tile in pixels.
        side: Side to which the graph resizes it.
        widths: Channels of the stem and of each stage; every stage halves the side.
        blocks: Residual blocks of each stage.
    """

    tile: int = 256
    side: int = 128
    widths: tuple[int, int, int, int] = (24, 48, 96, 160)
    blocks: tuple[int, int, int] = (1, 1, 1)


@dataclass(frozen=True, slots=True)
class MifConfig:
    """The mIF tower.

    Attributes:
        patch: Side of an incoming patch in pixels.
        pool: Factor by which a patch is averaged down before it is cut into tokens.
        token: Side of a token in pixels of the averaged patch.
        markers: Rows of the marker table, without row 0 (no channel).
        width: Length of a token's vector.
        hidden: Width of the feed-forward layers.
        heads: Attention heads.
        blocks: Letters of the blocks in order: h within a channel, v across the channels of one position.
    """

    patch: int = 256
    pool: int = 4
    token: int = 16
    markers: int = 1
    width: int = 96
    hidden: int = 192
    heads: int = 4
    blocks: str = "hvhv"


@dataclass(frozen=True, slots=True)
class TextConfig:
    """The text tower.

    Attributes:
        vocabulary: Word pieces that the tokenizer knows.
        length: Longest text in tokens, with the two special ones.
        width: Length of a token's vector.
        hidden: Width of the feed-forward layers.
        heads: Attention heads.
        layers: Transformer layers.
    """

    vocabulary: int = 1024
    length: int = 200
    width: int = 96
    hidden: int = 192
    heads: int = 4
    layers: int = 2


@dataclass(frozen=True, slots=True)
class TowersConfig:
    """The three towers and the space that they share.

    Attributes:
        dimension: Length of the shared unit vectors.
        he: The H&E tower.
        mif: The mIF tower.
        text: The text tower.
    """

    dimension: int = 128
    he: HeConfig = field(default_factory=HeConfig)
    mif: MifConfig = field(default_factory=MifConfig)
    text: TextConfig = field(default_factory=TextConfig)
