"""Draw how well each marker is inferred, with and without the patient in the gallery, and by ridge regression.

python docs/guides/orion/figure.py OUT_FOLDER/cohort.parquet docs/guides/orion/markers.svg
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from outside import DRAWS, SEED, Floats, leave_one_out, neighbours, pearson

from haiku_edge.export.evaluation.embedded_cohort import EmbeddedCohort, read_cohort
from haiku_edge.runtime.report.schema import RESEARCH_USE_ONLY

WIDTH, LEFT, RIGHT, ROW, TOP = 640, 90, 20, 22, 44
LOW, HIGH = -0.4, 1.0
SERIES = (
    ("five neighbours, the patient among them", "#b0b0b0", -5.0),
    ("five neighbours, without the patient", "#d1495b", 0.0),
    ("ridge regression, without the patient", "#00798c", 5.0),
)


def with_oneself(vectors: Floats) -> Floats:
    """(n, n) weights of the five nearest, the patient among them: softmax of their cosines."""
    cosines = vectors @ vectors.T
    weights = np.where(cosines >= np.sort(cosines, axis=1)[:, [-5]], np.exp(cosines), 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def intervals(cohort: EmbeddedCohort) -> Floats:
    """(3, m, 3): Pearson correlation of each series and marker, with the ends of its 95 % bootstrap interval."""
    values, vectors = cohort.expression.astype(np.float64), cohort.vectors["he"].astype(np.float64)
    rows = np.random.default_rng(SEED).integers(len(values), size=(DRAWS, len(values)))
    out = []
    for smoother in (with_oneself(vectors), neighbours(vectors), leave_one_out(vectors)):
        inferred = smoother @ values
        for truth, own in zip(values.T, inferred.T, strict=True):
            draws = [pearson(truth[some], own[some]) for some in rows]
            out.append([pearson(truth, own), *np.percentile(draws, [2.5, 97.5])])
    return np.array(out).reshape(len(SERIES), len(cohort.markers), 3)


def draw(markers: tuple[str, ...], found: Floats) -> str:
    """The figure as SVG, markers from the best by ridge regression down."""
    order = np.argsort(-found[-1, :, 0])
    height = TOP + ROW * len(markers) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="12" role="img" aria-label="Pearson correlation of inferred and measured expression by marker">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for tick in np.arange(LOW, HIGH + 0.01, 0.2):
        x = _x(tick)
        shade = "#444" if abs(tick) < 1e-9 else "#ddd"
        parts.append(f'<path d="M{x:.1f} {TOP - 8}V{height - 34}" stroke="{shade}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 18}" text-anchor="middle">{tick + 0.0:.1f}</text>')
    parts.append(
        f'<text x="{_x(0.3):.1f}" y="{height - 3}" text-anchor="middle">Pearson correlation, 40 patients</text>'
    )
    for place, m in enumerate(order.tolist()):
        y = TOP + ROW * (place + 0.5)
        parts.append(f'<text x="{LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">{markers[m]}</text>')
        parts += [_bar(y + shift, colour, found[s, m]) for s, (_, colour, shift) in enumerate(SERIES)]
    parts.append(f'<text x="{WIDTH - 8}" y="14" font-size="9" text-anchor="end">{RESEARCH_USE_ONLY}</text>')
    for s, (name, colour, _) in enumerate(SERIES):
        parts.append(f'<circle cx="{LEFT - 70 + 8}" cy="{10 + 12 * s}" r="3.5" fill="{colour}"/>')
        parts.append(f'<text x="{LEFT - 54}" y="{14 + 12 * s}" font-size="11">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(y: float, colour: str, values: Floats) -> str:
    value, low, high = (_x(float(one)) for one in values)
    return (
        f'<path d="M{low:.1f} {y:.1f}H{high:.1f}" stroke="{colour}"/>'
        f'<circle cx="{value:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>'
    )


def _x(value: float) -> float:
    return LEFT + (value - LOW) / (HIGH - LOW) * (WIDTH - LEFT - RIGHT)


if __name__ == "__main__":
    table = read_cohort(Path(sys.argv[1]))
    Path(sys.argv[2]).write_text(draw(table.markers, intervals(table)))
