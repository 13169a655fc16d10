"""From the names that a laboratory gives its channels to the names that a model knows.

Source: Haiku, 2605.00925, the published code's name mapping: '.' becomes '_', known aliases are replaced, blank
channels and names that end in `_pred` are dropped. There, an unknown name goes through and gets a marker vector without
meaning; here it is refused.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ..errors import PanelError
from ._spelling import compact
from .aliases import ALIASES, AMBIGUOUS
from .names import PUBLISHED_MARKERS

NEAREST: Final = 3
"""Known names that a refusal shows for each unknown one."""

_NOT_A_MARKER = re.compile(r"(blank|background|empty|autofluorescence)\w*|af\d?|none|\w+_pred")


@dataclass(frozen=True, slots=True)
class Panel:
    """The channels of one image, by the names that a model knows.

    Attributes:
        names: (k,) known names, in the order of the channels.
        rows: (k,) which of the given channels they are: `stack[list(panel.rows)]` are the channels of `names`.
        dropped: Given names of channels without a marker (blank, background, predicted).
        renamed: (given name, known name, reason) where the two differ.
    """

    names: tuple[str, ...]
    rows: tuple[int, ...]
    dropped: tuple[str, ...]
    renamed: tuple[tuple[str, str, str], ...]


def canonical_marker(name: str, known: Sequence[str] = PUBLISHED_MARKERS) -> str | None:
    """The known name of a channel.

    Args:
        name: As the image states it.
        known: Names that the model knows; a name among them stays as it is.

    Returns:
        The known name, or None for a channel without a marker.

    Raises:
        PanelError: The name is not known, or could mean several markers; the message has the nearest known names.
    """
    return canonical_markers((name,), known)[0]


def canonical_markers(names: Iterable[str], known: Sequence[str] = PUBLISHED_MARKERS) -> tuple[str | None, ...]:
    """The known name of each channel, or None for one without a marker, in the given order.

    Raises:
        PanelError: Names are not known, are ambiguous, or mean the same marker twice.
    """
    given = tuple(names)
    spellings = _spellings(tuple(known))
    found = tuple(None if is_blank(name) else _known_name(name, tuple(known)) for name in given)
    unknown = [name for name, marker in zip(given, found, strict=True) if marker is None and not is_blank(name)]
    if unknown:
        reasons = "; ".join(_why(name, spellings) for name in dict.fromkeys(unknown))
        raise PanelError(
            f"The panel has channels that the model doesn't know: {reasons}. "
            "Rename or leave out these channels, or add a marker by a vector of its own."
        )
    _refuse_duplicates(given, found)
    return found


def canonical_panel(names: Iterable[str], known: Sequence[str] = PUBLISHED_MARKERS) -> Panel:
    """Sort out the channels of one image: which to keep, under which name, and which to drop.

    Raises:
        PanelError: Names are not known, are ambiguous, or mean the same marker twice; or no marker is left.
    """
    given = tuple(names)
    found = canonical_markers(given, known)
    rows = tuple(row for row, marker in enumerate(found) if marker is not None)
    if not rows:
        raise PanelError("The panel has no channel with a marker: all are blank, or there are none. Check its names.")
    pairs = [(name, marker) for name, marker in zip(given, found, strict=True) if marker is not None]
    return Panel(
        names=tuple(marker for _, marker in pairs),
        rows=rows,
        dropped=tuple(name for name, marker in zip(given, found, strict=True) if marker is None),
        renamed=tuple((name, marker, alias_reason(name)) for name, marker in pairs if name != marker),
    )


def is_blank(name: str) -> bool:
    """Whether a channel carries no marker: blank, background, autofluorescence, or predicted (`…_pred`)."""
    return not name.strip() or _NOT_A_MARKER.fullmatch(re.sub(r"[\W_]+", "_", name.strip().casefold())) is not None


def same_spelling(one: str, other: str) -> bool:
    """Whether two names differ in nothing but case and separators."""
    return compact(one) == compact(other)


def alias_reason(name: str) -> str:
    """Why a name may be replaced: the alias rule's reason, or another spelling."""
    wanted = compact(name)
    rules = (rule for rule in ALIASES if wanted in {compact(alias) for alias in rule.names})
    return next((rule.reason for rule in rules), "another spelling")


def nearest_names(name: str, known: Sequence[str] = PUBLISHED_MARKERS) -> tuple[str, ...]:
    """Known names that are spelt like a name, the most alike first; that says nothing of biology."""
    spellings = _spellings(tuple(known))
    return tuple(spellings[key] for key in difflib.get_close_matches(compact(name), spellings, n=NEAREST, cutoff=0.5))


def _known_name(name: str, known: tuple[str, ...]) -> str | None:
    plain = name.strip().replace(".", "_")
    if plain in known:
        return plain
    spelled = _spellings(known)
    wanted = compact(name)
    return spelled.get(wanted) or spelled.get(_aliases().get(wanted, ""))


@lru_cache(maxsize=64)
def _spellings(known: tuple[str, ...]) -> dict[str, str]:
    """Compact spelling → known name; a dotted name whose twin with '_' is known too is that twin."""
    return {compact(name): twin if (twin := name.replace(".", "_")) in known else name for name in known}


@lru_cache(maxsize=1)
def _aliases() -> dict[str, str]:
    """Compact alias → compact published name."""
    return {compact(name): compact(rule.marker) for rule in ALIASES for name in rule.names}


@lru_cache(maxsize=1)
def _ambiguous() -> dict[str, str]:
    return {compact(name): entry.reason for entry in AMBIGUOUS for name in entry.names}


def _why(name: str, spellings: dict[str, str]) -> str:
    wanted = compact(name)
    if wanted in _ambiguous():
        return f"{name!r} can't stand for a known one ({_ambiguous()[wanted]})"
    if (meant := _aliases().get(wanted, wanted)) not in spellings and meant in _spellings(PUBLISHED_MARKERS):
        return f"{name!r} is {_spellings(PUBLISHED_MARKERS)[meant]}, which this model was not made with"
    near = nearest_names(name, tuple(spellings.values()))
    return f"{name!r} (nearest known: {', '.join(near)})" if near else f"{name!r} (nothing known is like it)"


def _refuse_duplicates(given: Sequence[str], found: Sequence[str | None]) -> None:
    named: dict[str, list[str]] = {}
    for name, marker in zip(given, found, strict=True):
        if marker is not None:
            named.setdefault(marker, []).append(name)
    twice = [f"{marker} ({', '.join(map(repr, names))})" for marker, names in named.items() if len(names) > 1]
    if twice:
        raise PanelError(
            f"The panel has more than one channel for {'; '.join(twice)}. "
            "Keep one channel of each marker and leave out the rest."
        )
