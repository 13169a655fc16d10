"""Prepare this machine for a bundle: build every engine that could run here, judge it, time it, and keep it.

For each kind of device the precisions are tried in order. On a GPU the first that passes its gate is kept and the rest
is left out; on a processor all are built, because only a measurement tells which is fastest here.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from haiku_edge.runtime.atlas import Atlas, open_atlas
from haiku_edge.runtime.bundle import Bundle
from haiku_edge.runtime.engine import CachedEngine, EngineCache, TowerModel, read_model
from haiku_edge.runtime.engine.cache import Draft
from haiku_edge.runtime.engine.fingerprint import Fingerprint
from haiku_edge.runtime.engine.machine import Machine, survey_machine
from haiku_edge.runtime.engine.model import TowerFiles, towers_of
from haiku_edge.runtime.engine.open import device_memory, keep_compiled, open_engine
from haiku_edge.runtime.errors import BundleContentError, DeviceError
from haiku_edge.runtime.inference.batching import tower_bytes
from haiku_edge.runtime.inference.golden import GoldenCases
from haiku_edge.runtime.inference.progress import Progress, Silent

from .candidates import Candidate, candidates
from .trial import Timing, judge_engine, time_engine

TOWERS = ("he", "text", "mif")
LAVISH_LIMIT = 300 << 20
"""Bytes of a tower beyond which an engine that takes many times its memory to build is built only if asked for."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What came of one candidate.

    Attributes:
        tower: he, text or mif.
        engine: Which engine.
        precision: What it computes in, with the recipe.
        entry: The engine in the cache; None where it was not built.
        known: True where it was in the cache already.
        problem: Why it can't be used; empty where it can.
    """

    tower: str
    engine: str
    precision: str
    entry: CachedEngine | None
    known: bool
    problem: str


def prepare(
    bundle: Bundle,
    *,
    cache: EngineCache | None = None,
    towers: Sequence[str] = TOWERS,
    engines: Sequence[str] = (),
    precisions: Sequence[str] = (),
    threads: int | None = None,
    rebuild: bool = False,
    progress: Progress | None = None,
) -> Iterator[Prepared]:
    """Build, judge, time and keep the engines of a bundle's towers, one after the other.

    Args:
        bundle: The open bundle.
        cache: Where engines are kept; the user's cache by default.
        towers: Which towers.
        engines: Which engines; all that can run here by default.
        precisions: Which precisions; all by default.
        threads: Threads of a processor's engines; all that this process may use by default.
        rebuild: Build also what is there already.
        progress: Who is told how far it is.

    Yields:
        What came of each candidate, as soon as it is known. What was built stays when a later one fails.

    Raises:
        EngineCacheError: The cache can't be written.
        BundleError: The bundle's parts do not fit.
    """
    machine, cache, progress = survey_machine(), cache or EngineCache(), progress or Silent()
    golden = GoldenCases(bundle)
    atlas = None if bundle.manifest.atlas is None else open_atlas(bundle)
    for tower, section in towers_of(bundle).items():
        if tower not in towers:
            continue
        bench = _Bench(bundle, tower, section, machine, cache, golden, atlas, threads or machine.threads, progress)
        settled: set[str] = set()
        too_large = tower_bytes(bundle, section) > LAVISH_LIMIT
        for candidate in candidates(machine, tower, engines, precisions):
            if candidate.settles in settled or (candidate.lavish and too_large and not precisions):
                continue
            prepared = bench.prepare(candidate, rebuild=rebuild)
            if not prepared.problem and candidate.settles:
                settled.add(candidate.settles)
            yield prepared


@dataclass(frozen=True, slots=True)
class _Bench:
    """Where one tower's engines are made."""

    bundle: Bundle
    tower: str
    section: TowerFiles
    machine: Machine
    cache: EngineCache
    golden: GoldenCases
    atlas: Atlas | None
    threads: int
    progress: Progress

    def prepare(self, candidate: Candidate, *, rebuild: bool) -> Prepared:
        """Take a candidate from the cache, or make it."""
        digest = self.model().digest
        fingerprint = self.machine.fingerprint(candidate.engine, digest, candidate.precision, candidate.profile)
        entry = None if rebuild else self.cache.find(fingerprint)
        if entry is not None:
            return self._prepared(candidate, entry, known=True)
        self.progress.start(f"{self.tower}: {candidate.engine}, {candidate.precision}")
        try:
            with self.cache.building(fingerprint) as draft:
                entry = self._make(candidate, fingerprint, draft)
        except (DeviceError, BundleContentError) as error:
            return Prepared(self.tower, candidate.engine, candidate.precision, None, False, str(error))
        finally:
            self.progress.finish()
        return self._prepared(candidate, entry, known=False)

    def _make(self, candidate: Candidate, fingerprint: Fingerprint, draft: Draft) -> CachedEngine:
        """Build, open, judge, time, keep; an engine that fails its gate is remembered without its files."""
        began = time.monotonic()
        inputs = self.golden.inputs(self.tower)
        candidate.build(self.model(), draft.folder, inputs, self.threads, self.progress)
        seconds = time.monotonic() - began
        engine = open_engine(
            fingerprint,
            draft,
            self.model,
            requested="auto",
            threads=self.threads,
            batch=candidate.batch,
            reason="on trial",
        )
        gate = judge_engine(engine, self.golden, self.tower, candidate.precision, self.atlas)
        timing = time_engine(engine, inputs, candidate.batch) if gate.passed else Timing(0.0, candidate.batch)
        if gate.passed:
            keep_compiled(engine, draft.folder)
        else:
            draft.clear()
        return draft.commit(
            CachedEngine(
                fingerprint=fingerprint,
                title=f"{self.bundle.manifest.name} {self.bundle.manifest.version}, {self.tower}",
                built=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                build_seconds=round(seconds, 2),
                gate=gate,
                items_per_second=timing.items_per_second,
                batch=timing.batch,
                memory=device_memory(engine),
            )
        )

    def model(self) -> TowerModel:
        """The tower, read again for each engine: two full-size towers need not fit in memory at once."""
        return read_model(self.bundle, self.section)

    def _prepared(self, candidate: Candidate, entry: CachedEngine, *, known: bool) -> Prepared:
        problem = "" if entry.gate.passed else f"failed its gate: {entry.gate.reason}"
        return Prepared(self.tower, candidate.engine, candidate.precision, entry, known, problem)
