"""Patients: clinical facts that agree with each other, hidden biology, and survival from a known hazard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from haiku_edge.runtime.errors import UsageError

from .staging import stage_group, stage_number
from .vocabulary import MARKERS, PANELS, Organ

TISSUE_NAMES: Final = ("Colon", "Breast", "Lung", "Head and Neck")
DISEASES: Final = ("Colorectal cancer", "Breast cancer", "Lung cancer", "Head and neck cancer")
DIAGNOSES: Final = (
    ("Mismatch repair proficient adenocarcinoma", "Mismatch repair deficient adenocarcinoma"),
    ("Hormone receptor positive ductal carcinoma", "Triple negative ductal carcinoma"),
    ("Adenocarcinoma", "Squamous cell carcinoma"),
    ("HPV negative squamous cell carcinoma", "HPV positive squamous cell carcinoma"),
)
"""Per organ the two diagnoses; the second is the more inflamed one (`Biology.inflamed`)."""

INFLAMED_SHARE: Final = (0.25, 0.3, 0.4, 0.4)
SCANNERS: Final = ("A", "B", "C")
MEDIAN_FOLLOW_UP_MONTHS: Final = 60.0
BASELINE_HAZARD_PER_MONTH: Final = 0.012
"""Monthly hazard of death at log-hazard 0."""


@dataclass(frozen=True, slots=True)
class Biology:
    """What is true of a patient, whether the notes or the H&E tell it or not.

    Attributes:
        organ: Where the primary grew.
        stage: Stage group as a number, 1 to 4.
        grade: Histological grade, 1 to 3.
        metastasis: Whether the section is of a metastasis.
        inflamed: Whether the diagnosis is the more inflamed one of its organ.
        squamous: Whether the tumour is squamous (grows in sheets, without lumina).
        age: Years.
        infiltration: Standard normal; how many lymphocytes came (H&E shows it).
        fibrosis: Standard normal; how much stroma.
        decay: Standard normal; how much necrosis.
        cytotoxicity: Standard normal; how well CD8 cells kill. Neither notes nor H&E tell it; survival hints at it.
        composition: Random logits of the four lymphocyte kinds; hidden.
        contraction: Random logit of the myofibroblast share; hidden.
        offsets: Random logit of each marker's positive fraction, in the order of `MARKERS`; hidden.
    """

    organ: Organ
    stage: int
    grade: int
    metastasis: bool
    inflamed: bool
    squamous: bool
    age: int
    infiltration: float
    fibrosis: float
    decay: float
    cytotoxicity: float
    composition: tuple[float, ...]
    contraction: float
    offsets: tuple[float, ...]


OUTCOME_FACTS: Final = ("survival_status", "survival")
"""Facts that a new case can't have yet."""
COMPOSITION_SPREAD: Final = 0.35
CONTRACTION_SPREAD: Final = 0.4
OFFSET_SPREAD: Final = 0.3
"""Standard deviations of the hidden logits between patients."""


@dataclass(frozen=True, slots=True)
class Patient:
    """One simulated patient with one section.

    Attributes:
        identifier: Pseudonym, such as "P0001".
        organ: Name of the organ of the primary, as in `facts["tissue_type"]`.
        section: Name of the section, such as "P0001-S1".
        panel: The markers that were stained on the section, in the order of `MARKERS`.
        scanner: Name of the H&E scanner, one of `SCANNERS`.
        facts: The notes, in the keys and the order of notes.json.
        months: Months from diagnosis to death or to the end of follow-up.
        died: Whether the patient died (otherwise `months` is censored).
        hazard: Natural logarithm of the hazard relative to the baseline.
        biology: What is true of the patient.
        entropy: Seeds everything drawn for this patient.
    """

    identifier: str
    organ: str
    section: str
    panel: tuple[str, ...]
    scanner: str
    facts: dict[str, str]
    months: float
    died: bool
    hazard: float
    biology: Biology
    entropy: tuple[int, ...]


