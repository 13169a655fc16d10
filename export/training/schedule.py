"""How the learning rate moves."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """A linear rise, then half a cosine down to a last share of the peak.

    The released code states 1,000 batches of warm-up and not what follows them; the cosine is ours.

    Attributes:
        steps: Batches in all.
        warm_up: Batches with a rising rate.
        last: Share of the peak that is reached at the end.
    """

    steps: int
    warm_up: int = 1000
    last: float = 0.0

    def share(self, step: int) -> float:
        """Share of the peak learning rate at a step, counted from 0."""
        rising = min(self.warm_up, self.steps // 2)
        if step < rising:
            return (step + 1) / rising
        return self.last + (1 - self.last) * self._cosine(step - rising, self.steps - rising)

    @staticmethod
    def _cosine(step: int, steps: int) -> float:
        return 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps))))


def cosine_between(first: float, last: float, step: int, steps: int) -> float:
    """Go from `first` to `last` along half a cosine: the masked autoencoder's learning rate and weight decay."""
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps))))
