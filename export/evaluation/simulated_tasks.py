"""Tasks that take the simulator's truth: edited notes against true shifts, trained heads against true hazards."""

from __future__ import annotations

from haiku_edge.runtime.atlas import open_atlas
from haiku_edge.runtime.counterfactual import Search
from haiku_edge.runtime.errors import CohortError

from ..synthetic import simulate_cohort
from .counterfactual_render import counterfactual_metrics, render_counterfactual
from .counterfactual_truth import score_counterfactual
from .held_out import HeldOut
from .sections import Section, Task
from .tables import json_value


def counterfactual_task(held_out: HeldOut) -> Section | None:
    """Recovered against true shifts.

    None where the atlas does not hold its patients' facts, or is no larger than the evidence of one tile: then all of
    it answers, whatever the notes say.
    """
    atlas = open_atlas(held_out.bundle)
    if not atlas.facts or len(atlas.patches) <= Search().neighbours:
        return None
    score = score_counterfactual(
        held_out.bundle, held_out.part, held_out.cohort, held_out.engines, side=held_out.split.held_out_side
    )
    lines = tuple(render_counterfactual(score).split("\n"))
    return Section("counterfactual", "Counterfactuals against the truth", lines, counterfactual_metrics(score))


def heads_task(held_out: HeldOut) -> Section | None:
    """The bundle's trained heads on the held-out patients, risk beside the oracle's; None without heads."""
    heads = held_out.bundle.manifest.heads
    if not heads:
        return None
    # Lazy: the heads' training comes with it, and PyTorch with that.
    from ..heads.embedded import score_classifier, score_survival
    from ..heads.render import render_synthetic_classes, render_synthetic_survival

    patients = simulate_cohort(held_out.split.patients, held_out.seed)
    parts: list[str] = []
    metrics: dict[str, object] = {}
    for head in heads:
        graph = held_out.bundle.read(head.file)
        try:
            if head.kind == "survival":
                cases = held_out.bundle.read(head.cases)
                survival = score_survival(head, graph, cases, patients, held_out.cohort)
                parts.append(render_synthetic_survival(survival))
                metrics[head.name] = json_value(survival)
            elif head.kind == "slide_classifier":
                classes = score_classifier(head, graph, held_out.cohort)
                parts.append(render_synthetic_classes(classes))
                metrics[head.name] = json_value(classes)
        except CohortError as error:
            parts.append(f"{head.name} can't be scored on the held-out patients: {error}")
    return Section("heads", "Trained heads", tuple("\n\n".join(parts).split("\n")), metrics)


TASKS: tuple[Task, ...] = (counterfactual_task, heads_task)
"""What every evaluation of a simulated cohort scores beyond retrieval, biomarkers and intervals."""
