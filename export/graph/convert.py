"""Torch towers to canonical ONNX: opset 20, pure ONNX operators, dynamic batch, length and channels."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import onnx
import onnx_ir as ir
import torch
from torch import Tensor, nn

from ..model import HeTower, MifTower, MobileTower, TextTower, TileEncoder, Towers
from ..tower_graphs import TowerGraphs

OPSET = 20
"""The newest opset that every engine builds in fp32 and fp16 (opset 23's Attention does not build everywhere)."""

OUTPUT = "vector"
"""Name of the output. Not "embedding": that is the exporter's own name for the values of nn.Embedding, and the clash
makes an invalid graph in silence."""


def export_towers(towers: Towers) -> TowerGraphs:
    """Export all three as single files; `towers` must come from `Towers.for_inference`."""
    if towers.text is None:
        raise ValueError("A model of two modalities has no text graph: export its towers one by one.")
    return TowerGraphs(*(serialise(trace_tower(tower)) for tower in (towers.he, towers.mif, towers.text)))


def trace_tower(tower: HeTower | MobileTower | TileEncoder | MifTower | TextTower) -> ir.Model:
    """Trace any tower; its weights stay where they are, in memory or mapped from a file."""
    if isinstance(tower, HeTower | MobileTower | TileEncoder):
        return trace_tiles(tower, tower.config.tile)
    return _trace_mif(tower) if isinstance(tower, MifTower) else _trace_text(tower)


def trace_tiles(tower: nn.Module, side: int) -> ir.Model:
    """Trace a module with input `tiles` uint8 (n, side, side, 3)."""
    tiles = torch.randint(0, 256, (3, side, side, 3), dtype=torch.uint8)
    return trace_module(tower, {"tiles": tiles}, {"tiles": {0: torch.export.Dim("batch")}})


def _trace_mif(tower: MifTower) -> ir.Model:
    """With inputs `patches` uint8 (n, c, s, s) and `markers` int64 (n, c)."""
    side = tower.config.patch
    patches = torch.randint(0, 256, (3, 5, side, side), dtype=torch.uint8)
    markers = torch.arange(5).expand(3, 5).contiguous() % (tower.config.markers + 1)
    batch, channels = torch.export.Dim("batch"), torch.export.Dim("channels")
    shapes = {"patches": {0: batch, 1: channels}, "markers": {0: batch, 1: channels}}
    return trace_module(tower, {"patches": patches, "markers": markers}, shapes)


def _trace_text(tower: TextTower) -> ir.Model:
    """With inputs `input_ids` and `attention_mask` int64 (n, l)."""
    ids = torch.randint(0, tower.config.vocabulary, (3, 11))
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=tower.config.length)
    shapes = {"input_ids": {0: batch, 1: length}, "attention_mask": {0: batch, 1: length}}
    return trace_module(tower, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, shapes)


def serialise(traced: ir.Model) -> bytes:
    """One ONNX file with the weights in it, checked."""
    model = strip(ir.to_proto(traced))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def trace_module(tower: nn.Module, inputs: dict[str, Tensor], shapes: dict[str, Any]) -> ir.Model:
    """Run the dynamo exporter.

    Args:
        tower: A module in evaluation that gives one tensor.
        inputs: Examples of what it takes, by name.
        shapes: Input → axis → name of a length that may change.
    """
    if tower.training:
        raise ValueError("A tower is exported as it infers: pass Towers.for_inference(), not a tower in training.")
    with quiet_export():
        program = torch.onnx.export(
            tower,
            kwargs=dict(inputs),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=[OUTPUT],
            dynamic_shapes=shapes,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return program.model


def strip(model: Any) -> Any:
    """Drop what describes the making and not the computing: stack traces (with paths), names of classes, value shapes.

    Shapes of intermediate values go too: the exporter leaves some for weights, on which the quantiser fails.

    Args:
        model: An onnx.ModelProto, changed in place.

    Returns:
        The same model.
    """
    model.doc_string = ""
    del model.metadata_props[:]
    graphs = [model.graph, *model.functions]
    for graph in graphs:
        graph.doc_string = ""
        del graph.metadata_props[:]
        del graph.value_info[:]
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    model.graph.name = "tower"
    foreign = sorted({node.domain for node in model.graph.node} - {""})
    if foreign or model.functions:
        raise ValueError(f"The graph is not pure ONNX: it uses {foreign or 'local functions'}.")
    return model


@contextlib.contextmanager
def quiet_export() -> Iterator[None]:
    """Keep the exporter's chatter off the terminal and its deprecations from stopping a strict run."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
