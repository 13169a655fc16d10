"""The tasks on any cohort and any bundle, with the choices that a command leaves open."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atlas import Atlas, open_atlas
from haiku_edge.runtime.bundle import Bundle
from haiku_edge.runtime.counterfactual.texts import embed_prompts
from haiku_edge.runtime.errors import CohortError

from .classification import find_classes
from .embedded_cohort import EmbeddedCohort
from .expression import BiomarkerResult, Setting, pose_problem, score_biomarkers
from .galleries import atlas_gallery, own_gallery
from .index_agreement import IndexAgreement, compare_indexes
from .knn import KnnResult, score_knn
from .labels import LABEL_KEYS, TISSUE_KEYS, cohort_labels, tissue_names, usual_labels
from .retrieval import RetrievalScore, score_retrieval
from .sweep import LEAST_PATIENTS, SweepResult, sweep_settings
from .zero_shot import ZeroShotResult, score_zero_shot


def retrieval_task(
    cohort: EmbeddedCohort, labels: Sequence[str] = (), *, published: bool = False
) -> tuple[tuple[RetrievalScore, ...], tuple[IndexAgreement, ...]]:
    """Retrieval among all modalities of a cohort, exact pairs and labels, and how a graph compares.

    Args:
        cohort: At least two modalities.
        labels: Facts whose values are labels; none takes tissue and disease.
        published: Let a patient's own patches be found by label, as the published code does.

    Raises:
        CohortError: One patient, one modality, one class, or nobody has one of the facts.
    """
    if len(cohort.vectors) < 2:
        raise CohortError("The cohort has vectors of one modality alone; retrieval takes two. Embed it with another.")
    chosen = {key: cohort_labels(cohort, key) for key in labels} if labels else usual_labels(cohort)
    for values in chosen.values():
        find_classes(values, cohort.patients, least_patients=1)
    scores = score_retrieval(cohort.vectors, cohort.patients, chosen, published=published)
    return scores, compare_indexes(cohort.vectors)


def biomarker_task(
    cohort: EmbeddedCohort, bundle: Bundle | None = None, setting: Setting | None = None
) -> tuple[BiomarkerResult, SweepResult | None]:
    """Biomarker inference, from the cohort's own mIF patches or from a bundle's atlas, and the sweep.

    Args:
        cohort: H&E vectors and measured expression; without a bundle mIF vectors too.
        bundle: Its atlas answers; None lets the cohort answer itself.
        setting: How neighbours are found; None takes the published one, without notes where the cohort has none.

    Returns:
        The result, and the sweep, or None where there are too few patients for one.

    Raises:
        CohortError: One patient, no H&E, or no marker in common.
    """
    if bundle is None and "mif" not in cohort.vectors:
        raise CohortError("The cohort has no mIF vectors to search. Name a bundle with an atlas by --bundle.")
    if bundle is None:
        gallery = own_gallery(cohort, tissue_names(cohort))
    else:
        atlas, mif = open_atlas(bundle), bundle.manifest.need_mif()
        gallery = atlas_gallery(atlas, mif.patch_size * mif.mpp, _atlas_tissues(atlas))
    problem = pose_problem(cohort, gallery)
    chosen = setting or Setting()
    enough = problem.resamples.patients >= LEAST_PATIENTS
    return score_biomarkers(problem, chosen), sweep_settings(problem, chosen) if enough else None


def knn_task(cohort: EmbeddedCohort, label: str | None = None) -> KnnResult:
    """kNN classification of one fact; None takes the disease, or else the tissue.

    Raises:
        CohortError: One patient, one class, or nobody has the fact.
    """
    return score_knn(cohort, label or _usual_label(cohort))


def zero_shot_task(cohort: EmbeddedCohort, bundle: Bundle, label: str | None = None) -> ZeroShotResult:
    """Zero-shot classification of one fact; None takes the disease, or else the tissue.

    Raises:
        CohortError: One patient, one class, or nobody has the fact.
        BundleContentError: The bundle has no text tower.
        UsageError: Another bundle embedded the cohort.
    """

    def embed(sentences: Sequence[str]) -> NDArray[np.float32]:
        return embed_prompts(bundle, sentences).vectors

    return score_zero_shot(cohort, label or _usual_label(cohort), embed)


def _usual_label(cohort: EmbeddedCohort) -> str:
    for key in ("disease", *TISSUE_KEYS):
        if (cohort.labels(key) != "").any():
            return key
    raise CohortError(
        f"The cohort's patients have none of the facts {', '.join(LABEL_KEYS)}. Name another with --label."
    )


def _atlas_tissues(atlas: Atlas) -> NDArray[np.str_]:
    """The tissue of each patch of an atlas: from its patients' facts, or else the organ that its table names."""
    facts = [atlas.facts.get(str(patient), {}) for patient in atlas.patients]
    told = [next((own[key] for key in TISSUE_KEYS if key in own), "") for own in facts]
    return np.array([name or organ for name, organ in zip(told, atlas.organs.tolist(), strict=True)], np.str_)
