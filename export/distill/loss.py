"""What a student is asked for: its teacher's vectors, and its teacher's neighbours in the atlas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..training.loss import TEMPERATURE

MOST_PATCHES = 4096
"""Atlas patches that the relation is taken over; of a larger atlas every k-th."""


@dataclass(frozen=True, slots=True)
class DistillLoss:
    """1 − cosine to the teacher's vector, and the divergence of what both see in the atlas.

    Attributes:
        temperature: τ of the softmax over the atlas: that of the contrastive training.
        relation: Weight of the divergence.
    """

    temperature: float = TEMPERATURE
    relation: float = 1.0

    def __call__(self, student: Tensor, teacher: Tensor, atlas: Tensor | None) -> Tensor:
        """The mean loss of n tiles.

        Args:
            student: (n, d) unit vectors.
            teacher: (n, d) unit vectors.
            atlas: (k, d) unit vectors, or None to leave the relation out.
        """
        apart = 1 - (student * teacher).sum(dim=1).mean()
        if atlas is None:
            return apart
        return apart + self.relation * relational_divergence(student, teacher, atlas, self.temperature)


def relational_divergence(student: Tensor, teacher: Tensor, atlas: Tensor, temperature: float) -> Tensor:
    """KL(softmax(teacher · atlas / τ) ‖ softmax(student · atlas / τ)), mean over the tiles.

    It is 0 where the student sees each patch as near, beside the others, as the teacher does; near patches count most.
    """
    wanted = torch.log_softmax(teacher @ atlas.T / temperature, dim=1)
    got = torch.log_softmax(student @ atlas.T / temperature, dim=1)
    return F.kl_div(got, wanted, log_target=True, reduction="batchmean")


def atlas_sample(vectors: NDArray[np.float32], most: int = MOST_PATCHES) -> NDArray[np.float32]:
    """At most `most` of the atlas's vectors, evenly spread over its rows."""
    return np.array(vectors[:: -(-len(vectors) // most)], np.float32)
