"""`haiku-edge atlas …` and `haiku-edge embed`, as their commands run in this process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import typer
from typer.testing import CliRunner

from haiku_edge.cli import atlas_app
from haiku_edge.export.dataset import PatchSample, write_dataset
from haiku_edge.export.evaluation.embedded_cohort import read_cohort
from haiku_edge.runtime.bundle import open_bundle

PANEL = ("DAPI", "CD8", "PanCK")
NOTICE = "For research use only"

app = typer.Typer()
app.add_typer(atlas_app.app, name="atlas")
app.command()(atlas_app.embed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two patients with a patch each, of noise."""
    rng = np.random.default_rng(0)
    made = [
        PatchSample(
            patch=f"{patient}-1",
            region=patient,
            patient=patient,
            he=rng.integers(0, 256, (256, 256, 3), np.uint8),
            mif=rng.integers(0, 256, (3, 256, 256), np.uint8),
            markers=PANEL,
            facts={"tissue_type": "Colon"},
        )
        for patient in ("Q1", "Q2")
    ]
    write_dataset(tmp_path / "folder", made, name="noise", markers=PANEL, mpp=0.5, made={})
    return tmp_path / "folder"


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_a_folder_is_verified_described_and_embedded(folder: Path, tmp_path: Path) -> None:
    assert "all 2 can be read" in run("atlas", "verify", folder)
    info = json.loads(run("atlas", "info", folder, "--json"))
    assert (info["patches"], info["patients"], info["markers"]) == (2, 2, list(PANEL))
    assert NOTICE in info["notice"]
    assert NOTICE in run("embed", folder, "--out", tmp_path / "c.parquet", "--threads", 1)
    assert set(read_cohort(tmp_path / "c.parquet").vectors) == {"he", "mif", "text"}


def test_regions_become_a_folder(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    blobs = np.kron(rng.random((75, 75)) < 0.3, np.ones((8, 8))) * 5000
    stack = rng.poisson(200 + np.stack([blobs, blobs[::-1]])).astype(np.uint16)
    tifffile.imwrite(tmp_path / "r.tif", stack, photometric="minisblack")
    table = "region,mif,mpp_mif,channels\nr,r.tif,0.5,DAPI;CD8\n"
    (tmp_path / "regions.csv").write_text(table)
    out = tmp_path / "out"
    assert NOTICE in run("atlas", "build", tmp_path, "--out", out, "--mpp", 0.5)
    assert run("atlas", "build", tmp_path, "--out", out, code=52).count("--force") == 1
    run("atlas", "build", tmp_path, "--out", out, "--mpp", 0.5, "--seed", 7, "--force")
    assert json.loads((out / "dataset.json").read_text())["made"]["seed"] == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "r.tif", "regions.csv"]
    assert "no atlas folder" in run("atlas", "build", tmp_path, "--out", tmp_path, "--force", code=52)
    (tmp_path / "regions.csv").write_text(table.replace("0.5", ""))
    assert "--mpp-mif" in run("atlas", "build", tmp_path, "--out", tmp_path / "other", code=13)


def test_a_cohort_and_a_bundle_are_replaced_only_when_asked(folder: Path, tmp_path: Path) -> None:
    """A refusal comes before the input is looked at, and so before any work."""
    cohort, made, embedded = tmp_path / "c.parquet", tmp_path / "made", open_bundle(None).root
    cohort.write_text("precious")
    assert run("embed", tmp_path / "nowhere", "--out", cohort, code=52).count("--force") == 1
    assert cohort.read_text() == "precious"
    run("embed", folder, "--out", cohort, "--threads", 1, "--force")
    assert len(read_cohort(cohort)) == 2
    shutil.copytree(embedded, made)
    add = ("atlas", "add", embedded, folder, "--out", made, "--threads", 1)
    assert run(*add, code=52).count("--force") == 1
    assert open_bundle(made).digest == open_bundle(None).digest
    run(*add, "--force")
    more = open_bundle(made).manifest.need_atlas().patch_count - open_bundle(None).manifest.need_atlas().patch_count
    assert more == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.parquet", "folder", "made"]


def test_a_folder_of_images_alone_says_what_it_holds_and_how_to_cut_them(tmp_path: Path) -> None:
    (tmp_path / "images" / "more").mkdir(parents=True)
    for name in ("a.ome.tif", "b.ome.tif", "readme.txt"):
        (tmp_path / "images" / name).touch()
    said = run("atlas", "add", open_bundle(None).root, tmp_path / "images", "--out", tmp_path / "new", code=81)
    assert "2 × .tif, 1 × .txt, 1 folders" in said and "atlas build" in said and "regions.csv" in said
    np.save(tmp_path / "images" / "mif.npy", np.zeros((256, 256, 3), np.uint8))
    said = run("atlas", "add", open_bundle(None).root, tmp_path / "images", "--out", tmp_path / "new", code=81)
    assert "No patch of images has mIF" in said and ".pkl" in said
    assert not (tmp_path / "new").exists()


def test_misspelt_channels_are_told_with_the_nearest_names(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "r.tif", np.ones((2, 300, 300), np.uint16), photometric="minisblack")
    table = "region,mif,mpp_mif,channels\nr,r.tif,0.5,{}\n"
    (tmp_path / "regions.csv").write_text(table.format("DPAI;CD8"))
    assert "DPAI looks like it" in run("atlas", "build", tmp_path, "--out", tmp_path / "out", code=82)
    (tmp_path / "regions.csv").write_text(table.format("DAPI;PanKC"))
    said = " ".join(run("atlas", "build", tmp_path, "--out", tmp_path / "out").split())
    assert "PanKC (nearest known: PanCK)" in said and "regions.csv" in said


def test_patients_called_by_a_name_are_refused_where_an_atlas_is_made(tmp_path: Path) -> None:
    (tmp_path / "regions.csv").write_text("region,patient,mif\nr,Zbigniew Kowalczyk,r.tif\n")
    (tmp_path / "r.tif").touch()
    said = run("atlas", "build", tmp_path, "--out", tmp_path / "out", code=84)
    assert "1 of 1 patients" in said and "P001" in said and "Kowalczyk" not in said
    sample = PatchSample("p", "r", "Kowalczyk, Z", None, np.ones((1, 256, 256), np.uint8), ("CD8",))
    write_dataset(tmp_path / "d", [sample], name="d", markers=("CD8",), mpp=0.5, made={})
    said = run("atlas", "add", open_bundle(None).root, tmp_path / "d", "--out", tmp_path / "out", code=84)
    assert "P001" in said and "Kowalczyk" not in said and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("what", "code"), [("nothing there", 81), ("unknown marker", 82), ("other scale", 83), ("no regions.csv", 81)]
)
def test_refusals_have_their_exit_codes(folder: Path, tmp_path: Path, what: str, code: int) -> None:
    out = tmp_path / "cohort.parquet"
    if what == "nothing there":
        run("embed", tmp_path / "nowhere", "--out", out, code=code)
    elif what == "no regions.csv":
        run("atlas", "build", folder, "--out", tmp_path / "new", code=code)
    else:
        table = {"unknown marker": (("CD138",), 0.5), "other scale": (("CD8",), 0.3775)}
        markers, mpp = table[what]
        sample = PatchSample("p", "r", "P", None, np.ones((1, 256, 256), np.uint8), markers)
        write_dataset(tmp_path / "d", [sample], name="d", markers=markers, mpp=mpp, made={})
        run("embed", tmp_path / "d", "--out", out, code=code)
    assert not out.exists()