def known_facts(facts: Mapping[str, str]) -> dict[str, str]:
    """The facts that a new case's notes can hold: all but the outcome."""
    return {key: value for key, value in facts.items() if key not in OUTCOME_FACTS}


def simulate_cohort(patients: int, seed: int) -> tuple[Patient, ...]:
    """Draws patients P0001, P0002, …; the first n patients of a larger cohort of the same seed are the same.

    Args:
        patients: How many, at least 1.
        seed: Seed of the cohort, not negative.
    """
    if patients < 1 or seed < 0:
        raise UsageError(
            f"A cohort of {patients} patients with seed {seed} can't be drawn. "
            "Ask for at least 1 patient and a seed that isn't negative."
        )
    return tuple(draw_patient(f"P{number:04d}", (seed, number)) for number in range(1, patients + 1))


def draw_patient(identifier: str, entropy: tuple[int, ...]) -> Patient:
    """Draws one patient from its own stream of random numbers."""
    rng = np.random.default_rng(np.random.SeedSequence(entropy))
    biology, tnm, sex = _draw_biology(rng)
    hazard = log_hazard(biology)
    months, died = _draw_survival(rng, hazard)
    organ = TISSUE_NAMES[biology.organ]
    facts = {
        "tissue_type": organ,
        "disease": DISEASES[biology.organ],
        "diagnosis": DIAGNOSES[biology.organ][int(biology.inflamed)],
        "type": "metastasis" if biology.metastasis else "primary",
        "sex": sex,
        "age": str(biology.age),
        "tnm": tnm,
        "grade": str(biology.grade),
        "stage": stage_group(biology.organ, tnm),
        "survival_status": "dead" if died else "alive",
        "survival": f"{round(months)} months",
    }
    panel = PANELS[int(rng.choice(len(PANELS), p=(0.5, 0.25, 0.25)))]
    scanner = SCANNERS[int(rng.integers(len(SCANNERS)))]
    return Patient(identifier, organ, f"{identifier}-S1", panel, scanner, facts, months, died, hazard, biology, entropy)


def log_hazard(biology: Biology) -> float:
    """Natural logarithm of the hazard of death relative to `BASELINE_HAZARD_PER_MONTH`.

    0.6 (stage - 2) + 0.35 (grade - 2) + 0.25 (age - 65) / 10 - 0.4 infiltration - 0.5 cytotoxicity.
    """
    return (
        0.6 * (biology.stage - 2)
        + 0.35 * (biology.grade - 2)
        + 0.025 * (biology.age - 65)
        - 0.4 * biology.infiltration
        - 0.5 * biology.cytotoxicity
    )


def edit_patient(patient: Patient, edits: Mapping[str, str]) -> Patient:
    """The patient as other notes would describe them; hidden biology and cells stay.

    Args:
        patient: Whom to edit.
        edits: Facts to replace, in the keys of `facts`. Editing `tnm` without `stage` brings `stage` along; editing
            `tissue_type` brings `disease`, `diagnosis` and `stage` along.

    Raises:
        UsageError: An unknown fact or a value that the simulator does not know.
    """
    unknown = sorted(set(edits) - set(patient.facts))
    if unknown:
        raise UsageError(f"The simulator knows no fact {unknown[0]!r}. Its facts are: {', '.join(patient.facts)}.")
    try:
        facts = _consistent(patient, edits)
        biology = _told_by(facts, patient.biology)
        months = float(facts["survival"].split()[0])
    except (ValueError, IndexError) as error:
        raise UsageError(
            f"The simulator can't take these facts: {error}. Use values as its own notes have them."
        ) from error
    return replace(
        patient,
        organ=facts["tissue_type"],
        facts=facts,
        biology=biology,
        months=months if "survival" in edits else patient.months,
        died=facts["survival_status"] == "dead",
        hazard=log_hazard(biology),
    )


