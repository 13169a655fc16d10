"""Ask the same questions by another method: ridge regression, with permutation tests and Benjamini-Hochberg.

    python docs/guides/orion/outside.py OUT_FOLDER/cohort.parquet

Every prediction here is a matrix times the outcomes of other patients, so that shuffling the outcomes a thousand times
costs a matrix product, and the shuffled outcomes go through the whole cross-validation. Nothing is tuned: one penalty,
stated beforehand. Survival is regressed on martingale residuals of the null model (Therneau and others, Biometrika
1990).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from haiku_edge.export.evaluation.embedded_cohort import EmbeddedCohort, read_cohort
from haiku_edge.runtime.report.schema import RESEARCH_USE_ONLY

PENALTY = 10.0
NEIGHBOURS = 5
FOLDS, REPEATS = 5, 50
SHUFFLES = 5000
DRAWS = 2000
SEED = 2023
PROBES = {"mmr": "deficient", "kras": "mutated", "braf": "mutated", "metastatic": "yes", "stage_group": "III-IV"}
OUTCOMES = ("pfs", "os")

Floats = NDArray[np.float64]
Score = Callable[[Floats, Floats], float]


@dataclass(frozen=True, slots=True)
class Finding:
    """One tested figure.

    Attributes:
        value: On the data as they are.
        low: Lower end of the 95 % bootstrap interval over patients.
        high: Upper end.
        p: Share of shuffles, with the data as one of them, that do at least as well.
        chance: Where 95 % of the shuffles lie.
    """

    value: float
    low: float
    high: float
    p: float
    chance: tuple[float, float]


def leave_one_out(inputs: Floats, penalty: float = PENALTY) -> Floats:
    """(n, n) so that `matrix @ outcomes` predicts each patient by a ridge regression on the others."""
    rows = np.arange(len(inputs))
    return np.stack([_ridge_weights(inputs, rows != i, np.array([i]), penalty)[0] for i in rows])


def repeated_folds(inputs: Floats, seed: int = SEED, penalty: float = PENALTY) -> Floats:
    """The same by five folds, averaged over fifty ways to cut them; no patient weighs in their own prediction.

    The mean of the training patients is left out: it says nothing of a patient, and since a fold that lacks a class
    leaves more of it for training, it would push every AUROC below one half.
    """
    rng, total = np.random.default_rng(seed), np.zeros((len(inputs), len(inputs)))
    for _ in range(REPEATS):
        fold = rng.permutation(len(inputs)) % FOLDS
        for number in range(FOLDS):
            test = np.flatnonzero(fold == number)
            total[test] += _ridge_weights(inputs, fold != number, test, penalty, intercept=False)
    return total / REPEATS


def neighbours(vectors: Floats, k: int = NEIGHBOURS) -> Floats:
    """(n, n) weights of the k most similar other patients: softmax of their cosines, as published."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    best = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    weights = np.zeros_like(cosines)
    top = np.exp(np.take_along_axis(cosines, best, 1))
    np.put_along_axis(weights, best, top / top.sum(axis=1, keepdims=True), 1)
    return weights


def tested(smoother: Floats, outcome: Floats, truth: Floats, score: Score, seed: int = SEED) -> Finding:
    """Score `smoother @ outcome` against `truth`, with its interval and its place among shuffles.

    Args:
        smoother: (n, n).
        outcome: (n, …) what is regressed.
        truth: (n, …) what is scored; goes with `outcome` when that is shuffled.
        score: Of (truth, prediction); larger is better.
        seed: Of draws and shuffles.
    """
    rng = np.random.default_rng(seed)
    predicted, count = smoother @ outcome, len(outcome)
    value = score(truth, predicted)
    draws = [score(truth[rows], predicted[rows]) for rows in rng.integers(count, size=(DRAWS, count))]
    shuffled = [
        score(truth[rows], smoother @ outcome[rows]) for rows in (rng.permutation(count) for _ in range(SHUFFLES))
    ]
    low, high = _middle(draws)
    p = (1 + sum(other >= value - 1e-12 for other in shuffled)) / (1 + SHUFFLES)
    return Finding(value, low, high, p, _middle(shuffled))


def pearson(truth: Floats, predicted: Floats) -> float:
    """Pearson correlation; NaN where one side is constant."""
    a, b = truth - truth.mean(), predicted - predicted.mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 1e-12 else float("nan")


