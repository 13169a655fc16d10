"""What clinical notes are once they have been read."""

from __future__ import annotations

from dataclasses import dataclass, field

from .clinical import is_shown
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
    def shown_facts(self) -> tuple[tuple[str, str], ...]:
        """The facts that an output may repeat: those under a known clinical key (`clinical.SHOWN_KEYS`)."""
        return tuple(fact for fact in self.facts if is_shown(fact[0]))

    @property
    def hidden_facts(self) -> int:
        """How many accepted facts an output must not repeat; the text tower reads them all the same."""
        return len(self.facts) - len(self.shown_facts)

    @property
    def prompt(self) -> str:
        """The text for the text tower: the free text, or the paper's metadata-only prompt of the facts."""
        return metadata_prompt(self.facts) if self.text is None else self.text
