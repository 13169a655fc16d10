"""What clinical notes are once they have been read."""

from __future__ import annotations

from dataclasses import dataclass, field

from .prompt import metadata_prompt


@dataclass(frozen=True, slots=True)
class Notes:
    """Clinical notes without identifiers.

    Neither facts nor text are part of `repr`, so that a log line or a traceback doesn't carry them.

    Attributes:
        facts: (key, value) pairs in the order of the file; empty for free text.
        text: Free text with identifiers taken out, or None when the notes are facts.
        dropped: What was left out as an identifier: kinds with counts, never contents, most frequent first.
        warnings: What else a reader must know of how the notes were read, as sentences.
    """

    facts: tuple[tuple[str, str], ...] = field(repr=False)
    text: str | None = field(repr=False)
    dropped: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def prompt(self) -> str:
        """The text for the text tower: the free text, or the paper's metadata-only prompt of the facts."""
        return metadata_prompt(self.facts) if self.text is None else self.text
