"""`haiku-edge engines list`, `build`, `rebuild`, `verify` and `prune`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer

from haiku_edge.export.engines.prepare import Prepared, prepare
from haiku_edge.export.engines.verify import verify_engines
from haiku_edge.runtime.bundle import Bundle, open_bundle
from haiku_edge.runtime.engine import CachedEngine, EngineCache
from haiku_edge.runtime.engine.fingerprint import CPU_ENGINES, GPU_ENGINES
from haiku_edge.runtime.engine.machine import ENGINES_OF, survey_machine
from haiku_edge.runtime.engine.model import towers_of
from haiku_edge.runtime.engine.timing_cache import is_timing_cache
from haiku_edge.runtime.errors import DeviceUnavailableError, EngineGateError, UsageError
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY

from .progress import on_terminal

_PRECISIONS = ("fp32", "fp16", "bf16", "int8", "fp8")
_MEBIBYTE, _GIBIBYTE = 1 << 20, 1 << 30


@dataclass(frozen=True, slots=True)
class Which:
    """What to build; nothing named means all.

    Attributes:
        towers: he, text, mif.
        engines: Names of engines.
        precisions: fp32, fp16, bf16, int8, fp8.
        stripped: Leave the weights of TensorRT's plans to the bundle.
    """

    towers: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    stripped: bool = False

    def check(self, bundle: Bundle) -> None:
        """Refuse what is not known, or not here.

        Raises:
            UsageError: A name is none of those that exist.
            DeviceUnavailableError: None of the engines that are named can run here.
        """
        engines = (*GPU_ENGINES, *CPU_ENGINES)
        known = {"--tower": tuple(towers_of(bundle)), "--engine": engines, "--precision": _PRECISIONS}
        for (option, names), given in zip(known.items(), (self.towers, self.engines, self.precisions), strict=True):
            for name in given:
                if name not in names:
                    raise UsageError(f"{option} {name} is not one of {', '.join(names)}.")
        machine = survey_machine()
        if self.engines and not machine.libraries.keys() & set(self.engines):
            reasons = dict.fromkeys(machine.why_not[name] for name in self.engines)
            raise DeviceUnavailableError(f"{', '.join(self.engines)} can't run here: {'; '.join(reasons)}.")
        if self.stripped and not machine.usable("tensorrt"):
            reasons = dict.fromkeys(machine.why_not[name] for name in ENGINES_OF["tensorrt"])
            raise DeviceUnavailableError(
                f"--stripped is for TensorRT's plans, and none can be built here: {'; '.join(reasons)}. Leave it out."
            )


def run_list(*, as_json: bool) -> None:
    """Print the engines of the cache."""
    cache, machine = EngineCache(), survey_machine()
    every = cache.entries()
    entries = [entry for entry in every if not is_timing_cache(entry)]
    here = {entry.fingerprint.key(): _state(entry, machine.differences(entry.fingerprint)) for entry in entries}
    if as_json:
        rows = [{**asdict(entry), "size": entry.size, "here": here[entry.fingerprint.key()]} for entry in entries]
        timings = [{**asdict(entry), "size": entry.size} for entry in every if is_timing_cache(entry)]
        left_out = [folder.name for folder in cache.unreadable()]
        _print_json({"cache": str(cache.root), "engines": rows, "timings": timings, "unreadable": left_out})
        return
    typer.echo(f"{cache.root}: {len(entries)} engines, {sum(entry.size for entry in every) / _MEBIBYTE:,.0f} MiB.")
    for entry in entries:
        typer.echo(_line(entry))
        typer.echo(f"    {here[entry.fingerprint.key()]}")
    for entry in (entry for entry in every if is_timing_cache(entry)):
        one = entry.fingerprint
        typer.echo(f"{entry.title}: {one.library} on {one.device}, {entry.size / _MEBIBYTE:,.0f} MiB, of {entry.built}")
        typer.echo(f"    {'; '.join(machine.differences(one)) or 'makes the next build here faster'}")
    if unreadable := len(cache.unreadable()):
        typer.echo(
            f"Left out: {unreadable} that can't be read, damaged or of another release. `haiku-edge engines prune` "
            "takes them out, `engines build` builds what is missing."
        )
    typer.echo(RESEARCH_USE_ONLY)


def run_build(bundle: Path | None, which: Which, threads: int | None, *, rebuild: bool, as_json: bool) -> None:
    """Build what can be built here, and say of each engine what came of it.

    Raises:
        EngineGateError: Not one engine of a tower may run, apart from the plain one.
    """
    opened = open_bundle(bundle)
    which.check(opened)
    made: list[Prepared] = []
    with on_terminal() as progress:
        for prepared in prepare(
            opened,
            towers=which.towers,
            engines=which.engines,
            precisions=which.precisions,
            threads=threads,
            rebuild=rebuild,
            stripped=which.stripped,
            progress=progress,
        ):
            made.append(prepared)
            if not as_json:
                typer.echo(_outcome(prepared))
    EngineCache().prune()
    if as_json:
        _print_json({"bundle": opened.digest, "engines": [asdict(each) for each in made]})
    else:
        for line in _fastest(made):
            typer.echo(line)
        typer.echo(RESEARCH_USE_ONLY)
    if not made:
        raise DeviceUnavailableError(
            "Nothing that was asked for can be built on this machine. `haiku-edge doctor` says what is here; name "
            "other engines or precisions, or none."
        )
    if all(each.problem for each in made):
        raise EngineGateError("No engine passed: predictions run on the towers as they are in the bundle.")


def run_verify(bundle: Path | None, threads: int | None, *, as_json: bool) -> None:
    """Judge the kept engines again.

    Raises:
        EngineGateError: One of them may not run any more.
    """
    opened = open_bundle(bundle)
    checked = []
    for verified in verify_engines(opened, threads=threads):
        checked.append(verified)
        if not as_json:
            typer.echo(_line(verified.entry))
            found = verified.problem or (verified.gate.reason if verified.gate is not None else "")
            typer.echo(f"    {'FAILED' if verified.problem else 'ok'}: {found}")
    if as_json:
        _print_json({"bundle": opened.digest, "engines": [asdict(each) for each in checked]})
    else:
        typer.echo(f"{len(checked)} engines of {opened.manifest.name} {opened.manifest.version}. {RESEARCH_USE_ONLY}")
    failed = sum(bool(each.problem) for each in checked)
    if failed:
        raise EngineGateError(
            f"{failed} of {len(checked)} engines may not run; those that failed are taken out. Run `haiku-edge engines "
            "rebuild`; until then others are taken."
        )


def run_prune(limit: float, *, stale: bool) -> None:
    """Take engines out of the cache."""
    cache, machine = EngineCache(), survey_machine()
    removed = cache.prune(
        limit=int(limit * _GIBIBYTE), keep=lambda entry: not (stale and machine.differences(entry.fingerprint))
    )
    stay = sum(not is_timing_cache(entry) for entry in cache.entries())
    typer.echo(f"{cache.root}: {len(removed)} entries taken out, {stay} engines stay. {RESEARCH_USE_ONLY}")


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps({"notice": RESEARCH_USE_ONLY, **document}, indent=2))


def _line(entry: CachedEngine) -> str:
    one = entry.fingerprint
    rate = f"{entry.items_per_second:,.3g}/s" if entry.items_per_second else "not timed"
    return (
        f"{entry.title}: {one.engine} {one.precision}, {rate}, {entry.size / _MEBIBYTE:,.0f} MiB, built {entry.built} "
        f"in {entry.build_seconds:,.1f} s"
    )


def _state(entry: CachedEngine, differences: tuple[str, ...]) -> str:
    if differences:
        return f"does not run here: {'; '.join(differences)}"
    note = f"; {entry.note}" if entry.note else ""
    return f"{'may run' if entry.gate.passed else 'may not run'}: {entry.gate.reason}{note}"


def _outcome(prepared: Prepared) -> str:
    name = f"{prepared.tower}: {prepared.engine} {prepared.precision}"
    entry = prepared.entry
    if prepared.problem or entry is None:
        return f"{name}: not taken: {prepared.problem}"
    was = "was here" if prepared.known else f"built in {entry.build_seconds:,.1f} s"
    note = f"; {entry.note}" if entry.note else ""
    return f"{name}: {was}, {entry.items_per_second:,.3g} a second; {entry.gate.reason}{note}"


def _fastest(made: list[Prepared]) -> Iterator[str]:
    """Which engine `predict` will take for each tower."""
    for tower in dict.fromkeys(each.tower for each in made):
        own = [each.entry for each in made if each.tower == tower and each.entry is not None and not each.problem]
        if own:
            best = max(own, key=lambda entry: entry.items_per_second)
            yield f"Fastest for {tower}: {best.fingerprint.engine} {best.fingerprint.precision}."
