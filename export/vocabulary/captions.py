"""The captions that the text tower was trained on, and what is left of them without the markers.

Source: Haiku, 2605.00925, published code, text recipe, step B (`enhance_des.py`). The original draws the introduction
and the transition at random and without a seed; here the caller names them. Of the five generic introductions only one
is known to this project; it is used for every number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

from haiku_edge.runtime.notes.facts import NO_VALUE
from haiku_edge.runtime.notes.keys import unused_key
from haiku_edge.runtime.notes.prompt import DISEASE_KEYS, GENERIC_INTRODUCTION, INTRODUCTION, TISSUE_KEYS

INTRODUCTIONS: Final = (
    INTRODUCTION,
    "Visualized here is a {tissue} microenvironment presenting with {disease}.",
    "This field of view displays {tissue} architecture associated with {disease}.",
    "High-plex imaging of {tissue} reveals pathological features of {disease}.",
    "A representative section of {tissue} tissue highlighting the landscape of {disease}.",
)
TRANSITIONS: Final = (
    " regarding the molecular profile, the most informative biomarkers are:",
    " molecularly, the region is characterized by the following markers:",
    " in terms of protein expression, the most notable deviations from background are observed in:",
    " quantitative analysis identifies the following markers as most informative relative to background:",
    " the spatial-molecular landscape is defined by the following key markers:",
)
"""They follow the clinical details directly, in small letters, as in the original."""

NAMED_MARKERS: Final = 5
"""Markers named as enriched, and as depleted, at most."""

_TRANSITION = re.compile("|".join(re.escape(transition.strip()) for transition in TRANSITIONS), re.IGNORECASE)


def write_caption(
    facts: Mapping[str, str],
    enriched: Sequence[tuple[str, str]],
    depleted: Sequence[tuple[str, str]],
    *,
    intro: int = 0,
    transition: int = 0,
    commas: Literal["semicolon", "published"] = "semicolon",
) -> str:
    """Write the full caption of one patch.

    Args:
        facts: Clinical facts in the order of their source; keys and values of no use are left out by `kept_facts`.
        enriched: (marker, spatial pattern), the largest positive z-score first; the first five are named.
        depleted: (marker, spatial pattern), the most negative z-score first; the first five are named.
        intro: Which introduction, 0 to 4.
        transition: Which transition, 0 to 4.
        commas: What happens to ", " inside a fact. "published" cuts the fact there and loses the rest, as the original
            does; "semicolon" writes "; ", as the run time does.

    Returns:
        One line; empty without any marker, where the original writes no caption and loads the empty string.

    Raises:
        ValueError: No introduction or transition of that number.
    """
    if not (0 <= intro < len(INTRODUCTIONS) and 0 <= transition < len(TRANSITIONS)):
        raise ValueError(f"There are introductions and transitions 0 to 4, not {intro} and {transition}.")
    sentences = _marker_sentences(enriched, depleted)
    return _clinical_part(_items(facts, commas), intro) + TRANSITIONS[transition] + sentences if sentences else ""


def metadata_only(caption: str) -> str:
    """The clinical part of a caption: what stands before the first transition.

    Source: Haiku, 2605.00925, published code, notebook 06.
    """
    return _TRANSITION.split(caption, maxsplit=1)[0].strip()


def kept_facts(facts: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The facts that a caption repeats, in their order.

    Keys on the position, spot or core of a sample and on patient or case numbers are left out, wherever in the key the
    words stand ('_' counts as a blank; the original would keep `patient_id`), and values that say nothing.
    """
    return tuple(
        (key, value) for key, value in facts if not unused_key(key) and value.strip().casefold() not in NO_VALUE
    )


def split_metadata(line: str) -> tuple[tuple[str, str], ...]:
    """Split "k: v, k: v" as the original does: at ", ", then at the first ':'; pieces without ':' vanish."""
    pieces = (piece.partition(":") for piece in line.removeprefix("Metadata:").strip().split(", "))
    return tuple((key.strip(), value.strip()) for key, colon, value in pieces if colon)


def _items(facts: Mapping[str, str], commas: Literal["semicolon", "published"]) -> tuple[tuple[str, str], ...]:
    if commas == "published":
        return kept_facts(split_metadata(", ".join(f"{key}: {value}" for key, value in facts.items())))
    return tuple((key.replace(", ", "; "), value.replace(", ", "; ")) for key, value in kept_facts(facts.items()))


def _clinical_part(facts: Sequence[tuple[str, str]], intro: int) -> str:
    tissue, disease = _first(facts, TISSUE_KEYS), _first(facts, DISEASE_KEYS)
    details = ", ".join(f"{key}: {value}" for key, value in facts)
    if tissue and disease:
        introduction = INTRODUCTIONS[intro].format(tissue=tissue, disease=disease)
        return f"{introduction} Additional clinical details include: {details}."
    return f"{GENERIC_INTRODUCTION} Clinical metadata includes: {details}." if details else GENERIC_INTRODUCTION


def _first(facts: Sequence[tuple[str, str]], names: Sequence[str]) -> str | None:
    by_name = {key.casefold().replace("_", " ").replace("-", " "): value for key, value in reversed(facts)}
    return next((by_name[name] for name in names if by_name.get(name)), None)


def _marker_sentences(enriched: Sequence[tuple[str, str]], depleted: Sequence[tuple[str, str]]) -> str:
    high = [
        f"{m} shows relatively high expression exhibiting a {_plain(p)} pattern" for m, p in enriched[:NAMED_MARKERS]
    ]
    low = [f"{m} is relatively low in expression with a {_plain(p)} pattern" for m, p in depleted[:NAMED_MARKERS]]
    return (f" The region is enriched for {'; '.join(high)}." if high else "") + (
        f" Conversely, it shows relative depletion of {'; '.join(low)}." if low else ""
    )


def _plain(pattern: str) -> str:
    return pattern.replace("_", " ")
