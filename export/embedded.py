"""Make the embedded bundle from nothing: simulate, split, train, export, atlas, calibration, golden cases, model card.

Run it with `python -m haiku_edge.export.embedded --out engines/embedded --seed 7`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as RawTokenizer

from haiku_edge.runtime.bundle import (
    Description,
    GoldenSection,
    HeadSection,
    HETower,
    KnownPatients,
    MifTower,
    TextTower,
    open_bundle,
)
from haiku_edge.runtime.notes import Tokenizer, metadata_prompt

from .atlas import BuiltAtlas
from .atlas.from_dataset import CALIBRATION_FILE, calibration_section, calibration_table
from .bundle import write_bundle
from .bundle_parts import assemble_atlas, check_towers, golden_cases
from .cohort import GALLERIES, QUICK_SPLIT, Part, Split, simulate_part, simulator_probe
from .evaluation import Evaluation, HeldOut, evaluation_metrics, render_evaluation, score_held_out
from .evaluation.embedded_cohort import EmbeddedCohort
from .evaluation.evaluate import open_graph_engines
from .evaluation.held_out import embed_part, join_cohorts
from .graph import export_towers
from .heads import TrainedHead, embedded_heads
from .model import MifConfig, TextConfig, Towers, TowersConfig, read_towers, save_towers
from .model_card import write_model_card
from .synthetic import MARKERS, MPP
from .tower_graphs import TowerGraphs
from .trained_on import training_part
from .training import Progress, Recipe, Sampling, TrainingSet, prepare_training, train_tokenizer, train_towers
from .work_folder import clocked_lines

STATEMENT = (
    "Synthetic: towers, atlas and calibration come from simulated tissue and simulated patients, so the numbers show "
    "how the method works and say nothing about real tissue. For research use only."
)

GOLDEN_FILE = "golden/cases.npz"
TOKENIZER_FILE = "tokenizer/tokenizer.json"
CARD_FILE = "MODEL_CARD.md"


@dataclass(frozen=True, slots=True)
class Plan:
    """How large a bundle is made.

    Attributes:
        split: Patients and regions.
        recipe: Training.
        config: Sizes of the towers; the numbers of markers and word pieces are filled in.
    """

    split: Split = field(default_factory=Split)
    recipe: Recipe = field(default_factory=Recipe)
    config: TowersConfig = field(default_factory=TowersConfig)


QUICK = Plan(QUICK_SPLIT, Recipe(steps=4, sampling=Sampling(patients=8)))
"""A bundle in less than a minute: valid, working, and of no quality."""

Say = Callable[[str], None]


def make_bundle(
    out: Path,
    seed: int,
    plan: Plan,
    work: Path,
    say: Say = lambda _: None,
    *,
    trained: bool = False,
    resume: bool = False,
) -> Evaluation:
    """Make the embedded bundle.

    Args:
        out: The bundle's folder.
        seed: Seeds patients, tissue, weights and batches.
        plan: How large.
        work: Folder for simulated sections (`cohort`), the state and logs of the training (`training`) and the trained
            towers (`checkpoint`).
        say: Called with one line a stage.
        trained: Take the towers that an earlier run of the same seed and plan left in `work`, instead of training.
        resume: Go on with the training that an earlier run began in `work`.

    Returns:
        The evaluation on the held-out patients, as it stands in the model card.
    """
    parts = _simulate(plan.split, seed, work / "cohort", say)
    data = prepare_training(parts["train"].sections(), plan.config.he, plan.config.mif)
    tokenizer_json = train_tokenizer(vocabulary_texts(data))
    if trained:
        towers = read_towers(work / "checkpoint")
    else:
        towers = _train(data, tokenizer_json, plan, seed, say, work / "training", resume)
        save_towers(towers, work / "checkpoint")
    graphs = export_towers(towers.for_inference())
    engines = open_graph_engines(graphs, _tokenizer(tokenizer_json, towers.config))
    say("exported the towers; embedding atlas, calibration and test patients")
    embedded = {
        name: embed_part(engines, parts[name].sections()) for name in ("atlas", "calibration", "test", GALLERIES)
    }
    heads = embedded_heads(join_cohorts([embedded["atlas"], embedded["calibration"]]), seed, say)
    contents, description = _assemble(towers, graphs, tokenizer_json, parts, embedded, heads, seed, plan)
    draft = work / "draft"
    write_bundle(draft, description, contents)
    say("measuring the draft on the held-out patients")
    held_out = HeldOut(
        open_bundle(draft), plan.split, seed, parts["test"], engines, embedded["test"], embedded[GALLERIES]
    )
    evaluation = score_held_out(held_out)
    metrics = {**description.metrics, "evaluation": evaluation_metrics(evaluation)}
    final = description.model_copy(update={"metrics": metrics})
    card = write_model_card(final, plan.split, plan.recipe, towers, evaluation, seed)
    write_bundle(out, final, {**contents, CARD_FILE: card.encode()})
    return evaluation


def vocabulary_texts(data: TrainingSet) -> list[str]:
    """Every prompt and narrative of the training patients: what the tokenizer learns from."""
    prompts = [metadata_prompt(tuple(facts.items())) for facts in data.facts]
    bare = [metadata_prompt(())]
    return [*prompts, *bare, *(text for text in data.narratives if text)]


def _simulate(split: Split, seed: int, cache: Path, say: Say) -> dict[str, Part]:
    """Render every part of the split."""
    parts = {}
    for name in ("train", "atlas", "calibration", "test", GALLERIES):
        parts[name] = simulate_part(name, split, seed, cache)
        say(f"simulated {len(parts[name].patients)} regions: {name}")
    return parts


def _train(
    data: TrainingSet, tokenizer_json: bytes, plan: Plan, seed: int, say: Say, folder: Path, resume: bool
) -> Towers:
    """Fill in the sizes that the data sets, and train."""
    pieces = RawTokenizer.from_buffer(tokenizer_json).get_vocab_size()
    config = replace(
        plan.config,
        mif=replace(plan.config.mif, markers=len(MARKERS)),
        text=replace(_text(plan.config), vocabulary=pieces),
    )
    say(f"training on {len(data.owners)} patches for {plan.recipe.steps} steps")

    def report(progress: Progress) -> None:
        say(f"step {progress.step} of {progress.steps}, loss {progress.loss:.3f}")

    tokenizer = _tokenizer(tokenizer_json, config)
    return train_towers(data, config, tokenizer, plan.recipe, seed, report, folder=folder, resume=resume)


def _tokenizer(tokenizer_json: bytes, config: TowersConfig) -> Tokenizer:
    return Tokenizer.from_bytes(tokenizer_json, _text(config).length)


def _text(config: TowersConfig) -> TextConfig:
    """The text tower's sizes: the embedded model has one."""
    if config.text is None:
        raise ValueError("The embedded model has a text tower; the plan gives it none.")
    return config.text


