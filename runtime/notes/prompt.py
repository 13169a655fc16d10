"""The text that the text tower was trained to read.

Source: Haiku, 2605.00925, the published code's caption recipe, cut before the first sentence about markers
("metadata-only text"). The original picks one of five introductions at random; here it is always the first, so that a
case always embeds the same.
"""

from __future__ import annotations

from collections.abc import Sequence

INTRODUCTION = "This region captures a sample of {tissue} tissue characterized by {disease}."
GENERIC_INTRODUCTION = "This multiplexed image captures a complex cellular microenvironment."

TISSUE_KEYS = ("tissue type", "tissue")
DISEASE_KEYS = ("disease", "diagnosis")


def metadata_prompt(facts: Sequence[tuple[str, str]]) -> str:
    """Write facts as the paper's metadata-only prompt.

    The recipe separates facts by ", ", so a comma inside a fact is written as a semicolon: the original would cut the
    fact there and lose the rest.

    Args:
        facts: (key, value) pairs; the prompt keeps their order, which the embedding depends on.

    Returns:
        One line of text. Without facts it is the generic introduction alone.
    """
    tissue, disease = _first(facts, TISSUE_KEYS), _first(facts, DISEASE_KEYS)
    details = ", ".join(f"{_item(key)}: {_item(value)}" for key, value in facts)
    if tissue and disease:
        introduction = INTRODUCTION.format(tissue=tissue, disease=disease)
        return f"{introduction} Additional clinical details include: {details}."
    return f"{GENERIC_INTRODUCTION} Clinical metadata includes: {details}." if details else GENERIC_INTRODUCTION


def _first(facts: Sequence[tuple[str, str]], names: Sequence[str]) -> str | None:
    """The value under the first of the names that the facts have, however the key is written."""
    by_name = {key.casefold().replace("_", " ").replace("-", " "): value for key, value in reversed(facts)}
    return next((_item(by_name[name]) for name in names if by_name.get(name)), None)


def _item(text: str) -> str:
    return text.replace(", ", "; ")
