"""Names of patients and regions: they stand in atlases and results, so they should be pseudonyms."""

from __future__ import annotations

from haiku_edge.runtime.notes import identifiers_in_name

from .types import PatchDataset


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
