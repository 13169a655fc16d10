"""What 40 patients can show: the smallest effect found with 80 % power at a two-sided 5 % level.

    python docs/guides/orion/power.py OUT_FOLDER/cohort.parquet

Sources: Fisher's z for correlations; Hanley and McNeil, Radiology 1982, for AUROC; Schoenfeld, Biometrics 1983, for a
normal covariate in a Cox model, turned into a C-index by integration over pairs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from haiku_edge.export.evaluation.embedded_cohort import EmbeddedCohort, read_cohort
from haiku_edge.runtime.report.schema import RESEARCH_USE_ONLY

POWER = 0.8
LEVEL = 0.05
MARKERS = 16
PROBES = {"mmr": "deficient", "kras": "mutated", "braf": "mutated", "metastatic": "yes", "stage_group": "I-II"}
OUTCOMES = ("pfs", "os")


def smallest_correlation(patients: int, level: float = LEVEL) -> float:
    """Smallest detectable |r|."""
    return float(np.tanh((norm.isf(level / 2) + norm.isf(1 - POWER)) / np.sqrt(patients - 3)))


def smallest_auroc(positive: int, negative: int, level: float = LEVEL) -> float:
    """Smallest detectable AUROC above 0.5."""

    def short(auroc: float) -> float:
        needed = norm.isf(level / 2) * hanley_mcneil(0.5, positive, negative)
        return float(auroc - 0.5 - needed - norm.isf(1 - POWER) * hanley_mcneil(auroc, positive, negative))

    return float(brentq(short, 0.5, 1.0)) if short(1.0) > 0 else float("nan")


def hanley_mcneil(auroc: float, positive: int, negative: int) -> float:
    """Standard error of an AUROC."""
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    variance = auroc * (1 - auroc) + (positive - 1) * (q1 - auroc**2) + (negative - 1) * (q2 - auroc**2)
    return float(np.sqrt(variance / (positive * negative)))


def patients_needed(auroc: float, share: float) -> int:
    """Patients for whom an AUROC is just detectable, where this share of them is positive."""
    sizes = (n for n in range(10, 100_000) if smallest_auroc(max(round(share * n), 2), round((1 - share) * n)) <= auroc)
    return next(sizes)


def smallest_hazard_ratio(events: int, level: float = LEVEL) -> float:
    """Smallest detectable hazard ratio per standard deviation of the risk."""
    return float(np.exp((norm.isf(level / 2) + norm.isf(1 - POWER)) / np.sqrt(events)))


def concordance_of(hazard_ratio: float) -> float:
    """C-index, without censoring, of a normal risk with that hazard ratio per standard deviation.

    Of two patients whose log-hazards differ by d, the higher one dies first with probability 1 / (1 + exp(-d)).
    """
    difference = np.sqrt(2) * np.log(hazard_ratio) * np.linspace(0, 8, 4001)
    weight = norm.pdf(np.linspace(0, 8, 4001))
    return float(np.sum(weight / (1 + np.exp(-difference))) / weight.sum())


def render(cohort: EmbeddedCohort) -> str:
    """The table of the guide."""
    patients = len(set(cohort.patients.tolist()))
    lines = ["| question | patients | smallest effect found |", "|---|---|---|"]
    lines.append(f"| one correlation | {patients} | r {smallest_correlation(patients):.2f} |")
    lines.append(
        f"| one of {MARKERS} correlations (Bonferroni) | {patients} | "
        f"r {smallest_correlation(patients, LEVEL / MARKERS):.2f} |"
    )
    for fact, positive in PROBES.items():
        values = cohort.labels(fact)
        yes, no = int((values == positive).sum()), int(((values != positive) & (values != "")).sum())
        lines.append(f"| {fact}: {positive} | {yes} against {no} | AUROC {smallest_auroc(yes, no):.2f} |")
    for outcome in OUTCOMES:
        events = int((cohort.labels(f"{outcome}_event") == "yes").sum())
        ratio = smallest_hazard_ratio(events)
        lines.append(
            f"| {outcome} | {patients}, {events} events | hazard ratio {ratio:.2f} per standard deviation, "
            f"C-index {concordance_of(ratio):.2f} |"
        )
    known = cohort.labels("kras") != ""
    share = float((cohort.labels("kras")[known] == "mutated").mean())
    lines += ["", f"An AUROC of 0.65 for KRAS mutations takes {patients_needed(0.65, share)} patients."]
    return "\n".join(lines)


if __name__ == "__main__":
    print(render(read_cohort(Path(sys.argv[1]))), RESEARCH_USE_ONLY, sep="\n\n")
