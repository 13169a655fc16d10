"""Reading notes: one object, three forms."""

from __future__ import annotations

import stat
from pathlib import Path

from ..errors import (
    EmptyNotesError,
    NotesShapeError,
    OverlongNotesError,
    UnreadableNotesError,
)
from .ages import AGE_WARNING, hide_great_age
from .document import MAX_BYTES, load_object
from .facts import notes_from_pairs
from .fhir import notes_from_fhir
from .kinds import told
from .types import Notes
from .values import mask

# Ten printed pages. The text tower reads about 200 tokens, so nothing of use lies beyond.
MAX_TEXT_CHARACTERS = 20_000

TEXT_WARNING = (
    "Free text was cleared of identifiers by rule, which can't know every name; give facts instead where you can."
)


def read_notes(path: Path) -> Notes:
    """Read a notes file.

    Args:
        path: A regular file. Its name is never repeated in a message, since it may hold a patient's name.

    Raises:
        UnreadableNotesError: The file is missing, not a regular file or can't be read.
        NotesError: See `parse_notes`.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableNotesError("The notes are not a file (a folder, a pipe or a device). Give a JSON file.")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableNotesError(
            f"The notes file can't be read ({error.strerror}). Check its path and its permissions."
        ) from None
    except ValueError:  # a zero byte in the path
        raise UnreadableNotesError("The path of the notes is not a valid path. Check it.") from None
    return parse_notes(data)


def parse_notes(data: bytes) -> Notes:
    """Read notes from the bytes of a JSON object: facts, `{"text": ...}`, or a FHIR R4 bundle.

    Raises:
        UnreadableNotesError: Not UTF-8, not JSON, a key given twice, NaN or Infinity.
        NotesShapeError: Not an object, or a fact that is a list or an object, or a FHIR resource that is no bundle.
        EmptyNotesError: No clinical fact, or none once identifiers are left out.
        OverlongNotesError: Larger than any clinical note.
    """
    document = load_object(data)
    if isinstance(document.get("resourceType"), str):
        return notes_from_fhir(document)
    if "text" in document:
        return _notes_from_text(document)
    return notes_from_pairs(document.items())


def _notes_from_text(document: dict[str, object]) -> Notes:
    text = document["text"]
    if len(document) > 1 or not isinstance(text, str):
        raise NotesShapeError(
            'Free text must be a string under the single key "text". Give either {"text": "..."} or facts, not both.'
        )
    if len(text) > MAX_TEXT_CHARACTERS:
        raise OverlongNotesError(
            f"The notes' text has {len(text)} characters; at most {MAX_TEXT_CHARACTERS} are read. "
            "Give the diagnosis and the facts that matter; the model reads about the first 150 words."
        )
    masked, kinds = mask(text)
    shown = hide_great_age(masked)
    if not any(character.isalnum() for character in shown):
        raise EmptyNotesError("The notes' text holds no clinical word, or none once identifiers were taken out.")
    age = (AGE_WARNING,) if shown != masked else ()
    return Notes((), shown, told(kinds), (TEXT_WARNING, *age))
