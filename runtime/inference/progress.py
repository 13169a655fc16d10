"""How a long run tells where it is; the command line draws it, a library user may ignore it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What the pipeline calls while it works."""

    def say(self, line: str) -> None:
        """One line for the reader, such as the device and the bundle."""
        ...

    def start(self, stage: str, total: int | None = None) -> None:
        """A stage begins; `total` counts its steps where known."""
        ...

    def advance(self, steps: int) -> None:
        """Steps of the stage are done."""
        ...

    def finish(self) -> None:
        """The stage is done."""
        ...


class Silent:
    """A progress that says nothing."""

    def say(self, line: str) -> None:
        """Ignore the line."""

    def start(self, stage: str, total: int | None = None) -> None:
        """Ignore the stage."""

    def advance(self, steps: int) -> None:
        """Ignore the steps."""

    def finish(self) -> None:
        """Ignore the end."""
