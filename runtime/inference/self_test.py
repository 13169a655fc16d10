"""Does this installation compute what the bundle says it should? The bundle's golden cases, run on this machine."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atlas import ExactIndex, open_atlas
from ..engine import choose_engine
from ..errors import BundleContentError
from .model import Model, open_model
from .options import PredictOptions

LEAST_COSINE = 0.999
LEAST_OVERLAP = 0.99
_QUERIES = 200


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried.

    Attributes:
        name: What was tried.
        passed: Whether it came out right.
        detail: The measured figure, in words.
    """

    name: str
    passed: bool
    detail: str


def run_self_test(options: PredictOptions) -> tuple[Check, ...]:
    """Run each tower on its golden cases, and the index against exact search.

    Raises:
        BundleError: The bundle is refused before anything runs.
        DeviceUnavailableError: The asked-for device is not there.
    """
    model = open_model(options)
    golden = _read_golden(model)
    text = choose_engine(model.bundle.read(model.bundle.manifest.text.file), device="cpu", threads=1)
    prompt = {name: golden[name] for name in ("input_ids", "attention_mask")}
    checks = [
        _compare("H&E tower", model.engine(tiles=golden["he_tiles"]), golden["he_vectors"]),
        _compare("text tower", text(**prompt), golden["text_vectors"]),
    ]
    if model.bundle.manifest.mif is not None:
        mif = choose_engine(model.bundle.read(model.bundle.manifest.mif.file), device="cpu", threads=1)
        patches = {name: golden[f"mif_{name}"] for name in ("patches", "markers")}
        checks.append(_compare("mIF tower", mif(**patches), golden["mif_vectors"]))
    return (*checks, _compare_index(model))


def _compare(name: str, got: NDArray[np.float32], want: NDArray[np.float32]) -> Check:
    least = float(np.einsum("nd,nd->n", got, want).min())
    return Check(
        name, least >= LEAST_COSINE, f"least cosine to the reference {least:.6f} over {len(want)} golden cases"
    )


def _compare_index(model: Model) -> Check:
    if model.bundle.manifest.atlas.index.kind == "exact":
        return Check("atlas index", passed=True, detail="exact search")
    graph = open_atlas(model.bundle, index="hnsw").index
    queries = model.atlas.vectors[:: max(1, len(model.atlas.vectors) // _QUERIES)]
    exact = ExactIndex(model.atlas.vectors).search(queries, model.neighbours).ids
    found = graph.search(queries, model.neighbours).ids
    overlap = float(np.mean([len(np.intersect1d(a, b)) / len(a) for a, b in zip(exact, found, strict=True)]))
    detail = f"{100 * overlap:.1f} % of the exact {model.neighbours} nearest found over {len(queries)} queries"
    return Check("atlas index", overlap >= LEAST_OVERLAP, detail)


def _read_golden(model: Model) -> dict[str, NDArray[Any]]:
    data = model.bundle.read(model.bundle.manifest.golden.file)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except ValueError as error:
        raise BundleContentError(f"The bundle's golden cases can't be read: {error}") from error
