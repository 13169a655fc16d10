"""Judge the engines of the cache again: has a driver, a library or a disk changed what they compute?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from haiku_edge.runtime.atlas import Atlas
from haiku_edge.runtime.bundle import Bundle
from haiku_edge.runtime.engine import CachedEngine, EngineCache, GateRecord, TowerModel, read_model, tower_digest
from haiku_edge.runtime.engine.fingerprint import cpu_threads
from haiku_edge.runtime.engine.machine import survey_machine
from haiku_edge.runtime.engine.model import judges, towers_of
from haiku_edge.runtime.engine.open import open_engine
from haiku_edge.runtime.errors import BundleContentError, DeviceError
from haiku_edge.runtime.inference.gate import JudgingAtlases, judge_engine
from haiku_edge.runtime.inference.golden import GoldenCases


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of judging an engine again.

    Attributes:
        entry: The engine, as the cache has it.
        gate: What its gate says now; None where it could not be opened.
        problem: Why it may not run; empty where it may.
    """

    entry: CachedEngine
    gate: GateRecord | None
    problem: str


def verify_engines(bundle: Bundle, cache: EngineCache | None = None, threads: int | None = None) -> Iterator[Verified]:
    """Judge every engine of a bundle's towers that the cache holds.

    Args:
        bundle: The open bundle.
        cache: Where engines are kept; the user's cache by default.
        threads: Threads of a processor's engines; all that this process may use by default.

    Yields:
        One engine after the other. One that is not for this machine is named, and not opened; one that may not run any
        more is taken out of the cache.
    """
    machine, cache = survey_machine(), cache or EngineCache()
    golden = GoldenCases(bundle)
    evidence = JudgingAtlases(bundle)
    for tower, section in towers_of(bundle).items():
        digest = tower_digest(bundle, section)
        for entry in (entry for entry in cache.entries() if entry.fingerprint.tower == digest and entry.gate.passed):
            differences = machine.differences(entry.fingerprint, judges(bundle, entry.fingerprint.precision))
            if differences:
                yield Verified(entry, None, f"built for {'; '.join(differences)}: run `haiku-edge engines rebuild`")
                continue
            verified = _judge_again(
                entry, cache, partial(read_model, bundle, section), golden, tower, evidence.of(tower), threads
            )
            if verified.problem:
                cache.remove(entry.fingerprint)
            yield verified


def _judge_again(
    entry: CachedEngine,
    cache: EngineCache,
    model: Callable[[], TowerModel],
    golden: GoldenCases,
    tower: str,
    atlas: Atlas | None,
    threads: int | None,
) -> Verified:
    try:
        engine = open_engine(
            entry.fingerprint,
            cache.files(entry),
            model,
            requested="auto",
            threads=threads or cpu_threads(),
            batch=entry.batch,
            reason="verified",
        )
        gate = judge_engine(engine, golden, tower, batches=(1, entry.batch), atlas=atlas)
    except (DeviceError, BundleContentError) as error:
        return Verified(entry, None, str(error))
    return Verified(entry, gate, "" if gate.passed else f"failed its gate: {gate.reason}")
