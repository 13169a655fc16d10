"""The sections that a mixture learns from, with their image features, and the tables that its experts are given."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.bundle import KnownPatients
from haiku_edge.runtime.errors import DatasetError
from haiku_edge.runtime.inference.progress import Progress

from ..spatial import DatasetSection, SpotDataset, log_normalise_sparse
from ..spatial.features import Encoder, section_features
from .cluster import Clusters, nearest
from .expert_table import append_spots
from .split import held_out_patients, without


@dataclass(frozen=True, slots=True)
class TrainingSpots:
    """Sections of spots, split by patient.

    Attributes:
        dataset: Where they are.
        encoder: What makes features of their patches.
        cache: Folder that keeps the features.
        sections: Those used, by name.
        judges: Patients who are held out.
    """

    dataset: SpotDataset
    encoder: Encoder
    cache: Path
    sections: tuple[DatasetSection, ...]
    judges: frozenset[str]

    @property
    def known(self) -> KnownPatients:
        """The digests of the patients learned from and held out."""
        patients = {section.patient for section in self.sections}
        return KnownPatients.of_names(patients - self.judges, self.judges)

    def features(self, section: DatasetSection, progress: Progress | None = None) -> NDArray[np.float32]:
        """(n, D) float32 features of a section's patches, not normalised; mapped from the file that keeps them."""
        return section_features(self.dataset, section.section, self.encoder, self.cache, progress)

    def compute_features(self, progress: Progress) -> None:
        """Compute and keep the features of all sections, which takes most of the time before training."""
        progress.start("image features", sum(section.spots for section in self.sections))
        for section in self.sections:
            self.features(section, progress)
        progress.finish()

    def by_organ(self) -> dict[str, list[NDArray[np.float32]]]:
        """Organ → the features of its sections, by name, without those that judge."""
        organs: dict[str, list[NDArray[np.float32]]] = {}
        for section in self.sections:
            if section.patient not in self.judges:
                organs.setdefault(section.organ, []).append(self.features(section))
        return organs


def gather_spots(
    dataset: SpotDataset, encoder: Encoder, cache: Path, seed: int, exclude: Collection[str] = ()
) -> TrainingSpots:
    """Choose the sections and the patients who judge, and refuse what can't be learned from before any work.

    Raises:
        DatasetError: Patches smaller than the encoder takes, or CohortError where there is one patient only.
        UsageError: A patient to leave out is not there.
    """
    if encoder.size > dataset.size:
        raise DatasetError(
            f"The encoder takes tiles of {encoder.size} pixels, and the patches of {dataset.name} have {dataset.size}. "
            f"Build the dataset again with --size {encoder.size}, or name another --encoder."
        )
    sections = without(dataset.sections, exclude)
    return TrainingSpots(dataset, encoder, cache, tuple(sections), held_out_patients(sections, seed))


def write_tables(training: TrainingSpots, clusters: Clusters, folder: Path, progress: Progress, *, log: bool) -> float:
    """Write each expert's spots to a folder of its number, section by section.

    Args:
        training: The sections.
        clusters: Which expert a spot goes to.
        folder: Where the tables go.
        progress: Told of spots.
        log: Give the gene heads log-normalised counts, not raw ones.

    Returns:
        Share of the spots that inference, which looks at the centroids of all organs, takes to the same expert.
    """
    alike, total = 0, 0
    progress.start("spots of the experts", sum(section.spots for section in training.sections))
    for section in training.sections:
        spots, features = training.dataset.read(section.section), training.features(section)
        experts = clusters.expert_of_spots(features, section.organ)
        counts = log_normalise_sparse(spots.counts, spots.library) if log else spots.counts
        for number in np.unique(experts):
            rows = np.flatnonzero(experts == number)
            judges = np.full(len(rows), section.patient in training.judges)
            append_spots(table_of(folder, number), features[rows], counts[rows], judges)
        alike += int((clusters.expert_of[nearest(features, clusters.centroids)] == experts).sum())
        total += section.spots
        progress.advance(section.spots)
    progress.finish()
    return alike / total


def table_of(folder: Path, number: int) -> Path:
    """The folder of an expert within a folder of all experts'."""
    return folder / f"{number:02d}"
