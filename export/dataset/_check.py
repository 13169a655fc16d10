"""What a patch must be, whatever layout it comes from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.errors import PanelError, PatchShapeError

from .types import SIDE


def checked_he(image: object, where: str) -> NDArray[np.uint8]:
    """The H&E image of a patch.

    Raises:
        PatchShapeError: Not (256, 256, 3) uint8.
    """
    return _checked(image, (SIDE, SIDE, 3), f"the H&E image of {where}")


def checked_mif(image: object, channels: int, where: str) -> NDArray[np.uint8]:
    """The mIF image of a patch.

    Raises:
        PatchShapeError: Not (c, 256, 256) uint8.
        PanelError: Not as many channels as names.
    """
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[0] != channels:
        raise PanelError(f"{where} has {image.shape[0]} channels and {channels} marker names. Give one name a channel.")
    return _checked(image, (channels, SIDE, SIDE), f"the mIF image of {where}")


def checked_panel(names: object, where: str) -> tuple[str, ...]:
    """The marker names of a patch as its file gives them.

    Raises:
        PanelError: Not a list of names, or none.
    """
    if isinstance(names, np.ndarray):
        names = names.tolist()
    if not isinstance(names, Sequence) or isinstance(names, str | bytes) or not names:
        raise PanelError(f"{where} does not name its markers. Give a list of one name a channel.")
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise PanelError(f"A marker name of {where} is empty or no text.")
    return tuple(name.strip() for name in names)


def _checked(image: object, shape: tuple[int, ...], what: str) -> NDArray[np.uint8]:
    if not isinstance(image, np.ndarray) or image.shape != shape or image.dtype != np.uint8:
        found = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise PatchShapeError(
            f"{what[0].upper()}{what[1:]} is {found}, not {shape} uint8. Cut patches of {SIDE} px with "
            "`haiku-edge atlas build`."
        )
    return np.ascontiguousarray(image)
