"""One bundle on its held-out patients: retrieval, biomarkers, intervals."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from haiku_edge.runtime.atlas import open_atlas
from haiku_edge.runtime.bundle import Bundle
from haiku_edge.runtime.engine import choose_engine
from haiku_edge.runtime.errors import BundleContentError
from haiku_edge.runtime.notes import Tokenizer

from ..cohort import PROBE_TOLERANCE, Part, Split, simulate_part, simulator_probe
from ..tower_graphs import TowerGraphs
from .biomarkers import MarkerScore, score_markers
from .coverage import CoverageScore, score_coverage
from .held_out import EmbeddedPart, Engines, embed_part
from .retrieval import RetrievalScore, score_retrieval

INFORMATIVE = 0.3
"""A marker is informative where the simulator's own expectation reaches this correlation: the rest is noise to all."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a bundle achieves on patients that it has not seen.

    Attributes:
        patients: Held-out patients.
        patches: Their patches.
        retrieval: One score a direction.
        markers: One score a marker.
        coverage: One score a marker.
        stated_coverage: Coverage that the intervals promise.
    """

    patients: int
    patches: int
    retrieval: tuple[RetrievalScore, ...]
    markers: tuple[MarkerScore, ...]
    coverage: tuple[CoverageScore, ...]
    stated_coverage: float

    @property
    def informative(self) -> tuple[MarkerScore, ...]:
        """Markers whose ceiling reaches `INFORMATIVE`."""
        return tuple(score for score in self.markers if score.ceiling >= INFORMATIVE)

    def mean(self, field: str) -> float:
        """Mean over the informative markers of one correlation, such as with_notes."""
        values = [float(getattr(score, field)) for score in self.informative]
        known = [value for value in values if math.isfinite(value)]
        return float(np.mean(known)) if known else math.nan

    def mean_coverage(self, field: str) -> float:
        """Mean over the markers of one field of the coverage scores."""
        values = [float(getattr(score, field)) for score in self.coverage]
        known = [value for value in values if math.isfinite(value)]
        return float(np.mean(known)) if known else math.nan


def evaluate_bundle(bundle: Bundle, *, cache: Path | None = None, processes: int = 2) -> Evaluation:
    """Simulate the bundle's held-out patients again and put them through it.

    Args:
        bundle: An embedded bundle; its manifest says from which seed and split it was made.
        cache: Folder for simulated sections; None uses one that is deleted afterwards.
        processes: Sections simulated at the same time.

    Raises:
        BundleContentError: The bundle does not say how its patients were simulated, or another simulator made them.
    """
    split, seed = read_cohort(bundle)
    if cache is not None:
        return _evaluate(bundle, simulate_part("test", split, seed, cache, processes))
    with tempfile.TemporaryDirectory(prefix="haiku-edge-") as folder:
        return _evaluate(bundle, simulate_part("test", split, seed, Path(folder), processes))


def read_cohort(bundle: Bundle) -> tuple[Split, int]:
    """Read from the manifest how the patients were split and which seed drew them.

    Raises:
        BundleContentError: It does not say, or says that another simulator drew them.
    """
    cohort: Any = bundle.manifest.metrics.get("cohort")
    try:
        split, seed, probe = Split(**cohort["split"]), int(cohort["seed"]), np.array(cohort["simulator_probe"], float)
    except (TypeError, KeyError, ValueError):
        raise BundleContentError(
            f"The bundle {bundle.manifest.name} does not say how its patients were simulated, so there is nothing to "
            "evaluate it on. Only the embedded bundle can be evaluated without data."
        ) from None
    here = np.array(simulator_probe())
    if probe.shape != here.shape or np.abs(probe - here).max() > PROBE_TOLERANCE:
        raise BundleContentError(
            f"The bundle {bundle.manifest.name} was made with another version of the simulator, whose held-out "
            "patients can't be drawn again. Evaluate it with the release that made it, or make the bundle again."
        )
    return split, seed


def open_engines(bundle: Bundle) -> Engines:
    """Open the three towers on the processor."""
    manifest = bundle.manifest
    if manifest.mif is None:
        raise BundleContentError(f"The bundle {manifest.name} has no mIF tower, which the evaluation needs.")
    graphs = TowerGraphs(*(bundle.read(tower.file) for tower in (manifest.he, manifest.mif, manifest.text)))
    tokenizer = Tokenizer.from_bytes(bundle.read(manifest.text.tokenizer), manifest.text.max_length)
    return open_graph_engines(graphs, tokenizer)


def open_graph_engines(graphs: TowerGraphs, tokenizer: Tokenizer) -> Engines:
    """Open three graphs on the processor."""
    he, mif, text = (choose_engine(graph, device="cpu") for graph in (graphs.he, graphs.mif, graphs.text))
    return Engines(he, mif, text, tokenizer)


def _evaluate(bundle: Bundle, part: Part) -> Evaluation:
    return score_part(bundle, embed_part(open_engines(bundle), part.sections()))


def score_part(bundle: Bundle, part: EmbeddedPart) -> Evaluation:
    """Score embedded held-out patients."""
    atlas, retrieval = open_atlas(bundle), bundle.manifest.retrieval
    return Evaluation(
        patients=len(np.unique(part.patients)),
        patches=len(part.patients),
        retrieval=score_retrieval({"he": part.he, "mif": part.mif, "text": part.text}),
        markers=score_markers(
            atlas,
            part.he,
            part.text,
            part.expression,
            part.expected,
            part.patients,
            text_weight=retrieval.text_weight,
            neighbours=retrieval.neighbours,
        ),
        coverage=score_coverage(bundle, atlas, part.he, part.text, part.expression, part.patients),
        stated_coverage=bundle.manifest.calibration.coverage,
    )
