"""`atlas build` on real multichannel fields: two of breast (CSM) and an unmixed one of lung (phenoptr)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from haiku_edge.export.atlas.from_regions import RegionSettings, build_from_regions
from haiku_edge.export.atlas.region_images import open_multichannel
from haiku_edge.export.dataset import FolderDataset, open_dataset

from .painted_regions import write_regions_csv

DATA = Path(__file__).parents[3].parent / "shared" / "data" / "mif"
CSM = [DATA / "csm" / f"ABCM22001_{field}_MiniCrop.ome.tif" for field in ("B09", "B14")]
LUNG = DATA / "phenoptr" / "FIHC4__0929309_HP_IM3_2_component_data.tif"

pytestmark = pytest.mark.skipif(not LUNG.exists(), reason="the real mIF fields are not beside this checkout")


def build(folder: Path, rows: list[dict[str, object]], settings: RegionSettings) -> FolderDataset:
    write_regions_csv(folder, rows)
    build_from_regions(folder, folder / "out", settings)
    dataset = open_dataset(folder / "out")
    assert isinstance(dataset, FolderDataset)
    return dataset


def test_what_the_files_state_of_themselves() -> None:
    breast, lung = open_multichannel(CSM[0]), open_multichannel(LUNG)
    assert breast.channels == ("DAPI", "PDL1", "GZMB", "PD1", "CK-EPCAM", "CD8a", "FOXP3")
    assert (breast.height, breast.width, breast.mpp) == (500, 500, None)
    assert lung.channels == ("Alexa 594", "Cy3", "Cy5", "DAPI", "FITC")
    assert (lung.height, lung.width) == (260, 348)
    assert lung.mpp == pytest.approx(0.497, abs=1e-3)  # the objective is 20x


def test_the_breast_fields_give_patches_of_their_seven_markers(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"region": path.name[:13], "patient": path.name[:13], "mif": path} for path in CSM]
    dataset = build(tmp_path, rows, RegionSettings(mpp_mif=0.5))
    # 500 px of 0.5 µm are 662 px of 0.3775 µm: two or three places on each side.
    assert 2 * 4 <= len(dataset) <= 2 * 9
    assert dataset.markers == ("DAPI", "PDL1", "GranzymeB", "PD1", "CK-EPCAM", "CD8", "FoxP3")
    assert len(set(dataset.patients.tolist())) == 2
    means = dataset.measurements.expression
    assert np.isfinite(means).all()
    assert (means.max(axis=0) > means.min(axis=0)).all()


def test_at_the_fields_own_scale_a_patch_follows_the_raw_counts(tmp_path: Path) -> None:
    dataset = build(tmp_path, [{"region": "b", "mif": CSM[1]}], RegionSettings(mpp=0.5, mpp_mif=0.5))
    raw = tifffile.imread(CSM[1]).astype(float)
    for sample in dataset:
        assert sample.mif is not None
        assert sample.x is not None
        assert sample.y is not None
        x, y = round(sample.x / 0.5), round(sample.y / 0.5)
        for own, counts in zip(sample.mif, raw[:, y : y + 256, x : x + 256], strict=True):
            order = np.argsort(counts, axis=None, kind="stable")
            assert (np.diff(own.ravel()[order].astype(int)) >= 0).all()  # a clip keeps the order of counts


def test_the_lung_field_gives_one_patch_and_its_dyes_keep_their_names(tmp_path: Path) -> None:
    dataset = build(tmp_path, [{"region": "lung", "mif": LUNG}], RegionSettings())
    # 348 × 260 px of 0.497 µm are 458 × 342 px of 0.3775 µm: one or two places across, one down.
    assert 1 <= len(dataset) <= 2
    assert set(dataset.markers) == {"DAPI", "Alexa 594", "Cy3", "Cy5", "FITC"}
    assert all(len(np.unique(channel)) > 30 for sample in dataset if sample.mif is not None for channel in sample.mif)
