"""Simulated patients as an atlas folder, so that the embedded bundle, training and tests take the road of real data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from haiku_edge.runtime.inference import Progress, Silent

from ..captions import NAMED_MARKERS
from ..cohort import Section
from ..dataset import PatchSample, write_dataset
from ..synthetic import MARKERS, MPP, Patient, known_facts
from .from_regions import describe_patch
from .patch_statistics import against_the_rest, bright_means

Sections = Iterable[tuple[Patient, Section]]


def dataset_from_simulator(
    path: Path, parts: Mapping[str, Sections], *, name: str = "simulated", progress: Progress | None = None
) -> int:
    """Write simulated patients as a folder of the open layout.

    A channel's intensities are the simulator's own, without a histogram clip. Captions tell what was known before the
    outcome; the facts beside them tell all.

    Args:
        path: The folder; must not exist.
        parts: Role ('', atlas, calibration or test) → patients with their sections, as `Part.sections()` gives them.
        name: What messages call it.
        progress: Told about every patient.

    Returns:
        The number of patches.

    Raises:
        CohortError, OutputError: See `write_dataset`.
    """
    told = progress or Silent()
    roles: dict[str, str] = {}
    told.start("Writing simulated patients")

    def samples() -> Iterator[PatchSample]:
        for role, sections in parts.items():
            for patient, section in sections:
                roles[patient.identifier] = role
                yield from section_samples(patient, section)
                told.advance(1)

    made = {"by": "the tissue simulator", "statement": "Synthetic: simulated tissue of simulated patients."}
    count = write_dataset(path, samples(), name=name, markers=MARKERS, mpp=MPP, made=made, roles=roles)
    told.finish()
    return count


def section_samples(patient: Patient, section: Section) -> Iterator[PatchSample]:
    """The patches of one simulated section, named as `{section}_{x1}-{x2}-{y1}-{y2}`."""
    channels = [MARKERS.index(marker) for marker in patient.panel]
    z, _ = against_the_rest(np.stack([bright_means(mif[channels]) for mif in section.mif]))
    for he, mif, (x, y), scores in zip(section.he, section.mif, section.origins.tolist(), z, strict=True):
        side = he.shape[0]
        own = np.ascontiguousarray(mif[channels])
        yield PatchSample(
            patch=f"{patient.section}_{x}-{x + side}-{y}-{y + side}",
            region=patient.section,
            patient=patient.identifier,
            he=he,
            mif=own,
            markers=patient.panel,
            caption=describe_patch(own, patient.panel, scores, known_facts(patient.facts), NAMED_MARKERS),
            facts=patient.facts,
            x=x * MPP,
            y=y * MPP,
        )
