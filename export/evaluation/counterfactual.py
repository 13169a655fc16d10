"""Counterfactuals over a cohort: the unit is the patient, and nobody's own patches speak for them.

Haiku, 2605.00925, counterfactual, cohort version: edit the same fact in many patients, take each one's mean prevalence
before and after over at least five patches, and test the differences over patients. The published script leaves a
patient's own patches in the gallery; here they never are. Facts that tell how a case ended stand in neither notes,
unless the edit is of one (the published edit is of survival): a new case's notes can't hold them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import Atlas, ExactIndex, VectorIndex
from haiku_edge.runtime.counterfactual import Ranked, Search, prevalence, rank_evidence
from haiku_edge.runtime.counterfactual.edits import Pairs, edit_facts, same_key
from haiku_edge.runtime.counterfactual.null import overall_share_reached, share_reached
from haiku_edge.runtime.counterfactual.statistics import (
    BOOTSTRAP,
    LEAST_UNITS,
    benjamini_hochberg,
    bootstrap_interval,
    paired_effect,
    wilcoxon,
)
from haiku_edge.runtime.errors import CohortError, EmptyNotesError, UsageError
from haiku_edge.runtime.notes import metadata_prompt
from haiku_edge.runtime.notes.facts import notes_from_pairs

from ..vocabulary.outcomes import is_outcome, without_outcomes
from .counterfactual_null import RANDOM_EDITS, BothNotes, draw_sets, other_notes
from .embedded_cohort import EmbeddedCohort

LEAST_PATCHES: Final = 5
"""Patches behind a patient's mean, as published."""

UNSTABLE: Final = 3.0
"""A marker whose differences spread more than so many times the median marker's is not tested, as published."""

Floats = NDArray[np.float64]
EmbedPrompts = Callable[[Sequence[str]], NDArray[np.float32]]
"""Prompts to (n, d) unit vectors of the text tower that made the cohort's vectors."""


@dataclass(frozen=True, slots=True)
class IndexedGallery:
    """The evidence that a cohort is asked against.

    Attributes:
        markers: Names of the m markers.
        vectors: (g, d) float32 unit vectors of mIF patches.
        positive: (g, m) float32, 1 or 0, NaN where not measured.
        patients: (g,) pseudonyms; a patient's own patches are never searched.
        tissues: (g,) kind of tissue, '' unknown.
        index: Finds the nearest.
    """

    markers: tuple[str, ...]
    vectors: NDArray[np.float32]
    positive: NDArray[np.float32]
    patients: NDArray[np.str_]
    tissues: NDArray[np.str_]
    index: VectorIndex


def atlas_gallery(atlas: Atlas) -> IndexedGallery:
    """The bundle's atlas as gallery."""
    return IndexedGallery(atlas.markers, atlas.vectors, atlas.positive, atlas.patients, atlas.organs, atlas.index)


def own_gallery(cohort: EmbeddedCohort) -> IndexedGallery:
    """The cohort's own mIF patches as gallery.

    Raises:
        CohortError: It has no mIF vectors.
    """
    if "mif" not in cohort.vectors:
        raise CohortError("The cohort has no mIF vectors, so it can't be its own gallery. Search the bundle's atlas.")
    vectors = np.ascontiguousarray(cohort.vectors["mif"], np.float32)
    tissues = cohort.labels("tissue_type")
    return IndexedGallery(cohort.markers, vectors, cohort.positive, cohort.patients, tissues, ExactIndex(vectors))


@dataclass(frozen=True, slots=True)
class MarkerEffect:
    """One marker over the patients; NaN where too few have a value.

    Attributes:
        marker: Its name.
        patients: With a value under both notes.
        before: Mean over patients of their prevalence, original notes.
        after: Edited notes.
        difference: Mean over patients of their difference.
        low: Lower end of its 95 % interval, by bootstrap over patients.
        high: Upper end.
        effect: d_z.
        p: Wilcoxon's signed-rank test.
        q: Benjamini and Hochberg over the tested markers.
        unstable: Whether it spreads too much to be tested.
        random_p: Share of other edits, this one counted, that move the mean of those whom they change as far; only
            edits that change enough patients with a value are asked. NaN without any.
    """

    marker: str
    patients: int
    before: float
    after: float
    difference: float
    low: float
    high: float
    effect: float
    p: float
    q: float
    unstable: bool
    random_p: float


