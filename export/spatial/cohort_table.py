"""The table of a cohort: which spots belong to which section, whose they are, and where their H&E is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from haiku_edge.runtime.errors import UnreadableDatasetError
from haiku_edge.runtime.notes import identifiers_in_name

from ..dataset import refuse_person_names
from ..dataset.regions import clean_facts, read_rows

NEEDED: Final = ("section", "patient", "organ", "data")
KNOWN_COLUMNS: Final = (*NEEDED, "image", "mpp")
"""Columns with a meaning of their own; every other column is a clinical fact of that name."""

_TABBED = (".tsv", ".tab", ".txt")


@dataclass(frozen=True, slots=True)
class CohortRow:
    """One section of the table.

    Attributes:
        section: Name, once in the table.
        patient: Pseudonym.
        organ: Name, in small letters.
        data: File or folder of the spots.
        image: Slide or picture that the spots' places count in; None to take what came with the spots.
        mpp: Micrometres per pixel of that image; None to take what the spots' source says.
        facts: Clinical facts without identifiers, in the order of the columns.
    """

    section: str
    patient: str
    organ: str
    data: Path
    image: Path | None
    mpp: float | None
    facts: dict[str, str]


def read_cohort(path: Path) -> tuple[CohortRow, ...]:
    """Read the table; paths in it are relative to its own folder.

    Raises:
        UnreadableDatasetError: It is missing or malformed, names a section twice, or a file that is not there.
        CohortError: A patient is called by a person's name.
    """
    delimiter = "\t" if path.suffix.casefold() in _TABBED else ","
    rows = tuple(_row(path, row, place) for place, row in enumerate(read_rows(path, NEEDED, delimiter), 1))
    _need_sections(path, [row.section for row in rows])
    refuse_person_names(
        (row.patient for row in rows),
        path.name,
        where="in the column patient; and rename sections that hold the name too.",
    )
    return rows


def remarks_on_cohort(rows: tuple[CohortRow, ...]) -> tuple[str, ...]:
    """What a reader should know of a cohort before it is used: one sentence each."""
    remarks = []
    patients, organs = {row.patient for row in rows}, {row.organ for row in rows}
    if len(patients) == 1:
        remarks.append("All sections are of one patient, so that no training can be judged on another.")
    if len(organs) == 1:
        remarks.append(f"All sections are of one organ ({min(organs)}), so that experts can't differ by organ.")
    if count := sum(identifiers_in_name(row.section) for row in rows):
        remarks.append(
            f"Names of sections look as if they held an identifier (a person's name, a date or a record number): "
            f"{count} of {len(rows)}. They stand in datasets and results; if it is one, rename them."
        )
    return tuple(remarks)


def _need_sections(table: Path, names: list[str]) -> None:
    """See that there is a section, and each once; rows are counted from 1, without the header and empty lines."""
    if not names:
        raise UnreadableDatasetError(f"{table.name} names no section. Give each a row below the header.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        places = [str(place) for place, name in enumerate(names, 1) if name == twice]
        raise UnreadableDatasetError(
            f"{table.name} names the section {twice} more than once, in the rows {', '.join(places)} below the header. "
            "Give each section one row and its own name."
        )


def _row(table: Path, row: dict[str, str], place: int) -> CohortRow:
    section = row["section"]
    if not section or any(character in section for character in "/\\\0"):
        raise UnreadableDatasetError(
            f"Row {place} below the header of {table.name} has no section's name, or one with a slash. Name it."
        )
    if empty := next((column for column in NEEDED if not row[column]), None):
        raise UnreadableDatasetError(f"The section {section} has no {empty} in {table.name}. Fill the column.")
    return CohortRow(
        section=section,
        patient=row["patient"],
        organ=row["organ"].casefold(),
        data=_existing(table, row["data"], section),
        image=_existing(table, row["image"], section) if row.get("image") else None,
        mpp=_mpp(row.get("mpp", ""), section),
        facts=clean_facts({key: value for key, value in row.items() if key not in KNOWN_COLUMNS and value}),
    )


def _existing(table: Path, name: str, section: str) -> Path:
    path = table.parent / name
    if not path.exists():
        raise UnreadableDatasetError(
            f"{name} of the section {section} is not there. Paths in {table.name} are relative to its own folder."
        )
    return path


def _mpp(text: str, section: str) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        value = -1.0
    if value is not None and not 0 < value <= 100:
        raise UnreadableDatasetError(
            f"The section {section} has a resolution that is no number of µm per pixel: {text}."
        )
    return value
