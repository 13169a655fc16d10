"""The demonstration is a slide with notes and a truth that fits its pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import openslide
import pyarrow.parquet as pq
import pytest

from haiku_edge.export.synthetic import MARKERS
from haiku_edge.export.synthetic.demo import Demo, write_demo
from haiku_edge.export.synthetic.spots import GENES, write_gene_truth


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return write_demo(tmp_path_factory.mktemp("demo"), width=2048, height=1024)


def test_the_slide_opens_and_says_that_it_is_synthetic(demo: Demo) -> None:
    with openslide.OpenSlide(demo.slide) as slide:
        assert slide.dimensions == (2048, 1024)
        assert slide.properties["openslide.vendor"] == "aperio"
        assert float(slide.properties["openslide.mpp-x"]) == 0.5
        assert "synthetic" in slide.properties["openslide.comment"].lower()


def test_the_notes_are_the_patients_facts_but_for_the_outcome(demo: Demo) -> None:
    facts = json.loads(demo.notes.read_text(encoding="utf-8"))
    assert demo.patient.facts.items() - facts.items() == {
        (key, demo.patient.facts[key]) for key in ("survival_status", "survival")
    }
    assert facts.items() <= demo.patient.facts.items()


def test_the_truth_has_one_row_for_every_tile_in_order(demo: Demo) -> None:
    truth = pq.read_table(demo.truth)
    places = list(zip(truth["x"].to_pylist(), truth["y"].to_pylist(), strict=True))
    assert places == [(x, y) for y in range(0, 1024, 256) for x in range(0, 2048, 256)]
    for marker in MARKERS:
        assert np.isfinite(truth[marker].to_numpy()).all()
        assert np.isfinite(truth[f"{marker}_expected"].to_numpy()).all()


def test_tiles_without_tissue_are_white_and_tissue_is_not(demo: Demo) -> None:
    truth = pq.read_table(demo.truth)
    with openslide.OpenSlide(demo.slide) as slide:
        pixels = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB")).astype(np.float64)
    tiles = pixels.reshape(4, 256, 8, 256, 3).mean(axis=(1, 3, 4)).ravel()
    tissue, pen = truth["tissue"].to_numpy(), truth["pen"].to_numpy()
    assert (tiles[(tissue < 0.01) & (pen < 0.001)] > 230).all()
    assert (tiles[tissue > 0.8] < 200).all()
    assert (tissue > 0.8).sum() >= 4


def test_truth_follows_what_is_expected(demo: Demo) -> None:
    truth = pq.read_table(demo.truth)
    for marker in ("DAPI", "PanCK", "Vimentin"):
        measured, expected = truth[marker].to_numpy(), truth[f"{marker}_expected"].to_numpy()
        assert np.corrcoef(measured, expected)[0, 1] > 0.9


def test_pen_blur_and_fold_are_somewhere_and_small(demo: Demo) -> None:
    truth = pq.read_table(demo.truth)
    for artefact in ("pen", "blur", "fold"):
        share = truth[artefact].to_numpy()
        assert share.max() > 0.02, artefact
        assert share.mean() < 0.15, artefact


def test_the_same_seed_writes_the_same_slide_on_any_number_of_threads(demo: Demo, tmp_path: Path) -> None:
    again = write_demo(tmp_path, width=2048, height=1024, threads=1)
    assert again.slide.read_bytes() == demo.slide.read_bytes()
    assert again.truth.read_bytes() == demo.truth.read_bytes()


def test_the_gene_truth_has_the_tiles_of_the_truth_and_counts_nothing_on_glass(demo: Demo) -> None:
    before = demo.truth.read_bytes()
    genes, tiles = pq.read_table(write_gene_truth(demo)), pq.read_table(demo.truth)
    assert demo.truth.read_bytes() == before
    assert genes["x"].equals(tiles["x"])
    assert genes["y"].equals(tiles["y"])
    library, tissue = genes["library"].to_numpy(), tiles["tissue"].to_numpy()
    assert not library[tissue < 0.01].any()
    assert np.median(library[tissue > 0.9]) > 300
    for gene in GENES:
        assert np.isnan(genes[gene].to_numpy()[library == 0]).all()
        assert np.isfinite(genes[f"{gene}_expected_without_facts"].to_numpy()).all()


def test_rna_of_the_demonstration_is_of_the_cells_that_its_proteins_are_of(demo: Demo) -> None:
    genes, tiles = pq.read_table(write_gene_truth(demo)), pq.read_table(demo.truth)
    counted = genes["library"].to_numpy() > 100
    for gene, marker in (("KRT8", "PanCK"), ("PTPRC", "CD45")):
        proteins = tiles[f"{marker}_expected"].to_numpy()[counted]
        assert np.corrcoef(genes[gene].to_numpy()[counted], proteins)[0, 1] > 0.4
        assert np.corrcoef(genes[f"{gene}_expected"].to_numpy()[counted], proteins)[0, 1] > 0.4
