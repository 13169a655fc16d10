"""May an engine stand for its tower? Judged on this machine, by the bundle's golden cases, before it is first used.

A float engine must give the same vectors: least cosine 0.999. An engine of integers can't, on large towers; what counts
there is what the user sees: the patches or spots that are found, and the values of biomarkers or genes that come of
them. Of each engine it is also said whether it equals fp32 but for rounding, which is all that `--strict` allows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atlas import Atlas, open_atlas
from ..bundle import Bundle
from ..engine import Engine, GateRecord
from ..engine.entry import EQUAL_COSINE
from ..engine.fingerprint import is_quantised
from ..engine.model import SPADE
from .biomarkers import infer_expression
from .golden import GoldenCases
from .retrieve import retrieve

LEAST_COSINE = 0.999
LEAST_OVERLAP = 0.9
MOST_SHIFT = 0.05
"""Standard deviations of the atlas by which a slide's biomarker value may move."""

NEIGHBOURS = 5

FLOOR_COSINE = 0.95
LEAST_PATCHES = 50
LEAST_CASES = 4
"""Below these, what an atlas says of an engine of integers means nothing, and its vectors decide."""

MOST_SHARE = 0.05
"""Share of a tile's weight that may go to other experts, mean over the golden cases: reports map the experts."""

NORM_TOLERANCE = 1e-3
"""How far a vector's length may be from 1: a search multiplies vectors, and does not ask for their angle."""

CALIBRATING, GATED = slice(0, None, 2), slice(1, None, 2)
"""Golden cases from which ranges of integers are taken, and those by which such an engine is judged."""


@dataclass(frozen=True, slots=True)
class Change:
    """What another engine changes in what the user sees.

    Attributes:
        overlap: Share of the nearest patches that stay the same, mean over the cases.
        shift: Largest change of any marker's mean over the cases, in standard deviations of the atlas.
    """

    overlap: float
    shift: float


