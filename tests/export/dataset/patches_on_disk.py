"""Small datasets in each layout, with images that tell where they belong."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from haiku_edge.export.dataset import PatchSample

PANEL = ("DAPI", "CD8", "PanCK")


def mif_of(number: int, channels: int = 3) -> NDArray[np.uint8]:
    """(channels, 256, 256), another pattern for each number."""
    return np.random.default_rng(number).integers(0, 256, (channels, 256, 256), np.uint8)


def he_of(number: int) -> NDArray[np.uint8]:
    """(256, 256, 3), another pattern for each number."""
    return np.random.default_rng(1000 + number).integers(0, 256, (256, 256, 3), np.uint8)


def write_paper(folder: Path, region: str, numbers: Sequence[int], panel: Sequence[str] = PANEL) -> list[str]:
    """Write the published layout of single files, as its own code does; the patches' names."""
    names = []
    for kind in ("codex_patches", "he_patches", "text"):
        (folder / kind / region).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        x, y = 179 * number, 10
        name = f"{region}_{x}-{x + 256}-{y}-{y + 256}"
        content = {"codex": mif_of(number, len(panel)), "biomarker_name": list(panel)}
        (folder / "codex_patches" / region / f"{name}.pkl").write_bytes(pickle.dumps(content))
        np.save(folder / "he_patches" / region / f"{name}.npy", he_of(number))
        (folder / "text" / region / f"{name}_backgroud.txt").write_text(f"Caption {number}.\n")
        names.append(name)
    return names


def write_metadata(path: Path, pairs: dict[str, str]) -> None:
    """Write {region}.metadata.csv."""
    lines = [f"{key},{value}" for key, value in pairs.items()]
    path.write_text("\n".join(["FEATURE_NAME,FEATURE_VALUE", *lines]) + "\n")


def write_hdf5(folder: Path, region: str, numbers: Sequence[int], panel: Sequence[str] = PANEL) -> list[str]:
    """Write the published HDF5 layout; the patches' names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    with h5py.File(folder / f"{region}.h5", "w") as file:
        for number in numbers:
            x, y = 179 * number, 10
            group = file.create_group(f"{region}_{x}-{x + 256}-{y}-{y + 256}")
            group["codex"], group["he"] = mif_of(number, len(panel)), he_of(number)
            group.attrs["channels"], group.attrs["text"] = json.dumps(list(panel)), f"Caption {number}."
            names.append(group.name.removeprefix("/"))
    return names


def samples(
    patients: Sequence[str], patches: int = 2, panel: tuple[str, ...] = PANEL, *, with_he: bool = True
) -> list[PatchSample]:
    """Some patches of one region a patient."""
    made = []
    for position, patient in enumerate(patients):
        for number in range(patches):
            seed = position * 100 + number
            made.append(
                PatchSample(
                    patch=f"{patient}-R1_{number}",
                    region=f"{patient}-R1",
                    patient=patient,
                    he=he_of(seed) if with_he else None,
                    mif=mif_of(seed, len(panel)),
                    markers=panel,
                    caption=f"Caption of {patient}, {number}.",
                    facts={"tissue_type": "Colon", "stage": "II" if position % 2 else "III"},
                    x=67.5 * number,
                    y=0.0,
                )
            )
    return made
