"""Counterfactual scores as Markdown (which reads as plain text too) and as the numbers of a manifest or a JSON file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final

from .counterfactual import CohortEffect
from .counterfactual_truth import LEAST_SHIFT, Agreement, CounterfactualScore

DIGITS: Final = 4


def render_counterfactual(score: CounterfactualScore) -> str:
    """The score against the simulator's truth, for the model card."""
    lines = [
        f"Counterfactuals on {score.patients} held-out patients: their facts are edited, every cell stays where it is, "
        f"and the shift that the bundle finds ({score.text_weight:g} text, {score.neighbours} patches) is compared "
        "with the simulator's. Ideal text ranks patches by what their patients' facts imply: the most that this "
        "retrieval could find.",
        "",
        *_table(
            ("", "directions right", "95 % interval", "by chance", "part of the size", "Spearman over markers"),
            (
                ("this bundle", *_agreement(score.recovered), _shown(score.spearman)),
                ("ideal text", *_agreement(score.oracle), _shown(score.oracle_spearman)),
            ),
        ),
        "",
        f"Directions are those of the {score.recovered.pairs} pairs of edit and marker that truly shift by at least "
        f"{LEAST_SHIFT:g} standard deviations. Part of the size is 1 where a shift comes out as large as it is.",
        "",
        *_table(
            ("edit", "patients", "Spearman", "ideal text"),
            ((e.name, str(e.patients), _shown(e.spearman), _shown(e.oracle_spearman)) for e in score.edits),
        ),
    ]
    return "\n".join(lines)


def counterfactual_metrics(score: CounterfactualScore) -> dict[str, Any]:
    """The score as JSON values; what is not a number becomes null."""
    return {
        "patients": score.patients,
        "text_weight": score.text_weight,
        "neighbours": score.neighbours,
        "least_shift": LEAST_SHIFT,
        "directions": {name: _numbers(asdict(getattr(score, name))) for name in ("recovered", "oracle")},
        "spearman": {"recovered": _number(score.spearman), "oracle": _number(score.oracle_spearman)},
        "edits": {
            edit.name: {
                "patients": edit.patients,
                "spearman": _number(edit.spearman),
                "oracle_spearman": _number(edit.oracle_spearman),
            }
            for edit in score.edits
        },
    }


def render_cohort_effect(effect: CohortEffect) -> str:
    """A cohort's counterfactual as a table, the largest effect size first."""
    edits = ", ".join(f"{field} = {value}" for field, value in effect.sets)
    left_out = "; ".join(f"{count} left out: {why}" for why, count in effect.left_out.items())
    head = (
        f"{edits}: {effect.patients} patients, {effect.patches} patches" + (f" ({left_out})" if left_out else "") + "."
    )
    rows = (
        (
            own.marker,
            str(own.patients),
            _percent(own.before),
            _percent(own.after),
            _points(own.difference),
            "–" if math.isnan(own.low) else f"{_points(own.low)} to {_points(own.high)}",
            _shown(own.effect),
            "unstable" if own.unstable else _chance(own.p),
            _chance(own.q),
            _chance(own.random_p),
        )
        for own in effect.markers
    )
    names = (
        "marker",
        "patients",
        "before, %",
        "after, %",
        "difference, points",
        "95 % interval",
        "d_z",
        "p",
        "q",
        "random edits, p",
    )
    found = sum(own.q < _NOTABLE for own in effect.markers)
    before, after = effect.same_tissue
    foot = (
        f"{found} of {len(effect.markers)} markers have q < {_NOTABLE:g} (Wilcoxon over patients, Benjamini-Hochberg). "
    )
    if not math.isnan(before):
        foot += f"Evidence from the same kind of tissue: {before:.0%} before, {after:.0%} after. "
    foot += _about_random_edits(effect)
    if not effect.outcomes:
        foot += "Facts that tell how a case ended were left out of the notes. "
    foot += "Exploratory: the text of the search was edited, not a patient."
    return "\n".join([head, "", *_table(names, rows), "", foot])


def cohort_metrics(effect: CohortEffect) -> dict[str, Any]:
    """A cohort's counterfactual as JSON values, without pseudonyms."""
    return {
        "sets": dict(effect.sets),
        "patients": effect.patients,
        "patches": effect.patches,
        "left_out": dict(effect.left_out),
        "random_edits": effect.random_edits,
        "random_p": _number(effect.random_p),
        "outcomes_in_notes": effect.outcomes,
        "same_tissue": [_number(value) for value in effect.same_tissue],
        "markers": [_numbers(asdict(own)) for own in effect.markers],
    }


_NOTABLE: Final = 0.05


def _about_random_edits(effect: CohortEffect) -> str:
    if math.isnan(effect.random_p):
        return "There is no other edit that changes enough patients to compare with. "
    reached = round(effect.random_p * (1 + effect.random_edits)) - 1
    return (
        f"Of {effect.random_edits} other edits of as many fields, each judged by the patients whom it changes, "
        f"{reached} move the markers as much (no p can be below {1 / (1 + effect.random_edits):.2g}). "
    )


def _agreement(own: Agreement) -> tuple[str, ...]:
    if not own.pairs:
        return ("–",) * 4
    return (
        f"{own.share:.0%} of {own.pairs}",
        f"{own.low:.0%} to {own.high:.0%}",
        f"p {_chance(own.p)}",
        f"{own.size:.0%}",
    )


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table with columns of even width."""
    cells = [tuple(names), *(tuple(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    lines = [
        "| "
        + " | ".join(t.rjust(w) if i else t.ljust(w) for i, (t, w) in enumerate(zip(row, widths, strict=True)))
        + " |"
        for row in cells
    ]
    return [lines[0], rule, *lines[1:]]


def _numbers(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _number(value) if isinstance(value, float) else value for key, value in values.items()}


def _number(value: float) -> float | None:
    return round(value, DIGITS) if math.isfinite(value) else None


def _shown(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "–"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}" if math.isfinite(value) else "–"


def _points(value: float) -> str:
    return f"{100 * value:+.2f}" if math.isfinite(value) else "–"


def _chance(p: float) -> str:
    if math.isnan(p):
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
