"""A small bundle whose towers are nothing but bytes: enough for all that is done before a native library sees it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from haiku_edge.export.bundle import write_bundle
from haiku_edge.runtime.bundle import (
    AtlasSection,
    CalibrationSection,
    Description,
    GoldenSection,
    HETower,
    IndexSection,
    TextTower,
)


@pytest.fixture(scope="session")
def description() -> Description:
    return Description(
        name="paper-bundle",
        version="1.2.3",
        synthetic=True,
        statement="Made of random bytes.",
        created_by="tests 0",
        embedding_dimension=4,
        he=HETower(file="towers/he.onnx", tile_size=256, mpp=0.5),
        text=TextTower(file="towers/text.onnx", tokenizer="tokenizer/tokenizer.json", max_length=64),
        atlas=AtlasSection(
            vectors="atlas/vectors.npy",
            index=IndexSection(kind="exact", file=None, dimension=4, count=3),
            patches="atlas/patches.arrow",
            pictures="atlas/pictures.bin",
            markers=("DAPI", "CD8"),
            patch_count=3,
            patient_count=2,
        ),
        calibration=CalibrationSection(file="calibration/cases.arrow", patients=2, cases=4),
        golden=GoldenSection(file="golden/cases.npz"),
        metrics={"recall": {"he_to_mif": 0.5}},
    )


@pytest.fixture(scope="session")
def contents(description: Description) -> dict[str, bytes]:
    names = sorted({*description.named_files(), "MODEL_CARD.md"})
    return {name: f"the bytes of {name}\n".encode() * (number + 1) for number, name in enumerate(names)}


@pytest.fixture(scope="session")
def pristine_folder(
    tmp_path_factory: pytest.TempPathFactory, description: Description, contents: dict[str, bytes]
) -> Path:
    folder = tmp_path_factory.mktemp("pristine") / "bundle"
    write_bundle(folder, description, contents)
    return folder


@pytest.fixture
def bundle_folder(tmp_path: Path, pristine_folder: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(pristine_folder, tmp_path / "bundle")
