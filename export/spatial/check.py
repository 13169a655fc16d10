"""Whether a section is one: counts that are counts, names that are there once, spots that have a place."""

from __future__ import annotations

import numpy as np

from haiku_edge.runtime.errors import CohortError, MissingResolutionError, PanelError, UnreadableDatasetError

from .source import fault_of_counts
from .types import SpotSection


def check_section(section: SpotSection) -> None:
    """Refuse a section whose parts do not fit each other.

    Raises:
        CohortError: There is no spot.
        UnreadableDatasetError: Counts are no counts, spots have no place or share a name, or lengths differ.
        PanelError: Two genes have one name, or one has none.
    """
    count = len(section.spots)
    if not count:
        raise CohortError(f"The section {section.section} has no spot in tissue. Leave it out of the table.")
    places = min(len(section.x), len(section.y))
    if section.counts.shape != (count, len(section.genes)) or {len(section.x), len(section.y)} != {count}:
        raise UnreadableDatasetError(
            f"The section {section.section} has {count} spots and {len(section.genes)} genes, but {places} places and "
            f"counts of the shape {section.counts.shape}. Write its files again."
        )
    if len(set(section.spots.tolist())) < count:
        raise UnreadableDatasetError(f"The section {section.section} has a spot twice. Give each its own barcode.")
    if not (np.isfinite(section.x).all() and np.isfinite(section.y).all()):
        raise UnreadableDatasetError(
            f"The section {section.section} has spots whose place is no number. Remove them, or mend the positions."
        )
    _check_genes(section)
    _check_counts(section)


def resolution(section: SpotSection) -> float:
    """Micrometres per level-0 pixel.

    Raises:
        MissingResolutionError: Not known.
    """
    if section.mpp is None:
        raise MissingResolutionError(
            f"The resolution of the section {section.section} is not known, so patches can't be cut to scale. Give it "
            "in the column mpp, in µm per pixel of the image that the spots' places count in."
        )
    return section.mpp


def _check_genes(section: SpotSection) -> None:
    if "" in section.genes or len(set(section.genes)) < len(section.genes):
        raise PanelError(f"The section {section.section} has a gene without a name, or two of one name.")


def _check_counts(section: SpotSection) -> None:
    fault = fault_of_counts(section.counts)
    if fault is None and not section.counts.data.any():
        fault = "all are 0"
    if fault is not None:
        raise not_counts(f"the section {section.section}", fault)


def not_counts(what: str, fault: str) -> UnreadableDatasetError:
    """The refusal of numbers that are no raw counts."""
    return UnreadableDatasetError(
        f"The counts of {what} are no counts: {fault}. Give the raw counts, as the sequencer's software wrote them."
    )
