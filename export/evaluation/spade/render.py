"""The SPADE evaluation as Markdown tables, which read as plain text too. No patient is named."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..bootstrap import Estimate
from ..tables import shown, spanned, table
from .expression import MEASURES, ExpressionResult
from .few_shot import MAX_ITERATIONS, FewShotResult, FewShotScore, Spread
from .retrieval import Keys
from .routing import LOW, RoutingResult
from .slides import SlideResult
from .verdict import verdict

GENES_SHOWN = 12
"""Genes that a table shows: the JSON has all."""

_KEYS = {"image": "pictures", "expression": "expression"}
_UNITS = {"patches": "one spot's picture", "slides": "a section, the mean of its spots"}


def render_expression(result: ExpressionResult) -> str:
    """Expression by retrieval: the verdict, then scores, differences, numbers of neighbours, and genes."""
    head = (
        f"Expression of {result.spots} spots ({result.sections} sections, {result.patients} patients) from the "
        f"{result.search.neighbours} most similar spots of other patients, weighted by the softmax of their cosines "
        f"(temperature {result.search.temperature:g}). Pearson correlation with the measured, log-normalised "
        f"expression, mean over {result.compared} of {len(result.genes)} genes; in brackets where 95 % of resampled "
        "cohorts lie."
    ) + _learned(result.learned_from)
    parts = [head, *_expression_verdicts(result), _expression_scores(result), _expression_gains(result)]
    return "\n\n".join((*parts, _profile(result), _genes(result)))


def render_few_shot(result: FewShotResult) -> str:
    """Few-shot probes: one row a representation, one column a number of shots; then differences."""
    named = ", ".join(f"{name} ({count})" for name, count in result.classes.items())
    left = f"; {result.dropped} left out, whose label is not known or is one patient's alone" if result.dropped else ""
    head = (
        f"Few-shot linear probes of {result.label} by {result.unit} ({_UNITS[result.unit]}): {named}; "
        f"{result.patients} patients{left}. Every draw lets a third of the patients test and draws shots from the "
        "others, a patient a shot as far as they go; the same for every representation. Logistic regression with "
        f"C = dimensions × 2/100 and {MAX_ITERATIONS:,} iterations, as published; vectors are standardised by all "
        "items of the teaching patients, of which the published code says nothing. Mean ± standard deviation over "
        f"draws; balanced accuracy by chance is {1 / len(result.classes):.2f}."
    ) + _learned(result.learned_from)
    if not result.scores:
        return head + "\n\nNo class has a patient to spare, so nothing was probed."
    counts = list(dict.fromkeys(score.shots for score in result.scores))
    names = list(dict.fromkeys(score.name for score in result.scores))
    parts = [head]
    for title, figure in (("balanced accuracy", "balanced"), ("AUROC", "auroc")):
        rows = [(name, *(_spread(getattr(_at(result, name, k), figure)) for k in counts)) for name in names]
        parts.append(table((f"{title}, shots a class", *map(str, counts)), rows))
    gains = {(one.auroc.baseline, one.shots): one.auroc for one in result.gains}
    rows = [
        (f"less {name}", *(_signed(gains[name, k].difference) for k in counts))
        for name in names
        if name != result.subject
    ]
    if rows:
        parts.append(f"{result.subject} less each baseline by AUROC; in brackets 95 % of the draws.")
        parts.append(table(("shots a class", *map(str, counts)), rows))
        parts.append("\n".join(f"- With {k} a class: {_few_verdict(result, k)}" for k in counts))
    return "\n\n".join(parts)


def render_slides(result: SlideResult) -> str:
    """Slide heads: one row a representation and network; then differences and the verdict under each network."""
    named = ", ".join(f"{name} ({count})" for name, count in result.counts.items())
    left = f" ({result.left_out} left out, of whom it is not known)" if result.left_out else ""
    head = (
        f"Slide heads of {result.question}: {result.patients} patients, {named}{left}. Nested cross-validation with "
        f"{result.folds} folds of patients, the same for every representation; in brackets where 95 % of resampled "
        "cohorts lie."
    ) + _learned(result.learned_from)
    figures = list(result.scores[0].figures)
    rows = [
        (score.name, score.network, *(spanned(score.figures[figure]) for figure in figures)) for score in result.scores
    ]
    parts = [head, table(("representation", "head", *figures), rows)]
    if result.gains:
        gains = [(f"{one.network}, less {one.gain.baseline}", _signed(one.gain.difference)) for one in result.gains]
        parts.append(table((result.subject, result.figure), gains))
    for network in dict.fromkeys(one.network for one in result.gains):
        own = [one.gain for one in result.gains if one.network == network]
        parts.append(verdict(result.subject, own, f"the {result.figure} of {network}"))
    return "\n\n".join(parts)


def render_routing(result: RoutingResult) -> str:
    """Variants of routing against the judged one."""
    head = (
        f"What other routing changes, on {result.spots} spots of {result.patients} patients: cosine of a spot's two "
        f"embeddings, the share of its {result.neighbours} nearest spots of other patients that both find, and the "
        "change of the mean Pearson of expression over all spots."
    ) + _learned(result.learned_from)
    rows = [
        (
            one.name,
            shown(one.cosine, 4),
            shown(one.low, 4),
            f"{one.same:.1%}",
            f"{one.shared:.1%}",
            _signed(one.pearson, 4),
        )
        for one in result.variants
    ]
    names = ("routing", "cosine", f"lowest {LOW:g} %", "same spots", "shared neighbours", "change of Pearson")
    return head + "\n\n" + table(names, rows)


def _learned(learned_from: Mapping[str, int]) -> str:
    """A sentence where representations learned from patients of the cohort; '' where none did."""
    told = [f"{name} learned from {count}" for name, count in learned_from.items() if count > 0]
    if not told:
        return ""
    return f" {', '.join(told)} of these patients: {'its' if len(told) == 1 else 'their'} figures are too good."


def _expression_verdicts(result: ExpressionResult) -> list[str]:
    out = []
    for keys in dict.fromkeys(one.keys for one in result.gains):
        for measure in MEASURES:
            own = [one.gain for one in result.gains if (one.keys, one.measure) == (keys, measure)]
            out.append("- " + verdict(result.subject, own, f"mean Pearson {measure}, searching {_KEYS[keys]}"))
    return ["\n".join(out)] if out else []


def _expression_scores(result: ExpressionResult) -> str:
    scores = [*result.scores, *([] if result.ceiling is None else [result.ceiling])]
    rows = [
        (score.name, _searched(score.keys), spanned(score.pearson, 3), spanned(score.within, 3), shown(score.error, 3))
        for score in scores
    ]
    text = table(("from", "searched", "over all spots", "inside sections", "error"), rows)
    text += (
        "\n\nThe mean of the organ is that of the other patients: it sinks when a patient's own values are high, so it "
        "correlates negatively by construction where there is one organ; compare its error."
    )
    if result.ceiling is not None:
        text += (
            " The truth is what the simulator expects of the visible cells alone: what organ and diagnosis add, "
            "which a picture may show too, can pass it."
        )
    return text


def _expression_gains(result: ExpressionResult) -> str:
    pairs = dict.fromkeys((one.keys, one.gain.baseline) for one in result.gains)
    cells = {(one.keys, one.gain.baseline, one.measure): _signed(one.gain.difference, 3) for one in result.gains}
    rows = [
        (f"less {name}", _KEYS[keys], *(cells.get((keys, name, measure), "–") for measure in MEASURES))
        for keys, name in pairs
    ]
    return table((result.subject, "searched", "over all spots", "inside sections"), rows)


def _profile(result: ExpressionResult) -> str:
    counts = list(next(iter(result.profile.values()), {}))
    rows = [(name, *(shown(values[k], 3) for k in counts)) for name, values in result.profile.items()]
    head = "Mean Pearson over all spots by the number of neighbours, searching pictures; to look at, not to choose by."
    return head + "\n\n" + table(("neighbours", *map(str, counts)), rows)


def _genes(result: ExpressionResult) -> str:
    """The genes that the first baseline predicts best: an order that does not favour the judged one."""
    scores = [score for score in result.scores if score.keys == "image"]
    if result.ceiling is not None:
        scores.append(result.ceiling)
    first = scores[1] if len(scores) > 1 else scores[0]
    reference = np.nan_to_num(np.array(first.genes), nan=-np.inf)
    order = np.argsort(-reference, kind="stable")[:GENES_SHOWN]
    rows = [(result.genes[g], *(shown(score.genes[g], 3) for score in scores)) for g in order.tolist()]
    head = f"Pearson over all spots of the {len(order)} genes that are best predicted by {first.name}."
    return head + "\n\n" + table(("gene", *(score.name for score in scores)), rows)


def _few_verdict(result: FewShotResult, shots: int) -> str:
    own = [one.auroc for one in result.gains if one.shots == shots]
    return verdict(result.subject, own, "AUROC")


def _at(result: FewShotResult, name: str, shots: int) -> FewShotScore:
    return next(score for score in result.scores if (score.name, score.shots) == (name, shots))


def _spread(spread: Spread) -> str:
    return f"{shown(spread.mean)} ± {shown(spread.deviation)}"


def _searched(keys: Keys | None) -> str:
    return "" if keys is None else _KEYS[keys]


def _signed(difference: Estimate, digits: int = 2) -> str:
    text = spanned(difference, digits)
    return f"+{text}" if difference.value >= 0 else text
