"""The engine of one of a bundle's towers."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Protocol

from ..errors import BundleContentError
from .choose import choose_engine
from .types import Engine


class TowerFiles(Protocol):
    """The files of a tower, as a bundle's manifest names them."""

    @property
    def file(self) -> str:
        """Its graph."""
        ...

    @property
    def weights(self) -> tuple[str, ...]:
        """Files of weights beside the graph."""
        ...


class VerifiedFiles(Protocol):
    """A bundle, as far as an engine needs it."""

    def read(self, name: str) -> bytes:
        """The verified bytes of one file."""
        ...


def open_tower(bundle: VerifiedFiles, tower: TowerFiles, *, device: str = "auto", threads: int | None = None) -> Engine:
    """Make the engine of a tower from the bundle's verified bytes; nothing is opened by path.

    Args:
        bundle: The open bundle.
        tower: One of its manifest's towers.
        device: auto, tensorrt, cuda or cpu.
        threads: Threads to compute with; None takes all cores that this process may use.

    Raises:
        UsageError, DeviceUnavailableError, BundleContentError: See `choose_engine`.
        BundleAlteredError: A file has changed since the bundle was opened.
    """
    weights: dict[str, bytes] = {}
    for file in tower.weights:
        path = PurePosixPath(file)
        if path.parent != PurePosixPath(tower.file).parent or path.name in weights:
            raise BundleContentError(f"The weights {file} do not lie beside their graph {tower.file}.")
        weights[path.name] = bundle.read(file)
    return choose_engine(bundle.read(tower.file), weights=weights, device=device, threads=threads)
