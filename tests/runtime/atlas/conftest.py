"""A small atlas whose content is known, inside a bundle."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from haiku_edge.export.atlas import BuiltAtlas, Provenance, build_atlas
from haiku_edge.export.bundle import write_bundle
from haiku_edge.runtime.bundle import (
    AtlasSection,
    Bundle,
    CalibrationSection,
    Description,
    GoldenSection,
    HETower,
    TextTower,
    open_bundle,
)

MARKERS = ("DAPI", "PanCK", "CD8")


@dataclass(frozen=True)
class Source:
    """What the atlas was built from: 12 patches of 4 patients; only the even ones have CD8."""

    vectors: NDArray[np.float32]
    patches: list[NDArray[np.uint8]]
    expression: NDArray[np.float32]
    provenance: Provenance


@pytest.fixture(scope="session")
def source() -> Source:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(12, 8))
    patches = [random.integers(0, 200, (3, 256, 256), np.uint8) // (1 + i % 3) for i in range(12)]
    expression = np.stack([patch.mean(axis=(1, 2)) for patch in patches]).astype(np.float32)
    expression[1::2, 2] = np.nan
    provenance = Provenance(
        patches=tuple(f"patch-{i}" for i in range(12)),
        sections=tuple(f"S{i % 6}" for i in range(12)),
        patients=tuple(f"P{i % 4}" for i in range(12)),
        organs=("Colon",) * 12,
        panels=("full", "no CD8") * 6,
        x=np.arange(12, dtype=np.float32),
        y=np.arange(12, dtype=np.float32) * 2,
    )
    units = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return Source(units, patches, expression, provenance)


@pytest.fixture(scope="session")
def built(source: Source) -> BuiltAtlas:
    return build_atlas(source.vectors, MARKERS, source.patches, source.expression, source.provenance)


@pytest.fixture
def bundle_of(tmp_path: Path) -> Callable[[BuiltAtlas], Bundle]:
    """Put an atlas, sound or not, into a bundle whose digests are right."""

    def make(built: BuiltAtlas) -> Bundle:
        files = {
            "towers/he.onnx": b"he",
            "towers/text.onnx": b"text",
            "tokenizer/tokenizer.json": b"{}",
            "calibration/cases.arrow": b"cases",
            "golden/cases.npz": b"golden",
        }
        description = Description(
            name="atlas-bundle",
            version="1",
            synthetic=True,
            statement="Made of random numbers.",
            created_by="tests 0",
            embedding_dimension=built.section.index.dimension,
            he=HETower(file="towers/he.onnx", tile_size=256, mpp=0.5),
            text=TextTower(file="towers/text.onnx", tokenizer="tokenizer/tokenizer.json", max_length=64),
            atlas=built.section,
            calibration=CalibrationSection(file="calibration/cases.arrow", patients=1, cases=1),
            golden=GoldenSection(file="golden/cases.npz"),
        )
        digest = hashlib.sha256(repr(built.section).encode()).hexdigest()[:8]
        folder = tmp_path / digest
        write_bundle(folder, description, {**files, **built.contents})
        return open_bundle(folder)

    return make


@pytest.fixture
def spoil(built: BuiltAtlas) -> Callable[..., BuiltAtlas]:
    """The atlas with one file or with facts of its section replaced."""

    def change(*, file: str | None = None, data: bytes = b"", **section: object) -> BuiltAtlas:
        contents = {**built.contents, **({file: data} if file else {})}
        stated = built.section.model_dump() | section
        return dataclasses.replace(built, contents=contents, section=AtlasSection(**stated))

    return change
