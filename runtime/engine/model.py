"""A tower as a bundle holds it: the canonical graph, from which every engine is made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final, Protocol

from ..bundle import Bundle
from ..errors import BundleContentError
from .fingerprint import is_quantised

SPADE: Final = "spade"
"""Name of the tower of the second family: the image encoder, the routing and the experts in one graph."""


def tile_tower(tower: str) -> str:
    """The tower whose inputs a tower takes: a student, and SPADE's, take H&E tiles as `he` does."""
    return "he" if tower == SPADE or tower.startswith("student-") else tower


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
    """What verified files are read from: a bundle."""

    def read(self, name: str) -> bytes:
        """The verified bytes of one file."""
        ...


@dataclass(frozen=True, slots=True)
class TowerModel:
    """The canonical graph of a tower, with its weights.

    Attributes:
        tower: he, text, mif or spade, or a student's name.
        digest: SHA-256 (hex) of what the tower computes: its graph and its weights.
        graph: Verified bytes of the ONNX graph.
        weights: Verified bytes of the files that the graph keeps weights in, by the names that it gives them.
    """

    tower: str
    digest: str
    graph: bytes = field(repr=False)
    weights: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> int:
        """Bytes of graph and weights."""
        return len(self.graph) + sum(map(len, self.weights.values()))


def tower_digest(bundle: Bundle, tower: TowerFiles) -> str:
    """SHA-256 (hex) over a tower's files, from the digests of the manifest: nothing is read."""
    files = bundle.manifest.files
    listed = [f"{PurePosixPath(name).name}:{files[name].sha256}" for name in (tower.file, *sorted(tower.weights))]
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()


def judges(bundle: Bundle, precision: str) -> str:
    """SHA-256 (hex) of what an engine's gate judges by: the golden cases, and for integers the atlas."""
    manifest = bundle.manifest
    names = [manifest.golden.file]
    if is_quantised(precision):
        held = (manifest.atlas, None if manifest.spade is None else manifest.spade.atlas)
        names += [file for atlas in held if atlas is not None for file in (atlas.vectors, atlas.patches)]
    return hashlib.sha256("\n".join(manifest.files[name].sha256 for name in names).encode()).hexdigest()


def towers_of(bundle: Bundle) -> dict[str, TowerFiles]:
    """The towers that a bundle has, by name: he, text and mif, spade, and its students."""
    manifest = bundle.manifest
    every: dict[str, TowerFiles | None] = {"he": manifest.he, "text": manifest.text, "mif": manifest.mif}
    every[SPADE] = None if manifest.spade is None else manifest.spade.tower
    every |= {student.name: student for student in manifest.students}
    return {name: section for name, section in every.items() if section is not None}


def read_model(bundle: Bundle, tower: TowerFiles) -> TowerModel:
    """Read a tower's verified bytes; nothing is opened by path.

    Raises:
        BundleAlteredError: A file has changed since the bundle was opened.
        BundleContentError: Weights do not lie beside their graph.
    """
    return TowerModel(
        tower=next(name for name, section in towers_of(bundle).items() if section.file == tower.file),
        digest=tower_digest(bundle, tower),
        graph=bundle.read(tower.file),
        weights=read_weights(bundle, tower),
    )


def read_weights(files: VerifiedFiles, tower: TowerFiles) -> dict[str, bytes]:
    """The bytes of each file of weights, under its bare name: the graph knows no folders.

    Raises:
        BundleContentError: Weights do not lie beside their graph.
    """
    weights: dict[str, bytes] = {}
    for file in tower.weights:
        path = PurePosixPath(file)
        if path.parent != PurePosixPath(tower.file).parent or path.name in weights:
            raise BundleContentError(f"The weights {file} do not lie beside their graph {tower.file}.")
        weights[path.name] = files.read(file)
    return weights
