"""Give the embedded bundle a student: learned from its training patients, measured on its test patients.

Run it with `python -m haiku_edge.export.distill.embedded --out BUNDLE`.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.bundle import Bundle, open_bundle

from ..cohort import simulate_part
from ..evaluation.evaluate import read_cohort
from ..model import KINDS, Kind
from ..training.loop import Progress
from .run import Distilled, Options, distill
from .sources import Expression, Group, Images


def simulated_groups(bundle: Bundle, part: str, cache: Path) -> tuple[Group, ...]:
    """The sections of one part of the patients that an embedded bundle was made of: train, calibration or test.

    Raises:
        BundleContentError: The bundle does not say how its patients were simulated, or another simulator made them.
    """
    split, seed = read_cohort(bundle)
    simulated = simulate_part(part, split, seed, cache)
    pairs = zip(simulated.patients, simulated.files, strict=True)
    return tuple(
        Group(patient.identifier, patient.section, _key(file), _Tiles(file), _Measured(file)) for patient, file in pairs
    )


def distill_embedded(out: Path, work: Path, cache: Path, options: Options, *, resume: bool, force: bool) -> Distilled:
    """Distil the embedded bundle's H&E tower.

    Args:
        out: The new bundle.
        work: Folder for vectors, views and the training's state.
        cache: Folder of simulated sections.
        options: How.
        resume: Go on with the training in `work`.
        force: Replace an older bundle in `out`.
    """
    bundle = open_bundle()
    parts = {name: simulated_groups(bundle, name, cache) for name in ("train", "test", "calibration")}
    return distill(
        bundle,
        parts["train"] + parts["test"],
        out,
        work,
        options,
        measured=frozenset(group.patient for group in parts["test"]),
        calibration=parts["calibration"],
        report=_report,
        say=_say,
        resume=resume,
        force=force,
    )


@dataclass(frozen=True, slots=True)
class _Tiles:
    """Reads the tiles of a simulated section."""

    file: Path

    def __call__(self) -> Images:
        return _array(self.file, "he").astype(np.uint8, copy=False)


@dataclass(frozen=True, slots=True)
class _Measured:
    """Reads what was measured on them."""

    file: Path

    def __call__(self) -> Expression:
        return _array(self.file, "expression").astype(np.float32, copy=False)


def _array(file: Path, name: str) -> NDArray[Any]:
    with np.load(file, allow_pickle=False) as stored:
        found: NDArray[Any] = stored[name]
    return found


def _key(file: Path) -> str:
    """The folder's name says which simulator, cohort and size."""
    return hashlib.sha256(f"{file.parent.name}/{file.name}".encode()).hexdigest()[:32]


def _report(progress: Progress) -> None:
    _say(f"step {progress.step:,} of {progress.steps:,}: loss {progress.loss:.4f}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the new bundle")
    parser.add_argument("--kind", choices=KINDS, default="mobile")
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--views", type=int, default=4, help="views of each tile that the teacher is asked about")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--work", type=Path, default=Path("build/distill"), help="folder for vectors and views")
    parser.add_argument("--cache", type=Path, default=Path("build/embedded/cohort"), help="simulated sections")
    parser.add_argument("--resume", action="store_true", help="go on with the training that --work holds")
    parser.add_argument("--force", action="store_true", help="replace an older bundle")
    given = parser.parse_args(arguments)
    options = Options(cast(Kind, given.kind), "embedded", steps=given.steps, views=given.views, seed=given.seed)
    done = distill_embedded(given.out, given.work, given.cache, options, resume=given.resume, force=given.force)
    _say(done.student.agreement.model_dump_json(indent=1))


if __name__ == "__main__":
    main()