def _consistent(patient: Patient, edits: Mapping[str, str]) -> dict[str, str]:
    """The edited facts, with those that follow from an edited one."""
    facts = {**patient.facts, **edits}
    organ = Organ(TISSUE_NAMES.index(facts["tissue_type"]))
    if "tissue_type" in edits:
        facts["disease"] = edits.get("disease", DISEASES[organ])
        facts["diagnosis"] = edits.get("diagnosis", DIAGNOSES[organ][int(patient.biology.inflamed)])
    if ("tnm" in edits or "tissue_type" in edits) and "stage" not in edits:
        facts["stage"] = stage_group(organ, facts["tnm"])
    return facts


def _told_by(facts: Mapping[str, str], biology: Biology) -> Biology:
    """The biology with everything replaced that the notes tell. Growth in sheets stays: it is seen, not told."""
    organ = Organ(TISSUE_NAMES.index(facts["tissue_type"]))
    grade = int(facts["grade"])
    if grade not in (1, 2, 3):
        raise ValueError(f"grade {grade} is not 1, 2 or 3")
    return replace(
        biology,
        organ=organ,
        stage=stage_number(facts["stage"]),
        grade=grade,
        metastasis=facts["type"] == "metastasis",
        inflamed=bool(DIAGNOSES[organ].index(facts["diagnosis"])),
        age=int(facts["age"]),
    )


def _draw_biology(rng: np.random.Generator) -> tuple[Biology, str, str]:
    """Biology, TNM and sex; grade and spread rise together."""
    organ = Organ(int(rng.integers(len(Organ))))
    severity = rng.standard_normal()
    size = int(np.clip(np.floor(2.5 + 0.9 * severity + 0.6 * rng.standard_normal()), 1, 4))
    nodes = int(np.clip(np.floor(0.8 + 0.8 * severity + 0.6 * rng.standard_normal()), 0, 2))
    distant = int(rng.random() < 1.0 / (1.0 + np.exp(2.0 - 1.1 * severity)))
    tnm = f"T{size} N{nodes} M{distant}"
    inflamed = bool(rng.random() < INFLAMED_SHARE[organ])
    grade = int(np.clip(np.floor(2.5 + 0.4 * severity + 0.3 * inflamed + 0.75 * rng.standard_normal()), 1, 3))
    biology = Biology(
        organ=organ,
        stage=stage_number(stage_group(organ, tnm)),
        grade=grade,
        metastasis=bool(distant and rng.random() < 0.5),
        inflamed=inflamed,
        squamous=organ == Organ.HEAD_AND_NECK or (organ == Organ.LUNG and inflamed),
        age=int(np.clip(np.round(rng.normal(64, 11)), 30, 90)),
        infiltration=float(rng.standard_normal()),
        fibrosis=float(rng.standard_normal()),
        decay=float(rng.standard_normal()),
        cytotoxicity=float(rng.standard_normal()),
        composition=tuple((COMPOSITION_SPREAD * rng.standard_normal(4)).tolist()),
        contraction=float(CONTRACTION_SPREAD * rng.standard_normal()),
        offsets=tuple((OFFSET_SPREAD * rng.standard_normal(len(MARKERS))).tolist()),
    )
    male = 0.01 if organ == Organ.BREAST else 0.7 if organ == Organ.HEAD_AND_NECK else 0.52
    return biology, tnm, "male" if rng.random() < male else "female"


def _draw_survival(rng: np.random.Generator, hazard: float) -> tuple[float, bool]:
    """Exponential time to death, censored by a uniform follow-up of 12 to 108 months."""
    death = float(rng.exponential(1.0 / (BASELINE_HAZARD_PER_MONTH * np.exp(hazard))))
    end = float(rng.uniform(12.0, 2.0 * MEDIAN_FOLLOW_UP_MONTHS - 12.0))
    return (max(death, 1.0), True) if death <= end else (end, False)
