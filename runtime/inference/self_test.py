"""Does this installation compute what the bundle says it should? The bundle's golden cases, run on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..atlas import ExactIndex, open_atlas
from ..bundle import AtlasSection, Bundle, CalibrationSection, HETower, open_bundle
from ..engine import open_tower
from ..engine.model import SPADE, towers_of
from .batching import batching
from .gate import JudgingAtlases, judge_engine
from .golden import GoldenCases
from .head_graph import try_heads
from .heads import read_heads
from .options import PredictOptions

LEAST_OVERLAP = 0.99
AT_ONCE = 4
"""Texts or patches of a batch."""

TITLES = {
    "he": "H&E tower",
    "text": "text tower",
    "mif": "mIF tower",
    SPADE: "mixture of experts",
    "student-vit-s": "student (vit-s)",
    "student-mobile": "student (mobile)",
}
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
    return (
        *_test_towers(bundle, options),
        *_test_evidence(bundle, options),
        *_test_heads(bundle),
    )


def _test_towers(bundle: Bundle, options: PredictOptions) -> Iterator[Check]:
    """The engine that `predict` would take for each tower, through its gate."""
    golden, atlases = GoldenCases(bundle), JudgingAtlases(bundle)
    for tower, section in towers_of(bundle).items():
        device, strict = (options.device, options.strict) if isinstance(section, HETower) else ("cpu", True)
        engine = open_tower(bundle, section, device=device, threads=options.threads, strict=strict)
        batch = batching(bundle, engine.device.kind, section).tiles if isinstance(section, HETower) else AT_ONCE
        gate = judge_engine(engine, golden, tower, batches=(batch,), atlas=atlases.of(tower))
        what = f"{engine.device.provider}, {engine.device.precision}"
        yield Check(TITLES[tower], gate.passed, f"{what}: {gate.reason}, over {gate.cases} golden cases")


def _test_evidence(bundle: Bundle, options: PredictOptions) -> Iterator[Check]:
    """The evidence of each family that the bundle holds."""
    manifest, spade = bundle.manifest, bundle.manifest.spade
    if manifest.he is not None:
        neighbours = options.neighbours or manifest.retrieval.neighbours
        yield _test_index(bundle, "atlas", manifest.atlas, neighbours)
        yield from _test_calibration("calibration", manifest.atlas, manifest.calibration)
    if spade is not None:
        yield _test_index(bundle, "spots", spade.atlas, options.neighbours or spade.neighbours)
        yield from _test_calibration("calibration of genes", spade.atlas, spade.calibration)


def _test_calibration(name: str, atlas: AtlasSection | None, calibration: CalibrationSection | None) -> Iterator[Check]:
    """Say it where predictions will have no intervals."""
    if atlas is not None and calibration is None:
        yield Check(name, passed=True, detail="none: estimates have no intervals, and no tile abstains")


def _test_heads(bundle: Bundle) -> Iterator[Check]:
    heads = read_heads(bundle)
    if heads:
        try_heads(heads, bundle.manifest.embedding_dimension)
        names = ", ".join(head.section.name for head in heads)
        yield Check("trained heads", passed=True, detail=f"{names}: each takes the towers' vectors")


def _test_index(bundle: Bundle, name: str, section: AtlasSection | None, neighbours: int) -> Check:
    if section is None:
        remedy = "`haiku-edge atlas add`" if name == "atlas" else "`haiku-edge export spade --atlas`"
        return Check(name, passed=True, detail=f"none: without one ({remedy}) nothing is predicted")
    if section.index.kind == "exact":
        open_atlas(bundle, section)
        return Check(f"{name} index", passed=True, detail="exact search")
    atlas = open_atlas(bundle, section, index="hnsw")
    queries = atlas.vectors[:: max(1, len(atlas.vectors) // _QUERIES)]
    exact = ExactIndex(atlas.vectors).search(queries, neighbours).ids
    found = atlas.index.search(queries, neighbours).ids
    overlap = float(np.mean([len(np.intersect1d(a, b)) / len(a) for a, b in zip(exact, found, strict=True)]))
    detail = f"{100 * overlap:.1f} % of the exact {neighbours} nearest found over {len(queries)} queries"
    return Check(f"{name} index", overlap >= LEAST_OVERLAP, detail)