def mean_pearson(truth: Floats, predicted: Floats) -> float:
    """Mean over the columns of their Pearson correlation."""
    a, b = truth - truth.mean(axis=0), predicted - predicted.mean(axis=0)
    return float(((a * b).sum(axis=0) / np.sqrt((a * a).sum(axis=0) * (b * b).sum(axis=0))).mean())


def spearman(truth: Floats, predicted: Floats) -> float:
    """Spearman correlation."""
    return pearson(rankdata(truth), rankdata(predicted))


def auroc(truth: Floats, predicted: Floats) -> float:
    """Area under the ROC curve; `truth` is 1 or 0."""
    positive = truth > 0
    n, ranks = int(positive.sum()), rankdata(predicted)
    pairs = n * (len(truth) - n)
    return float((ranks[positive].sum() - n * (n + 1) / 2) / pairs) if pairs else float("nan")


def concordance(truth: Floats, risk: Floats) -> float:
    """Harrell's C-index; `truth` has times and events as columns."""
    time, event = truth[:, 0], truth[:, 1] > 0
    comparable = event[:, None] & ((time[:, None] < time[None]) | ((time[:, None] == time[None]) & ~event[None]))
    right = comparable * ((risk[:, None] > risk[None]) + 0.5 * (risk[:, None] == risk[None]))
    return float(right.sum() / comparable.sum()) if comparable.any() else float("nan")


def martingale_residuals(time: Floats, event: Floats) -> Floats:
    """Event less the Nelson-Aalen cumulative hazard at the patient's time: high for those who died early."""
    at_risk = (time[None] >= time[:, None]).sum(axis=1)
    hazard = ((time[None] <= time[:, None]) * (event / at_risk)[None]).sum(axis=1)
    return np.asarray(event - hazard)


def benjamini_hochberg(p: Floats) -> Floats:
    """q-values (Benjamini and Hochberg, J. R. Stat. Soc. B 1995)."""
    order = np.argsort(-p)
    ratio = p[order] * len(p) / np.arange(len(p), 0, -1)
    q = np.empty_like(p)
    q[order] = np.minimum(np.minimum.accumulate(ratio), 1)
    return q


def skill(truth: Floats, predicted: Floats, count: int) -> float:
    """One less the squared error over that of predicting the mean of the other patients."""
    mean = (truth.sum() - truth) / (count - 1)
    return float(1 - ((truth - predicted) ** 2).sum() / ((truth - mean) ** 2).sum())


def anchor(cohort: EmbeddedCohort) -> str:
    """Lymphocytes in the H&E, the last class, against CD45-positive cells in the stain."""
    lymphocytes = cohort.vectors["he"][:, -1].astype(np.float64)
    cd45 = cohort.expression[:, cohort.markers.index("CD45")].astype(np.float64)
    found = tested(np.eye(len(cd45)), lymphocytes, cd45, spearman)
    return f"LYM share against CD45+ share: Spearman {_interval(found)}."


def own_ranks(smoother: Floats, profiles: Floats) -> Floats:
    """(n,) rank, from 1, of each patient's own profile among all by cosine with the one predicted for them."""
    scores = smoother @ profiles @ profiles.T
    own = np.diagonal(scores)[:, None]
    return np.asarray((scores > own).sum(axis=1) + 1, np.float64)


def retrieval(cohort: EmbeddedCohort) -> str:
    """How early a patient's own profile comes, and whether shuffled profiles do as well."""
    smoother = leave_one_out(cohort.vectors["he"].astype(np.float64))
    profiles = cohort.vectors["mif"].astype(np.float64)
    rng, count = np.random.default_rng(SEED), len(profiles)
    ranks = own_ranks(smoother, profiles)
    shuffled = [own_ranks(smoother, profiles[rng.permutation(count)]).mean() for _ in range(SHUFFLES)]
    p = (1 + sum(other <= ranks.mean() for other in shuffled)) / (1 + SHUFFLES)
    found = ", ".join(f"{k}: {(ranks <= k).mean():.2f} (chance {k / count:.2f})" for k in (1, 5, 10, 20))
    return f"Recall at {found}. Mean rank {ranks.mean():.1f} of {count}; shuffled {np.mean(shuffled):.1f}, p {p:.4f}."


