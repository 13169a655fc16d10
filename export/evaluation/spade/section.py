"""The SPADE evaluation as a section of a model card."""

from __future__ import annotations

from collections.abc import Sequence

from ..sections import Section
from .draws import UNITS
from .expression import score_expression
from .few_shot import score_few_shot
from .figures import expression_figures, few_shot_figures, routing_figures, slide_figures
from .render import render_expression, render_few_shot, render_routing, render_slides
from .retrieval import Search
from .routing import compare_routing
from .slides import SlideResult
from .spot_cohort import ORGAN, SPADE, SpotCohort


def spade_section(
    cohort: SpotCohort,
    label: str | None = ORGAN,
    subject: str = SPADE,
    search: Search | None = None,
    slides: Sequence[SlideResult] = (),
) -> Section:
    """Expression by retrieval, few-shot probes by patch and by slide, slide heads, routing where there are variants.

    Args:
        cohort: Held-out spots in every representation that is compared.
        label: What the probes tell apart: 'organ', or a clinical fact; None leaves them out.
        subject: The judged representation.
        search: How neighbours are found; None for the defaults.
        slides: Slide heads, whose patients may be others: see `score_slides` and `score_slide_survival`.

    Raises:
        CohortError, UsageError: See the parts.
    """
    expression = score_expression(cohort, subject, search)
    probes = [] if label is None else [score_few_shot(cohort, label, unit, subject) for unit in UNITS]
    lines = ["#### Expression by retrieval", "", render_expression(expression), ""]
    for probe in probes:
        lines += [f"#### Few-shot probes by {probe.unit}", "", render_few_shot(probe), ""]
    metrics: dict[str, object] = {
        "expression": expression_figures(expression, genes=False),
        "few_shot": {probe.unit: few_shot_figures(probe) for probe in probes},
    }
    for heads in slides:
        lines += [f"#### Slide heads: {heads.question}", "", render_slides(heads), ""]
    if slides:
        metrics["slides"] = {heads.question: slide_figures(heads) for heads in slides}
    if cohort.variants(subject):
        routing = compare_routing(cohort, subject, search)
        lines += ["#### Routing", "", render_routing(routing), ""]
        metrics["routing"] = routing_figures(routing)
    return Section("spade", "SPADE: the mixture of experts against its baselines", tuple(lines[:-1]), metrics)
