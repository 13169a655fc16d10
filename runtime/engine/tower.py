"""The engine of one of a bundle's towers: the best of the cache that may run here, or the plain one."""

from __future__ import annotations

from dataclasses import dataclass

from ..bundle import Bundle
from ..errors import BundleContentError, DeviceError, EngineCacheError, EngineStaleError
from .cache import EngineCache
from .choose import DeviceReport, kinds_to_try
from .entry import EQUAL_COSINE, CachedEngine
from .fingerprint import cpu_threads, is_quantised
from .machine import ENGINES_OF, Machine, kind_of, survey_machine
from .model import TowerFiles, judges, read_model, tower_digest
from .open import open_engine, plain_engine
from .types import Engine

_BUILD = "`haiku-edge engines build` makes one"
_REBUILD = "`haiku-edge engines rebuild` makes it again"


@dataclass(frozen=True, slots=True)
class Wish:
    """What an engine is wanted for.

    Attributes:
        device: auto, tensorrt, cuda or cpu.
        threads: Threads to compute with on a processor.
        strict: Allow only engines that equal fp32.
        kept: The vectors are kept.
    """

    device: str
    threads: int
    strict: bool
    kept: bool


def open_tower(
    bundle: Bundle,
    tower: TowerFiles,
    *,
    device: str = "auto",
    threads: int | None = None,
    strict: bool = False,
    kept: bool = False,
    cache: EngineCache | None = None,
) -> Engine:
    """Open the best engine of a tower that was built and judged on this machine; nothing is built here.

    Without one, the tower runs as it is in the bundle, in ONNX Runtime on the processor.

    Args:
        bundle: The open bundle.
        tower: One of its manifest's towers.
        device: auto, tensorrt, cuda or cpu. `auto` steps down and says why.
        threads: Threads to compute with; None takes all cores that this process may use.
        strict: Allow only engines that equal fp32 but for rounding.
        kept: The vectors are kept, in an atlas or a cohort: allow only engines whose least cosine to fp32 is 0.99999.
        cache: Where engines are kept; the user's cache by default.

    Raises:
        UsageError: `device` is none of these.
        DeviceUnavailableError: The device asked for by name is not there.
        EngineStaleError: It is there, but no engine is built for it.
        DeviceMemoryError: It is there, but its memory is too small.
        EngineCacheError: The engine in the cache was altered.
        BundleError: The tower's files are not usable.
    """
    wish = Wish(device, threads or cpu_threads(), strict, kept)
    machine = survey_machine()
    shelf = Shelf.of(bundle, tower, machine, cache, wish)
    passed_over: list[str] = []
    for report in kinds_to_try(device, machine):
        try:
            if not report.usable:
                raise EngineStaleError(report.reason)
            return _open_kind(report, bundle, tower, wish, shelf, passed_over)
        except DeviceError as error:
            if device != "auto":
                raise
            passed_over.append(str(error))
    raise AssertionError("a processor is always there")


@dataclass(frozen=True, slots=True)
class Shelf:
    """What the cache holds for one tower on this machine.

    Attributes:
        fitting: Engines that were built for this machine and passed their gate, fastest first.
        unfit: Kind of device → why what is there for it may not run.
        cache: Where they are; None where there can be no cache.
    """

    fitting: tuple[CachedEngine, ...]
    unfit: dict[str, str]
    cache: EngineCache | None

    @classmethod
    def of(cls, bundle: Bundle, tower: TowerFiles, machine: Machine, cache: EngineCache | None, wish: Wish) -> Shelf:
        """Look through the cache; one that can't be trusted counts as empty, and says so."""
        digest = tower_digest(bundle, tower)
        try:
            cache = cache or EngineCache()
            own = [entry for entry in cache.entries() if entry.fingerprint.tower == digest]
        except EngineCacheError as error:
            return cls((), dict.fromkeys(ENGINES_OF, str(error)), cache)
        fitting, unfit = [], {}
        for entry in reversed(own):
            reason = _why_not(entry, machine, wish, judges(bundle, entry.fingerprint.precision))
            if reason:
                unfit[kind_of(entry.fingerprint.engine)] = reason
            else:
                fitting.append(entry)
        return cls(tuple(sorted(fitting, key=lambda entry: -entry.items_per_second)), unfit, cache)

    def best(self, kind: str) -> CachedEngine | None:
        """The fastest for a kind of device."""
        return next((entry for entry in self.fitting if kind_of(entry.fingerprint.engine) == kind), None)


def _open_kind(
    report: DeviceReport, bundle: Bundle, tower: TowerFiles, wish: Wish, shelf: Shelf, passed_over: list[str]
) -> Engine:
    """The best engine for a kind of device, or on a processor the plain one."""
    entry, missing = shelf.best(report.kind), shelf.unfit.get(report.kind, "")
    if report.kind != "cpu":
        if entry is None:
            what = missing or f"no engine of this tower is built for it; {_BUILD}"
            raise EngineStaleError(f"{report.kind} is here ({report.reason}), but {what}.")
        return _open_entry(entry, bundle, tower, wish, shelf, passed_over)
    if entry is not None:
        try:
            return _open_entry(entry, bundle, tower, wish, shelf, passed_over)
        except DeviceError as error:
            missing = str(error)
    reason = _reason(wish, passed_over, *([missing] if missing else []))
    model = read_model(bundle, tower)
    return plain_engine(model.graph, weights=model.weights, threads=wish.threads, requested=wish.device, reason=reason)


def _open_entry(
    entry: CachedEngine, bundle: Bundle, tower: TowerFiles, wish: Wish, shelf: Shelf, passed_over: list[str]
) -> Engine:
    assert shelf.cache is not None
    try:
        return open_engine(
            entry.fingerprint,
            shelf.cache.files(entry),
            lambda: read_model(bundle, tower),
            requested=wish.device,
            threads=wish.threads,
            batch=entry.batch,
            reason=f"{_reason(wish, passed_over)}; gate: {entry.gate.reason}",
        )
    except BundleContentError as error:
        raise EngineCacheError(
            f"The {entry.fingerprint.precision} engine of the cache can't be used: {error}"
        ) from error


def _why_not(entry: CachedEngine, machine: Machine, wish: Wish, judged_by: str) -> str:
    """Why an engine of the cache may not run; empty where it may."""
    precision = entry.fingerprint.precision
    differences = machine.differences(entry.fingerprint, judged_by)
    if differences:
        return f"the engine that is built is for {'; '.join(differences)}; {_REBUILD}"
    if not entry.gate.passed:
        return f"the {precision} engine failed its gate: {entry.gate.reason}"
    if wish.kept and (is_quantised(precision) or entry.gate.least_cosine < EQUAL_COSINE):
        return f"the {precision} engine is not for vectors that are kept ({entry.gate.reason})"
    if wish.strict and not entry.gate.equals_fp32:
        return f"the {precision} engine is not equal to fp32 ({entry.gate.reason})"
    return ""


def _reason(wish: Wish, passed_over: list[str], *more: str) -> str:
    if wish.device != "auto":
        return "; ".join([f"asked for with --device {wish.device}", *more])
    found = dict.fromkeys([*passed_over, *more])
    return "the best that is here" + (": " + "; ".join(found) if found else "")
