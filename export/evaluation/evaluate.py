"""One bundle on its held-out patients: retrieval, biomarkers, intervals."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from haiku_edge.runtime.atlas import open_atlas
from haiku_edge.runtime.bundle import Bundle
from haiku_edge.runtime.engine import open_tower, plain_engine
from haiku_edge.runtime.errors import BundleContentError
from haiku_edge.runtime.notes import Tokenizer

from ..cohort import GALLERIES, PROBE_TOLERANCE, Split, simulate_part, simulator_probe
from ..tower_graphs import TowerGraphs
from .biomarkers import MarkerScore, score_markers
from .coverage import CoverageScore, score_coverage
from .embedded_cohort import EmbeddedCohort
from .expression import BiomarkerResult, pose_problem, score_biomarkers
from .galleries import own_gallery
from .held_out import Engines, HeldOut, embed_part
from .index_agreement import IndexAgreement, compare_indexes
from .labels import tissue_names, usual_labels
from .retrieval import MODALITIES, RetrievalScore, score_retrieval
from .sections import Section, Task
from .simulated_tasks import TASKS

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
        galleries: Inference from the held-out patients' own mIF, under the four galleries; of other regions of them.
        agreement: How search by a graph compares with exact search; empty where hnswlib does not work.
        sections: What other tasks found.
    """

    patients: int
    patches: int
    retrieval: tuple[RetrievalScore, ...]
    markers: tuple[MarkerScore, ...]
    coverage: tuple[CoverageScore, ...]
    stated_coverage: float
    galleries: BiomarkerResult
    agreement: tuple[IndexAgreement, ...] = ()
    sections: tuple[Section, ...] = ()

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
    with hold_out(bundle, cache=cache, processes=processes) as held_out:
        return score_held_out(held_out)


@contextmanager
def hold_out(bundle: Bundle, *, cache: Path | None = None, processes: int = 2) -> Iterator[HeldOut]:
    """Simulate and embed the bundle's held-out patients; see `evaluate_bundle`. Their sections go with the block."""
    split, seed = read_cohort(bundle)
    engines = open_engines(bundle)
    with tempfile.TemporaryDirectory(prefix="haiku-edge-") as folder:
        part, other = (
            simulate_part(name, split, seed, cache or Path(folder), processes) for name in ("test", GALLERIES)
        )
        cohort, galleries = (embed_part(engines, simulated.sections()) for simulated in (part, other))
        yield HeldOut(bundle, split, seed, part, engines, cohort, galleries)


def embed_held_out(bundle: Bundle, *, cache: Path | None = None, processes: int = 2) -> EmbeddedCohort:
    """Simulate the bundle's held-out patients again and embed them; see `evaluate_bundle`."""
    split, seed = read_cohort(bundle)
    with tempfile.TemporaryDirectory(prefix="haiku-edge-") as folder:
        part = simulate_part("test", split, seed, cache or Path(folder), processes)
        return embed_part(open_engines(bundle), part.sections())


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
            "evaluate it on. Only the embedded bundle can be evaluated without data: embed some with `haiku-edge "
            "embed` and run a task on it, such as `haiku-edge evaluate biomarkers COHORT`."
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
    text = manifest.need_text()
    he, mif, reader = (
        open_tower(bundle, tower, device="cpu", strict=True)
        for tower in (manifest.need_he(), manifest.need_mif(), text)
    )
    return Engines(he, mif, reader, Tokenizer.from_bytes(bundle.read(text.tokenizer), text.max_length))


def open_graph_engines(graphs: TowerGraphs, tokenizer: Tokenizer) -> Engines:
    """Open three graphs on the processor."""
    he, mif, text = (plain_engine(graph) for graph in (graphs.he, graphs.mif, graphs.text))
    return Engines(he, mif, text, tokenizer)


def score_held_out(held_out: HeldOut, tasks: Sequence[Task] = TASKS) -> Evaluation:
    """Score held-out patients in everything.

    Args:
        held_out: A bundle and its patients.
        tasks: What to score beyond retrieval, biomarkers and intervals.
    """
    sections = [task(held_out) for task in tasks]
    found = [section for section in sections if section is not None]
    return score_part(held_out.bundle, held_out.cohort, held_out.galleries, found)


def score_part(
    bundle: Bundle, part: EmbeddedCohort, galleries: EmbeddedCohort, sections: Sequence[Section] = ()
) -> Evaluation:
    """Score embedded held-out patients in retrieval, biomarkers and intervals.

    Args:
        bundle: The bundle that embedded them.
        part: A simulated cohort; `expected` is there.
        galleries: Other regions of its patients, for inference under the four galleries.
        sections: What other tasks found.
    """
    atlas, retrieval = open_atlas(bundle), bundle.manifest.retrieval
    he, text = part.vectors["he"], part.vectors["text"]
    expected = part.expected if part.expected is not None else np.full_like(part.expression, np.nan)
    vectors = {name: part.vectors[name] for name in MODALITIES}
    return Evaluation(
        patients=len(np.unique(part.patients)),
        patches=len(part),
        retrieval=score_retrieval(vectors, part.patients, usual_labels(part)),
        markers=score_markers(
            atlas,
            he,
            text,
            part.expression,
            expected,
            part.patients,
            text_weight=retrieval.text_weight,
            neighbours=retrieval.neighbours,
        ),
        coverage=score_coverage(bundle, atlas, he, text, part.expression, part.patients),
        stated_coverage=bundle.manifest.need_calibration().coverage,
        galleries=score_galleries(galleries),
        agreement=compare_indexes(vectors),
        sections=tuple(sections),
    )


def score_galleries(cohort: EmbeddedCohort) -> BiomarkerResult:
    """Infer a cohort from its own mIF patches, in the published setting."""
    return score_biomarkers(pose_problem(cohort, own_gallery(cohort, tissue_names(cohort))))
