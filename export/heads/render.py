"""Evaluations of heads as Markdown tables (which read as plain text too) and as JSON values. No patient is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from haiku_edge.runtime.bundle import HeadSection

from ..evaluation.bootstrap import Estimate
from ..evaluation.tables import json_value, spanned, table
from .classify import ClassEvaluation
from .embedded import SyntheticClasses, SyntheticSurvival
from .probes import ProbeEvaluation
from .scores import ClassScores, read_estimate
from .survival import SurvivalEvaluation
from .targets import ClassTarget

_NOTES = (
    "\n\n¹ These vectors were made from the notes. Where the notes state what is predicted, or an outcome, this figure "
    "says only that the model can read."
)
_BELOW = (
    "\n\nFar below 0.5 is not knowledge turned round. In a small cohort whose classes look alike, whoever is left out "
    "of training pulls the rest the other way; read it as nothing found."
)
_METRICS = ("AUROC", "balanced accuracy", "macro F1")


def render_probes(evaluation: ProbeEvaluation) -> str:
    """Linear probes: by patch, by patient, and as published where that was asked for."""
    target, models = evaluation.target, evaluation.models
    head = (
        f"Linear probes of {target.name}: {_classes(target)}; {evaluation.patches} patches. Nested "
        f"cross-validation with {evaluation.folds} folds of patients; in brackets where 95 % of resampled cohorts lie."
    )
    rows = []
    for model in models:
        name = _marked(model.name, model.reads_notes)
        rows.append((name, "patients", *_three(model.patients)))
        rows.append((name, "patches", *_three(model.patches)))
        if model.leaking is not None:
            rows.append((name, "patches, leaking", *_three(model.leaking)))
    text = head + "\n\n" + table(("vectors", "unit", *_METRICS), rows)
    if any(model.leaking is not None for model in models):
        text += (
            "\n\nLeaking: as published, with folds over patches, so that patches of one patient teach and test. The "
            "difference to the line above is flattery. For reproduction only."
        )
    return text + _footnotes((model.reads_notes for model in models), [model.patients.auroc for model in models])


def render_classes(evaluation: ClassEvaluation) -> str:
    """Attention MIL classification, by patient."""
    target = evaluation.target
    head = (
        f"Classification of {target.name} by patient: {_classes(target)}. Nested cross-validation with "
        f"{evaluation.folds} folds of patients; in brackets where 95 % of resampled cohorts lie."
    )
    rows = [(_marked(model.name, model.reads_notes), *_three(model.scores)) for model in evaluation.models]
    return (
        head
        + "\n\n"
        + table(("model", *_METRICS), rows)
        + _footnotes(
            (model.reads_notes for model in evaluation.models), [model.scores.auroc for model in evaluation.models]
        )
    )


def render_survival(evaluation: SurvivalEvaluation) -> str:
    """Cox heads, by patient, against clinical facts."""
    target = evaluation.target
    head = (
        f"Survival ({evaluation.time}, {evaluation.event}): {len(target)} patients, {int(target.events.sum())} "
        f"events{_left_out(target.left_out)}. Nested cross-validation with {evaluation.folds} folds of patients; in "
        "brackets where 95 % of resampled cohorts lie. C-index 0.5 is chance."
    )
    if evaluation.clinical:
        head += f" The clinical model reads {', '.join(evaluation.clinical)}."
    names = ["model", "C-index", "less clinical", *(f"AUROC at {month:.0f} months" for month in evaluation.landmarks)]
    rows = [
        (
            _marked(model.name, model.reads_notes and bool(model.choices)),
            spanned(model.scores.concordance),
            "" if model.scores.against is None else _signed(model.scores.against),
            *(spanned(area) for area in model.scores.auroc.values()),
        )
        for model in evaluation.models
    ]
    marked = (model.reads_notes and bool(model.choices) for model in evaluation.models)
    values = [model.scores.concordance for model in evaluation.models]
    return head + "\n\n" + table(names, rows) + _footnotes(marked, values)


def render_synthetic_survival(found: SyntheticSurvival) -> str:
    """The embedded bundle's risk against the truth."""
    head = (
        f"C-index of survival on {found.patients} simulated patients by cross-validation ({found.events} deaths), and "
        f"on {found.held_out_patients} held-out ones ({found.held_out_events} deaths); in brackets where 95 % of "
        "resampled cohorts lie. The oracle knows the hazard from which survival was drawn, and even it does not know "
        "chance; facts and tissue do not show all of that hazard."
    )
    rows = [(row.name, spanned(row.cross_validated), spanned(row.held_out)) for row in found.rows]
    return head + "\n\n" + table(("ordered by", "cross-validated", "held out"), rows)


