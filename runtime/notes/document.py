"""From bytes to one JSON object, for input that nobody has checked.

Size and depth are bounded before the parser runs. No message repeats what stands in the notes: it may be a name.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from ..errors import EmptyNotesError, NotesShapeError, OverlongNotesError, UnreadableNotesError

# A FHIR bundle of one patient's tumour is tens of kilobytes; anything past this is an archive, not notes.
MAX_BYTES = 1 << 20
# FHIR resources nest some ten levels; Python's parser fails near a thousand.
MAX_DEPTH = 40
# No measurement has as many digits, and no card or record number either; a float can't hold 309.
MAX_DIGITS = 30

_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_TOO_LARGE = "The notes hold a number too large to be a measurement. Remove it."
_ASK_JSON = 'Give a UTF-8 text file with one JSON object, such as {"tissue_type": "Lung", "age": 68}.'


def load_object(data: bytes) -> dict[str, Any]:
    """Parse the bytes of a notes file.

    Args:
        data: The whole file; a UTF-8 byte order mark is allowed.

    Returns:
        The object. Its strings can all be encoded again; its numbers are finite.

    Raises:
        OverlongNotesError: More than `MAX_BYTES`.
        EmptyNotesError: No bytes but blanks.
        UnreadableNotesError: Not UTF-8, not JSON, a key given twice, NaN or Infinity, a number of more than
            `MAX_DIGITS` digits.
        NotesShapeError: JSON, but not an object, or nested deeper than `MAX_DEPTH`.
    """
    if len(data) > MAX_BYTES:
        raise OverlongNotesError(
            f"The notes are larger than {MAX_BYTES // 1024} KiB, more than any clinical note. "
            "Give the facts of this one case only."
        )
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise EmptyNotesError(f"The notes are empty. {_ASK_JSON}")
    _check_depth(data)
    value = _parse(data)
    if not isinstance(value, dict):
        raise NotesShapeError(f"The notes hold {_named(value)}, not an object of facts. {_ASK_JSON}")
    return value


def _check_depth(data: bytes) -> None:
    depth = 0
    for match in _STRUCTURE.finditer(data):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(match[0], 0)
        if depth > MAX_DEPTH:
            raise NotesShapeError(
                f"The notes are nested more than {MAX_DEPTH} levels deep; facts are one flat object. {_ASK_JSON}"
            )


def _parse(data: bytes) -> object:
    try:
        text = data.decode("utf-8")
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_int=_short, parse_float=_finite
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        raise UnreadableNotesError(
            f"The notes are not valid JSON (line {error.lineno}, column {error.colno}). {_ASK_JSON}"
        ) from None
    except UnicodeDecodeError as error:
        raise UnreadableNotesError(
            f"The notes are not UTF-8 text (byte {error.start}). Save the file with the encoding UTF-8."
        ) from None
    except UnicodeEncodeError:
        raise UnreadableNotesError(
            "The notes hold half of a character (an unpaired surrogate escape). Write the character itself, in UTF-8."
        ) from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise UnreadableNotesError("The notes give the same key twice, so one value would be lost. Keep one of them.")
    return result


def _refuse_constant(_: str) -> NoReturn:
    raise UnreadableNotesError(
        "The notes hold NaN or Infinity, which JSON does not know. Leave the fact out, or use null."
    )


def _short(literal: str) -> int:
    if len(literal.removeprefix("-")) > MAX_DIGITS:
        raise UnreadableNotesError(_TOO_LARGE)
    return int(literal)


def _finite(literal: str) -> float:
    value = float(literal)
    if abs(value) >= 10.0**MAX_DIGITS:
        raise UnreadableNotesError(_TOO_LARGE)
    return value


def _named(value: object) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return "a list"
    return {"str": "a bare string", "bool": "true or false"}.get(type(value).__name__, "a bare number")
