"""The released layout: every key with its shape and type, computed from the sizes and the marker names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..model import HeConfig, MifConfig, TextConfig, TowersConfig

LANGUAGE_VOCABULARY = 64_010
"""Word pieces of MUSK's language half, which the checkpoint holds and Haiku never runs."""

LANGUAGE_POSITIONS = 1024
POSITION_OFFSET = 2
"""BEiT-3's position tables begin with this many rows that no token uses."""

ROTARY_POSITIONS = 1200
"""Rows of the rotary tables that VirTues saves with every block."""

HE = "he_encoder.encoder."
MIF = "codex_encoder.encoder."
TEXT = "text_encoder.text_encoder."
ESM = MIF + "protein_emb.esm_embeddings."
LEARNED = MIF + "protein_emb.learnable_embeddings."

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of the state.

    Attributes:
        shape: Its shape.
        dtype: float32 or int64.
        used: Whether a tower computes with it; the rest is there because the published code saves whole modules.
    """

    shape: Shape
    dtype: str = "float32"
    used: bool = True


def expected_layout(sizes: TowersConfig, esm: tuple[str, ...], learned: tuple[str, ...]) -> dict[str, Entry]:
    """Every entry of a state with these sizes and markers."""
    entries = dict(_he(sizes.he))
    entries.update(_mif(sizes.mif))
    for prefix, names in ((ESM, esm), (LEARNED, learned)):
        entries.update((prefix + name, Entry((sizes.mif.marker_width,))) for name in names)
    widths = {"codex": sizes.mif.width, "he": sizes.he.width}
    if sizes.text is not None:
        entries.update(_text(sizes.text))
        widths["text"] = sizes.text.width
    for name, width in widths.items():
        entries.update(_projection(f"{name}_projection.", width, sizes.dimension))
    return entries


def _linear(prefix: str, source: int, target: int, *, used: bool = True) -> Iterator[tuple[str, Entry]]:
    yield f"{prefix}.weight", Entry((target, source), used=used)
    yield f"{prefix}.bias", Entry((target,), used=used)


def _norm(prefix: str, width: int, *, used: bool = True) -> Iterator[tuple[str, Entry]]:
    yield f"{prefix}.weight", Entry((width,), used=used)
    yield f"{prefix}.bias", Entry((width,), used=used)


def _projection(prefix: str, width: int, dimension: int) -> Iterator[tuple[str, Entry]]:
    """Linear, ReLU, Linear, BatchNorm."""
    yield from _linear(prefix + "0", width, dimension)
    yield from _linear(prefix + "2", dimension, dimension)
    yield from _norm(prefix + "3", dimension)
    yield prefix + "3.running_mean", Entry((dimension,))
    yield prefix + "3.running_var", Entry((dimension,))
    yield prefix + "3.num_batches_tracked", Entry((), "int64", used=False)


def _text(size: TextConfig) -> Iterator[tuple[str, Entry]]:
    """BERT, with the pooler that is never run."""
    width = size.width
    for name, rows in (("word", size.vocabulary), ("position", size.positions), ("token_type", 2)):
        yield f"{TEXT}embeddings.{name}_embeddings.weight", Entry((rows, width))
    yield from _norm(TEXT + "embeddings.LayerNorm", width)
    for number in range(size.layers):
        layer = f"{TEXT}encoder.layer.{number}."
        for name in ("query", "key", "value"):
            yield from _linear(f"{layer}attention.self.{name}", width, width)
        yield from _linear(layer + "attention.output.dense", width, width)
        yield from _norm(layer + "attention.output.LayerNorm", width)
        yield from _linear(layer + "intermediate.dense", width, size.hidden)
        yield from _linear(layer + "output.dense", size.hidden, width)
        yield from _norm(layer + "output.LayerNorm", width)
    yield from _linear(TEXT + "pooler.dense", width, width, used=False)


def _mif(size: MifConfig) -> Iterator[tuple[str, Entry]]:
    """VirTues' encoder without the markers' own vectors."""
    width = size.width
    yield MIF + "patch_summary_token", Entry((width,))
    yield MIF + "masked_token", Entry((width,), used=False)
    yield from _linear(MIF + "protein_emb.proj", size.marker_width, width)
    yield from _linear(MIF + "patch_encoder", size.token**2, width)
    yield from _linear(MIF + "protein_encoder", width, width, used=False)
    for number in range(len(size.blocks)):
        block = f"{MIF}encoder.{number}.encoder_layer."
        attention = block + "multi_head_attention."
        for name in ("W_q", "W_k", "W_v", "W_o"):
            yield from _linear(attention + name, width, width)
        for name in ("sin", "cos"):
            table = (ROTARY_POSITIONS, width // size.heads // 2)
            yield f"{attention}pos_emb.rope1d.{name}", Entry(table, used=False)
        yield from _linear(block + "feedforward.0", width, size.hidden)
        yield from _linear(block + "feedforward.3", size.hidden, width)
        yield from _norm(block + "layernorm1", width)
        yield from _norm(block + "layernorm2", width)


def _he(size: HeConfig) -> Iterator[tuple[str, Entry]]:
    """MUSK whole: A is its vision half, B its language half."""
    width = size.width
    yield HE + "logit_scale", Entry((), used=False)
    yield HE + "beit3.text_embed.weight", Entry((LANGUAGE_VOCABULARY, width), used=False)
    yield HE + "beit3.vision_embed.mask_token", Entry((1, 1, width), used=False)
    yield HE + "beit3.vision_embed.cls_token", Entry((1, 1, width))
    yield HE + "beit3.vision_embed.proj.weight", Entry((width, 3, size.patch, size.patch))
    yield HE + "beit3.vision_embed.proj.bias", Entry((width,))
    positions = (size.side // size.patch) ** 2 + 1 + POSITION_OFFSET
    yield HE + "beit3.encoder.embed_positions.A.weight", Entry((positions, width))
    yield HE + "beit3.encoder.embed_positions.B.weight", Entry((LANGUAGE_POSITIONS, width), used=False)
    for number in range(size.layers):
        for half in "AB":
            yield from _musk_layer(f"{HE}beit3.encoder.layers.{number}.", size, half)
    yield from _norm(HE + "beit3.encoder.layer_norm.A", width)
    yield from _norm(HE + "beit3.encoder.layer_norm.B", width, used=False)
    yield HE + "vision_head.weight", Entry((width, width))
    yield HE + "language_head.weight", Entry((width, width), used=False)


def _musk_layer(layer: str, size: HeConfig, half: str) -> Iterator[tuple[str, Entry]]:
    width, used = size.width, half == "A"
    for name in ("q", "k", "v", "out"):
        yield from _linear(f"{layer}self_attn.{name}_proj.{half}", width, width, used=used)
    yield from _norm(f"{layer}self_attn.inner_attn_ln.{half}", width, used=used)
    yield from _norm(f"{layer}self_attn_layer_norm.{half}", width, used=used)
    yield from _linear(f"{layer}ffn.{half}.fc1", width, size.hidden, used=used)
    yield from _linear(f"{layer}ffn.{half}.fc2", size.hidden, width, used=used)
    yield from _norm(f"{layer}ffn.{half}.ffn_layernorm", size.hidden, used=used)
    yield from _norm(f"{layer}final_layer_norm.{half}", width, used=used)
