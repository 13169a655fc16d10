"""Does the mixture earn its place? In plain words, from the interval of a paired difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..bootstrap import Estimate

Word = Literal["better", "no difference", "worse", "unknown"]


@dataclass(frozen=True, slots=True)
class Gain:
    """The judged representation less a baseline, on the same patients.

    Attributes:
        baseline: What it is compared with.
        difference: With the 95 % interval of the same draws of patients.
    """

    baseline: str
    difference: Estimate

    @property
    def word(self) -> Word:
        """What the interval says."""
        if not math.isfinite(self.difference.low):
            return "unknown"
        if self.difference.low > 0:
            return "better"
        return "worse" if self.difference.high < 0 else "no difference"


def verdict(subject: str, gains: Sequence[Gain], figure: str) -> str:
    """One to four sentences: whether the judged representation earns its place, and against what it does not.

    Args:
        subject: The judged representation.
        gains: One for each baseline.
        figure: What was compared, such as 'mean Pearson'.
    """
    if not gains:
        return f"There is nothing to compare {subject} with, so nothing is said of its place."
    against: dict[Word, list[str]] = {"better": [], "no difference": [], "worse": [], "unknown": []}
    for gain in gains:
        against[gain.word].append(gain.baseline)
    place = "earns its place" if len(against["better"]) == len(gains) else "does not earn its place"
    sentences = [f"{subject} {place} by {figure}."]
    said: tuple[tuple[Word, str], ...] = (
        ("better", "It is better than {}."),
        ("no difference", "Between it and {} these patients show no difference."),
        ("worse", "It is worse than {}."),
        ("unknown", "Against {} these patients are too few for an interval."),
    )
    sentences += [text.format(_listed(against[word])) for word, text in said if against[word]]
    return " ".join(sentences)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