def biomarkers(cohort: EmbeddedCohort) -> str:
    """Each marker from the H&E of the patient and the markers of the others, by two methods."""
    values, vectors = cohort.expression.astype(np.float64), cohort.vectors["he"].astype(np.float64)
    methods = {"five neighbours": neighbours(vectors), "ridge": leave_one_out(vectors)}
    lines = [
        "| marker | method | Pearson | Spearman | p | q | skill against the mean |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, smoother in methods.items():
        found = [tested(smoother, z, z, pearson) for z in values.T]
        ranks = [spearman(z, smoother @ z) for z in values.T]
        q = benjamini_hochberg(np.array([one.p for one in found]))
        gained = [skill(z, smoother @ z, len(z)) for z in values.T]
        for m in np.argsort([-one.value for one in found]):
            one = found[m]
            lines.append(
                f"| {cohort.markers[m]} | {name} | {_interval(one)} | {ranks[m]:.2f} | {one.p:.4f} | {q[m]:.3f} "
                f"| {gained[m]:+.2f} |"
            )
        joint = tested(smoother, values, values, mean_pearson)
        lines.append(
            f"| mean of {len(found)} | {name} | {_interval(joint)} | {np.mean(ranks):.2f} | {joint.p:.4f} "
            f"| {int((q < 0.05).sum())} below 0.05 | {np.mean(gained):+.2f} |"
        )
    lines += ["", f"Ridge less neighbours, mean Pearson: {difference(values, *methods.values())}."]
    return "\n".join(lines)


def difference(values: Floats, first: Floats, second: Floats) -> str:
    """By how much the second method's mean Pearson exceeds the first one's, with a paired bootstrap of patients."""
    rng, count = np.random.default_rng(SEED), len(values)
    a, b = first @ values, second @ values
    everyone = [np.arange(count), *rng.integers(count, size=(DRAWS, count))]
    gains = [mean_pearson(values[rows], b[rows]) - mean_pearson(values[rows], a[rows]) for rows in everyone]
    low, high = np.percentile(gains[1:], [2.5, 97.5])
    return f"{gains[0]:+.2f} ({low:+.2f} to {high:+.2f})"


def probes_and_survival(cohort: EmbeddedCohort) -> str:
    """Classes and outcomes from the H&E, from the markers, and from both."""
    sides = {"H&E": cohort.vectors["he"], "markers": cohort.vectors["mif"]}
    sides["both"] = np.concatenate(list(sides.values()), axis=1)
    rows: list[tuple[str, str, Finding]] = []
    for fact, positive in PROBES.items():
        known = cohort.labels(fact) != ""
        truth = (cohort.labels(fact)[known] == positive).astype(np.float64)
        for name, vectors in sides.items():
            smoother = repeated_folds(vectors[known].astype(np.float64))
            rows.append((f"{fact}: {positive} (AUROC)", name, tested(smoother, truth, truth, auroc)))
    for outcome in OUTCOMES:
        time = cohort.labels(f"{outcome}_months").astype(np.float64)
        event = (cohort.labels(f"{outcome}_event") == "yes").astype(np.float64)
        truth = np.stack([time, event], axis=1)
        for name, vectors in sides.items():
            smoother = repeated_folds(vectors.astype(np.float64))
            found = tested(smoother, martingale_residuals(time, event), truth, concordance)
            rows.append((f"{outcome} (C-index)", name, found))
    q = benjamini_hochberg(np.array([found.p for _, _, found in rows]))
    lines = ["| question | from | score | shuffled | p | q |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {question} | {name} | {_interval(found)} | {found.chance[0]:.2f} to {found.chance[1]:.2f} | {found.p:.3f} "
        f"| {value:.2f} |"
        for (question, name, found), value in zip(rows, q, strict=True)
    ]
    return "\n".join(lines)


def _ridge_weights(
    inputs: Floats, train: NDArray[np.bool_], test: NDArray[np.int64], penalty: float, *, intercept: bool = True
) -> Floats:
    """(t, n) weights of the training outcomes in the predictions; 0 for all others."""
    centre, scale = inputs[train].mean(axis=0), inputs[train].std(axis=0)
    x, query = (inputs[train] - centre) / scale, (inputs[test] - centre) / scale
    weights = query @ np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T)
    out = np.zeros((len(test), len(inputs)))
    # The outcomes are centred by their mean, which may come back as the intercept.
    out[:, train] = weights - weights.mean(axis=1, keepdims=True) + intercept / train.sum()
    return out


def _middle(values: list[float]) -> tuple[float, float]:
    """Between what 95 % of the values lie."""
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def _interval(found: Finding) -> str:
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


if __name__ == "__main__":
    table = read_cohort(Path(sys.argv[1]))
    print(anchor(table), retrieval(table), biomarkers(table), probes_and_survival(table), RESEARCH_USE_ONLY, sep="\n\n")
