"""A dataset of spots on disk: `dataset.json` and one Arrow file a section (docs/dataset-format.md)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from haiku_edge.runtime.atomic import exists_error
from haiku_edge.runtime.errors import (
    CohortError,
    OutputExistsError,
    PanelError,
    PatchShapeError,
    UnreadableDatasetError,
)
from haiku_edge.runtime.inference import Progress, Silent
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY
from haiku_edge.runtime.version import product

from ._staged import staged_folder
from .check import check_section, resolution
from .section_file import read_section, write_section
from .types import DatasetSection, SectionSpots, SpotSection

ABOUT_FILE: Final = "dataset.json"
SCHEMA: Final = "haiku-edge spots 1"
SIZE: Final = 224
"""Side of a patch, pixels. Published: HEST's patches, 112 um at 0.5 um per pixel."""
MPP: Final = 0.5
"""Micrometres per pixel of a patch. Published."""


@dataclass(frozen=True, slots=True)
class SpotDataset:
    """Sections on disk.

    Attributes:
        path: The folder.
        name: What messages call it.
        genes: Names of the columns of every section's counts.
        sections: What it holds.
        size: Side of a patch, pixels.
        mpp: Micrometres per pixel of a patch.
        synthetic: Whether a simulator made it.
        selection: How its genes were chosen.
    """

    path: Path
    name: str
    genes: tuple[str, ...]
    sections: tuple[DatasetSection, ...]
    size: int
    mpp: float
    synthetic: bool
    selection: Mapping[str, Any] = field(default_factory=dict)

    def read(self, section: str) -> SectionSpots:
        """Read one section; its patches stay JPEGs.

        Raises:
            UnreadableDatasetError: There is no such section, or its file is missing, changed or damaged.
        """
        found = next((own for own in self.sections if own.section == section), None)
        if found is None:
            raise UnreadableDatasetError(f"{self.name} has no section {section}. `haiku-edge spots info` lists them.")
        return read_section(self.path / found.file, found, len(self.genes))


def open_spots(path: Path) -> SpotDataset:
    """Open a dataset of spots; its sections are read later.

    Raises:
        UnreadableDatasetError: There is none, it is of another version, or it does not say what it should.
    """
    try:
        about = _About.model_validate_json((path / ABOUT_FILE).read_bytes())
    except OSError:
        raise UnreadableDatasetError(
            f"{path} is no dataset of spots: it has no {ABOUT_FILE}. Make one with `haiku-edge spots build`."
        ) from None
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"])) or "the document"
        raise UnreadableDatasetError(
            f"{path.name} is no dataset of spots that this version reads: {ABOUT_FILE} is wrong at {place}. Make it "
            "again with `haiku-edge spots build`."
        ) from None
    sections = tuple(DatasetSection(**section.model_dump()) for section in about.sections)
    for what, names in (("gene", about.genes), ("section", [own.section for own in sections])):
        if len(set(names)) < len(names):
            raise UnreadableDatasetError(f"{ABOUT_FILE} of {path.name} names a {what} twice. Make the dataset again.")
    return SpotDataset(
        path, about.name, tuple(about.genes), sections, about.size, about.mpp, about.synthetic, about.selection
    )