@dataclass(frozen=True, slots=True)
class CohortEffect:
    """What an edit does over a cohort.

    Attributes:
        sets: The edits.
        patients: Patients who were edited and have enough patches.
        left_out: Why → how many patients were left out.
        patches: Patches of those patients.
        same_tissue: Share of the evidence from the patient's own kind of tissue, before and after; NaN unknown.
        theta: (2, patients, m) prevalence of each patient, before and after.
        names: Pseudonyms of the patients, in that order.
        random_edits: Different edits of as many fields, the same for all patients, that were compared with; each is
            judged by the patients whom it changes.
        random_p: Share of them, this one counted, with as large a mean absolute change; NaN without any.
        outcomes: Whether the notes held facts that tell how a case ended, as they do where the edit is of one.
        markers: One a marker of the gallery, the largest effect size first.
    """

    sets: tuple[tuple[str, str], ...]
    patients: int
    left_out: Mapping[str, int]
    patches: int
    same_tissue: tuple[float, float]
    theta: Floats
    names: tuple[str, ...]
    random_edits: int
    random_p: float
    outcomes: bool
    markers: tuple[MarkerEffect, ...]


def cohort_counterfactual(
    cohort: EmbeddedCohort,
    sets: Sequence[tuple[str, str]],
    embed: EmbedPrompts,
    gallery: IndexedGallery,
    search: Search | None = None,
    *,
    where: Mapping[str, str] | None = None,
    least_patches: int = LEAST_PATCHES,
    resamples: int = BOOTSTRAP,
    random_edits: int = RANDOM_EDITS,
) -> CohortEffect:
    """Edit the same facts of every patient, and test what their evidence then shows.

    Args:
        cohort: Patients with H&E vectors and facts.
        sets: (field, value); a value such as x2.4 multiplies the number in each patient's own.
        embed: The text tower.
        gallery: The evidence.
        search: How it is ranked; the published way by default. Its `allowed` is ignored: each patient has their own.
        where: Only patients with these values, such as survival_status → dead; outcomes may be asked for too.
        least_patches: Patches that a patient needs.
        resamples: Of the bootstrap.
        random_edits: How many other edits, each the same for all patients, to compare with.

    Raises:
        CohortError: The cohort has no H&E vectors, or fewer than five patients can be compared.
        UsageError: No patient's notes have a field of `sets` or `where`, or a value can't stand in notes.
    """
    if "he" not in cohort.vectors:
        raise CohortError("The cohort has no H&E vectors. Embed it again from a dataset with H&E.")
    _check_fields(cohort, [field for field, _ in sets] + list(where or {}))
    outcomes = any(is_outcome(field) for field, _ in sets)
    facts = {name: _notes(own, outcomes=outcomes) for name, own in cohort.facts.items()}
    edits, left_out = _edit_all(cohort, facts, sets, where or {}, least_patches)
    _check_enough(edits, left_out)
    names = tuple(edits)
    drawn = draw_sets(edits, [dict(own) for own in facts.values()], len(sets), random_edits)
    texts = _embed_all(
        [(own.original, own.edited, *(other_notes(own, e) for e in drawn)) for own in edits.values()], embed
    )
    own = search or Search()
    found = [_patient(cohort, name, vectors, gallery, own) for name, vectors in zip(names, texts, strict=True)]
    theta = np.stack([each for each, _ in found], axis=1)
    real, null = _shift(theta[0], theta[1]), _null(theta, len(gallery.markers))
    return CohortEffect(
        sets=tuple(sets),
        patients=len(names),
        left_out=left_out,
        patches=int(np.isin(cohort.patients, names).sum()),
        same_tissue=_mean_pair([share for _, share in found]),
        theta=theta[:2],
        names=names,
        random_edits=int((np.isfinite(null) & np.isfinite(real)).any(axis=1).sum()),
        random_p=overall_share_reached(real, null),
        outcomes=outcomes,
        markers=effects(gallery.markers, theta[:2], null=null, resamples=resamples),
    )


