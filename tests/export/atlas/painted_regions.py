"""Registered region pairs whose tissue was painted, as the files that a laboratory has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

MPP = 0.5


def nuclei(height: int, width: int, where: NDArray[np.bool_], *, seed: int = 0) -> NDArray[np.uint16]:
    """(height, width) counts: nuclei of 8 µm every 12 µm where `where`, over a noisy background."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width), np.float32)
    step = round(12 / MPP)
    for y in range(step // 2, height, step):
        for x in range(step // 2, width, step):
            if where[y, x]:
                jitter = rng.integers(-4, 5, 2)
                cv2.circle(image, (int(x + jitter[0]), int(y + jitter[1])), round(4 / MPP), 1.0, -1)
    image = cv2.GaussianBlur(image, (0, 0), 1.5)
    return np.asarray(rng.poisson(200 + 6000 * image), np.uint16)


def write_mif(path: Path, channels: NDArray[np.generic], names: Sequence[str] | None, mpp: float | None = MPP) -> None:
    """Write (c, h, w) as OME-TIFF."""
    metadata: dict[str, object] = {"axes": "CYX"}
    if names is not None:
        metadata["Channel"] = {"Name": list(names)}
    if mpp is not None:
        metadata |= {"PhysicalSizeX": mpp, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": mpp, "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(path, channels, photometric="minisblack", metadata=metadata, ome=True)


def painted_he(dapi: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """(h, w, 3): pink, blue where the nuclei are."""
    share = np.clip((dapi.astype(np.float32) - 200) / 6000, 0, 1)[:, :, None]
    pink, blue = np.array([235, 190, 215], np.float32), np.array([90, 60, 150], np.float32)
    return np.asarray(pink + share * (blue - pink), np.uint8)


def write_regions_csv(folder: Path, rows: Sequence[dict[str, object]]) -> None:
    """Write regions.csv."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [",".join(columns), *(",".join(str(row.get(column, "")) for column in columns) for row in rows)]
    (folder / "regions.csv").write_text("\n".join(lines) + "\n")
