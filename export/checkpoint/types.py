"""What an export needs of a checkpoint, whoever trained it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from haiku_edge.runtime.bundle import KnownPatients

from ..model import Towers, TowersConfig


class Checkpoint(Protocol):
    """Trained towers on disk, checked."""

    @property
    def config(self) -> TowersConfig:
        """Sizes of the towers."""
        ...

    @property
    def markers(self) -> tuple[str, ...]:
        """Names of the marker table's rows, from row 1 on."""
        ...

    @property
    def tokenizer(self) -> bytes | None:
        """Bytes of a tokenizer.json; None for a model without a text tower."""
        ...

    @property
    def mpp(self) -> float:
        """Micrometres per pixel of tiles and patches."""
        ...

    @property
    def statement(self) -> str:
        """What the bundle says its numbers are worth."""
        ...

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is odd, yet harmless."""
        ...

    @property
    def known(self) -> KnownPatients:
        """Whom the weights have seen, as far as the checkpoint says."""
        ...

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold the weights."""
        ...

    def towers(self) -> Towers:
        """The towers, in evaluation."""
        ...

    def provenance(self) -> dict[str, Any]:
        """What the bundle says of where it comes from; no path of the machine."""
        ...
