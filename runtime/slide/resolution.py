"""The micrometres per pixel of a slide: stated, overridden, or refused; never guessed."""

from __future__ import annotations

import math

from ..errors import ImplausibleResolutionError, MissingResolutionError, UsageError
from .types import Resolution

FINEST_MPP = 0.05
"""µm per level-0 pixel. A 100x objective with a 2x relay gives 0.05; no slide scanner goes beyond."""

COARSEST_MPP = 2.0
"""µm per level-0 pixel. A 5x objective gives 2.0 (10 divided by the magnification); coarser images are overviews, or
state their resolution in another unit (0.25 µm written as 250 nm, or 1000 from a file that states none)."""

WIDEST_ASPECT = 1.1
"""Largest ratio of the two directions. Scanners have square pixels; stage calibration differs by a few per cent."""

OVERRIDE_SOURCE = "--mpp"


def resolve(
    name: str, stated: tuple[float, float] | None, source: str, override: float | None
) -> tuple[Resolution, tuple[str, ...]]:
    """Choose between what the slide states and what the user states, and check it.

    Args:
        name: The slide's file name, for messages.
        stated: (x, y) in µm per level-0 pixel as the slide states it, or None.
        source: Where `stated` was read.
        override: The user's µm/px for both directions, or None; it wins.

    Returns:
        The resolution, and what the user should know about it.

    Raises:
        UsageError: The override is not a positive number.
        MissingResolutionError: Neither states it.
        ImplausibleResolutionError: It is outside what scanners give, or its pixels are far from square.
    """
    if override is not None:
        check_override(override)
        chosen = Resolution(override, override, OVERRIDE_SOURCE)
        _check_plausible(name, chosen)
        return chosen, _difference(chosen, stated)
    if stated is None:
        raise MissingResolutionError(
            f"{name} does not state its resolution (micrometres per pixel), so its tiles can't be cut at a known size. "
            "If you know it, pass --mpp; a 20x scan is usually near 0.5, a 40x scan near 0.25."
        )
    chosen = Resolution(*stated, source)
    _check_plausible(name, chosen)
    return chosen, ()


def check_override(mpp: float) -> None:
    """Refuse a user's resolution that is no resolution at all.

    Raises:
        UsageError: It is not a positive number.
    """
    if not (math.isfinite(mpp) and mpp > 0):
        raise UsageError(
            f"--mpp is {mpp:g}; it must be a positive number of micrometres per pixel, such as 0.25 or 0.5."
        )


def number(text: str | None) -> float | None:
    """A positive finite number from a slide's property, or None where it is none."""
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def _check_plausible(name: str, resolution: Resolution) -> None:
    x, y = resolution.x, resolution.y
    if not (min(x, y) >= FINEST_MPP and max(x, y) <= COARSEST_MPP):
        raise ImplausibleResolutionError(
            f"{name} is {x:g} × {y:g} µm per pixel (source: {resolution.source}); slide scanners give "
            f"{FINEST_MPP:g} to {COARSEST_MPP:g}. It may be an overview image, or DICOM without its "
            "full-resolution instance, or the unit may be wrong. "
            "Give the full-resolution scan, or pass --mpp if you know the true value."
        )
    if max(x, y) > WIDEST_ASPECT * min(x, y):
        raise ImplausibleResolutionError(
            f"{name} has pixels of {x:g} × {y:g} µm (source: {resolution.source}); scanners have square ones. "
            "If you know the true value, pass --mpp."
        )


def _difference(chosen: Resolution, stated: tuple[float, float] | None) -> tuple[str, ...]:
    """Say it where the user's value differs from the slide's by more than pixels are square."""
    if stated is None or 1 / WIDEST_ASPECT <= chosen.mean / (sum(stated) / 2) <= WIDEST_ASPECT:
        return ()
    return (f"The slide states {sum(stated) / 2:g} µm per pixel; {chosen.mean:g} from {OVERRIDE_SOURCE} was used.",)
