"""Cohorts of spots put together: the same spots by several models, or spots of other patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.errors import CohortError, UsageError

from .spot_cohort import SPADE, SpotCohort

_CLOSE = 1e-4
"""Log-normalised expressions that differ by more are not of the same count."""


def join_representations(parts: Mapping[str, SpotCohort], taken: str = SPADE) -> SpotCohort:
    """One cohort of the spots and genes that all parts have, in the order of the first.

    Args:
        parts: Representation as it will be called → the cohort that one model embedded.
        taken: What the representation is called in each part; a part with only one may call it anything.

    Raises:
        CohortError: The parts have no spot or no gene in common, or measured one differently.
        UsageError: There are no parts, or one has several representations and none of that name.
    """
    if not parts:
        raise UsageError("There are no representations to join. Name at least one.")
    first = next(iter(parts.values()))
    rows, genes = _common_rows(parts), [gene for gene in first.genes if all(gene in p.genes for p in parts.values())]
    if not genes or not len(rows[0]):
        raise CohortError(
            "The representations have no spot or no gene in common. Embed the same dataset with every model."
        )
    aligned = {
        name: _with_genes(part.select(own), genes) for (name, part), own in zip(parts.items(), rows, strict=True)
    }
    base = next(iter(aligned.values()))
    for name, part in aligned.items():
        if not np.allclose(part.expression, base.expression, atol=_CLOSE):
            raise CohortError(f"{name!r} has another expression of the same spots. Embed the same dataset.")
    called = {name: _called(part, taken, name) for name, part in aligned.items()}
    return replace(
        base,
        vectors={name: part.vectors[called[name]] for name, part in aligned.items()},
        keys={name: part.keys[called[name]] for name, part in aligned.items() if called[name] in part.keys},
        taught={name: part.taught[called[name]] for name, part in aligned.items() if called[name] in part.taught},
    )


def pool_cohorts(parts: Sequence[SpotCohort]) -> SpotCohort:
    """One cohort of the spots of several, in the representations that all of them have.

    Args:
        parts: Cohorts with the same genes, and no patient in two of them.

    Raises:
        CohortError: They measure other genes, share a patient, have no representation in common, or one with vectors
            of other lengths.
        UsageError: There are no parts.
    """
    if not parts:
        raise UsageError("There are no cohorts to pool. Name at least one.")
    first = parts[0]
    patients = [patient for part in parts for patient in sorted(set(part.patients.tolist()))]
    if any(part.genes != first.genes for part in parts) or len(set(patients)) < len(patients):
        raise CohortError("The cohorts have other genes, or a patient in common. Pool cohorts of different patients.")
    if not set.intersection(*(set(part.vectors) for part in parts)):
        raise CohortError("The cohorts have no representation in common. Embed them with the same models.")
    return stack_spots(parts)


def stack_spots(parts: Sequence[SpotCohort]) -> SpotCohort:
    """The spots of cohorts of the same genes, one below the other, in the representations that all of them have.

    Raises:
        CohortError: Vectors of one name are of different lengths.
    """
    vectors, keys = (_in_all([getattr(part, name) for part in parts]) for name in ("vectors", "keys"))
    columns = ("spots", "sections", "patients", "organs", "x", "y", "expression")
    expected = [part.expected for part in parts if part.expected is not None]
    return SpotCohort(
        genes=parts[0].genes,
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in columns},
        vectors=vectors,
        keys=keys,
        facts={patient: own for part in parts for patient, own in part.facts.items()},
        expected=np.concatenate(expected) if len(expected) == len(parts) else None,
        taught={
            name: sum(part.taught.get(name, 0) for part in parts)
            for name in vectors
            if any(name in part.taught for part in parts)
        },
    )


def _in_all(parts: Sequence[Mapping[str, NDArray[np.float32]]]) -> dict[str, NDArray[np.float32]]:
    """The matrices that all have, one below the other.

    Raises:
        CohortError: Those of one name are not equally wide.
    """
    shared = [name for name in parts[0] if all(name in part for part in parts)]
    for name in shared:
        if len(lengths := {part[name].shape[1] for part in parts}) > 1:
            raise CohortError(
                f"The vectors of {name} have {' and '.join(map(str, sorted(lengths)))} numbers in the cohorts. Embed "
                "them with the same models."
            )
    return {name: np.concatenate([part[name] for part in parts]) for name in shared}


def _common_rows(parts: Mapping[str, SpotCohort]) -> list[NDArray[np.int64]]:
    """For each part, the rows of the spots that all have, in the order of the first."""
    places = [{spot: row for row, spot in enumerate(_identities(part))} for part in parts.values()]
    shared = [spot for spot in places[0] if all(spot in own for own in places)]
    return [np.array([own[spot] for spot in shared], np.int64) for own in places]


def _identities(cohort: SpotCohort) -> list[tuple[str, str, str]]:
    return list(zip(cohort.patients.tolist(), cohort.sections.tolist(), cohort.spots.tolist(), strict=True))


def _with_genes(cohort: SpotCohort, genes: list[str]) -> SpotCohort:
    """The cohort with these genes, in this order."""
    places = {gene: place for place, gene in enumerate(cohort.genes)}
    columns = [places[gene] for gene in genes]
    expected = None if cohort.expected is None else cohort.expected[:, columns]
    return replace(cohort, genes=tuple(genes), expression=cohort.expression[:, columns], expected=expected)


def _called(part: SpotCohort, taken: str, name: str) -> str:
    """What the representation is called in its part."""
    if taken in part.vectors:
        return taken
    if len(part.vectors) == 1:
        return next(iter(part.vectors))
    raise UsageError(f"{name!r} has the representations {', '.join(part.vectors)}, and none is called {taken!r}.")
