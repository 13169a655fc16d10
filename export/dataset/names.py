"""Names of patients and regions: they stand in atlases and results, so they should be pseudonyms."""

from __future__ import annotations

import re
from collections.abc import Iterable

from haiku_edge.runtime.errors import CohortError
from haiku_edge.runtime.notes import identifiers_in_name
from haiku_edge.runtime.notes.kinds import CLINICIAN, PERSON
from haiku_edge.runtime.notes.persons import looks_like_a_person
from haiku_edge.runtime.notes.values import identifiers_in, plain

from .types import PatchDataset

_LABEL = re.compile(r"(?i:patient|case|donor|subject|participant)[\s_.-]+|(?:Patient|Case|Donor|Subject)(?=[A-Z])")
"""What stands before a letter or number that counts patients."""


_IN_TABLES = (
    "in the column patient of regions.csv for `haiku-edge atlas build`, of patients.csv beside published patches; and "
    "rename regions and patches that hold the name too."
)


def refuse_person_names(patients: Iterable[str], source: str, *, where: str = _IN_TABLES) -> None:
    """Refuse patients who are called by what looks like a person's name: atlases and bundles are passed on.

    The rules are those of the notes, which know a name by its form; no refusal is no proof.

    Args:
        patients: Their names, repeated or not.
        source: What the message calls the place that they come from.
        where: Where pseudonyms are given, as the end of a sentence.

    Raises:
        CohortError: At least one is; the name is not repeated.
    """
    different = set(patients)
    if count := sum(map(_names_a_person, different)):
        raise CohortError(
            f"{count} of {len(different)} patients of {source} are called by what looks like a person's name, and an "
            f"atlas is passed on. Give pseudonyms such as P001: {where}"
        )


def _names_a_person(patient: str) -> bool:
    bare = _LABEL.sub("", plain(patient), count=1)
    found = {*identifiers_in(bare), *identifiers_in(bare.replace("_", " "))}
    return "^" in bare or looks_like_a_person(bare) or bool(found & {PERSON, CLINICIAN})


def remarks_on_names(dataset: PatchDataset) -> tuple[str, ...]:
    """One sentence for each kind of name that looks as if it held an identifier; the names are not repeated.

    No sentence is no proof that the names are harmless: see `identifiers_in_name`.
    """
    kinds = {"patients": dataset.patients, "regions": dataset.regions}
    remarks = []
    for kind, names in kinds.items():
        different = set(names.tolist())
        if count := sum(map(identifiers_in_name, different)):
            remarks.append(
                f"Names of {kind} look as if they held an identifier (a person's name, a date or a record number): "
                f"{count} of {len(different)}. They stand in atlases and results; if it is one, give pseudonyms."
            )
    return tuple(remarks)
