"""The protein vectors that are released beside the state, compared with those in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from haiku_edge.runtime.errors import CheckpointError

from .archive import load_archive
from .layout import ESM

FOLDER = "esm_embeddings"
MAX_BYTES = 64 << 20
_MOST_FILES = 10_000


def compare_esm(directory: Path, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Compare `esm_embeddings/*.pt` with the state, which is what counts.

    Returns:
        One remark for each kind of difference: files whose vector is another than the state's, files of markers that
        the state does not know, and files that hold no single vector. Empty where all agree or no file is there.
    """
    files = sorted((directory / FOLDER).glob("*.pt"))[:_MOST_FILES]
    other, unknown, unread = [], [], []
    for file in files:
        own = state.get(ESM + file.stem.replace(".", "_"))
        vector = None if own is None else _vector(file)
        if own is None:
            unknown.append(file.stem)
        elif vector is None or vector.numel() != own.numel():
            unread.append(file.stem)
        elif not torch.allclose(vector.reshape(-1).to(own.dtype), own, rtol=1e-3, atol=1e-5):
            other.append(file.stem)
    remarks = (
        (other, "hold another vector than the state, whose vector is used"),
        (unknown, "belong to markers that the state does not know, and are not used"),
        (unread, "could not be compared with the state, whose vector is used"),
    )
    return tuple(f"{_some(names)} in {FOLDER}/ {what}." for names, what in remarks if names)


def _vector(file: Path) -> Tensor | None:
    """The one floating-point tensor in a file; None where there is none, or the file is not one to load."""
    try:
        loaded = load_archive(file, MAX_BYTES)
    except CheckpointError:
        return None
    values = list(loaded.values()) if isinstance(loaded, Mapping) else [loaded]
    tensors = [value for value in values if isinstance(value, Tensor) and value.is_floating_point()]
    return tensors[0] if len(tensors) == 1 else None


def _some(names: list[str]) -> str:
    shown = ", ".join(ascii(name)[1:-1][:50] for name in names[:3])
    return f"{shown} and {len(names) - 3} more files" if len(names) > 3 else f"The files {shown}"
