"""What a reader must know before the numbers of a counterfactual."""

from __future__ import annotations

from typing import Final

import numpy as np

from ..inference.describe import student_warnings
from .blocks import WANTED
from .case import Case
from .statistics import LEAST_UNITS

_NOTABLE: Final = 0.05
_STRANGE_SHARE: Final = 0.1
"""Share of the tissue without support from which the slide as a whole is unlike the atlas."""


def case_warnings(case: Case) -> list[str]:
    """Sentences, most important first."""
    model, slide = case.model, case.survey.stain
    warnings = [model.bundle.manifest.statement] if model.bundle.manifest.synthetic else []
    if slide.looks_like != "H&E":
        warnings.append(f"The slide may not be H&E but {slide.looks_like}: {_sentence(slide.reason)}")
    warnings += student_warnings(model)
    warnings += [*_about_the_text(case), *case.question.edited.warnings, *_about_randomness(case), *_about_tiles(case)]
    given = (*case.info.warnings, *model.atlas.warnings, *case.question.notes.section.warnings)
    warnings += [_sentence(text) for text in given]
    if case.question.notes.section.dropped:
        warnings.append(f"Left out of the notes as identifiers: {', '.join(case.question.notes.section.dropped)}.")
    return warnings


def _about_the_text(case: Case) -> list[str]:
    if case.search.text_weight == 0:
        return ["The notes have no weight, so nothing can change: this is the control."]
    if not case.question.is_heard:
        return ["The text tower reads the same of both notes (the edit lies beyond its length): nothing can change."]
    return []


def _about_randomness(case: Case) -> list[str]:
    null = case.analysis.null
    if not len(null.drawn):
        return ["There is nothing to compare with: no random edit could be drawn from the atlas's facts."]
    if null.overall_p > _NOTABLE:
        share = 100 * null.overall_p
        return [
            f"About {share:.0f} % of random edits of as many fields move the markers as much: the change can't be told "
            "from what any other words do."
        ]
    return []


def _about_tiles(case: Case) -> list[str]:
    searched = int(np.isin(case.judged.status, ("used", "abstained")).sum())
    abstained = int((case.judged.status == "abstained").sum())
    blocks = case.analysis.blocks
    warnings = []
    if abstained > _STRANGE_SHARE * searched:
        warnings.append(
            f"{100 * abstained / searched:.0f} % of the tissue resembles nothing in the atlas and was left out."
        )
    if not model_calibrated(case):
        warnings.append("No patient calibrates this run, so no tile abstains, however unlike the atlas it is.")
    evidence = len(case.model.atlas.patients) if case.search.allowed is None else int(case.search.allowed.sum())
    if evidence < case.search.neighbours:
        warnings.append(f"Only {evidence} patches may be evidence; {case.search.neighbours} neighbours were asked for.")
    if blocks.count < LEAST_UNITS:
        warnings.append(f"The tissue has only {blocks.count} spatial blocks: no interval and no test is given.")
    elif blocks.count < WANTED:
        warnings.append(f"The tissue has only {blocks.count} spatial blocks, so tests within it can say little.")
    if any((own.scores[own.ids >= 0] < 0).any() for own in (case.analysis.ranked_before, case.analysis.ranked_after)):
        warnings.append("Some evidence has a negative score, which the published weights take as it is.")
    if case.embedded.unreadable:
        warnings.append(f"{len(case.embedded.unreadable)} tiles could not be read and were left out.")
    return warnings


def model_calibrated(case: Case) -> bool:
    """Whether a patient is left, besides those excluded, to judge by whether a tile is like the atlas."""
    return case.model.cases is not None and len(case.model.cases.patients) > 0


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].removesuffix('.')}."
