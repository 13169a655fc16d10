"""Do counterfactuals find the true shift? Asked where it is known: of the simulator's held-out patients.

A patient's facts are edited and every cell stays where it is. What the simulator then expects, minus what it expected
before, is the true shift of each marker; the same edit of the notes, put through the bundle, gives the recovered one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import Atlas, open_atlas
from haiku_edge.runtime.bundle import Bundle
from haiku_edge.runtime.counterfactual import Ranked, Search, prevalence, rank_evidence
from haiku_edge.runtime.notes import metadata_prompt

from ..cohort import PATCH, Part, Section
from ..synthetic import MARKERS, Patient, edit_patient, known_facts, simulate_cohort
from ..synthetic.anatomy import dissect, occupancy
from ..synthetic.expectation import known_levels
from ..synthetic.expression import LEVEL, state_levels
from ..synthetic.fluorescence import haze_map
from ..synthetic.patch import pool_blocks
from ..synthetic.patient import DIAGNOSES, TISSUE_NAMES
from ..synthetic.region import block_means, expected_image
from ..synthetic.tissue import plant_tissue
from .biomarkers import pearson
from .correlation import weighted_ranks
from .embedded_cohort import EmbeddedCohort
from .held_out import Engines, embed_prompt

LEAST_SHIFT: Final = 0.05
"""True shifts smaller than this, in standard deviations of the atlas, have no direction worth finding."""

_POPULATION: Final = 600
_POPULATION_SEED: Final = 20_260_000
"""The reference population: how many, and a seed that no bundle uses."""

_RESAMPLES: Final = 2000
_SEED: Final = 42

Floats = NDArray[np.float64]
Facts = Mapping[str, str]


def _to_stage_four(facts: Facts) -> dict[str, str] | None:
    return {"tnm": "T4 N2 M1"} if facts["stage"].rstrip("ABC") in ("I", "II") else None


def _to_stage_one(facts: Facts) -> dict[str, str] | None:
    return {"tnm": "T1 N0 M0"} if facts["stage"].rstrip("ABC") in ("III", "IV") else None


def _to_grade_three(facts: Facts) -> dict[str, str] | None:
    return {"grade": "3"} if facts["grade"] == "1" else None


def _to_grade_one(facts: Facts) -> dict[str, str] | None:
    return {"grade": "1"} if facts["grade"] == "3" else None


def _to_metastasis(facts: Facts) -> dict[str, str] | None:
    return {"type": "metastasis"} if facts["type"] == "primary" else None


def _to_other_diagnosis(facts: Facts) -> dict[str, str] | None:
    names = DIAGNOSES[TISSUE_NAMES.index(facts["tissue_type"])]
    return {"diagnosis": names[1 - names.index(facts["diagnosis"])]}


EDITS: Final[Mapping[str, Callable[[Facts], dict[str, str] | None]]] = {
    "stage I-II to IV": _to_stage_four,
    "stage III-IV to I": _to_stage_one,
    "grade 1 to 3": _to_grade_three,
    "grade 3 to 1": _to_grade_one,
    "to metastasis": _to_metastasis,
    "calm to inflamed diagnosis": lambda facts: _to_other_diagnosis(facts) if not _inflamed(facts) else None,
    "inflamed to calm diagnosis": lambda facts: _to_other_diagnosis(facts) if _inflamed(facts) else None,
}
"""Name → what it edits in a patient's facts; None where it does not apply."""


def _inflamed(facts: Facts) -> bool:
    return bool(DIAGNOSES[TISSUE_NAMES.index(facts["tissue_type"])].index(facts["diagnosis"]))


