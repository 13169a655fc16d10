"""Clinical notes: from a file to facts without identifiers, to the paper's prompt, to token ids.

Notes are a flat JSON object of facts, free text, or a FHIR R4 bundle. What identifies a person is left out by the
rules of `keys` and `values` before anything else sees it, and what was left out is told by kind and count.
"""

from __future__ import annotations

from .file_names import identifiers_in_name
from .markers import markers_named
from .prompt import metadata_prompt
from .read import parse_notes, read_notes
from .tokens import Tokenizer, Tokens
from .types import Notes

__all__ = [
    "Notes",
    "Tokenizer",
    "Tokens",
    "identifiers_in_name",
    "markers_named",
    "metadata_prompt",
    "parse_notes",
    "read_notes",
]
