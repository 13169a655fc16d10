"""The Cox partial likelihood as a loss."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Ties = Literal["breslow", "efron"]


def cox_loss(risk: Tensor, months: Tensor, events: Tensor, ties: Ties = "efron") -> Tensor:
    """Negative logarithm of the Cox partial likelihood, per event.

    Where several die at the same time, Breslow lets each of them face all who are still there, Efron lets the dead
    leave one after the other on average (Efron, JASA 1977).

    Args:
        risk: (p,) log-risk, higher is worse.
        months: (p,) time to the event or to the end of follow-up.
        events: (p,) bool, False where censored.
        ties: How equal times of death are treated.

    Returns:
        A number; 0, with a gradient of 0, where nobody had the event.
    """
    if not bool(events.any()):
        return risk.sum() * 0.0
    top = risk.max().detach()
    weight = torch.exp(risk - top)
    there = (months[None, :] >= months[events][:, None]).to(risk.dtype)
    facing = there @ weight
    if ties == "efron":
        facing = facing - _left_already(weight, months, events)
    return (torch.log(facing) + top - risk[events]).mean()


def _left_already(weight: Tensor, months: Tensor, events: Tensor) -> Tensor:
    """(e,) what Efron takes from each event's risk set: l/m of the weight of the m dead of that time, l = 0 … m - 1."""
    times = months[events]
    same = (times[None, :] == times[:, None]).to(weight.dtype)
    earlier = torch.tril(same, diagonal=-1).sum(dim=1)
    return earlier / same.sum(dim=1) * (same @ weight[events])
