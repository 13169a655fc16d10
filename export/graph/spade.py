"""SPADE's fused graph: H&E tower → routing → experts, from torch or from the ONNX graph of a tower that a bundle has.

Every other precision is derived from this graph, so it says itself where single precision begins: a Cast stands before
the distances, which leaves nothing to do in the canonical graph and holds against half precision elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import onnx
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, nn

from haiku_edge.runtime.engine import Engine
from haiku_edge.runtime.errors import BundleContentError

from ..model import Mixture, SpadeTower
from ..model.spade import margin
from .compare import GraphMismatchError
from .convert import OPSET, OUTPUT, serialise, strip, trace_module, trace_tiles
from .store import Storage

TILES: Final = "tiles"
FEATURES: Final = "features"
TOLERANCE: Final[Mapping[Storage, float]] = {"fp32": 1e-3, "fp16": 5e-2}
"""Largest difference of an embedding's entry, as a share of the largest, or of an expert's weight. Sums in another
order change features by 1e-6, distances of 30 with them, and these are divided by a temperature of 0.1."""

_CENTROIDS = "router.centroids"
_ENCODER, _MIXTURE = "encoder.", "mixture."
_SINGLE = "routing.single"


def trace_spade(tower: SpadeTower) -> ir.Model:
    """Trace a tower with input `tiles` uint8 (n, tile, tile, 3) and output `vector` float32 (n, width + experts)."""
    return _keep_single(trace_tiles(tower, tower.tile))


class _Packed(nn.Module):
    """A mixture with its two outputs side by side."""

    def __init__(self, mixture: Mixture) -> None:
        super().__init__()
        self.mixture = mixture
        self.eval()

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat(self.mixture(features), dim=1)


def trace_mixture(mixture: Mixture) -> ir.Model:
    """Trace a mixture alone: input `features` float32 (n, features), output as of `trace_spade`."""
    features = torch.randn(3, mixture.config.features)
    shapes = {FEATURES: {0: torch.export.Dim("batch")}}
    return _keep_single(trace_module(_Packed(mixture), {FEATURES: features}, shapes))


def _keep_single(traced: ir.Model) -> ir.Model:
    """Put a Cast to float32 before the differences to the centroids."""
    found = [
        node
        for node in traced.graph
        if node.op_type == "Sub" and any(value is not None and _is_centroids(value) for value in node.inputs)
    ]
    (difference,) = found
    (place,) = (i for i, value in enumerate(difference.inputs) if value is not None and not _is_centroids(value))
    cast = ir.node("Cast", [difference.inputs[place]], {"to": ir.DataType.FLOAT}, name=_SINGLE)
    cast.outputs[0].name = f"{_SINGLE}.features"
    difference.replace_input_with(place, cast.outputs[0])
    traced.graph.insert_before(difference, [cast])
    return traced


def _is_centroids(value: ir.Value) -> bool:
    return (value.name or "").endswith(_CENTROIDS)


def fuse(graph: bytes, mixture: Mixture, *, tile: int | None = None) -> bytes:
    """Put a mixture behind the ONNX graph of an H&E tower.

    Args:
        graph: The tower's graph; the files of weights that it refers to stay as they are, under the same names.
        mixture: What takes its vectors.
        tile: Side of an incoming tile, whose middle the tower is given; None for the tower's own.

    Returns:
        A graph with input `tiles` uint8 (n, tile, tile, 3) and output `vector` float32 (n, width + experts).

    Raises:
        BundleContentError: The graph is no H&E tower of this opset, or gives vectors of another length than the mixture
            takes.
        ValueError: Incoming tiles are smaller than the tower's.
    """
    encoder = _read_encoder(graph)
    takes, dimension = encoder_sizes(encoder)
    if dimension != mixture.config.features:
        raise BundleContentError(
            f"The mixture takes features of length {mixture.config.features}, and the H&E tower gives {dimension}. "
            "Use the tower that the mixture was trained with."
        )
    after = onnx.load_from_string(serialise(trace_mixture(mixture)))
    joined = onnx.compose.merge_graphs(
        encoder.graph,
        after.graph,
        io_map=[(OUTPUT, FEATURES)],
        prefix1=_ENCODER,
        prefix2=_MIXTURE,
    )
    _rename(joined, _ENCODER + TILES, TILES)
    _rename(joined, _MIXTURE + OUTPUT, OUTPUT)
    if tile is not None and tile != takes:
        _crop(joined, tile, takes)
    model = helper.make_model(joined, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=encoder.ir_version)
    return bytes(strip(model).SerializeToString(deterministic=True))


def _read_encoder(graph: bytes) -> Any:
    try:
        model = onnx.ModelProto.FromString(graph)
    except Exception:
        raise BundleContentError("The H&E tower's graph is no ONNX model. Export its bundle again.") from None
    if [(opset.domain, opset.version) for opset in model.opset_import] != [("", OPSET)]:
        raise BundleContentError(f"The H&E tower's graph is not of opset {OPSET}. Export its bundle again.")
    return model


def encoder_sizes(model: Any) -> tuple[int, int]:
    """Side of the tiles that an H&E tower takes, and length of the vectors that it gives.

    Args:
        model: Its onnx.ModelProto.

    Raises:
        BundleContentError: It takes no tiles, or gives no vectors.
    """
    ends = [*model.graph.input, *model.graph.output]
    if [end.name for end in ends] != [TILES, OUTPUT]:
        raise BundleContentError("The graph takes other inputs than tiles. Name an H&E tower.")
    tiles, vector = ([dim.dim_value for dim in end.type.tensor_type.shape.dim] for end in ends)
    return int(tiles[1]), int(vector[-1])


def _rename(graph: Any, old: str, new: str) -> None:
    """Give a value another name."""
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for end in (*graph.input, *graph.output):
        if end.name == old:
            end.name = new


def _crop(graph: Any, tile: int, takes: int) -> None:
    """Take larger tiles, and keep their middle once they are floats: TensorRT only converts uint8."""
    first, inner = margin(tile, takes), f"{TILES}.middle"
    places = [place for place, node in enumerate(graph.node) if TILES in node.input and node.op_type == "Cast"]
    others = [node.op_type for node in graph.node if TILES in node.input and node.op_type not in ("Cast", "Shape")]
    if len(places) != 1 or others:
        raise BundleContentError("The H&E tower's graph does not begin with its tiles as floats. Export it again.")
    cast = graph.node[places[0]]
    whole = f"{TILES}.whole"
    wanted, cast.output[0] = cast.output[0], whole
    ends = {"starts": [first, first], "ends": [first + takes] * 2, "axes": [1, 2]}
    names = [f"{inner}.{name}" for name in ends]
    graph.initializer.extend(
        numpy_helper.from_array(np.array(values, np.int64), name)
        for name, values in zip(names, ends.values(), strict=True)
    )
    graph.node.insert(places[0] + 1, helper.make_node("Slice", [whole, *names], [wanted], name=inner))
    for axis in (1, 2):
        graph.input[0].type.tensor_type.shape.dim[axis].dim_value = tile


class EngineEncoder(nn.Module):
    """An engine as a module, so that a fused graph is compared with the tower that it was made from."""

    def __init__(self, engine: Engine) -> None:
        """Hold an engine that takes `tiles`."""
        super().__init__()
        self._engine = engine
        self.eval()

    def forward(self, tiles: Tensor) -> Tensor:
        """Map (n, tile, tile, 3) whole numbers of any type to (n, dimension) float32."""
        return torch.from_numpy(self._engine(tiles=tiles.to(torch.uint8).numpy()))


def check_spade(
    tower: SpadeTower, engine: Engine, tiles: NDArray[np.uint8], storage: Storage = "fp32"
) -> tuple[NDArray[np.float32], float]:
    """Compare the engine of a fused graph with its tower in torch.

    Args:
        tower: In evaluation; with an `EngineEncoder` where the graph came of `fuse`.
        engine: What the run time makes of the graph.
        tiles: (n, tile, tile, 3) uint8.
        storage: How the graph's matrices are stored, where the tower's are not.

    Returns:
        The tower's output, (n, width + experts) float32; and the largest difference, as `TOLERANCE` measures it.

    Raises:
        GraphMismatchError: They differ by more than the storage explains.
    """
    rows = [tiles[place : place + 1] for place in range(len(tiles))]
    with torch.inference_mode():
        wanted = np.concatenate([tower(torch.from_numpy(row)).numpy() for row in rows])
    got = np.concatenate([engine(tiles=row) for row in rows])
    width = tower.mixture.config.width
    embeddings, weights = np.split(np.abs(got - wanted), [width], axis=1)
    difference = max(float(embeddings.max() / np.abs(wanted[:, :width]).max()), float(weights.max()))
    if not difference <= TOLERANCE[storage]:
        raise GraphMismatchError(
            f"The exported SPADE graph differs from torch by {difference:.1e}, more than {TOLERANCE[storage]:.0e}. "
            "Do not ship it: export again with the versions that the project pins, and report it if it stays."
        )
    return wanted, difference
