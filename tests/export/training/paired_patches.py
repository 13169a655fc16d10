"""A small dataset on disk whose H&E, mIF and notes tell of the same thing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from haiku_edge.export.dataset import PatchSample, write_dataset

MARKERS = ("DAPI", "PanCK", "CD8")
KINDS = ("Colon", "Lung", "Breast")


def samples(patients: int, patches: int, seed: int = 0) -> Iterator[PatchSample]:
    """Patches whose spots lie at one place in H&E and in every channel; the kind of a patient sets their size."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:256, :256]
    for number in range(patients):
        kind = KINDS[number % 3]
        for patch in range(patches):
            spots = np.zeros((256, 256), bool)
            for y, x in rng.integers(20, 236, (6, 2)):
                spots |= (rows - y) ** 2 + (columns - x) ** 2 < (6 + 6 * (number % 3)) ** 2
            he = np.where(spots[..., None], (90, 50, 130), (235, 205, 225)) + rng.integers(-8, 9, (256, 256, 3))
            panel = MARKERS[: 3 if number % 2 else 2]
            mif = np.stack([np.where(spots, 150, 15) + rng.integers(0, 20, (256, 256)) for _ in panel])
            region = f"R{number}"
            yield PatchSample(
                patch=f"{region}_{patch}",
                region=region,
                patient=f"P{number}",
                he=he.clip(0, 255).astype(np.uint8),
                mif=mif.clip(0, 255).astype(np.uint8),
                markers=panel,
                caption=f"A sample of {kind} tissue molecularly marked by {panel[-1]}.",
                facts={"tissue_type": kind, "disease": f"{kind} cancer"},
                x=0.0,
                y=128.0 * patch,
            )


def write(path: Path, patients: int = 6, patches: int = 3, roles: Mapping[str, str] | None = None) -> Path:
    """Write them in the open layout."""
    made = {"by": "a test"}
    write_dataset(path, samples(patients, patches), name="pairs", markers=MARKERS, mpp=0.5, made=made, roles=roles)
    return path
