"""A trained head as an ONNX Runtime session: vectors in, scores and attention out. It is small and runs on the CPU."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ..engine.external import check_locations
from ..errors import BundleContentError, EngineError
from .heads import Head

_ERRORS_ONLY = 3
_TRIED_TILES = 2


@dataclass(frozen=True, slots=True)
class HeadOutput:
    """What a head's graph gives.

    Attributes:
        scores: (n, classes) logits of a tile classifier, (1, classes) of a slide classifier, or (1, 1) log-risk.
        attention: (n,) weights of the tiles, summing to 1; None for a tile classifier.
    """

    scores: NDArray[np.float64]
    attention: NDArray[np.float64] | None


class HeadGraph:
    """Runs one head.

    Raises:
        BundleContentError: ONNX Runtime does not take the graph, its inputs and outputs are not a head's, or it refers
            to files: a head's weights lie in its graph.
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        check_locations(head.graph, (), f"graph of the head {head.section.name}")
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        try:
            self._session = ort.InferenceSession(head.graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise self._refused(f"ONNX Runtime does not take its graph ({type(error).__name__})") from error
        self._outputs = ["scores"] if head.section.kind == "tile_classifier" else ["scores", "attention"]
        there = {output.name for output in self._session.get_outputs()}
        if [one.name for one in self._session.get_inputs()] != ["vectors"] or not there.issuperset(self._outputs):
            raise self._refused(f"its graph must take 'vectors' and give {' and '.join(self._outputs)}")

    def __call__(self, vectors: NDArray[np.float32]) -> HeadOutput:
        """Run the head on a slide's tiles.

        Args:
            vectors: (n, d) float32, or (n, 2d) with the notes' vector beside each.

        Raises:
            EngineError: ONNX Runtime failed.
            BundleContentError: The outputs do not have a head's shapes, or are not finite.
        """
        try:
            given = self._session.run(self._outputs, {"vectors": vectors})
        except Exception as error:
            name, shape = self._head.section.name, " × ".join(map(str, vectors.shape))
            raise EngineError(f"The bundle's head {name} failed on vectors of {shape}. Export it again.") from error
        scores, *rest = (np.asarray(part, np.float64) for part in given)
        return self._checked(scores, rest[0].reshape(-1) if rest else None, len(vectors))

    def _checked(self, scores: NDArray[np.float64], attention: NDArray[np.float64] | None, tiles: int) -> HeadOutput:
        section = self._head.section
        expected = (tiles if section.kind == "tile_classifier" else 1, max(1, len(section.classes)))
        if scores.shape != expected or (attention is not None and attention.shape != (tiles,)):
            raise self._refused(f"its graph gives scores of the shape {scores.shape}, not {expected}")
        if not np.isfinite(scores).all() or (attention is not None and not np.isfinite(attention).all()):
            raise self._refused("its graph gives numbers that are not finite")
        return HeadOutput(scores, attention)

    def _refused(self, why: str) -> BundleContentError:
        name = self._head.section.name
        return BundleContentError(f"The bundle's head {name} can't be used: {why}. Train or export it again.")


def try_heads(heads: Iterable[Head], dimension: int) -> None:
    """See, before any slide is read, that each head's graph opens and takes the towers' vectors.

    Args:
        heads: The bundle's heads.
        dimension: Length of the towers' vectors.

    Raises:
        BundleContentError, EngineError: See `HeadGraph`.
    """
    for head in heads:
        width = dimension if head.section.features == "he" else 2 * dimension
        HeadGraph(head)(np.full((_TRIED_TILES, width), 1 / np.sqrt(width), np.float32))