def write_spots(
    path: Path,
    sections: Iterable[tuple[SpotSection, Iterable[NDArray[np.uint8]]]],
    *,
    name: str,
    genes: Sequence[str],
    size: int = SIZE,
    mpp: float = MPP,
    synthetic: bool = False,
    selection: Mapping[str, Any] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> SpotDataset:
    """Write sections one after another; no more than one section's counts and some patches are held.

    Args:
        path: The folder. It appears once everything is written.
        sections: Each with its patches, (size, size, 3) uint8 RGB, in the order of its spots.
        name: What messages call it.
        genes: Which genes to keep, in this order; every section must have them.
        size: Side of a patch, pixels.
        mpp: Micrometres per pixel of a patch.
        synthetic: Whether a simulator made it.
        selection: How the genes were chosen, as JSON.
        force: Replace an older dataset of spots.
        progress: Told about every spot.

    Raises:
        OutputExistsError: Something is there that may not be replaced.
        PanelError: A section lacks a gene, or the genes are none or not different.
        PatchShapeError: A patch is of another size or type, or there is not one for every spot.
        UnreadableDatasetError, MissingResolutionError, CohortError: A section can't be used, or there is none.
        OutputNotWritableError, DiskFullError: It can't be written.
    """
    check_place(path, force=force)
    if not genes or len(set(genes)) < len(genes):
        raise PanelError(f"The genes of {name} are none, or one is named twice. Name each once.")
    with staged_folder(path) as folder:
        written = _write_sections(folder, sections, genes, size, progress or Silent())
        if not written:
            raise CohortError(f"No section was left for {name}, so nothing was written.")
        about = _About(
            name=name,
            size=size,
            mpp=mpp,
            synthetic=synthetic,
            selection=dict(selection or {}),
            genes=list(genes),
            sections=[_Section(**asdict(section)) for section in written],
        )
        document = json.dumps(about.model_dump(by_alias=True), indent=2, ensure_ascii=False)
        (folder / ABOUT_FILE).write_text(f"{document}\n", encoding="utf-8")
    return open_spots(path)


def check_size(side: int, dataset: SpotDataset) -> None:
    """See that the patches of a dataset hold tiles of a side, in pixels (PatchShapeError)."""
    if side > dataset.size:
        raise PatchShapeError(
            f"The tower takes tiles of {side} pixels, and the patches of {dataset.name} have {dataset.size}. Build the "
            f"dataset again with `haiku-edge spots build --size {side}`."
        )


def check_place(path: Path, *, force: bool) -> None:
    """Refuse a place that holds anything but an older dataset of spots that may go.

    Raises:
        OutputExistsError: Something is there.
    """
    if path.is_symlink() or (path.exists() and not (path / ABOUT_FILE).is_file()):
        raise OutputExistsError(f"{path} is there already and is no dataset of spots. Name a new folder with --out.")
    if path.exists() and not force:
        raise exists_error(path)


def _write_sections(
    folder: Path,
    sections: Iterable[tuple[SpotSection, Iterable[NDArray[np.uint8]]]],
    genes: Sequence[str],
    size: int,
    progress: Progress,
) -> list[DatasetSection]:
    """Write each section to a file of its number."""
    written: dict[str, DatasetSection] = {}
    for section, patches in sections:
        if section.section in written:
            raise UnreadableDatasetError(f"Two sections are called {section.section}. Give each its own name.")
        check_section(section)
        file = folder / f"{len(written):04d}.arrow"
        digest = write_section(file, section, patches, genes, size, resolution(section), progress)
        written[section.section] = _about_section(section, file.name, digest)
    return list(written.values())


def _about_section(section: SpotSection, file: str, digest: str) -> DatasetSection:
    return DatasetSection(
        section=section.section,
        patient=section.patient,
        organ=section.organ,
        spots=len(section.spots),
        facts=dict(section.facts),
        file=file,
        sha256=digest,
    )


class _Section(BaseModel):
    """A section in `dataset.json`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    section: str = Field(min_length=1)
    patient: str = Field(min_length=1)
    organ: str = Field(min_length=1)
    spots: int = Field(ge=1)
    facts: dict[str, str]
    file: str = Field(pattern=r"^[0-9]{4,}\.arrow$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class _About(BaseModel):
    """`dataset.json`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    format: Literal["haiku-edge spots 1"] = Field(default=SCHEMA, alias="schema")
    notice: str = RESEARCH_USE_ONLY
    created_by: str = Field(default_factory=product)
    name: str = Field(min_length=1)
    size: int = Field(ge=16, le=4096)
    mpp: float = Field(gt=0)
    synthetic: bool
    selection: dict[str, Any]
    genes: list[str] = Field(min_length=1)
    sections: list[_Section] = Field(min_length=1)
