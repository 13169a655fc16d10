"""One case: the slide's tiles, both notes, and what was found; what the outputs are made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..inference import Model
from ..inference.case_notes import CaseNotes
from ..inference.embed import EmbeddedTiles
from ..inference.survey import Survey
from ..slide import SlideInfo
from .analyse import Analysis
from .edits import EditedNotes
from .fusion import Search
from .options import CounterfactualOptions
from .texts import Texts


@dataclass(frozen=True, slots=True)
class ChosenTile:
    """A tile to show.

    Attributes:
        row: Among the analysed tiles.
        why: In words.
    """

    row: int
    why: str


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the slide.

    Attributes:
        notes: The original notes, as the tower read them.
        edited: Both notes.
        texts: Their vectors, the original's first and the edited one's second, then those of random edits.
    """

    notes: CaseNotes
    edited: EditedNotes
    texts: Texts

    @property
    def cosine(self) -> float:
        """Between the vectors of both notes."""
        return float(self.texts.vectors[0] @ self.texts.vectors[1])

    @property
    def is_heard(self) -> bool:
        """Whether the text tower's input differs at all."""
        return self.texts.read[0] != self.texts.read[1]


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of each tile of the plan.

    Attributes:
        status: (tiles,) str: used, abstained, blur or unreadable.
        similarity: (tiles,) float32 best H&E similarity; NaN where not searched.
        used: (n,) rows of the plan that are analysed.
    """

    status: NDArray[np.str_]
    similarity: NDArray[np.float32]
    used: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that a run knows.

    Attributes:
        info: The slide, under the name that outputs bear.
        digest: Of the slide.
        survey: The first look at it.
        model: Bundle, atlas and engine.
        options: How it was asked for.
        question: Both notes.
        embedded: Every tile of the plan.
        embedding: Where its vectors come from.
        judged: Which tiles were analysed.
        analysis: What was found on them.
    """

    info: SlideInfo
    digest: str
    survey: Survey
    model: Model
    options: CounterfactualOptions
    question: Question
    embedded: EmbeddedTiles
    embedding: str
    judged: Judged
    analysis: Analysis

    @property
    def search(self) -> Search:
        """How evidence was ranked."""
        return self.options.search(self.model.allowed)
