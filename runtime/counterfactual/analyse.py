"""From the vectors of a slide's tiles and two texts to what changes: the arithmetic, without files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..atlas import Atlas
from .blocks import Blocks, cut_into_blocks
from .changes import Changes, change_of, column_means, describe_changes, joint_q
from .composition import Composition, decompose, evidence_by, turnover
from .edits import same_key
from .fusion import Ranked, Search, rank_evidence
from .niches import NICHES, Clusters, k_means
from .null import NullDistribution
from .prevalence import prevalence
from .statistics import benjamini_hochberg

NULL_TILES: Final = 400
"""Tiles over which random edits are judged: a mean over so many is steady, and a hundred edits take seconds."""

LEAST_TILES_IN_NICHE: Final = 2
"""Tiles of a niche that a block needs to count for it."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tiles:
    """The tiles of one slide that are analysed.

    Attributes:
        he: (n, d) float32 unit vectors.
        x_mm: (n,) left edges, millimetres.
        y_mm: (n,) top edges.
        side_mm: Side of a tile.
    """

    he: NDArray[np.float32]
    x_mm: Floats
    y_mm: Floats
    side_mm: float


@dataclass(frozen=True, slots=True)
class Analysis:
    """Everything found.

    Attributes:
        before: (n, m) prevalence by tile with the original notes.
        after: (n, m) with the edited notes.
        ranked_before: Evidence with the original notes.
        ranked_after: Evidence with the edited ones.
        blocks: Units of the statistics.
        changes: Over the slide.
        q: (m,) Benjamini and Hochberg over the markers.
        niches: Tiles that look alike.
        niche_changes: One for each niche.
        niche_q: (niches, m) over all niches and markers.
        compositions: The change split by several groupings of the atlas.
        null: What random edits do.
        turnover: Mean Jaccard distance between the evidence before and after.
        renewed: Mean share of the evidence that is new.
        patients: Pseudonyms of the atlas's patients.
        patient_shares: (2, patients) share of the evidence by patient, before and after.
    """

    before: Floats
    after: Floats
    ranked_before: Ranked
    ranked_after: Ranked
    blocks: Blocks
    changes: Changes
    q: Floats
    niches: Clusters
    niche_changes: tuple[Changes, ...]
    niche_q: Floats
    compositions: tuple[Composition, ...]
    null: NullDistribution
    turnover: float
    renewed: float
    patients: tuple[str, ...]
    patient_shares: Floats


def analyse(
    atlas: Atlas,
    tiles: Tiles,
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    search: Search,
    *,
    keys: Sequence[str] = (),
    random_texts: NDArray[np.float32] | None = None,
    random_fields: int = 1,
    niches: int = NICHES,
) -> Analysis:
    """Retrieve with either text and describe the change.

    Args:
        atlas: The evidence, with positivity.
        tiles: The tissue, which stays as it is.
        before: (d,) vector of the original notes.
        after: (d,) vector of the edited notes.
        search: How evidence is ranked.
        keys: Edited fields, by whose values the atlas is grouped too.
        random_texts: (r, d) vectors of notes with random edits.
        random_fields: How many fields each of these changed.
        niches: How many niches to look for.
    """
    first, second = (rank_evidence(atlas, tiles.he, text, search) for text in (before, after))
    own, other = prevalence(atlas.positive, first), prevalence(atlas.positive, second)
    blocks = cut_into_blocks(tiles.x_mm, tiles.y_mm, tiles.side_mm)
    clusters = k_means(tiles.he, niches)
    changes = describe_changes(own, other, blocks)
    by_niche = tuple(
        describe_changes(own, other, blocks, rows=clusters.labels == niche, least=LEAST_TILES_IN_NICHE)
        for niche in range(len(clusters.centres))
    )
    names, codes = np.unique(atlas.patients, return_inverse=True)
    distance, renewed = turnover(first, second)
    return Analysis(
        before=own,
        after=other,
        ranked_before=first,
        ranked_after=second,
        blocks=blocks,
        changes=changes,
        q=benjamini_hochberg(changes.p),
        niches=clusters,
        niche_changes=by_niche,
        niche_q=joint_q(by_niche),
        compositions=tuple(
            decompose(atlas.positive, first, second, name, labels) for name, labels in groupings(atlas, keys).items()
        ),
        null=judge_against_random(atlas, tiles.he, own, other, random_texts, random_fields, search),
        turnover=distance,
        renewed=renewed,
        patients=tuple(map(str, names)),
        patient_shares=np.stack([evidence_by(ranked, codes, len(names)) for ranked in (first, second)]),
    )


def groupings(atlas: Atlas, keys: Sequence[str]) -> dict[str, NDArray[np.str_]]:
    """Name → (patches,) group of each patch: organ, panel, patient, and the values of the edited fields."""
    grouped = {"organ": atlas.organs, "panel": atlas.panels, "patient": atlas.patients}
    if keys and atlas.facts:
        grouped["edited fields"] = _fact_labels(atlas.patients, atlas.facts, keys)
    return grouped


def judge_against_random(
    atlas: Atlas,
    he: NDArray[np.float32],
    before: Floats,
    after: Floats,
    random_texts: NDArray[np.float32] | None,
    fields: int,
    search: Search,
) -> NullDistribution:
    """Compare the real change with that of random edits, over the same evenly chosen tiles."""
    rows = np.unique(np.linspace(0, len(he) - 1, min(len(he), NULL_TILES)).round().astype(np.int64))
    texts = np.empty((0, he.shape[1]), np.float32) if random_texts is None else random_texts
    drawn = [
        column_means(change_of(before[rows], prevalence(atlas.positive, rank_evidence(atlas, he[rows], own, search))))
        for own in texts
    ]
    return NullDistribution(
        fields=fields,
        tiles=len(rows),
        real=column_means(change_of(before[rows], after[rows])),
        drawn=np.stack(drawn) if drawn else np.empty((0, before.shape[1])),
    )


def _fact_labels(
    patients: NDArray[np.str_], facts: Mapping[str, Mapping[str, str]], keys: Sequence[str]
) -> NDArray[np.str_]:
    by_patient = {}
    for patient in dict.fromkeys(map(str, patients)):
        own = {same_key(key): value for key, value in facts.get(patient, {}).items()}
        by_patient[patient] = ", ".join(own.get(same_key(key), "not known") for key in keys)
    return np.array([by_patient[str(patient)] for patient in patients])
