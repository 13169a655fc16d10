"""The values of a state: numbers, and tables that the architecture fixes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from haiku_edge.runtime.errors import CheckpointValueError

from ..model.rotary import axis_angles
from .compare import SHOWN
from .layout import MIF, Entry

Progress = Callable[[str], None]


def check_values(state: Mapping[str, Tensor], layout: Mapping[str, Entry]) -> None:
    """Refuse weights that a tower computes with and that are no numbers.

    Raises:
        CheckpointValueError: Weights are NaN or infinite, a running variance is negative, or the rotary tables are not
            those of the published architecture, whose frequencies are built into the graphs.
    """
    used = [key for key, entry in layout.items() if entry.used and entry.dtype == "float32"]
    _refuse([key for key in used if not _is_finite(state[key])], "hold NaN or infinite weights")
    variances = [key for key in used if key.endswith(".running_var")]
    _refuse([key for key in variances if bool((state[key] < 0).any())], "hold negative variances")
    tables = [key for key in layout if key.startswith(MIF) and ".rope1d." in key]
    _refuse([key for key in tables if not _is_published(state[key], key)], "are rotary tables of other frequencies")


def _is_finite(tensor: Tensor) -> bool:
    """Smallest and largest value are finite; a NaN among the values makes both NaN."""
    ends = torch.stack(torch.aminmax(tensor))
    return bool(torch.isfinite(ends).all())


def _is_published(table: Tensor, key: str) -> bool:
    positions, size = table.shape
    angles = axis_angles(positions, size)
    turned = np.sin(angles) if key.endswith(".sin") else np.cos(angles)
    # Angles of up to 1,200 rad are float32 in the published tables: good to about 1e-4.
    return bool(np.allclose(table.numpy(), np.concatenate([turned, turned], axis=1), atol=1e-3))


def _refuse(keys: list[str], what: str) -> None:
    if not keys:
        return
    rest = f" and {len(keys) - SHOWN:,} more" if len(keys) > SHOWN else ""
    raise CheckpointValueError(
        f"{len(keys):,} tensors of the checkpoint {what}: {', '.join(keys[:SHOWN])}{rest}. "
        "Nothing was exported. Download the checkpoint again; if it stays, these weights can't be used."
    )
