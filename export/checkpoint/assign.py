"""From the released keys to the towers: which tensor of the checkpoint is which weight, without copying any.

The layout is that of the published state dict (Haiku, public code): MUSK with both experts, of which the vision half
("A") is used; the VirTues fork; BERT; three projections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from ..model import HeTower, MifTower, TextTower, Towers, TowersConfig

MARKER_SOURCES = ("esm_embeddings", "learnable_embeddings")
"""Where a marker's vector may stand; the first that has it counts."""

PROTEIN_VECTORS = "codex_encoder.encoder.protein_emb.esm_embeddings"
"""Where vectors of proteins stand, the given ones of new markers too."""

_HE = "he_encoder.encoder."
_MIF = "codex_encoder.encoder."
_TEXT = "text_encoder.text_encoder."
_BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_AFFINE = ("weight", "bias")

Pairs = Iterator[tuple[str, str]]
"""Pairs of our key and the released key."""


def towers_from_state(state: Mapping[str, Tensor], config: TowersConfig, markers: Sequence[str]) -> Towers:
    """Make towers whose weights are the state's own tensors, which may be mapped from disk.

    Args:
        state: The released state dict, already checked.
        config: The sizes.
        markers: Names of the marker table's rows, from row 1 on.

    Returns:
        Towers in evaluation.

    Raises:
        KeyError, RuntimeError: The state is not of this layout; check it first.
    """
    with torch.device("meta"):
        he, mif = HeTower(config.he, config.dimension), MifTower(config.mif, config.dimension)
        text = None if config.text is None else TextTower(config.text, config.dimension)
    _assign(he, state, he_keys(config.he.layers), {"encoder.positions": _he_positions, **_FLAT_TOKEN})
    _assign(mif, state, mif_keys(len(config.mif.blocks)), {"encoder.marker_table.vectors": marker_vectors(markers)})
    if text is not None and config.text is not None:
        _assign(text, state, text_keys(config.text.layers), {"encoder.segment": _first_row})
    return Towers(config, he.eval(), mif.eval(), None if text is None else text.eval())


def he_keys(layers: int) -> Pairs:
    """The H&E tower's keys."""
    beit = f"{_HE}beit3."
    yield "encoder.class_token", f"{beit}vision_embed.cls_token"
    yield from _linear("encoder.patches", f"{beit}vision_embed.proj")
    yield "encoder.positions", f"{beit}encoder.embed_positions.A.weight"
    for number in range(layers):
        own, other = f"encoder.layers.{number}", f"{beit}encoder.layers.{number}"
        for part, letter in (("query", "q"), ("key", "k"), ("value", "v"), ("output", "out")):
            yield from _linear(f"{own}.attention.{part}", f"{other}.self_attn.{letter}_proj.A")
        yield from _linear(f"{own}.attention.norm_inner", f"{other}.self_attn.inner_attn_ln.A")
        yield from _linear(f"{own}.norm_attention", f"{other}.self_attn_layer_norm.A")
        yield from _linear(f"{own}.norm_feed", f"{other}.final_layer_norm.A")
        yield from _linear(f"{own}.rise", f"{other}.ffn.A.fc1")
        yield from _linear(f"{own}.norm_hidden", f"{other}.ffn.A.ffn_layernorm")
        yield from _linear(f"{own}.fall", f"{other}.ffn.A.fc2")
    yield from _linear("encoder.norm", f"{beit}encoder.layer_norm.A")
    yield "encoder.vision_head.weight", f"{_HE}vision_head.weight"
    yield from _projection("he_projection")