def _check_enough(edits: Sized, left_out: Mapping[str, int]) -> None:
    if len(edits) < LEAST_UNITS:
        raise CohortError(
            f"{len(edits)} patients can be compared; at least {LEAST_UNITS} are needed for a test over patients. "
            f"Left out: {', '.join(f'{count} ({why})' for why, count in left_out.items()) or 'nobody'}."
        )


def _embed_all(notes: Sequence[Sequence[Pairs | None]], embed: EmbedPrompts) -> list[list[NDArray[np.float32] | None]]:
    """The vector of every notes; the same words are embedded once."""
    prompts = [[None if own is None else metadata_prompt(own) for own in row] for row in notes]
    different = list(dict.fromkeys(prompt for row in prompts for prompt in row if prompt is not None))
    vectors = dict(zip(different, embed(different), strict=True))
    return [[None if prompt is None else vectors[prompt] for prompt in row] for row in prompts]


def _shift(before: Floats, after: Floats) -> Floats:
    """(m,) mean difference over the patients with a value in both."""
    return _column_means(after - before)


def _null(theta: Floats, markers: int) -> Floats:
    """(r, m) mean difference of each random edit; NaN where it changes too few patients with a value."""
    rows = [
        np.where(np.isfinite(other - theta[0]).sum(axis=0) >= LEAST_UNITS, _shift(theta[0], other), np.nan)
        for other in theta[2:]
    ]
    return np.array(rows, np.float64).reshape(-1, markers)