def render_synthetic_classes(found: SyntheticClasses) -> str:
    """The embedded bundle's classifier on held-out patients."""
    head = (
        f"Slide classifier {found.name} ({', '.join(found.classes)}) on {found.patients} simulated patients by "
        f"cross-validation and on {found.held_out_patients} held-out ones."
    )
    rows = [("cross-validated", *_three(found.cross_validated)), ("held out", *_three(found.held_out))]
    return head + "\n\n" + table(("patients", *_METRICS), rows)


def render_head(section: HeadSection) -> str:
    """What a trained head is, in a few lines."""
    lines = [f"{section.name}: {section.kind} of {section.target} from {section.features}, {section.patients} patients"]
    for key in ("concordance", "auroc", "balanced_accuracy", "macro_f1"):
        value = section.metrics.get(key)
        if isinstance(value, dict):
            lines.append(f"  cross-validated {key.replace('_', ' ')}: {spanned(read_estimate(value))}")
    return "\n".join(lines)


def probe_figures(evaluation: ProbeEvaluation) -> dict[str, object]:
    """JSON values of linear probes."""
    models = {
        model.name: {
            "patients": json_value(model.patients),
            "patches": json_value(model.patches),
            "patches_leaking": json_value(model.leaking),
            "strengths": json_value(model.strengths),
            "reads_notes": model.reads_notes,
        }
        for model in evaluation.models
    }
    return {**_class_figures(evaluation.target, evaluation.folds), "patches": evaluation.patches, "models": models}


def class_figures(evaluation: ClassEvaluation) -> dict[str, object]:
    """JSON values of a classification."""
    models = {
        model.name: {
            "scores": json_value(model.scores),
            "choices": json_value(model.choices),
            "reads_notes": model.reads_notes,
        }
        for model in evaluation.models
    }
    return {**_class_figures(evaluation.target, evaluation.folds), "models": models}


def survival_figures(evaluation: SurvivalEvaluation) -> dict[str, object]:
    """JSON values of a survival evaluation."""
    return {
        "time": evaluation.time,
        "event": evaluation.event,
        "patients": len(evaluation.target),
        "events": int(evaluation.target.events.sum()),
        "left_out": evaluation.target.left_out,
        "folds": evaluation.folds,
        "clinical_facts": list(evaluation.clinical),
        "models": {
            model.name: {
                "scores": json_value(model.scores),
                "choices": json_value(model.choices),
                "reads_notes": model.reads_notes,
            }
            for model in evaluation.models
        },
    }


def _class_figures(target: ClassTarget, folds: int) -> dict[str, object]:
    return {
        "target": target.name,
        "classes": _counts(target),
        "patients": len(target),
        "left_out": target.left_out,
        "folds": folds,
    }


def _counts(target: ClassTarget) -> dict[str, int]:
    counts = Counter(target.codes.tolist())
    return {name: counts[code] for code, name in enumerate(target.classes)}


def _classes(target: ClassTarget) -> str:
    named = ", ".join(f"{name} ({count})" for name, count in _counts(target).items())
    return f"{len(target)} patients, {named}{_left_out(target.left_out)}"


def _left_out(count: int) -> str:
    return f" ({count} left out, of whom it is not known)" if count else ""


def _three(scores: ClassScores) -> tuple[str, str, str]:
    return spanned(scores.auroc), spanned(scores.balanced_accuracy), spanned(scores.macro_f1)


def _signed(difference: Estimate) -> str:
    return spanned(difference) if difference.value < 0 else f"+{spanned(difference)}"


def _marked(name: str, reads_notes: bool) -> str:
    return f"{name} ¹" if reads_notes else name


def _footnotes(reads_notes: Iterable[bool], values: Sequence[Estimate]) -> str:
    """What must be known to read a table."""
    below = any(value.high < 0.5 for value in values)
    return (_NOTES if any(reads_notes) else "") + (_BELOW if below else "") + "\n"