def _assemble(
    towers: Towers,
    graphs: TowerGraphs,
    tokenizer_json: bytes,
    parts: dict[str, Part],
    embedded: dict[str, EmbeddedCohort],
    heads: Sequence[TrainedHead],
    seed: int,
    plan: Plan,
) -> tuple[dict[str, bytes], Description]:
    """Every file of the bundle but the model card, and the manifest without the evaluation."""
    tokenizer = _tokenizer(tokenizer_json, towers.config)
    golden, parity = check_towers(towers.for_inference(), graphs, golden_cases(tokenizer, parts["test"]))
    atlas = assemble_atlas(parts["atlas"], embedded["atlas"])
    calibration = embedded["calibration"]
    contents = {
        "towers/he.onnx": graphs.he,
        "towers/mif.onnx": graphs.mif,
        "towers/text.onnx": graphs.text,
        TOKENIZER_FILE: tokenizer_json,
        CALIBRATION_FILE: calibration_table(calibration),
        GOLDEN_FILE: golden,
        CARD_FILE: b"",
        **atlas.contents,
        **{path: content for head in heads for path, content in head.contents.items()},
    }
    training, digests = training_part(KnownPatients.of_names(one.identifier for one in parts["train"].patients))
    contents.update(digests)
    metrics: dict[str, Any] = {
        "cohort": {"seed": seed, "split": asdict(plan.split), "simulator_probe": simulator_probe()},
        "training": {"steps": plan.recipe.steps, "narrative_share": plan.recipe.sampling.narrative_share},
        "largest_difference_to_torch": {name: float(f"{value:.1e}") for name, value in parity.items()},
    }
    description = _describe(towers, atlas, calibration, tuple(head.section for head in heads), metrics)
    return contents, description.model_copy(update={"training": training})


def _describe(
    towers: Towers,
    atlas: BuiltAtlas,
    calibration: EmbeddedCohort,
    heads: tuple[HeadSection, ...],
    metrics: dict[str, Any],
) -> Description:
    """The manifest."""
    mif: MifConfig = towers.config.mif
    release = version("haiku-edge")
    return Description(
        name="embedded",
        version=release,
        synthetic=True,
        statement=STATEMENT,
        created_by=f"haiku-edge {release}",
        embedding_dimension=towers.config.dimension,
        he=HETower(file="towers/he.onnx", tile_size=towers.config.he.tile, mpp=MPP),
        text=TextTower(file="towers/text.onnx", tokenizer=TOKENIZER_FILE, max_length=_text(towers.config).length),
        mif=MifTower(file="towers/mif.onnx", patch_size=mif.patch, mpp=MPP, markers=MARKERS),
        atlas=atlas.section,
        calibration=calibration_section(calibration),
        golden=GoldenSection(file=GOLDEN_FILE),
        heads=heads,
        metrics=metrics,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--work", type=Path, default=Path("build/embedded"), help="folder for sections and checkpoint")
    parser.add_argument("--quick", action="store_true", help="a bundle in less than a minute, without quality")
    parser.add_argument("--trained", action="store_true", help="take the towers that an earlier run left in --work")
    parser.add_argument("--resume", action="store_true", help="go on with the training that --work holds")
    options = parser.parse_args(arguments)
    say = clocked_lines()
    plan = QUICK if options.quick else Plan()
    evaluation = make_bundle(
        options.out, options.seed, plan, options.work, say, trained=options.trained, resume=options.resume
    )
    say(f"wrote {options.out}")
    sys.stdout.write("\n" + render_evaluation(evaluation))


if __name__ == "__main__":
    main()
