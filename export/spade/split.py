"""Which sections an expert learns from and which judge it: whole patients, held out from every organ alike."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from haiku_edge.runtime.errors import CohortError, UsageError

from ..spatial import DatasetSection
from ..training.patients import HELD_OUT_SHARE


def without(sections: Sequence[DatasetSection], patients: Collection[str]) -> list[DatasetSection]:
    """The sections of other patients, by name, so that no order of files decides anything.

    Raises:
        UsageError: One of the patients is not there.
    """
    there = {section.patient for section in sections}
    if missing := sum(patient not in there for patient in set(patients)):
        raise UsageError(f"The dataset has no section of {missing} of the patients to leave out. Correct the names.")
    kept = (section for section in sections if section.patient not in patients)
    return sorted(kept, key=lambda section: section.section)


def held_out_patients(sections: Sequence[DatasetSection], seed: int, share: float = HELD_OUT_SHARE) -> frozenset[str]:
    """Choose the patients that judge.

    The places are dealt to organs by their number of patients (largest remainders). A patient with sections of several
    organs counts for the first by name. An organ's only patient is learned from, as published, unless every patient
    is one.

    Args:
        sections: All sections.
        seed: Seeds the choice; the order of the sections does not matter.
        share: Share of the patients that are held out; at least one is.

    Raises:
        CohortError: There is one patient only.
    """
    organs = {patient: organ for organ, patient in sorted(((own.organ, own.patient) for own in sections), reverse=True)}
    if len(organs) < 2:
        raise CohortError(
            "The dataset has sections of one patient only, so no patient is left to judge the training on. Add "
            "patients; where one name stands for several, give each its own."
        )
    members = {
        organ: sorted(name for name in organs if organs[name] == organ) for organ in sorted(set(organs.values()))
    }
    if not (dealt := {organ: names for organ, names in members.items() if len(names) > 1}):
        dealt = {"": sorted(organs)}
    places = _deal({organ: len(names) for organ, names in dealt.items()}, max(1, round(share * len(organs))))
    draw = np.random.default_rng(np.random.SeedSequence((seed, 3)))
    return frozenset(
        names[place] for organ, names in dealt.items() for place in draw.permutation(len(names))[: places[organ]]
    )


def _deal(sizes: dict[str, int], places: int) -> dict[str, int]:
    """Share out places in proportion to sizes; at least one of each stays without."""
    exact = {name: places * size / sum(sizes.values()) for name, size in sizes.items()}
    dealt = {name: int(value) for name, value in exact.items()}
    rest = sorted(exact, key=lambda name: (dealt[name] - exact[name], name))[: places - sum(dealt.values())]
    return {name: min(dealt[name] + (name in rest), size - 1) for name, size in sizes.items()}
