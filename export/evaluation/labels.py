"""The classes of a cohort's patches: one clinical fact of their patients, synonyms collapsed."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.errors import CohortError

from ..vocabulary import DISEASE_TEMPLATES, TISSUE_TEMPLATES, canon_disease, canon_tissue
from .embedded_cohort import EmbeddedCohort

TISSUE_KEYS: Final = ("tissue_type", "tissue")
DISEASE_KEYS: Final = ("disease",)
LABEL_KEYS: Final = (*TISSUE_KEYS, *DISEASE_KEYS)
"""Facts whose synonyms are known; they are scored where nothing else is asked for."""


def cohort_labels(cohort: EmbeddedCohort, key: str) -> NDArray[np.str_]:
    """The class of each patch: (n,) str, '' where the fact is missing, or where its map does not know the value.

    Tissues and diseases are collapsed to the classes of `haiku_edge.export.vocabulary`, other facts taken as they are.

    Raises:
        CohortError: Nobody in the cohort has this fact.
    """
    values = cohort.labels(key)
    if not (values != "").any():
        known = sorted({fact for facts in cohort.facts.values() for fact in facts})
        raise CohortError(
            f"Nobody in the cohort has the fact {key!r}, so there are no classes to tell apart. "
            f"Its facts are: {', '.join(known) or 'none'}."
        )
    if key in TISSUE_KEYS:
        return np.array([canon_tissue(value) or "" for value in values.tolist()], np.str_)
    if key in DISEASE_KEYS:
        return np.array([canon_disease(value) or "" for value in values.tolist()], np.str_)
    return values


def tissue_names(cohort: EmbeddedCohort) -> NDArray[np.str_]:
    """The tissue of each patch as its notes say it: (n,) str, '' where they do not."""
    known = [cohort.labels(key) for key in TISSUE_KEYS]
    return next((values for values in known if (values != "").any()), known[0])


def usual_labels(cohort: EmbeddedCohort) -> dict[str, NDArray[np.str_]]:
    """The tissue and the disease: what the cohort has with at least two classes, and only once if they say the same."""
    found: dict[str, NDArray[np.str_]] = {}
    partitions: list[list[int]] = []
    for key in LABEL_KEYS:
        if (cohort.labels(key) != "").any():
            values = cohort_labels(cohort, key)
            if len(set(values.tolist()) - {""}) > 1 and (classes := _partition(values)) not in partitions:
                partitions.append(classes)
                found[key] = values
    return found


def _partition(values: NDArray[np.str_]) -> list[int]:
    """For each patch the first one of its class: the same for labels that divide the cohort in the same way."""
    _, first, back = np.unique(values, return_index=True, return_inverse=True)
    return list(first[np.asarray(back).ravel()].tolist())


def class_templates(key: str) -> tuple[str, ...]:
    """The five sentences that ask for a class of this fact; `{}` is the class."""
    if key in TISSUE_KEYS:
        return TISSUE_TEMPLATES
    if key in DISEASE_KEYS:
        return DISEASE_TEMPLATES
    fact = key.replace("_", " ")
    return tuple(template.replace(" disease", "").replace("{}", f"{fact} {{}}") for template in DISEASE_TEMPLATES)
