"""Make the embedded SPADE bundle: simulate spots, train experts and baselines, export, measure, write the card.

Run it with `python -m haiku_edge.export.embedded_spade --host engines/embedded --out engines/embedded_spade --seed 7`;
the H&E tower of the host, the embedded bundle of Haiku, is the image encoder.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from haiku_edge.runtime.bundle import Bundle, Description, open_bundle
from haiku_edge.runtime.engine.fingerprint import cpu_threads

from .bundle import write_bundle
from .checkpoint.spade import SpadeCheckpoint, read_spade
from .evaluation.sections import Section
from .evaluation.spade import (
    FOLDS,
    ONE_EXPERT,
    RANDOM_CLUSTERS,
    SPADE,
    Search,
    SlideResult,
    SpotCohort,
    pool_cohorts,
    score_slide_survival,
    score_slides,
    spade_section,
)
from .spade.export import About, SpadeExportOptions, export_spade
from .spade.represent import represent_spots
from .spade.stage import SpadeOptions, train_spade
from .spade_card import write_spade_card
from .spatial.features import Encoder, engine_encoder
from .spatial.from_simulator import QUICK_SPOT_SPLIT, SpotPart, SpotSplit, simulate_spots
from .synthetic import MPP
from .work_folder import clocked_lines

STATEMENT: Final = (
    "Synthetic: experts, spots and calibration come from simulated tissue and simulated patients, so the numbers show "
    "how the method works and say nothing about real tissue. For research use only."
)
CARD_FILE = "MODEL_CARD.md"

UNTAUGHT: Final = ("atlas", "calibration", "test")
"""Parts whose patients no expert learned from. Slide heads are cross-validated over all of them."""

RISK_HEADS: Final = ("abmil", "abmil-hazards", "ridge")
"""How patients are ranked: by the Cox likelihood, by hazards, and by the linear reference."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SpadePlan:
    """How large a bundle is made.

    Attributes:
        split: Patients and spots.
        training: Of the experts.
        atlas_spots: Spots of a section that become evidence.
        calibration_spots: Spots of a section that calibrate.
        label: What few-shot probes and slide heads tell apart; None, for neither, where there are too few patients.
        folds: Outer folds of the slide heads.
    """

    split: SpotSplit = field(default_factory=SpotSplit)
    training: SpadeOptions = field(
        default_factory=lambda: SpadeOptions(experts="elbow", per_organ=16, least_spots=500, counts="log")
    )
    atlas_spots: int = 6
    calibration_spots: int = 8
    label: str | None = "diagnosis"
    folds: int = FOLDS


QUICK = SpadePlan(
    QUICK_SPOT_SPLIT,
    SpadeOptions(experts=2, per_organ=2, least_spots=2, epochs=2, batch=16, counts="log"),
    atlas_spots=8,
    calibration_spots=8,
    label=None,
)
"""A bundle in a minute: valid, working, and of no quality."""


def make_spade_bundle(
    host: Path, out: Path, seed: int, plan: SpadePlan, work: Path, say: Say = lambda _: None
) -> Section:
    """Make the bundle.

    Args:
        host: Bundle whose H&E tower is the image encoder.
        out: The bundle's folder.
        seed: Of patients, tissue, spots and training: the host's, so that its patients are known to be others.
        plan: How large.
        work: Folder for spots, features and trainings; what is finished there is not made again.
        say: Called with one line a stage.

    Returns:
        The evaluation on the held-out patients, as it stands in the card.
    """
    bundle = open_bundle(host)
    encoder = engine_encoder(bundle, MPP, device="cpu")
    parts = _simulate(plan.split, seed, work / "spots", say)
    runs = {name: _train(parts["train"], encoder, plan, seed, work, name, say) for name in _variants(plan.training)}
    checkpoints = {name: read_spade(run) for name, run in runs.items()}
    cohorts = {name: _represent(parts[name], encoder, checkpoints, work / "features") for name in UNTAUGHT}
    say("measuring on the held-out patients")
    slides = _slide_heads(pool_cohorts(list(cohorts.values())), plan, say)
    atlas, calibration = parts["atlas"].dataset, parts["calibration"].dataset
    options = SpadeExportOptions(
        atlas.path,
        calibration.path,
        genes=len(atlas.genes),
        storage="fp16",
        spots=plan.atlas_spots,
        cases=plan.calibration_spots,
        seed=seed,
        force=True,
    )
    draft = work / "draft"
    exported = export_spade(runs[SPADE], host, draft, options, about=About(STATEMENT, synthetic=True))
    spade = exported.manifest.need_spade()
    section = spade_section(cohorts["test"], plan.label, search=Search(neighbours=spade.neighbours), slides=slides)
    figures = {"cohort": {"seed": seed}, "evaluation": dict(section.metrics), "search": _plain(exported.search)}
    _write(draft, out, figures, section, plan, seed)
    return section


