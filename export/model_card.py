"""The model card of the embedded bundle, written from what was made and measured."""

from __future__ import annotations

from haiku_edge.runtime.bundle import Description

from .cohort import GALLERY_OVERLAP, PATCH, Split
from .evaluation import Evaluation, render_evaluation
from .model import Towers, count_parameters
from .synthetic import MPP
from .training import Recipe

TITLES = {"he": "H&E", "mif": "mIF", "text": "Text"}

SEEN_STEPS = (200, 400, 800)
"""Batches of earlier runs whose figures on the test patients were seen."""

CardSection = tuple[str, str]
"""Title and Markdown of one section."""


def write_model_card(
    description: Description, split: Split, recipe: Recipe, towers: Towers, evaluation: Evaluation, seed: int
) -> str:
    """Write the card as Markdown.

    Args:
        description: The bundle's manifest.
        split: How many patients each part has.
        recipe: How the towers were trained.
        towers: The towers.
        evaluation: On the held-out patients; every task that it scored is in the card.
        seed: Of the cohort.
    """
    sections: tuple[CardSection, ...] = (
        ("Intended use", _use()),
        ("Data", _data(description, split, seed)),
        ("Towers", _towers(towers, recipe)),
        ("Limits", _limits(recipe)),
        ("Evaluation on held-out patients", _evaluation(evaluation)),
    )
    head = f"# Model card: {description.name} {description.version}\n\n**{description.statement}**\n"
    return "\n".join((head, *(f"## {title}\n\n{body.strip()}\n" for title, body in sections)))


def _evaluation(evaluation: Evaluation) -> str:
    closing = "`haiku-edge evaluate` simulates these patients again and prints these tables."
    return f"{render_evaluation(evaluation)}\n{closing}"


def _use() -> str:
    return """\
To try haiku-edge from end to end on any machine, to check an installation, and to develop against data whose truth is
known. It follows the published Haiku procedure (arXiv 2605.00925): H&E tiles and clinical notes retrieve mIF patches,
and the markers that these measured are the inference. It is not the published model and shares no weight with it.

Not for diagnosis, treatment or any statement about a person, and not for real tissue: a real slide is read without an
error, and the numbers that come out mean nothing.
"""


def _data(description: Description, split: Split, seed: int) -> str:
    rows = [
        (part, len(split.part(part)), 1, split.side(part) * PATCH) for part in ("train", "atlas", "calibration", "test")
    ]
    rows.append(("test, for the galleries", split.test, split.gallery_regions, split.gallery_pixels))
    atlas, calibration = description.need_atlas(), description.need_calibration()
    table = "\n".join(f"| {part} | {count} | {each} | {side} × {side} px |" for part, count, each, side in rows)
    return f"""\
All of it is simulated by this project (seed {seed}): tissue in four organs with cells in niches, H&E by Beer-Lambert
stain optics with variation of stain and scanner, {len(atlas.markers)} mIF markers in three panels with
noise and bleed-through, clinical facts that shift the markers, and survival from a known hazard. {MPP} µm/px,
{PATCH} px patches that do not overlap; patches with little tissue are left out. Patients were split before anything
else:

| part | patients | regions of each | size |
|---|---:|---:|---:|
{table}

The galleries are of other regions of the test patients, in patches that overlap by {100 * GALLERY_OVERLAP:.0f} %.

The atlas holds {atlas.patch_count} patches of {atlas.patient_count} patients. Intervals come
from {calibration.cases} tiles of {calibration.patients} patients who are in no other part.
"""


def _towers(towers: Towers, recipe: Recipe) -> str:
    rows = "\n".join(f"| {TITLES[name]} | {count_parameters(module):,} |" for name, module in towers.modules().items())
    config = towers.config
    text = "" if config.text is None else f"; the text tower is BERT with {config.text.layers} layers"
    return f"""\
The same classes as the published towers, small:

| tower | parameters |
|---|---:|
{rows}

They share a space of {config.dimension} dimensions and were trained together from random weights with the tri-modal
contrastive loss (mean of three symmetric InfoNCE pairs, τ = {recipe.loss.temperature}): {recipe.steps} batches of
{recipe.patients} patients with {recipe.patches} patches each, AdamW with a peak rate of {recipe.rate:g}, stain and
orientation augmented, panels and clinical facts thinned at random. Patches of the same patient are negatives between
H&E and mIF; in the pairs with text they are left out. The H&E tower is MUSK's vision transformer with
{config.he.layers} layers behind {len(config.he.stem)} convolutional stages (the published one has none), on tiles
resized to {config.he.side} px; the mIF tower is Haiku's VirTues fork with {len(config.mif.blocks)}
blocks within and across channels{text}.
"""


def _limits(recipe: Recipe) -> str:
    return f"""\
- Simulated tissue is simpler than tissue. Nothing here tells how the method does on patients.
- The mIF tower standardises every channel of every patch, so it sees the pattern of a marker and not its brightness.
- What neither the H&E nor the notes show (such as which kind of lymphocyte a round dark nucleus is) stays unknown; the
  ceiling in the tables below says how much could be known.
- Notes with words that the simulator does not use embed somewhere, but not meaningfully.
- Intervals hold on average over new patients of the same kind, not for every patient or every kind of tissue. Notes of
  the calibration and test patients hold every fact but the outcome; a case with fewer facts is less like them.
- Tiles abstain by their distance in the embedding, which notices rare tissue better than tissue from another world: on
  a real slide most tiles do not abstain, and what they say means nothing.
- The number of training patients was chosen between two full runs whose held-out figures were seen{_seen(recipe)}, so
  the figures below are a little optimistic.
"""


def _seen(recipe: Recipe) -> str:
    """How the number of batches was chosen; nothing where no shorter run was looked at."""
    shorter = [f"{steps:,}" for steps in SEEN_STEPS if steps < recipe.steps]
    if not shorter:
        return ""
    runs = " and ".join(filter(None, (", ".join(shorter[:-1]), shorter[-1])))
    return f",\n  and the number of batches ({recipe.steps:,}) after seeing the test figures of runs with {runs}"