def mif_keys(blocks: int) -> Pairs:
    """The mIF tower's keys; the marker vectors stand for `protein_emb` as a whole."""
    yield from _linear("encoder.pixels", f"{_MIF}patch_encoder")
    yield "encoder.summary", f"{_MIF}patch_summary_token"
    yield "encoder.marker_table.vectors", f"{_MIF}protein_emb"
    yield from _linear("encoder.marker_table.projection", f"{_MIF}protein_emb.proj")
    for number in range(blocks):
        own, other = f"encoder.blocks.{number}", f"{_MIF}encoder.{number}.encoder_layer"
        for part, letter in (("query", "q"), ("key", "k"), ("value", "v"), ("output", "o")):
            yield from _linear(f"{own}.attention.{part}", f"{other}.multi_head_attention.W_{letter}")
        yield from _linear(f"{own}.norm_attention", f"{other}.layernorm1")
        yield from _linear(f"{own}.norm_feed", f"{other}.layernorm2")
        yield from _linear(f"{own}.rise", f"{other}.feedforward.0")
        yield from _linear(f"{own}.fall", f"{other}.feedforward.3")
    yield from _projection("codex_projection")


def text_keys(layers: int) -> Pairs:
    """The text tower's keys."""
    yield "encoder.words.weight", f"{_TEXT}embeddings.word_embeddings.weight"
    yield "encoder.positions.weight", f"{_TEXT}embeddings.position_embeddings.weight"
    yield "encoder.segment", f"{_TEXT}embeddings.token_type_embeddings.weight"
    yield from _linear("encoder.norm", f"{_TEXT}embeddings.LayerNorm")
    for number in range(layers):
        own, other = f"encoder.layers.{number}", f"{_TEXT}encoder.layer.{number}"
        for part in ("query", "key", "value"):
            yield from _linear(f"{own}.attention.{part}", f"{other}.attention.self.{part}")
        yield from _linear(f"{own}.attention.output", f"{other}.attention.output.dense")
        yield from _linear(f"{own}.norm_attention", f"{other}.attention.output.LayerNorm")
        yield from _linear(f"{own}.rise", f"{other}.intermediate.dense")
        yield from _linear(f"{own}.fall", f"{other}.output.dense")
        yield from _linear(f"{own}.norm_feed", f"{other}.output.LayerNorm")
    yield from _projection("text_projection")


def marker_vectors(markers: Sequence[str]) -> Callable[[Mapping[str, Tensor], str], Tensor]:
    """Stack the markers' own vectors: (markers, 1152)."""

    def stack(state: Mapping[str, Tensor], prefix: str) -> Tensor:
        return torch.stack([_marker_vector(state, prefix, name) for name in markers])

    return stack


def _marker_vector(state: Mapping[str, Tensor], prefix: str, name: str) -> Tensor:
    keys = [f"{prefix}.{source}.{name}" for source in MARKER_SOURCES]
    return state[next((key for key in keys if key in state), keys[0])]


def _linear(own: str, other: str) -> Pairs:
    yield from ((f"{own}.{name}", f"{other}.{name}") for name in _AFFINE)


def _projection(other: str) -> Pairs:
    yield from _linear("head.first", f"{other}.0")
    yield from _linear("head.second", f"{other}.2")
    yield from ((f"head.norm.{name}", f"{other}.3.{name}") for name in _BATCH_NORM)


def _he_positions(state: Mapping[str, Tensor], key: str) -> Tensor:
    """MUSK's table is used from row 2 on: fairseq's convention keeps the first two for padding."""
    return state[key][2:]


def _first_row(state: Mapping[str, Tensor], key: str) -> Tensor:
    return state[key][0]


def _flat(state: Mapping[str, Tensor], key: str) -> Tensor:
    return state[key].reshape(-1)


_FLAT_TOKEN = {"encoder.class_token": _flat}


def _assign(
    tower: nn.Module,
    state: Mapping[str, Tensor],
    pairs: Pairs,
    special: Mapping[str, Callable[[Mapping[str, Tensor], str], Tensor]],
) -> None:
    """Give a tower on the meta device its tensors."""
    weights = {own: special[own](state, key) if own in special else state[key] for own, key in pairs}
    tower.load_state_dict(weights, strict=True, assign=True)
