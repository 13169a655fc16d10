"""What is known of a region: whose it is, and its clinical facts."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from haiku_edge.runtime.errors import EmptyNotesError, NotesError, UnreadableDatasetError
from haiku_edge.runtime.notes.facts import notes_from_pairs

PATIENTS_FILE = "patients.csv"
METADATA_SUFFIX = ".metadata.csv"
SAMPLE_KEY = "SAMPLE_LABEL"
"""The metadata key whose value, without a trailing _digit, names the patient (Haiku, 2605.00925, code, notebook 08)."""


def read_rows(path: Path, columns: Iterable[str], delimiter: str = ",") -> list[dict[str, str]]:
    """The rows of a CSV file that has at least these columns.

    Raises:
        UnreadableDatasetError: It can't be read, or a column is missing.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter=delimiter)
            rows = [{str(key): (value or "").strip() for key, value in row.items() if key} for row in reader]
            found = set(reader.fieldnames or ())
    except (OSError, UnicodeError, csv.Error) as error:
        raise UnreadableDatasetError(f"{path.name} can't be read as CSV ({type(error).__name__}).") from None
    missing = [column for column in columns if column not in found]
    if missing:
        raise UnreadableDatasetError(f"{path.name} lacks the column {missing[0]}; it has {', '.join(sorted(found))}.")
    return rows


def read_metadata(path: Path) -> dict[str, str]:
    """{region}.metadata.csv: FEATURE_NAME → FEATURE_VALUE, in the order of the file, empty values left out."""
    rows = read_rows(path, ("FEATURE_NAME", "FEATURE_VALUE"))
    return {row["FEATURE_NAME"]: row["FEATURE_VALUE"] for row in rows if row["FEATURE_NAME"] and row["FEATURE_VALUE"]}


def clean_facts(pairs: Mapping[str, str]) -> dict[str, str]:
    """Clinical facts without identifiers, by the rules of the notes; order kept.

    Raises:
        UnreadableDatasetError: They are no facts: too many, or one as long as a page.
    """
    try:
        return dict(notes_from_pairs(pairs.items()).facts)
    except EmptyNotesError:
        return {}
    except NotesError as error:
        raise UnreadableDatasetError(f"The facts of a region can't be used: {error}") from None


def patient_of(region: str, metadata: Mapping[str, str], named: Mapping[str, str]) -> str:
    """Whose a region is: as `patients.csv` says, else its sample label without a trailing _digit, else its own.

    Regions of one patient that are taken for two patients leak between splits, so `patients.csv` should be given
    wherever a patient may have several regions.
    """
    if region in named:
        return named[region]
    label = next((value for key, value in metadata.items() if key.casefold() == SAMPLE_KEY.casefold()), "")
    return re.sub(r"_\d+$", "", label) or region


def about_region(region: str, metadata: Path | None, named: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The patient and the clinical facts of a region of a published layout.

    Args:
        region: Its name.
        metadata: Its `{region}.metadata.csv`, or None where there is none.
        named: As `read_patients` gives it.

    Raises:
        UnreadableDatasetError: The file can't be read, or its facts are none.
    """
    stated = read_metadata(metadata) if metadata else {}
    return patient_of(region, stated, named), clean_facts(stated)


def read_patients(folder: Path) -> dict[str, str]:
    """Region → patient from `patients.csv` (columns region, patient); empty where there is no such file.

    Raises:
        UnreadableDatasetError: It can't be read, or gives one region to two patients.
    """
    path = folder / PATIENTS_FILE
    if not path.is_file():
        return {}
    named: dict[str, str] = {}
    for row in read_rows(path, ("region", "patient")):
        if not row["patient"] or named.setdefault(row["region"], row["patient"]) != row["patient"]:
            raise UnreadableDatasetError(
                f"{PATIENTS_FILE} gives the region {row['region']} no patient, or two. Name one patient a region."
            )
    return named