def _variants(training: SpadeOptions) -> dict[str, SpadeOptions]:
    """The mixture, and what it is compared with."""
    return {
        SPADE: training,
        ONE_EXPERT: replace(training, experts=1),
        RANDOM_CLUSTERS: replace(training, shuffled=True),
    }


def _simulate(split: SpotSplit, seed: int, cache: Path, say: Say) -> dict[str, SpotPart]:
    parts = {}
    for name in ("train", "atlas", "calibration", "test"):
        parts[name] = simulate_spots(name, split, seed, cache)
        say(f"simulated {sum(own.spots for own in parts[name].dataset.sections):,} spots: {name}")
    return parts


def _train(part: SpotPart, encoder: Encoder, plan: SpadePlan, seed: int, work: Path, name: str, say: Say) -> Path:
    """The checkpoint of one variant; what is finished of the same training is not done again."""
    folder = work / "training" / name.replace(" ", "-")
    options = replace(_variants(plan.training)[name], seed=seed, features=work / "features")
    done = train_spade(part.dataset.path, encoder, folder, options, resume=folder.exists())
    say(f"trained {name}: {len(done.experts)} experts on {done.patients[0]} patients")
    return done.checkpoint


def _represent(
    part: SpotPart, encoder: Encoder, checkpoints: Mapping[str, SpadeCheckpoint], features: Path
) -> SpotCohort:
    """One part's spots by every model, with what could be known of them."""
    return represent_spots(
        part.dataset,
        encoder,
        checkpoints,
        features,
        truth=lambda section: part.read_truth(section).expected_without_facts,
    )


def _slide_heads(cohort: SpotCohort, plan: SpadePlan, say: Say) -> tuple[SlideResult, ...]:
    """Classes and survival of patients, where the plan has enough of them."""
    if plan.label is None:
        return ()
    folds, cores = plan.folds, cpu_threads()
    classes = score_slides(cohort, plan.label, folds=folds, workers=cores, say=say)
    return classes, score_slide_survival(cohort, networks=RISK_HEADS, folds=folds, workers=cores, say=say)


def _plain(search: object) -> dict[str, dict[str, float]]:
    assert isinstance(search, dict)
    return {keys: {str(count): round(score, 4) for count, score in own.items()} for keys, own in search.items()}


def _write(draft: Path, out: Path, figures: dict[str, object], section: Section, plan: SpadePlan, seed: int) -> None:
    """The draft again, with its figures and its card."""
    bundle: Bundle = open_bundle(draft)
    stated = {name: getattr(bundle.manifest, name) for name in Description.model_fields}
    metrics = {**bundle.manifest.metrics, "spade": {**_mapping(bundle.manifest.metrics["spade"]), **figures}}
    description = Description(**stated | {"name": "embedded-spade", "metrics": metrics})
    card = write_spade_card(description, plan.split, section, seed)
    contents = {name: bundle.read(name) for name in bundle.manifest.files} | {CARD_FILE: card.encode()}
    write_bundle(out, description, contents)
    shutil.rmtree(draft)


def _mapping(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", type=Path, required=True, help="bundle whose H&E tower is the image encoder")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--work", type=Path, default=Path("build/embedded_spade"), help="for spots and trainings")
    parser.add_argument("--quick", action="store_true", help="a bundle in a minute, without quality")
    options = parser.parse_args(arguments)
    say = clocked_lines()
    plan = QUICK if options.quick else SpadePlan()
    section = make_spade_bundle(options.host, options.out, options.seed, plan, options.work, say)
    say(f"wrote {options.out}")
    sys.stdout.write("\n" + "\n".join(section.lines) + "\n")


if __name__ == "__main__":
    main()
