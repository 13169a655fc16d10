"""Heads as ONNX: one file, opset 20, pure ONNX operators, any number of tiles, compared with torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from ..graph import GraphMismatchError
from ..graph.compare import session
from ..graph.convert import OPSET, quiet_export, strip

TOLERANCE = 1e-4
"""Largest difference of a score relative to the largest one (or to 1): sums in another order give about 1e-6."""

_TRACED_TILES = 7


def export_head(network: nn.Module, dimension: int, outputs: Sequence[str]) -> bytes:
    """Export a network that takes `vectors` float32 (n, d) and gives `outputs`, in this order.

    Args:
        network: In evaluation.
        dimension: d.
        outputs: ('scores',) or ('scores', 'attention').
    """
    vectors = torch.randn(_TRACED_TILES, dimension)
    with quiet_export():
        program = torch.onnx.export(
            network.eval(),
            kwargs={"vectors": vectors},
            dynamo=True,
            opset_version=OPSET,
            input_names=["vectors"],
            output_names=list(outputs),
            dynamic_shapes={"vectors": {0: torch.export.Dim("tiles")}},
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model = strip(program.model_proto)
    model.graph.name = "head"
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def check_head(network: nn.Module, graph: bytes, vectors: Sequence[NDArray[np.float32]]) -> float:
    """Run network and graph on the tiles of some patients.

    Returns:
        Largest difference of any output, relative to the largest entry of that output or to 1.

    Raises:
        GraphMismatchError: It exceeds `TOLERANCE`, or is not a number.
    """
    opened, worst = session(graph, threads=1), 0.0
    for tiles in vectors:
        with torch.inference_mode():
            wanted = network(torch.from_numpy(tiles))
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        for want, found in zip(wanted, opened.run(None, {"vectors": tiles}), strict=True):
            scale = max(1.0, float(np.abs(want.numpy()).max()))
            worst = max(worst, float(np.abs(want.numpy() - found).max()) / scale)
    if not worst <= TOLERANCE:
        raise GraphMismatchError(
            f"The exported head differs from torch by {worst:.1e}, more than {TOLERANCE:.0e}. Do not ship it: train it "
            "again with the versions that the project pins, and report it if it stays."
        )
    return worst
