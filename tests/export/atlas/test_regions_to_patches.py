"""Registered regions become patches: where they lie, what they measure, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray
from PIL import Image

from haiku_edge.export.atlas.from_regions import RegionSettings, build_from_regions
from haiku_edge.export.atlas.region_images import open_multichannel
from haiku_edge.export.dataset import FolderDataset, open_dataset
from haiku_edge.runtime.errors import (
    CohortError,
    DiskFullError,
    MissingResolutionError,
    PanelError,
    UnreadableDatasetError,
)
from tests.conftest import largest_file

from .painted_regions import MPP, nuclei, painted_he, write_mif, write_regions_csv

SAME = RegionSettings(mpp=MPP)


def make_region(
    folder: Path, name: str = "r1", *, size: tuple[int, int] = (450, 650), tissue_from: int = 0, seed: int = 0
) -> tuple[NDArray[np.uint16], dict[str, object]]:
    """A region with tissue right of `tissue_from`, three channels and H&E; the stack and its row of the table."""
    height, width = size
    where = np.zeros(size, np.bool_)
    where[:, tissue_from:] = True
    dapi = nuclei(height, width, where, seed=seed)
    rng = np.random.default_rng(seed + 1)
    ramp = np.linspace(0, 8000, width, dtype=np.float32)[None].repeat(height, axis=0)
    cd8 = np.asarray(rng.poisson(300 + ramp * where), np.uint16)
    keratin = np.asarray(rng.poisson(300 + 5000 * (dapi > 3000)), np.uint16)
    stack = np.stack([dapi, cd8, keratin])
    write_mif(folder / f"{name}.ome.tif", stack, ("DAPI", "CD8a", "Pan-Cytokeratin"))
    Image.fromarray(painted_he(dapi)).save(folder / f"{name}.png", compress_level=1)
    row = {"region": name, "patient": "P1", "he": f"{name}.png", "mpp_he": MPP, "mif": f"{name}.ome.tif"}
    return stack, {**row, "tissue_type": "Colon", "disease": "Colorectal cancer"}


def build(folder: Path, settings: RegionSettings = SAME) -> FolderDataset:
    build_from_regions(folder, folder / "out", settings)
    dataset = open_dataset(folder / "out")
    assert isinstance(dataset, FolderDataset)
    return dataset


def test_patches_lie_on_a_grid_of_30_per_cent_overlap_in_the_tissue(tmp_path: Path) -> None:
    _, row = make_region(tmp_path, size=(450, 1200), tissue_from=500)
    write_regions_csv(tmp_path, [row])
    dataset = build(tmp_path)
    corners = np.array([(sample.x, sample.y) for sample in dataset]) / MPP
    assert len(corners) >= 3
    for axis in (0, 1):
        starts = np.unique(corners[:, axis])
        assert set(np.diff(starts).tolist()) <= {179.0}
    # 90 % of the patch must lie in the tissue, whose mask may reach 25 µm beyond the outermost nucleus.
    assert corners[:, 0].min() >= 500 - 0.1 * 256 - 25 / MPP
    names = {f"r1_{x:.0f}-{x + 256:.0f}-{y:.0f}-{y + 256:.0f}" for x, y in corners}
    assert names == set(dataset.patches.tolist())


def test_h_and_e_and_mif_of_a_patch_are_cut_at_the_same_place(tmp_path: Path) -> None:
    stack, row = make_region(tmp_path)
    write_regions_csv(tmp_path, [row])
    he = painted_he(stack[0])
    for sample in build(tmp_path):
        assert sample.x is not None
        assert sample.y is not None
        x, y = round(sample.x / MPP), round(sample.y / MPP)
        np.testing.assert_array_equal(sample.he, he[y : y + 256, x : x + 256])
        assert sample.mif is not None
        place = stack[:, y : y + 256, x : x + 256]
        for own, raw in zip(sample.mif, place, strict=True):
            ranks = np.corrcoef(own.ravel().astype(float), raw.ravel().astype(float))[0, 1]
            assert ranks > 0.9
        assert sample.markers == ("DAPI", "CD8", "PanCK")


def test_facts_roles_and_captions_come_along(tmp_path: Path) -> None:
    _, row = make_region(tmp_path)
    write_regions_csv(tmp_path, [{**row, "role": "calibration"}])
    dataset = build(tmp_path)
    assert set(dataset.measurements.roles.tolist()) == {"calibration"}
    means = {str(sample.patch): sample for sample in dataset}
    rightmost = max(means.values(), key=lambda sample: sample.x or 0)
    assert dict(rightmost.facts) == {"tissue_type": "Colon", "disease": "Colorectal cancer"}
    assert rightmost.caption is not None
    # CD8 was painted as a ramp from left to right.
    high, _, low = rightmost.caption.partition("Conversely")
    assert "CD8 shows relatively high expression" in high
    assert "CD8" not in low
    leftmost = min(means.values(), key=lambda sample: sample.x or 0)
    assert leftmost.caption is not None
    assert "CD8 is relatively low" in leftmost.caption


def test_resampling_halves_the_pixels_and_keeps_the_place(tmp_path: Path) -> None:
    _, row = make_region(tmp_path, size=(560, 1100))
    write_regions_csv(tmp_path, [row])
    fine = build(tmp_path)
    build_from_regions(tmp_path, tmp_path / "coarse", RegionSettings(mpp=2 * MPP))
    coarse = open_dataset(tmp_path / "coarse")
    assert coarse.mpp == 2 * MPP
    sample = coarse[0]
    assert sample.mif is not None
    assert sample.x is not None
    assert sample.y is not None
    # The ramp's level at the patch's centre must be the same at both resolutions.
    assert 0 <= sample.x <= 1100 * MPP - 256 * 2 * MPP
    centre = sample.mif[1].mean()
    near = [
        fine_sample.mif[1].mean()
        for fine_sample in fine
        if fine_sample.mif is not None
        and fine_sample.x is not None
        and abs((fine_sample.x + 64) - (sample.x + 128)) < 30
    ]
    assert near
    assert abs(centre - np.mean(near)) < 20


def test_the_same_seed_gives_the_same_patches_whatever_other_regions_there_are(tmp_path: Path) -> None:
    rows = [make_region(tmp_path, name, seed=seed)[1] for seed, name in enumerate(("r1", "r2"))]
    write_regions_csv(tmp_path, rows)
    both = build(tmp_path)
    write_regions_csv(tmp_path, rows[1:])
    build_from_regions(tmp_path, tmp_path / "alone", SAME)
    alone = open_dataset(tmp_path / "alone")
    assert alone.patches.tolist() == [patch for patch in both.patches.tolist() if patch.startswith("r2_")]
    build_from_regions(tmp_path, tmp_path / "other", RegionSettings(mpp=MPP, seed=5))
    assert open_dataset(tmp_path / "other").patches.tolist() != alone.patches.tolist()


def test_regions_without_h_and_e_give_patches_without(tmp_path: Path) -> None:
    rows = [make_region(tmp_path, name, seed=seed)[1] for seed, name in enumerate(("r1", "r2"))]
    rows[1] |= {"he": "", "patient": "P2"}
    write_regions_csv(tmp_path, rows)
    dataset = build(tmp_path)
    assert {sample.region: sample.he is not None for sample in dataset} == {"r1": True, "r2": False}


def test_images_of_different_size_are_not_registered(tmp_path: Path) -> None:
    _, row = make_region(tmp_path)
    write_regions_csv(tmp_path, [{**row, "mpp_he": 0.52}])
    with pytest.raises(UnreadableDatasetError, match="not registered"):
        build(tmp_path)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_shifted_pair_is_told(tmp_path: Path) -> None:
    stack, row = make_region(tmp_path, tissue_from=300)
    write_regions_csv(tmp_path, [row])
    straight = build_from_regions(tmp_path, tmp_path / "straight", SAME).registration["r1"]
    Image.fromarray(painted_he(stack[0])[:, ::-1].copy()).save(tmp_path / "r1.png")
    mirrored = build_from_regions(tmp_path, tmp_path / "mirrored", SAME).registration["r1"]
    assert straight > 0.8
    assert mirrored < 0.1
    about = json.loads((tmp_path / "mirrored" / "dataset.json").read_text())
    assert about["made"]["registration"] == {"r1": mirrored}


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"mif": "nowhere.tif"}, UnreadableDatasetError, r"nowhere\.tif"),
        ({"channels": "DAPI;CD8"}, PanelError, "3 channels and 2 names"),
        ({"channels": "DAPI;CD8;CD8a"}, PanelError, "more than once"),
        ({"channels": "CD4;CD8;PanCK"}, PanelError, "DAPI"),
        ({"mpp_mif": "half"}, UnreadableDatasetError, "half"),
        ({"mif": "broken.ome.tif"}, UnreadableDatasetError, "broken"),
        ({"region": ""}, UnreadableDatasetError, "without a region"),
    ],
)
def test_bad_rows_are_refused_and_nothing_is_written(
    tmp_path: Path, change: dict[str, object], error: type[Exception], told: str
) -> None:
    _, row = make_region(tmp_path)
    (tmp_path / "broken.ome.tif").write_bytes((tmp_path / "r1.ome.tif").read_bytes()[:3000])
    write_regions_csv(tmp_path, [{**row, **change}])
    with pytest.raises(error, match=told):
        build(tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_damaged_channel_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    stack, row = make_region(tmp_path)
    path = tmp_path / "packed.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(path) as file:
        start = file.pages[1].aspage().dataoffsets[0]
    data = bytearray(path.read_bytes())
    data[start : start + 64] = bytes(64)
    path.write_bytes(bytes(data))
    write_regions_csv(tmp_path, [{**row, "mif": path.name, "mpp_mif": MPP, "channels": "DAPI;CD8;PanCK"}])
    with pytest.raises(UnreadableDatasetError, match=r"Channel 2 of packed\.tif"):
        build(tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    _, row = make_region(tmp_path)
    write_regions_csv(tmp_path, [row])
    before = sorted(tmp_path.iterdir())
    with largest_file(100_000), pytest.raises(DiskFullError):
        build(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_a_patient_has_one_role(tmp_path: Path) -> None:
    rows = [make_region(tmp_path, name)[1] for name in ("r1", "r2")]
    write_regions_csv(tmp_path, [{**rows[0], "role": "atlas"}, {**rows[1], "role": "calibration"}])
    with pytest.raises(UnreadableDatasetError, match="two roles"):
        build(tmp_path)


def test_an_unstated_resolution_is_asked_for(tmp_path: Path) -> None:
    stack, row = make_region(tmp_path)
    write_mif(tmp_path / "r1.ome.tif", stack, ("DAPI", "CD8", "PanCK"), mpp=None)
    write_regions_csv(tmp_path, [{**row, "he": ""}])
    with pytest.raises(MissingResolutionError, match="--mpp-mif"):
        build(tmp_path)
    assert len(build(tmp_path, RegionSettings(mpp=MPP, mpp_mif=MPP)))


def test_a_region_without_tissue_gives_no_patch(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).poisson(200, (3, 600, 600)).astype(np.uint16)
    write_mif(tmp_path / "glass.ome.tif", noise, ("DAPI", "CD8", "PanCK"))
    write_regions_csv(tmp_path, [{"region": "glass", "mif": "glass.ome.tif"}])
    with pytest.raises(CohortError):
        build(tmp_path)


def test_a_small_field_gives_the_patch_that_it_has_room_for(tmp_path: Path) -> None:
    stack, _ = make_region(tmp_path, size=(270, 300))
    write_regions_csv(tmp_path, [{"region": "r1", "mif": "r1.ome.tif"}])
    assert stack.shape[1:] == (270, 300)
    assert len(build(tmp_path)) == 1


@pytest.mark.parametrize("kind", ["planar", "interleaved", "zarr", "ome-zarr"])
def test_every_kind_of_multichannel_image_is_read_alike(tmp_path: Path, kind: str) -> None:
    stack = np.random.default_rng(0).integers(0, 60000, (3, 40, 50), np.uint16)
    path = tmp_path / kind
    if kind == "planar":
        path = path.with_suffix(".tif")
        tifffile.imwrite(path, stack, photometric="minisblack", planarconfig="separate")
    elif kind == "interleaved":
        path = path.with_suffix(".tif")
        tifffile.imwrite(path, np.moveaxis(stack, 0, -1), photometric="rgb", planarconfig="contig")
    elif kind == "zarr":
        zarr.create_array(path, data=stack)
    else:
        group = zarr.create_group(path)
        group.create_array("0", data=stack[None, :, None])
        axes = [{"name": name} for name in "tcz"] + [{"name": name, "unit": "micrometer"} for name in "yx"]
        step = {"type": "scale", "scale": [1, 1, 1, 0.25, 0.25]}
        scales = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": [step]}]}]
        group.attrs["ome"] = {
            "multiscales": scales,
            "omero": {"channels": [{"label": name} for name in ("DAPI", "CD8", "CD4")]},
        }
    image = open_multichannel(path)
    assert (image.count, image.height, image.width) == (3, 40, 50)
    for channel in range(3):
        np.testing.assert_array_equal(image.read(channel), stack[channel])
    if kind == "ome-zarr":
        assert image.mpp == 0.25
        assert image.channels == ("DAPI", "CD8", "CD4")
