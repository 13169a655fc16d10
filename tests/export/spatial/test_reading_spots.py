"""Spots read from each layout are those that were written, by whichever tool."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from haiku_edge.export.spatial.anndata_file import from_table
from haiku_edge.export.spatial.cohort_table import CohortRow
from haiku_edge.export.spatial.open import read_section, read_source
from haiku_edge.export.spatial.source import SpotSource, grid_mpp
from haiku_edge.runtime.errors import PanelError, UnreadableDatasetError

from .written_sections import MPP, Drawn, as_anndata, draw, write_space_ranger, write_spatialdata, write_tiff


def assert_same(source: SpotSource, drawn: Drawn) -> None:
    """Whether a source holds the spots in tissue that were drawn, in any order."""
    place = {spot: row for row, spot in enumerate(drawn.spots.tolist())}
    rows = [place[spot] for spot in source.spots.tolist()]
    assert sorted(rows) == np.flatnonzero(drawn.in_tissue).tolist()
    assert source.genes == drawn.genes
    assert np.array_equal(source.counts.toarray(), drawn.counts[rows])
    assert source.x == pytest.approx(drawn.x[rows])
    assert source.y == pytest.approx(drawn.y[rows])


@pytest.mark.parametrize("positions", ["tissue_positions.csv", "tissue_positions_list.csv", "tissue_positions.parquet"])
@pytest.mark.parametrize("matrix", ["h5", "mtx"])
def test_a_space_ranger_folder_gives_its_spots_in_tissue(tmp_path: Path, positions: str, matrix: str) -> None:
    drawn = draw()
    folder = write_space_ranger(tmp_path / "outs", drawn, positions=positions, matrix=matrix, hires=0.25)
    for path in (folder, tmp_path):
        source = read_source(path, "s")
        assert_same(source, drawn)
        assert source.mpp == pytest.approx(MPP, rel=1e-4)
        assert source.picture is not None
        assert source.picture.x == pytest.approx(source.x * 0.25)


def test_the_width_of_spots_tells_the_resolution_where_the_grid_does_not(tmp_path: Path) -> None:
    source = read_source(write_space_ranger(tmp_path, draw(), grid=False), "s")
    assert source.mpp == pytest.approx(MPP)


@pytest.mark.parametrize("angle", [0.0, 0.4, 2.0])
@pytest.mark.parametrize("flip", [1, -1])
def test_the_resolution_of_a_grid_is_that_of_its_pitch_however_it_is_turned(angle: float, flip: int) -> None:
    drawn = draw()
    turned = np.stack([flip * drawn.x, drawn.y], axis=1) @ [
        [np.cos(angle), -np.sin(angle)],
        [np.sin(angle), np.cos(angle)],
    ]
    assert grid_mpp(turned, drawn.rows, drawn.columns) == pytest.approx(MPP)
    assert grid_mpp(turned * [1, 1.1], drawn.rows, drawn.columns) is None
    assert grid_mpp(turned[:5], drawn.rows[:5], drawn.columns[:5]) is None


def write_layout(tmp_path: Path, drawn: Drawn, layout: str) -> Path:
    """The section in one of the layouts whose places are plain numbers."""
    if layout == "Space Ranger":
        return write_space_ranger(tmp_path / "s", drawn)
    as_anndata(drawn).write_h5ad(tmp_path / "s.h5ad")
    return tmp_path / "s.h5ad"


@pytest.mark.parametrize("layout", ["Space Ranger", "AnnData"])
@pytest.mark.parametrize("number", [np.nan, np.inf, -1e300])
def test_a_place_outside_the_tissue_that_is_no_number_changes_nothing(
    tmp_path: Path, layout: str, number: float
) -> None:
    drawn = draw()
    outside = drawn.in_tissue == 0
    broken = replace(drawn, x=np.where(outside, number, drawn.x))
    source = read_source(write_layout(tmp_path, broken, layout), "s")
    assert_same(source, drawn)
    assert source.mpp == pytest.approx(MPP)


@pytest.mark.parametrize("layout", ["Space Ranger", "AnnData"])
@pytest.mark.parametrize("number", [np.nan, np.inf, -1e300])
def test_a_place_in_the_tissue_that_is_no_number_is_refused_as_that(tmp_path: Path, layout: str, number: float) -> None:
    drawn = draw()
    inside = np.flatnonzero(drawn.in_tissue)[4]
    broken = replace(drawn, y=np.where(np.arange(len(drawn.y)) == inside, number, drawn.y))
    row = CohortRow("s", "P1", "lung", write_layout(tmp_path, broken, layout), None, None, {})
    with pytest.raises(UnreadableDatasetError, match="The section s has spots whose place is no number"):
        read_section(row)


def test_places_in_words_are_refused_as_that(tmp_path: Path) -> None:
    table = as_anndata(draw())
    table.obsm["spatial"] = np.full(table.obsm["spatial"].shape, "here")
    with pytest.raises(UnreadableDatasetError, match="coordinates of s are no numbers"):
        from_table(table, "s")


@pytest.mark.parametrize(("yes", "no"), [("true", "false"), ("True", "False"), ("TRUE", "FALSE"), ("1", "0")])
def test_in_tissue_is_understood_in_words(tmp_path: Path, yes: str, no: str) -> None:
    drawn, table = draw(), as_anndata(draw())
    table.obs["in_tissue"] = np.where(drawn.in_tissue == 1, yes, no)
    table.write_h5ad(tmp_path / "s.h5ad")
    assert_same(read_source(tmp_path / "s.h5ad", "s"), drawn)


@pytest.mark.parametrize("scales", ["[]", "null", '"0.5"', "3"])
def test_scales_that_are_no_names_with_numbers_are_refused_as_that(tmp_path: Path, scales: str) -> None:
    path = write_space_ranger(tmp_path / "s", draw())
    (path / "spatial" / "scalefactors_json.json").write_text(scales)
    with pytest.raises(UnreadableDatasetError, match=r"scalefactors_json\.json holds no names with numbers"):
        read_source(path, "s")


def test_a_scale_beyond_all_numbers_is_not_taken(tmp_path: Path) -> None:
    path = write_space_ranger(tmp_path / "s", draw())
    for scale in ("1e999", "1" + "0" * 400):
        (path / "spatial" / "scalefactors_json.json").write_text(f'{{"microns_per_pixel": {scale}}}')
        assert read_source(path, "s").mpp == pytest.approx(MPP)


@pytest.mark.parametrize("where", ["X", "layer", "raw"])
def test_an_anndata_file_gives_its_raw_counts_wherever_they_are(tmp_path: Path, where: str) -> None:
    drawn, table = draw(), as_anndata(draw())
    if where == "layer":
        table.layers["counts"] = table.X.copy()
    if where == "raw":
        table.raw = table.copy()
    if where != "X":
        table.X = table.X.log1p()
    table.write_h5ad(tmp_path / "s.h5ad")
    source = read_source(tmp_path / "s.h5ad", "s")
    assert_same(source, drawn)
    assert source.mpp == pytest.approx(MPP)


def test_names_of_genes_are_taken_where_the_index_holds_identifiers(tmp_path: Path) -> None:
    drawn, table = draw(), as_anndata(draw())
    table.var["feature_name"] = list(drawn.genes)
    table.var_names = [f"ENSG{i:011d}" for i in range(len(drawn.genes))]
    table.write_h5ad(tmp_path / "s.h5ad")
    assert read_source(tmp_path / "s.h5ad", "s").genes == drawn.genes


def test_columns_of_one_gene_are_added_up(tmp_path: Path) -> None:
    drawn = draw(genes=4)
    twice = replace(drawn, genes=("A", "B", "A", "C"))
    source = read_source(write_space_ranger(tmp_path, twice), "s")
    inside = drawn.counts[drawn.in_tissue == 1]
    assert (source.genes, source.summed) == (("A", "B", "C"), 1)
    summed = np.stack([inside[:, 0] + inside[:, 2], inside[:, 1], inside[:, 3]], axis=1)
    assert np.array_equal(source.counts.toarray(), summed)


def test_hest_folders_bring_slide_and_resolution(tmp_path: Path) -> None:
    for name in ("st", "wsis", "metadata"):
        (tmp_path / name).mkdir()
    drawn = draw()
    as_anndata(drawn).write_h5ad(tmp_path / "st" / "TENX1.h5ad")
    write_tiff(tmp_path / "wsis" / "TENX1.tif", drawn.image, tiled=True)
    (tmp_path / "metadata" / "TENX1.json").write_text(json.dumps({"pixel_size_um_estimated": 0.47}))
    source = read_source(tmp_path / "st" / "TENX1.h5ad", "s")
    assert_same(source, drawn)
    assert source.mpp == 0.47
    assert source.picture is not None
    assert (source.picture.path.name, source.picture.scale) == ("TENX1.tif", 1.0)


def test_a_spatialdata_folder_gives_its_spots_in_its_finest_image(tmp_path: Path) -> None:
    drawn = draw()
    source = read_source(write_spatialdata(tmp_path / "s.zarr", drawn), "s")
    assert_same(source, drawn)
    assert source.mpp == pytest.approx(MPP)
    assert source.picture is not None
    assert (source.picture.path.name, source.picture.scale) == ("small", pytest.approx(0.5))
    assert source.picture.x == pytest.approx((source.x - 10) * 0.5)
    assert source.picture.y == pytest.approx((source.y - 20) * 0.5)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("negative", "some are negative"),
        ("fractions", "some are fractions"),
        ("nan", "some are no numbers"),
        ("no places", "has no coordinates"),
    ],
)
def test_what_is_no_section_is_refused_with_its_reason(tmp_path: Path, fault: str, words: str) -> None:
    table = as_anndata(draw())
    dense = table.X.toarray()
    if fault == "no places":
        del table.obsm["spatial"]
    else:
        dense[3, 2] = {"negative": -1.0, "fractions": 0.5, "nan": np.nan}[fault]
        table.X = dense
    table.write_h5ad(tmp_path / "s.h5ad")
    with pytest.raises(UnreadableDatasetError, match=words):
        read_source(tmp_path / "s.h5ad", "s")


def test_a_gene_without_a_name_is_refused_as_that(tmp_path: Path) -> None:
    drawn = draw()
    nameless = replace(drawn, genes=("", *drawn.genes[1:]))
    as_anndata(nameless).write_h5ad(tmp_path / "s.h5ad")
    for path in (tmp_path / "s.h5ad", write_spatialdata(tmp_path / "s.zarr", nameless)):
        with pytest.raises(PanelError, match="no name"):
            read_source(path, "s")


@pytest.mark.parametrize("damage", ["cut", "bad index", "other section", "no positions", "numbers"])
def test_damaged_and_foreign_files_are_refused_without_a_crash(tmp_path: Path, damage: str) -> None:
    path = write_space_ranger(tmp_path / "s", draw())
    file = path / "filtered_feature_bc_matrix.h5"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:3000])
    elif damage == "no positions":
        (path / "spatial" / "tissue_positions.csv").unlink()
    elif damage == "numbers":
        with h5py.File(file, "a") as opened:
            count = len(opened["matrix/barcodes"])
            del opened["matrix/barcodes"]
            opened["matrix/barcodes"] = np.arange(count)
    else:
        place, value = {"bad index": ("indices", 2_000_000_000), "other section": ("barcodes", b"GGGG-1")}[damage]
        with h5py.File(file, "a") as opened:
            opened[f"matrix/{place}"][5] = value
    with pytest.raises(UnreadableDatasetError):
        read_source(path, "s")


def test_of_several_regions_the_section_names_its_own(tmp_path: Path) -> None:
    drawn = draw()
    path = write_spatialdata(tmp_path / "s.zarr", drawn, others=12)
    own = replace(drawn, in_tissue=np.where(np.arange(len(drawn.spots)) < 12, 0, drawn.in_tissue))
    assert_same(read_source(path, "spots"), own)
    with pytest.raises(UnreadableDatasetError, match=r"2 regions with a table \(others, spots\)"):
        read_source(path, "another")


def test_an_empty_folder_is_no_section(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDatasetError, match="no known layout"):
        read_source(tmp_path, "s")
