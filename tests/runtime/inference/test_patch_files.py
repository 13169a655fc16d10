"""Patches from files: what is refused before its pixels are decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from haiku_edge.runtime.errors import PatchShapeError, UnreadableDatasetError
from haiku_edge.runtime.inference import patch_files
from haiku_edge.runtime.inference.patch_files import read_mif_patch


def test_the_limit_is_of_bytes_not_of_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A packed file of 8-byte numbers unpacks to eight times as many bytes as it has values."""
    pixels = np.zeros((2, 64, 64))
    tifffile.imwrite(tmp_path / "patch.tif", pixels, compression="zlib", photometric="minisblack")
    assert (tmp_path / "patch.tif").stat().st_size < pixels.size < pixels.nbytes
    monkeypatch.setattr(patch_files, "MAX_FILE_BYTES", pixels.nbytes)
    with pytest.raises(PatchShapeError, match="float64"):
        read_mif_patch(tmp_path / "patch.tif", 64)
    monkeypatch.setattr(patch_files, "MAX_FILE_BYTES", pixels.size)
    with pytest.raises(UnreadableDatasetError, match="no readable TIFF"):
        read_mif_patch(tmp_path / "patch.tif", 64)