def run_golden(engine: Engine, inputs: dict[str, NDArray[Any]], batch: int | None = None) -> NDArray[np.float32]:
    """The engine's vectors of the golden inputs, (n, d) float32.

    Args:
        engine: The engine.
        inputs: One row a case.
        batch: Cases at once, repeated to fill the last batch; all by default.
    """
    count = len(next(iter(inputs.values())))
    size = batch or count
    rows = np.arange(-(-count // size) * size) % count
    filled = {name: array[rows] for name, array in inputs.items()}
    return np.concatenate([engine(**some) for some in _slices(filled, size)])[:count]


def judge(
    got: NDArray[np.float32],
    want: NDArray[np.float32],
    *,
    precision: str,
    atlas: Atlas | None = None,
) -> GateRecord:
    """Judge an engine by its vectors of the golden cases.

    Args:
        got: (n, d) float32 vectors of the engine.
        want: (n, d) float32 vectors of the fp32 reference.
        precision: What the engine computes in; one of 8 bits is judged by what it changes in the atlas.
        atlas: The evidence; None where the bundle has none. Without one, with a very small one or with few cases, an
            engine of integers is judged by its vectors.
    """
    problem = _not_unit_vectors(got)
    if problem:
        return GateRecord(False, False, "float", -1.0, -1.0, len(want), None, None, problem)
    cosines = np.einsum("nd,nd->n", got.astype(np.float64), want.astype(np.float64))
    least = float(cosines.min())
    telling = atlas is not None and len(atlas.vectors) >= LEAST_PATCHES and len(want) >= LEAST_CASES
    by_change = is_quantised(precision) and telling
    change = measure_change(atlas, got, want) if by_change and atlas is not None else None
    passed, reason = _verdict(least, change, atlas)
    return GateRecord(
        passed=passed,
        equals_fp32=precision == "fp32" and least >= EQUAL_COSINE,
        rule="integer" if by_change else "float",
        least_cosine=least,
        mean_cosine=float(cosines.mean()),
        cases=len(want),
        neighbour_overlap=None if change is None else change.overlap,
        biomarker_shift=None if change is None else change.shift,
        reason=reason,
    )


class JudgingAtlases:
    """The evidence by which engines of 8 bits are judged: what a tower's vectors search in, opened once.

    Args:
        bundle: The open bundle.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._opened: dict[bool, Atlas | None] = {}

    def of(self, tower: str) -> Atlas | None:
        """The atlas of a tower; None where the bundle has none.

        Raises:
            BundleError: The atlas does not fit.
        """
        spots = tower == SPADE
        if spots not in self._opened:
            manifest = self._bundle.manifest
            section = manifest.need_spade().atlas if spots else manifest.atlas
            self._opened[spots] = None if section is None else open_atlas(self._bundle, section)
        return self._opened[spots]


def judge_engine(
    engine: Engine, golden: GoldenCases, tower: str, *, batches: Collection[int], atlas: Atlas | None = None
) -> GateRecord:
    """Judge an engine by the golden cases, as it will run: alone and in its own batch.

    Args:
        engine: The engine; one of integers is not judged by the cases that its ranges were taken from.
        golden: The bundle's golden cases.
        tower: he, text, mif, spade, or the name of a student.
        batches: Cases at once; the cases are repeated to fill a batch.
        atlas: The evidence, or None.
    """
    precision = engine.device.precision
    rows = GATED if is_quantised(precision) else slice(None)
    inputs = {name: array[rows] for name, array in golden.inputs(tower).items()}
    want = golden.vectors(tower)[rows]
    records = []
    for batch in sorted(set(batches)):
        got = run_golden(engine, inputs, batch)
        record = judge(golden.directions(tower, got), golden.directions(tower, want), precision=precision, atlas=atlas)
        records.append(judge_shares(record, golden.shares(tower, got), golden.shares(tower, want)))
    return next(
        (record for record in records if not record.passed), min(records, key=lambda record: record.least_cosine)
    )


def judge_shares(record: GateRecord, got: NDArray[np.float32], want: NDArray[np.float32]) -> GateRecord:
    """What was found of an engine, refused where its experts weigh something else.

    Args:
        record: What its vectors say.
        got: (n, e) float32 weights of the experts by the engine.
        want: (n, e) float32 weights of the fp32 reference; e is 0 for a tower without experts.
    """
    moved = float(np.abs(got.astype(np.float64) - want).sum(axis=1).mean()) / 2
    if moved <= MOST_SHARE:
        return record
    problem = "its experts' weights are not numbers"
    if np.isfinite(moved):
        problem = f"{100 * moved:.0f} % of a tile's weight goes to other experts (at most {100 * MOST_SHARE:.0f} %)"
    return replace(record, passed=False, equals_fp32=False, reason=f"{problem}; {record.reason}")


def measure_change(atlas: Atlas, got: NDArray[np.float32], want: NDArray[np.float32]) -> Change:
    """What changes in the evidence and in a slide's values where vectors `got` stand for `want`, both (n, d)."""
    found = [retrieve(atlas, vectors, None, text_weight=0.0, neighbours=NEIGHBOURS) for vectors in (want, got)]
    same = [len(np.intersect1d(a, b)) / len(a) for a, b in zip(found[0].ids, found[1].ids, strict=True)]
    values = [infer_expression(atlas, each).value for each in found]
    both = np.isfinite(values[0]) & np.isfinite(values[1])
    means = [np.where(both, value, 0.0).sum(axis=0) / np.maximum(both.sum(axis=0), 1) for value in values]
    return Change(overlap=float(np.mean(same)), shift=float(np.abs(means[1] - means[0]).max(initial=0.0)))


def _verdict(least: float, change: Change | None, atlas: Atlas | None) -> tuple[bool, str]:
    """Whether it passed, and the figures in words."""
    cosine = f"least cosine {least:.6f}"
    if change is None or atlas is None:
        return least >= LEAST_COSINE, f"{cosine} to fp32 (at least {LEAST_COSINE:g} is asked for)"
    passed = change.overlap >= LEAST_OVERLAP and change.shift <= MOST_SHIFT and least >= FLOOR_COSINE
    things, values = ("spots", "genes") if atlas.measure == "gene" else ("patches", "biomarkers")
    return passed, (
        f"{100 * change.overlap:.0f} % of the {NEIGHBOURS} nearest {things} stay "
        f"(at least {100 * LEAST_OVERLAP:.0f} %), {values} move by at most {change.shift:.3f} standard deviations "
        f"(at most {MOST_SHIFT:g}); {cosine}"
    )


def _not_unit_vectors(got: NDArray[np.float32]) -> str:
    """Why an engine's output can't be searched with; empty where it can."""
    if not np.isfinite(got).all():
        return "its vectors are not numbers"
    off = float(np.abs(np.linalg.norm(got.astype(np.float64), axis=1) - 1).max())
    return f"its vectors are not of length 1 (by {off:.1e})" if off > NORM_TOLERANCE else ""


def _slices(inputs: dict[str, NDArray[Any]], size: int) -> Iterator[dict[str, NDArray[Any]]]:
    count = len(next(iter(inputs.values())))
    for start in range(0, count, size):
        yield {name: array[start : start + size] for name, array in inputs.items()}