@dataclass(frozen=True, slots=True)
class EditScore:
    """One edit over the patients to whom it applies.

    Attributes:
        name: Of the edit.
        patients: How many.
        true: (m,) mean true shift, in standard deviations of the atlas.
        recovered: (m,) mean recovered shift.
        oracle: (m,) the same with ideal text.
        spearman: Rank correlation of recovered and true over the markers.
        oracle_spearman: The same with ideal text.
    """

    name: str
    patients: int
    true: Floats
    recovered: Floats
    oracle: Floats
    spearman: float
    oracle_spearman: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often the direction is right.

    Attributes:
        pairs: Pairs of edit and marker whose true shift is at least `LEAST_SHIFT`.
        share: Share of them with the right sign.
        low: Lower end of its 95 % interval, by bootstrap over patients.
        high: Upper end.
        p: Chance of so many right ones by coin tosses. Markers move together, so it is too small; the interval is not.
        size: Σ true · recovered / Σ true²: the part of the true size that is recovered, 1 at best.
    """

    pairs: int
    share: float
    low: float
    high: float
    p: float
    size: float


@dataclass(frozen=True, slots=True)
class CounterfactualScore:
    """Recovered against true shifts.

    Attributes:
        patients: Held-out patients.
        text_weight: Weight of the notes.
        neighbours: Patches behind each tile.
        edits: One a kind of edit.
        recovered: Directions with the bundle's text tower.
        oracle: Directions of the same retrieval with ideal text.
        spearman: Mean over the edits.
        oracle_spearman: Mean over the edits.
    """

    patients: int
    text_weight: float
    neighbours: int
    edits: tuple[EditScore, ...]
    recovered: Agreement
    oracle: Agreement
    spearman: float
    oracle_spearman: float


@dataclass(frozen=True, slots=True)
class _Shift:
    patient: int
    true: Floats
    recovered: Floats
    oracle: Floats


def score_counterfactual(
    bundle: Bundle,
    part: Part,
    embedded: EmbeddedCohort,
    engines: Engines,
    *,
    side: int,
    search: Search | None = None,
) -> CounterfactualScore:
    """Compare recovered with true shifts on simulated patients who are in no other part.

    Args:
        bundle: Its atlas is the evidence.
        part: The held-out patients and their sections.
        embedded: The same patches as the bundle embeds them, in the same order.
        engines: The bundle's towers; the text tower reads the edited notes.
        side: Side of a section in patches, as the split says.
        search: How evidence is ranked; the published way by default.
    """
    atlas, search = open_atlas(bundle), search or Search()
    shifts: dict[str, list[_Shift]] = {name: [] for name in EDITS}
    for number, (patient, section) in enumerate(part.sections()):
        he = embedded.vectors["he"][embedded.patients == patient.identifier]
        seen = _Seen(patient, section, side)
        for name, edit in EDITS.items():
            changed = edit(patient.facts)
            if changed is not None:
                after = edit_patient(patient, changed)
                shifts[name].append(
                    _Shift(
                        number,
                        _mean(seen.shift(after) / atlas.std),
                        _recovered(atlas, he, patient, after, engines, search),
                        _with_ideal_text(atlas, he, patient, after, search),
                    )
                )
    return _score({name: own for name, own in shifts.items() if own}, len(part.patients), search)


class _Seen:
    """One section's cells, and what the simulator expects of them under any facts."""

    def __init__(self, patient: Patient, section: Section, side: int) -> None:
        tissue = plant_tissue(patient, side * PATCH, side * PATCH)
        anatomy = dissect(tissue, patient.biology, 0, 0, side * PATCH, side * PATCH)
        self._held, self._haze = occupancy(tissue, anatomy), block_means(haze_map(anatomy))
        self._rows = section.origins[:, 1] // PATCH * side + section.origins[:, 0] // PATCH
        self._panel = patient.panel
        self.before = self.expect(patient)

    def expect(self, patient: Patient) -> NDArray[np.float32]:
        """(n, m) expected expression of each patch under a patient's facts, uint8 steps."""
        image = expected_image(self._held, self._haze, known_levels(patient), self._panel)
        return np.asarray(pool_blocks(image, PATCH)[self._rows], np.float32)

    def shift(self, after: Patient) -> NDArray[np.float32]:
        """(n, m) true shift of each patch, uint8 steps."""
        return self.expect(after) - self.before


def _recovered(
    atlas: Atlas, he: NDArray[np.float32], before: Patient, after: Patient, engines: Engines, search: Search
) -> Floats:
    """(m,) mean shift in z that the edited notes bring, without the outcome, which a new case has not."""
    texts = [embed_prompt(engines, metadata_prompt(tuple(known_facts(p.facts).items()))) for p in (before, after)]
    one, other = (prevalence(atlas.z, rank_evidence(atlas, he, text, search)) for text in texts)
    return _mean(other - one)


def _with_ideal_text(atlas: Atlas, he: NDArray[np.float32], before: Patient, after: Patient, search: Search) -> Floats:
    """(m,) the same where the notes' cosine to a patch is that of what their facts and its patient's facts imply."""
    gallery = _fact_vectors(atlas)
    tissue = he.astype(np.float64) @ atlas.vectors.T.astype(np.float64)
    found = []
    for patient in (before, after):
        fused = (1 - search.text_weight) * tissue + search.text_weight * (gallery @ _fact_vector(patient.facts))
        order = np.argsort(-fused, axis=1, kind="stable")[:, : search.neighbours]
        ranked = Ranked(order, np.take_along_axis(fused, order, axis=1).astype(np.float32))
        found.append(prevalence(atlas.z, ranked))
    return _mean(found[1] - found[0])


def _fact_vectors(atlas: Atlas) -> Floats:
    """(patches, k) unit vectors of what each patch's patient's facts imply."""
    own = {patient: _fact_vector(facts) for patient, facts in atlas.facts.items()}
    return np.stack([own[str(patient)] for patient in atlas.patients])


