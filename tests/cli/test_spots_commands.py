"""`haiku-edge spots …`, as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from haiku_edge.export.spatial import open_spots

NOTICE = "For research use only"


def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "haiku_edge.cli", "spots", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == code, ended.stderr
    return ended


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A section of four spots with its picture."""
    import anndata
    from PIL import Image

    spots = anndata.AnnData(
        csr_matrix(np.arange(12, dtype=np.float32).reshape(4, 3)),
        obs=pd.DataFrame(index=list("abcd")),
        var=pd.DataFrame(index=["A", "B", "C"]),
        obsm={"spatial": np.array([[300, 300], [500, 300], [300, 500], [20, 500]])},
    )
    spots.write_h5ad(tmp_path / "one.h5ad")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (700, 700, 3), np.uint8)).save(tmp_path / "one.png")
    (tmp_path / "t.csv").write_text("section,patient,organ,data,image,mpp\nS1,P1,Colon,one.h5ad,one.png,0.5\n")
    return tmp_path / "t.csv"


def test_a_dataset_is_built_described_and_not_replaced_unasked(table: Path) -> None:
    out = table.parent / "spots"
    ended = run("build", table, "--out", out, "--least-common-genes", 3)
    assert "3 spots of 1 sections" in ended.stdout
    assert "S1: 1 spots are too near the image's edge" in ended.stdout
    assert NOTICE in ended.stdout
    assert "one patient" in ended.stderr
    info = json.loads(run("info", out, "--json").stdout)
    dataset = open_spots(out)
    assert (info["spots"], info["genes"], info["size"]) == (3, list(dataset.genes), 224)
    assert "S1" in run("info", out).stdout
    refused = run("build", table, "--out", out, "--least-common-genes", 3, code=52)
    assert "--force" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_dataset_is_described_in_words_with_its_facts(table: Path) -> None:
    row = "S{0},{1},{2},one.h5ad,one.png,0.5,{3},{4}"
    rows = [("1", "P1", "Colon", "III", "70"), ("2", "P1", "Colon", "III", "70"), ("3", "P2", "Breast", "I", "")]
    header = "section,patient,organ,data,image,mpp,stage,age"
    table.write_text("\n".join([header, *(row.format(*own) for own in rows)]) + "\n")
    out = table.parent / "spots"
    run("build", table, "--out", out, "--least-common-genes", 3)
    told = " ".join(run("info", out).stdout.split())
    assert "organs (sections) colon 2, breast 1" in told and "synthetic no" in told and "{" not in told
    assert "the 50 most variable genes of each section; of 3 genes that the sections share" in told
    info = json.loads(run("info", out, "--json").stdout)
    named = {key for section in info["sections"] for key in section["facts"]}
    assert len(named) == 2 and info["facts"] == {name: 2 if "stage" in name else 1 for name in named}
    assert all(f"{name} {count}" in told for name, count in info["facts"].items())


def test_what_is_no_dataset_is_refused_in_one_sentence(table: Path) -> None:
    assert "no dataset of spots" in run("info", table.parent, code=81).stderr
    refused = run("build", table, "--out", table.parent / "spots", code=82)
    assert "No section has 10000 genes; the richest has 3." in refused.stderr
    assert not (table.parent / "spots").exists()
