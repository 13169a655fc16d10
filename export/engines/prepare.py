"""Prepare this machine for a bundle: build every engine that could run here, judge it, time it, and keep it.

For each kind of device the precisions are tried in order. On a GPU the first that passes its gate is kept and the rest
is left out; on a processor all are built, because only a measurement tells which is fastest here.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from haiku_edge.runtime.atlas import Atlas
from haiku_edge.runtime.bundle import Bundle, HETower
from haiku_edge.runtime.engine import CachedEngine, EngineCache, TowerModel, read_model, tower_digest
from haiku_edge.runtime.engine.cache import Draft
from haiku_edge.runtime.engine.fingerprint import CPU_ENGINES, Fingerprint
from haiku_edge.runtime.engine.machine import Machine, survey_machine
from haiku_edge.runtime.engine.model import TowerFiles, judges, towers_of
from haiku_edge.runtime.engine.open import device_memory, keep_compiled, open_engine
from haiku_edge.runtime.engine.timing_cache import TimingCache
from haiku_edge.runtime.errors import BundleContentError, DeviceError, EngineCacheError
from haiku_edge.runtime.inference.batching import batching
from haiku_edge.runtime.inference.gate import JudgingAtlases, judge_engine
from haiku_edge.runtime.inference.golden import GoldenCases
from haiku_edge.runtime.inference.progress import Progress, Silent

from .candidate import Build, Candidate
from .candidates import candidates
from .plans import PlanMaker
from .regimes import section_ranges
from .trial import Timing, rehearse, time_engine


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
    towers: Sequence[str] = (),
    engines: Sequence[str] = (),
    precisions: Sequence[str] = (),
    threads: int | None = None,
    rebuild: bool = False,
    stripped: bool = False,
    progress: Progress | None = None,
) -> Iterator[Prepared]:
    """Build, judge, time and keep the engines of a bundle's towers, one after the other.

    Args:
        bundle: The open bundle.
        cache: Where engines are kept; the user's cache by default.
        towers: Which towers; all that the bundle has by default.
        engines: Which engines; all that can run here by default.
        precisions: Which precisions; all by default.
        threads: Threads of a processor's engines; all that this process may use by default.
        rebuild: Build also what is there already.
        stripped: Leave the weights out of TensorRT's plans, and take them from the bundle at each start; where that is
            refused, the plan is built whole, and the note says why.
        progress: Who is told how far it is.

    Yields:
        What came of each candidate, as soon as it is known. What was built stays when a later one fails.

    Raises:
        EngineCacheError: The cache can't be written.
        BundleError: The bundle's parts do not fit.
    """
    machine, cache, progress = survey_machine(), cache or EngineCache(), progress or Silent()
    golden, evidence = GoldenCases(bundle), JudgingAtlases(bundle)
    for tower, section in towers_of(bundle).items():
        if towers and tower not in towers:
            continue
        atlas, settled = evidence.of(tower), set[str]()
        bench = _Bench(bundle, tower, section, machine, cache, golden, atlas, threads or machine.threads, progress)
        plans = PlanMaker(section_ranges(section), stripped, _timings(cache, machine))
        for candidate in candidates(machine, tower, engines, precisions, plans):
            if candidate.settles in settled:
                continue
            prepared = bench.prepare(candidate, rebuild=rebuild)
            if not prepared.problem and candidate.settles:
                settled.add(candidate.settles)
            yield prepared


def _timings(cache: EngineCache, machine: Machine) -> TimingCache | None:
    """What TensorRT learnt on this machine's GPU, where it can run here."""
    return TimingCache(cache, machine, "tensorrt") if "tensorrt" in machine.libraries else None


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
        fingerprint = self.machine.fingerprint(
            candidate.engine,
            tower_digest(self.bundle, self.section),
            candidate.precision,
            candidate.profile,
            judges(self.bundle, candidate.precision),
        )
        entry = None if rebuild else self.cache.find(fingerprint)
        if entry is not None:
            return self._prepared(candidate, entry, known=True)
        self.progress.start(f"{self.tower}: {candidate.engine}, {candidate.precision}")
        try:
            with self.cache.building(fingerprint) as draft:
                entry = draft.commit(self._make(candidate, fingerprint, draft))
        except EngineCacheError:
            raise
        except (DeviceError, BundleContentError) as error:
            # What stood in its place was asked to be made again, and can't be: it is not to be trusted.
            self.cache.remove(fingerprint)
            return Prepared(self.tower, candidate.engine, candidate.precision, None, False, str(error))
        finally:
            self.progress.finish()
        return self._prepared(candidate, entry, known=False)

    def _make(self, candidate: Candidate, fingerprint: Fingerprint, draft: Draft) -> CachedEngine:
        """The engine, in the plainer way where there is one and the other is refused; its note says why."""
        try:
            entry = self._try(candidate, candidate.build, fingerprint, draft)
            why = f"it failed its gate: {entry.gate.reason}"
            if entry.gate.passed or candidate.otherwise is None:
                return entry
        except EngineCacheError:
            raise
        except DeviceError as error:
            if candidate.otherwise is None:
                raise
            why = str(error)
        draft.clear()
        entry = self._try(candidate, candidate.otherwise, fingerprint, draft)
        return replace(entry, note=f"built whole, for without weights: {why}")

    def _try(self, candidate: Candidate, build: Build, fingerprint: Fingerprint, draft: Draft) -> CachedEngine:
        """Build, open, judge, time; of an engine that fails its gate no files are left."""
        began = time.monotonic()
        inputs = self.golden.inputs(self.tower)
        build(self.model(), draft.folder, inputs, self.threads, self.progress)
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
        gate = judge_engine(
            engine, self.golden, self.tower, batches=(1, self._running_batch(candidate)), atlas=self.atlas
        )
        timing = time_engine(engine, inputs, candidate.batch) if gate.passed else Timing(0.0, candidate.batch)
        if not gate.passed:
            draft.clear()
        elif fingerprint.engine == "tensorrt_rtx":
            rehearse(engine, inputs, candidate.batch)
            keep_compiled(engine, draft.folder)
        return CachedEngine(
            fingerprint=fingerprint,
            title=f"{self.bundle.manifest.name} {self.bundle.manifest.version}, {self.tower}",
            built=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            build_seconds=round(seconds, 2),
            gate=gate,
            items_per_second=timing.items_per_second,
            batch=timing.batch,
            memory=device_memory(engine),
        )

    def _running_batch(self, candidate: Candidate) -> int:
        """Items at once where `predict` runs it."""
        if candidate.engine in CPU_ENGINES and isinstance(self.section, HETower):
            return batching(self.bundle, tower=self.section).tiles
        return candidate.batch

    def model(self) -> TowerModel:
        """The tower, read again for each engine: two full-size towers need not fit in memory at once."""
        return read_model(self.bundle, self.section)

    def _prepared(self, candidate: Candidate, entry: CachedEngine, *, known: bool) -> Prepared:
        problem = "" if entry.gate.passed else f"failed its gate: {entry.gate.reason}"
        return Prepared(self.tower, candidate.engine, candidate.precision, entry, known, problem)
