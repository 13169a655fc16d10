"""The model card of the embedded SPADE bundle, written from what was made and measured."""

from __future__ import annotations

from haiku_edge.runtime.bundle import Description

from .evaluation.sections import Section
from .spatial.from_simulator import PARTS, SpotSplit
from .synthetic import MPP


def write_spade_card(description: Description, split: SpotSplit, section: Section, seed: int) -> str:
    """Write the card as Markdown.

    Args:
        description: The bundle's manifest.
        split: How many patients each part has.
        section: The evaluation on the held-out patients.
        seed: Of the cohort.
    """
    sections = (
        ("Intended use", _use()),
        ("Data", _data(description, split, seed)),
        ("Mixture", _mixture(description)),
        ("Limits", _limits()),
        ("Evaluation on held-out patients", "\n".join(section.lines)),
    )
    head = f"# Model card: {description.name} {description.version}\n\n**{description.statement}**\n"
    return "\n".join((head, *(f"## {title}\n\n{body.strip()}\n" for title, body in sections)))


def _use() -> str:
    return """\
To try the second family of haiku-edge from end to end on any machine, to check an installation, and to develop against
data whose truth is known. It follows the published SPADE procedure (arXiv 2506.21857): experts that each learned from
one cluster of image space embed an H&E tile, real spots that are near to it are found, and what these expressed is the
inference. It is not the published model and shares no weight with it.

Not for diagnosis, treatment or any statement about a person, and not for real tissue: a real slide is read without an
error, and the numbers that come out mean nothing.
"""


def _data(description: Description, split: SpotSplit, seed: int) -> str:
    spade = description.spade
    assert spade is not None and spade.atlas is not None and spade.calibration is not None
    kept = {"atlas": spade.atlas.patch_count, "calibration": spade.calibration.cases}
    rows = "\n".join(
        f"| {part} | {len(split.part(part))} | {split.regions} | {kept.get(part, 'all')} |" for part in PARTS
    )
    return f"""\
All of it is simulated by this project (seed {seed}): tissue of four organs, its H&E, and counts of
{len(spade.atlas.markers)} genes in spots of 55 µm, drawn from the same cells with library sizes and dropout
(docs/simulator.md). Patches of {split.size} px at {MPP} µm/px around each spot. Patients were split before anything
else, and none of them is among those that the H&E tower of the embedded Haiku bundle learned from:

| part | patients | sections of each | spots kept |
|---|---:|---:|---:|
{rows}

Slide heads are cross-validated over the patients of atlas, calibration and test together, with all of their spots: no
expert learned from them, and no patient is scored by a head that saw them. All other figures are of the test patients.
"""


def _mixture(description: Description) -> str:
    spade = description.spade
    assert spade is not None
    rows = "\n".join(
        f"| {number} | {expert.spots} | {', '.join(expert.organs) or '–'} | {', '.join(expert.genes) or '–'} |"
        for number, expert in enumerate(spade.experts, start=1)
    )
    searched = "the spots' own H&E" if spade.keys == "image" else "the spots' counts through the gene heads"
    return f"""\
The image encoder is the H&E tower of the embedded Haiku bundle, frozen. Its features were clustered by k-means, organ
by organ and then all centroids together; the number of experts is that of the elbow. Each expert is an image head and a
gene head, trained on the spots of its cluster. A tile is compared with {searched}; the {spade.neighbours} nearest
speak for it. Keys and their number were chosen by the atlas's own spots, leaving each patient out.

What each expert stands for, by the spots of the atlas in which it weighs most:

| expert | spots | organs | highest genes |
|---:|---:|---|---|
{rows}
"""


def _limits() -> str:
    return """\
- The tissue is simulated: figures show that the method works on a world with these rules, and how its parts compare
  there. They say nothing about real tissue.
- A spot is a noisy count of few cells; a tile is larger than a spot. The truth beside each figure is what the visible
  cells alone let one expect; what organ and diagnosis add can pass it.
- The baselines share encoder, heads, training and search with the mixture, and differ in what an expert learned from.
"""
