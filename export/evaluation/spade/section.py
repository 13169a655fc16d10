"""The SPADE evaluation as a section of a model card."""

from __future__ import annotations

from ..sections import Section
from .draws import UNITS
from .expression import score_expression
from .few_shot import score_few_shot
from .figures import expression_figures, few_shot_figures, routing_figures
from .render import render_expression, render_few_shot, render_routing
from .retrieval import Search
from .routing import compare_routing
from .spot_cohort import ORGAN, SPADE, SpotCohort


def spade_section(
    cohort: SpotCohort, label: str | None = ORGAN, subject: str = SPADE, search: Search | None = None
) -> Section:
    """Expression by retrieval, few-shot probes of a label by patch and by slide, and routing where there are variants.

    Args:
        cohort: Held-out spots in every representation that is compared.
        label: What the probes tell apart: 'organ', or a clinical fact; None leaves them out.
        subject: The judged representation.
        search: How neighbours are found; None for the defaults.

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
    if cohort.variants(subject):
        routing = compare_routing(cohort, subject, search)
        lines += ["#### Routing", "", render_routing(routing), ""]
        metrics["routing"] = routing_figures(routing)
    return Section("spade", "SPADE: the mixture of experts against its baselines", tuple(lines[:-1]), metrics)
