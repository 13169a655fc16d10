"""Does this installation compute what the bundle says it should? The bundle's golden cases, run on this machine."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atlas import ExactIndex, open_atlas
from ..bundle import Bundle, open_bundle
from ..engine import open_tower
from ..errors import BundleContentError
from .batching import batching
from .head_graph import try_heads
from .heads import read_heads
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

    A part that the bundle lacks is named, and not tried: a bundle without an atlas can still embed.

    Raises:
        BundleError: The bundle is refused before anything runs.
        DeviceUnavailableError: The asked-for device is not there.
    """
    bundle = open_bundle(options.bundle)
    golden = _Golden(bundle)
    return (
        _test_he(bundle, golden, options),
        *_test_text(bundle, golden, options),
        *_test_mif(bundle, golden, options),
        _test_index(bundle, options),
        *_test_calibration(bundle),
        *_test_heads(bundle),
    )


class _Golden:
    """The golden cases by name."""

    def __init__(self, bundle: Bundle) -> None:
        data = bundle.read(bundle.manifest.golden.file)
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                self._arrays: dict[str, NDArray[Any]] = {name: arrays[name] for name in arrays.files}
        except ValueError as error:
            raise BundleContentError(f"The bundle's golden cases can't be read: {error}") from error

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._arrays:
            raise BundleContentError(f"The bundle's golden cases lack {name}. Export the bundle again.")
        return self._arrays[name]


def _test_he(bundle: Bundle, golden: _Golden, options: PredictOptions) -> Check:
    engine = open_tower(bundle, bundle.manifest.he, device=options.device, threads=options.threads)
    tiles, size = golden["he_tiles"], batching(bundle).tiles
    got = np.concatenate([engine(tiles=tiles[start : start + size]) for start in range(0, len(tiles), size)])
    return _compare("H&E tower", got, golden["he_vectors"])


def _test_text(bundle: Bundle, golden: _Golden, options: PredictOptions) -> Iterator[Check]:
    if bundle.manifest.text is None:
        return
    engine = open_tower(bundle, bundle.manifest.text, device="cpu", threads=options.threads)
    prompt = {name: golden[name] for name in ("input_ids", "attention_mask")}
    yield _compare("text tower", engine(**prompt), golden["text_vectors"])


def _test_mif(bundle: Bundle, golden: _Golden, options: PredictOptions) -> Iterator[Check]:
    if bundle.manifest.mif is None:
        return
    engine = open_tower(bundle, bundle.manifest.mif, device="cpu", threads=options.threads)
    patches = {name: golden[f"mif_{name}"] for name in ("patches", "markers")}
    yield _compare("mIF tower", engine(**patches), golden["mif_vectors"])


def _test_calibration(bundle: Bundle) -> Iterator[Check]:
    """Say it where predictions will have no intervals."""
    if bundle.manifest.atlas is not None and bundle.manifest.calibration is None:
        yield Check("calibration", passed=True, detail="none: estimates have no intervals, and no tile abstains")


def _test_heads(bundle: Bundle) -> Iterator[Check]:
    heads = read_heads(bundle)
    if heads:
        try_heads(heads, bundle.manifest.embedding_dimension)
        names = ", ".join(head.section.name for head in heads)
        yield Check("trained heads", passed=True, detail=f"{names}: each takes the towers' vectors")


def _compare(name: str, got: NDArray[np.float32], want: NDArray[np.float32]) -> Check:
    least = float(np.einsum("nd,nd->n", got, want).min())
    return Check(
        name, least >= LEAST_COSINE, f"least cosine to the reference {least:.6f} over {len(want)} golden cases"
    )


def _test_index(bundle: Bundle, options: PredictOptions) -> Check:
    section = bundle.manifest.atlas
    if section is None:
        return Check("atlas", passed=True, detail="none: without one (`haiku-edge atlas add`) nothing is predicted")
    if section.index.kind == "exact":
        open_atlas(bundle)
        return Check("atlas index", passed=True, detail="exact search")
    atlas = open_atlas(bundle, index="hnsw")
    neighbours = options.neighbours or bundle.manifest.retrieval.neighbours
    queries = atlas.vectors[:: max(1, len(atlas.vectors) // _QUERIES)]
    exact = ExactIndex(atlas.vectors).search(queries, neighbours).ids
    found = atlas.index.search(queries, neighbours).ids
    overlap = float(np.mean([len(np.intersect1d(a, b)) / len(a) for a, b in zip(exact, found, strict=True)]))
    detail = f"{100 * overlap:.1f} % of the exact {neighbours} nearest found over {len(queries)} queries"
    return Check("atlas index", overlap >= LEAST_OVERLAP, detail)