def _fact_vector(facts: Facts) -> Floats:
    """Levels of every marker in every visible state under these facts and average hidden biology, against the mean."""
    known = {
        key: value
        for key, value in facts.items()
        if key in ("tissue_type", "diagnosis", "type", "age", "grade", "stage")
    }
    levels = _levels(tuple(known.items())) - _mean_levels()
    return np.asarray(levels / max(float(np.linalg.norm(levels)), 1e-12))


@lru_cache(maxsize=4096)
def _levels(facts: tuple[tuple[str, str], ...]) -> Floats:
    neutral = _neutral(simulate_cohort(1, 0)[0])
    return np.asarray((state_levels(edit_patient(neutral, dict(facts)).biology) / LEVEL).ravel(), np.float64)


@lru_cache(maxsize=1)
def _mean_levels() -> Floats:
    population = simulate_cohort(_POPULATION, _POPULATION_SEED)
    return np.asarray(np.mean([state_levels(_neutral(p).biology) / LEVEL for p in population], axis=0)).ravel()


def _neutral(patient: Patient) -> Patient:
    """The patient with the biology that notes do not tell at its average."""
    biology = replace(
        patient.biology,
        cytotoxicity=0.0,
        composition=(0.0,) * len(patient.biology.composition),
        contraction=0.0,
        offsets=(0.0,) * len(MARKERS),
    )
    return replace(patient, biology=biology)


def _score(shifts: Mapping[str, Sequence[_Shift]], patients: int, search: Search) -> CounterfactualScore:
    edits = tuple(_score_edit(name, own) for name, own in shifts.items())
    return CounterfactualScore(
        patients=patients,
        text_weight=search.text_weight,
        neighbours=search.neighbours,
        edits=edits,
        recovered=_agree(shifts, patients, "recovered"),
        oracle=_agree(shifts, patients, "oracle"),
        spearman=_known_mean([edit.spearman for edit in edits]),
        oracle_spearman=_known_mean([edit.oracle_spearman for edit in edits]),
    )


def _score_edit(name: str, shifts: Sequence[_Shift]) -> EditScore:
    true, recovered, oracle = (_mean(np.stack([getattr(s, field) for s in shifts])) for field in _FIELDS)
    return EditScore(name, len(shifts), true, recovered, oracle, spearman(recovered, true), spearman(oracle, true))


_FIELDS: Final = ("true", "recovered", "oracle")


def _agree(shifts: Mapping[str, Sequence[_Shift]], patients: int, field: str) -> Agreement:
    share, size, pairs = _direction(shifts, field, np.ones(patients))
    if not pairs:
        return Agreement(0, *[math.nan] * 5)
    random = np.random.default_rng(_SEED)
    drawn = [
        _direction(shifts, field, random.multinomial(patients, np.full(patients, 1 / patients)).astype(np.float64))[0]
        for _ in range(_RESAMPLES)
    ]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Agreement(pairs, share, float(low), float(high), binomial_tail(round(share * pairs), pairs), size)


def _direction(shifts: Mapping[str, Sequence[_Shift]], field: str, weights: Floats) -> tuple[float, float, int]:
    """Share of right signs, part of the true size recovered, and how many pairs count; patients weigh as given."""
    true, found = [], []
    for own in shifts.values():
        weight = np.array([weights[shift.patient] for shift in own])
        if weight.sum() > 0:
            true.append(np.average([shift.true for shift in own], axis=0, weights=weight))
            found.append(np.average([getattr(shift, field) for shift in own], axis=0, weights=weight))
    one, other = np.concatenate(true), np.concatenate(found)
    counted = (np.abs(one) >= LEAST_SHIFT) & np.isfinite(other)
    if not counted.any():
        return float("nan"), float("nan"), 0
    right = np.sign(one[counted]) == np.sign(other[counted])
    size = float((one[counted] * other[counted]).sum() / (one[counted] ** 2).sum())
    return float(right.mean()), size, int(counted.sum())


def _known_mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def binomial_tail(successes: int, trials: int) -> float:
    """Chance of at least so many successes with a fair coin."""
    return math.fsum(math.comb(trials, k) / 2**trials for k in range(successes, trials + 1))


def spearman(first: Floats, second: Floats) -> float:
    """Rank correlation over what both have, midranks for ties; NaN below three values or where one is constant."""
    known = np.isfinite(first) & np.isfinite(second)
    if known.sum() < 3:
        return float("nan")
    once = np.ones((1, int(known.sum())))
    return pearson(*(weighted_ranks(values[known], once)[0] for values in (first, second)))


def _mean(values: NDArray[np.floating]) -> Floats:
    """Mean over the rows, NaN where a column has a value in none."""
    known = np.isfinite(values)
    total = np.where(known, values, 0).sum(axis=0, dtype=np.float64)
    return np.asarray(np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan), np.float64)
