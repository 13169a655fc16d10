"""Which patches a training step takes: a new order of all of them in every pass, from the seed and the step alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ORDER = 1
"""Purpose of the random stream that orders a pass; other purposes have other numbers."""


class Epochs:
    """Cuts passes over the training patches into whole batches; what is left over comes in other passes."""

    def __init__(self, rows: NDArray[np.int64], most: int, seed: int) -> None:
        """Take (n,) rows of the dataset, the patches of a batch at most, and the seed of the orders."""
        self._rows, self._seed = rows, seed
        self.size = min(most, len(rows))
        self.per_epoch = len(rows) // self.size

    def rows(self, step: int) -> NDArray[np.int64]:
        """(size,) rows of one step's batch."""
        epoch, place = divmod(step, self.per_epoch)
        order = stream(self._seed, _ORDER, epoch).permutation(self._rows)
        return order[place * self.size : (place + 1) * self.size]


def stream(seed: int, *purpose: int) -> np.random.Generator:
    """The random numbers of one purpose, the same whatever was drawn before."""
    return np.random.default_rng(np.random.SeedSequence((seed, *purpose)))
