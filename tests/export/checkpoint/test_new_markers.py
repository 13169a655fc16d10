"""A marker added by a vector has the meaning of that vector, and changes nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from haiku_edge.export.checkpoint import read_checkpoint
from haiku_edge.export.haiku import export_haiku
from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.engine import open_tower
from haiku_edge.runtime.errors import PanelError

from .conftest import SmallExport
from .made import SMALL, write_small_checkpoint


def test_added_marker_embeds_as_its_vector_says(tmp_path: Path, small_export: SmallExport) -> None:
    checkpoint = write_small_checkpoint(tmp_path / "checkpoint")
    released = read_checkpoint(checkpoint, sizes=SMALL)
    twin = released.state["codex_encoder.encoder.protein_emb.esm_embeddings.CD8"].numpy()
    np.save(tmp_path / "twin.npy", twin)
    np.save(tmp_path / "other.npy", twin[::-1].copy())
    new = [f"Twin={tmp_path / 'twin.npy'}", f"Other={tmp_path / 'other.npy'}"]
    exported = export_haiku(checkpoint, tmp_path / "bundle", sizes=SMALL, markers=new)
    assert any("Twin, Other" in remark for remark in exported.remarks)

    bundle = open_bundle(tmp_path / "bundle")
    section = bundle.manifest.need_mif()
    assert section.markers == (*released.markers, "Twin", "Other")
    tower = open_tower(bundle, section, device="cpu")
    patches = np.random.default_rng(0).integers(0, 255, (1, 3, 256, 256), dtype=np.uint8)
    rows = {name: i + 1 for i, name in enumerate(section.markers)}

    def embed(name: str) -> np.ndarray:
        return tower(patches=patches, markers=np.array([[rows["DAPI"], rows[name], rows["CD3e"]]], np.int64))

    np.testing.assert_allclose(embed("Twin"), embed("CD8"), atol=1e-6)
    assert np.abs(embed("Other") - embed("CD8")).max() > 1e-4

    before = open_bundle(small_export.folder)
    old = open_tower(before, before.manifest.need_mif(), device="cpu")
    ids = np.array([[rows["DAPI"], rows["CD8"], rows["CD3e"]]], np.int64)
    np.testing.assert_allclose(embed("CD8"), old(patches=patches, markers=ids), atol=1e-6)


def test_marker_that_is_known_already_makes_no_bundle(tmp_path: Path) -> None:
    checkpoint = write_small_checkpoint(tmp_path / "checkpoint")
    np.save(tmp_path / "vector.npy", np.ones(SMALL.mif.marker_width, np.float32))
    with pytest.raises(PanelError, match="known already, as CD8"):
        export_haiku(checkpoint, tmp_path / "bundle", sizes=SMALL, markers=[f"CD8a={tmp_path / 'vector.npy'}"])
    assert not (tmp_path / "bundle").exists()
