"""Nobody whom the towers learned from calibrates them; who is evidence and was learned from is counted aloud."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from haiku_edge.runtime.bundle import KnownPatients
from haiku_edge.runtime.errors import CohortError

from ..dataset.folder import FolderDataset

if TYPE_CHECKING:
    from ..dataset import PatchDataset

_SHOWN = 5


def refuse_trained_on(dataset: PatchDataset, known: KnownPatients) -> None:
    """See that no patient who is to calibrate is among those that the towers learned from.

    Raises:
        CohortError: One is.
    """
    seen = known.among(_with_role(dataset, "calibration"))
    if seen:
        raise CohortError(
            f"{len(seen)} calibration patients of {dataset.name} are among those that the towers learned from: "
            f"{_some(seen)}. Intervals would be too narrow. Give them the role 'atlas', and 'calibration' to others; "
            "if only the names are the same, give other pseudonyms."
        )


def remarks_on_trained(dataset: PatchDataset, known: KnownPatients, evidence: Iterable[str]) -> tuple[str, ...]:
    """How many patients of the evidence, and of those kept for tests, the towers learned from, in sentences."""
    remarks = []
    patients = set(evidence)
    if seen := known.among(patients):
        remarks.append(f"{len(seen)} of {len(patients)} evidence patients of {dataset.name} were also trained on.")
    if seen := known.among(_with_role(dataset, "test")):
        remarks.append(
            f"{len(seen)} test patients of {dataset.name} were also trained on, so figures on them are too good."
        )
    return tuple(remarks)


def _with_role(dataset: PatchDataset, role: str) -> list[str]:
    if not isinstance(dataset, FolderDataset):
        return []
    names: list[str] = dataset.patients[dataset.measurements.roles == role].tolist()
    return names


def _some(names: tuple[str, ...]) -> str:
    """The first names, printable."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(ascii(name)[1:-1][:100] for name in names[:_SHOWN]) + more