def _mean_pair(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    known = np.array([pair for pair in pairs if np.isfinite(pair).all()])
    return (float(known[:, 0].mean()), float(known[:, 1].mean())) if len(known) else (float("nan"), float("nan"))


def effects(
    markers: Sequence[str], theta: Floats, *, null: Floats | None = None, resamples: int = BOOTSTRAP
) -> tuple[MarkerEffect, ...]:
    """Statistics over patients.

    Args:
        markers: Names of the m markers.
        theta: (2, patients, m), before and after; NaN where a patient has no value.
        null: (r, m) mean differences of other edits; NaN where one says nothing of a marker.
        resamples: Of the bootstrap.

    Returns:
        One a marker, the largest effect size first.
    """
    both: NDArray[np.bool_] = np.isfinite(theta[0]) & np.isfinite(theta[1])
    difference = np.where(both, theta[1] - theta[0], np.nan)
    difference[np.abs(difference) < _ROUNDING] = 0.0
    unstable = _unstable(difference)
    enough = both.sum(axis=0) >= LEAST_UNITS
    low, high = bootstrap_interval(np.nan_to_num(difference), both.astype(np.float64), resamples=resamples)
    p = np.array(
        [wilcoxon(own) if ok else np.nan for own, ok in zip(difference.T, enough & ~unstable, strict=True)], np.float64
    )
    q = benjamini_hochberg(p)
    none = np.empty((0, len(markers)))
    random_p = share_reached(np.where(enough, _column_means(difference), np.nan), none if null is None else null)
    found = [
        MarkerEffect(
            marker=marker,
            patients=int(both[:, m].sum()),
            before=_mean(theta[0, both[:, m], m]),
            after=_mean(theta[1, both[:, m], m]),
            difference=_mean(difference[both[:, m], m]),
            low=float(low[m]),
            high=float(high[m]),
            effect=paired_effect(difference[:, m]) if enough[m] else float("nan"),
            p=float(p[m]),
            q=float(q[m]),
            unstable=bool(unstable[m]),
            random_p=float(random_p[m]),
        )
        for m, marker in enumerate(markers)
    ]
    return tuple(sorted(found, key=lambda own: -abs(np.nan_to_num(own.effect))))


_ROUNDING: Final = 1e-9


def _patient(
    cohort: EmbeddedCohort,
    name: str,
    texts: Sequence[NDArray[np.float32] | None],
    gallery: IndexedGallery,
    search: Search,
) -> tuple[Floats, tuple[float, float]]:
    """(t, m) mean prevalence under each text, NaN without; share of the first two's evidence from the same tissue."""
    own = replace(search, allowed=gallery.patients != name)
    he = cohort.vectors["he"][cohort.patients == name]
    ranked = [rank_evidence(gallery, he, text, own) for text in texts if text is not None]
    theta = np.full((len(texts), len(gallery.markers)), np.nan)
    theta[[text is not None for text in texts]] = [
        _column_means(prevalence(gallery.positive, found)) for found in ranked
    ]
    tissue = _fact(cohort, name, "tissue_type")
    return theta, (_same_tissue(ranked[0], gallery.tissues, tissue), _same_tissue(ranked[1], gallery.tissues, tissue))


def _notes(facts: Mapping[str, str], *, outcomes: bool) -> Pairs:
    """What may stand in a patient's notes: the rules of `notes.json`, and outcomes only where they are edited."""
    try:
        return notes_from_pairs((facts if outcomes else without_outcomes(facts)).items()).facts
    except EmptyNotesError:
        return ()


def _edit_all(
    cohort: EmbeddedCohort,
    facts: Mapping[str, Pairs],
    sets: Sequence[tuple[str, str]],
    where: Mapping[str, str],
    least: int,
) -> tuple[dict[str, BothNotes], dict[str, int]]:
    """Patient → both notes, and why the others were left out."""
    notes: dict[str, BothNotes] = {}
    left_out: dict[str, int] = {}
    names, counts = np.unique(cohort.patients, return_counts=True)
    for name, count in zip(map(str, names), counts, strict=True):
        own = facts.get(name, ())
        known = {same_key(key): value for key, value in cohort.facts.get(name, {}).items()}
        there = {same_key(key) for key, _ in own}
        why = None
        if any(known.get(same_key(field), "").casefold() != value.casefold() for field, value in where.items()):
            why = "other patients than asked for"
        elif any(same_key(field) not in there for field, _ in sets):
            why = "a field is not in their notes"
        elif count < least:
            why = f"fewer than {least} patches"
        elif (edited := edit_facts(own, sets).facts) == own:
            why = "they have that value already"
        else:
            notes[name] = BothNotes(own, edited)
        if why is not None:
            left_out[why] = left_out.get(why, 0) + 1
    return notes, left_out


def _check_fields(cohort: EmbeddedCohort, fields: Sequence[str]) -> None:
    there = {same_key(key): key for own in cohort.facts.values() for key in own}
    if any(same_key(field) not in there for field in fields):
        raise UsageError(
            "No patient's notes hold a field that --set or --where names. Their fields are: "
            f"{', '.join(there.values()) or 'none'}."
        )


def _fact(cohort: EmbeddedCohort, patient: str, key: str) -> str:
    return cohort.facts.get(patient, {}).get(key, "")


def _same_tissue(ranked: Ranked, tissues: NDArray[np.str_], tissue: str) -> float:
    if not tissue:
        return float("nan")
    there = ranked.ids >= 0
    same = np.char.lower(tissues[np.maximum(ranked.ids, 0)]) == tissue.casefold()
    return float((same & there).sum() / max(1, there.sum()))


def _unstable(difference: Floats) -> NDArray[np.bool_]:
    """Markers whose differences have a standard deviation beyond `UNSTABLE` times the median marker's."""
    spreads = np.array(
        [np.std(own[np.isfinite(own)], ddof=1) if np.isfinite(own).sum() > 1 else np.nan for own in difference.T]
    )
    moving = spreads[np.isfinite(spreads) & (spreads > 0)]
    if not len(moving):
        return np.zeros(len(spreads), np.bool_)
    return np.asarray(np.nan_to_num(spreads) > UNSTABLE * np.median(moving))


def _column_means(values: Floats) -> Floats:
    return np.array([_mean(column[np.isfinite(column)]) for column in values.T])


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")
