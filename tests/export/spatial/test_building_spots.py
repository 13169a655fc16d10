"""From a table of sections to a dataset: patches lie around their spots, and bad input leaves nothing."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from haiku_edge.export.spatial import decode_patch, open_spots
from haiku_edge.export.spatial.build import SpotReport, SpotSettings, build_spots
from haiku_edge.export.spatial.dataset import SpotDataset
from haiku_edge.runtime.errors import (
    CohortError,
    CorruptSlideError,
    HaikuEdgeError,
    MissingResolutionError,
    OutputExistsError,
    PanelError,
    ResolutionTooCoarseError,
    UnreadableDatasetError,
)

from .written_sections import MPP, as_anndata, draw, write_space_ranger, write_spatialdata, write_table, write_tiff

SETTINGS = SpotSettings(genes_per_section=8, least_common_genes=30, threads=2)


class Said:
    """A progress that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps = 0

    def say(self, line: str) -> None:
        self.lines.append(line)

    def start(self, stage: str, total: int | None = None) -> None:
        self.steps = 0

    def advance(self, steps: int) -> None:
        self.steps += steps

    def finish(self) -> None:
        pass


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sections of two patients in three layouts; the first image is a plain TIFF, the second in tiles."""
    tmp_path = tmp_path_factory.mktemp("sections")
    one, two, three = draw(1), draw(2), draw(3)
    write_space_ranger(tmp_path / "one", one)
    write_tiff(tmp_path / "one.tif", one.image, tiled=False)
    as_anndata(two).write_h5ad(tmp_path / "two.h5ad")
    write_tiff(tmp_path / "two.tif", two.image, tiled=True)
    write_spatialdata(tmp_path / "three.zarr", three, scale=1.0)
    rows: list[dict[str, object]] = [
        {"section": "S1", "patient": "P1", "organ": "Colon", "data": "one", "image": "one.tif", "mpp": "", "age": 61},
        {"section": "S2", "patient": "P2", "organ": "colon", "data": "two.h5ad", "image": "two.tif", "age": 47},
        {"section": "S3", "patient": "P2", "organ": "Lung", "data": "three.zarr", "age": 47},
    ]
    return write_table(tmp_path / "sections.csv", rows)


@pytest.fixture
def table(made: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return shutil.copytree(made.parent, tmp_path / "own") / made.name


@pytest.fixture(scope="module")
def dataset(made: Path, tmp_path_factory: pytest.TempPathFactory) -> SpotDataset:
    """What becomes of them."""
    return build_spots(made, tmp_path_factory.mktemp("built") / "spots", SETTINGS)[0]


def built(table: Path, **changes: Any) -> tuple[SpotDataset, SpotReport]:
    return build_spots(table, table.parent / "spots", replace(SETTINGS, **changes))


def test_a_table_of_three_layouts_becomes_a_dataset(table: Path) -> None:
    said = Said()
    dataset, report = build_spots(table, table.parent / "spots", SETTINGS, progress=said)
    assert [(own.section, own.patient, own.organ) for own in dataset.sections] == [
        ("S1", "P1", "colon"),
        ("S2", "P2", "colon"),
        ("S3", "P2", "lung"),
    ]
    assert dict(dataset.sections[0].facts) == {"age": "61"}
    assert report.common == 40
    assert 8 <= len(dataset.genes) <= 24
    assert list(dataset.genes) == sorted(dataset.genes, key=lambda gene: int(gene[1:]))
    assert report.spots == {"S1": 28, "S2": 28, "S3": 28}
    assert said.steps == 84
    assert dataset == open_spots(table.parent / "spots")


@pytest.mark.parametrize(("section", "seed"), [("S1", 1), ("S2", 2), ("S3", 3)])
def test_every_patch_shows_the_tissue_around_its_own_spot_with_its_own_counts(
    dataset: SpotDataset, section: str, seed: int
) -> None:
    drawn, own = draw(seed), dataset.read(section)
    place = {spot: row for row, spot in enumerate(drawn.spots.tolist())}
    rows = [place[spot] for spot in own.spots.tolist()]
    height, width = drawn.image.shape[:2]
    assert sorted(rows) == np.flatnonzero(drawn.in_tissue).tolist()
    columns = [drawn.genes.index(gene) for gene in dataset.genes]
    assert np.array_equal(own.counts.toarray(), drawn.counts[rows][:, columns])
    assert np.array_equal(own.library, drawn.counts[rows].sum(axis=1))
    shift = (10, 20) if section == "S3" else (0, 0)
    assert own.x == pytest.approx((drawn.x[rows] - shift[0]) * MPP, abs=0.01)
    for jpeg, row in zip(own.patches, rows, strict=True):
        patch = decode_patch(jpeg).astype(float)
        assert patch.shape == (224, 224, 3)
        assert patch[..., 0].mean() == pytest.approx((drawn.x[row] - shift[0]) / width * 255, abs=1)
        assert patch[..., 1].mean() == pytest.approx((drawn.y[row] - shift[1]) / height * 255, abs=1)


def test_patches_of_a_coarser_scale_show_as_much_tissue(table: Path, dataset: SpotDataset) -> None:
    coarse, _ = built(table, size=56, mpp=2.0)
    one, other = dataset.read("S2"), coarse.read("S2")
    assert one.spots.tolist() == other.spots.tolist()
    for large, small in zip(one.patches, other.patches, strict=True):
        shrunk = decode_patch(large).reshape(56, 4, 56, 4, 3).mean(axis=(1, 3))
        assert np.abs(shrunk - decode_patch(small)).mean() < 2


def test_threads_change_nothing(table: Path, dataset: SpotDataset) -> None:
    one, _ = built(table, threads=1)
    assert [own.sha256 for own in one.sections] == [own.sha256 for own in dataset.sections]


def test_a_picture_that_came_with_the_spots_is_used_at_its_own_scale(tmp_path: Path) -> None:
    drawn = draw()
    write_space_ranger(tmp_path / "s", drawn, hires=0.25)
    rows: list[dict[str, object]] = [{"section": "S", "patient": "P", "organ": "colon", "data": "s"}]
    table, said = write_table(tmp_path / "t.tsv", rows), Said()
    with pytest.raises(ResolutionTooCoarseError, match="full-resolution image in the column image"):
        built(table)
    dataset, _ = build_spots(table, tmp_path / "spots", replace(SETTINGS, size=56, mpp=2.0), progress=said)
    own, width = dataset.read("S"), drawn.image.shape[1]
    assert own.x.max() == pytest.approx(drawn.x[drawn.in_tissue == 1].max() * MPP)
    for jpeg, x in zip(own.patches, own.x, strict=True):
        assert decode_patch(jpeg)[..., 0].mean() == pytest.approx(x / MPP / width * 255, abs=2)
    assert any("one patient" in line for line in said.lines)
    assert any("one organ" in line for line in said.lines)


def test_spots_too_near_the_edge_are_left_out_and_counted(table: Path) -> None:
    image = np.asarray(Image.open(table.parent / "two.tif"))
    write_tiff(table.parent / "two.tif", image[:, 300:], tiled=True)
    drawn = draw(2)
    inside = drawn.in_tissue == 1
    lost = int((inside & (drawn.x + 112 > image.shape[1] - 300)).sum())
    dataset, report = built(table)
    assert 0 < lost < 14
    assert report.outside == {"S1": 0, "S2": lost, "S3": 0}
    assert len(dataset.read("S2")) == 28 - lost


def _break(table: Path, fault: str) -> None:
    text, folder = table.read_text(), table.parent
    if fault == "image too small":
        write_tiff(folder / "two.tif", draw(2).image[:400, :400], tiled=True)
    elif fault == "image cut short":
        content = (folder / "two.tif").read_bytes()
        (folder / "two.tif").write_bytes(content[: len(content) // 2])
    elif fault == "no image":
        text = text.replace(",two.tif", ",")
    elif fault == "no resolution":
        source = as_anndata(draw(2))
        del source.obs["array_row"]
        source.write_h5ad(folder / "two.h5ad")
    elif fault == "genes apart":
        as_anndata(draw(2, prefix="ENSG")).write_h5ad(folder / "two.h5ad")
        text = "\n".join(text.splitlines()[:3]) + "\n"
    elif fault == "person":
        text = text.replace("P1", "Jane Smith")
    elif fault == "twice":
        text = text.replace("S2", "S1")
    elif fault == "no name":
        text = text.replace("S2", "")
    elif fault == "header alone":
        text = text.splitlines()[0]
    elif fault == "no file":
        text = text.replace("two.h5ad", "five.h5ad")
    elif fault == "no organ":
        text = text.replace("Lung", "")
    table.write_text(text)


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("image too small", UnreadableDatasetError, "spots outside the image"),
        ("image cut short", HaikuEdgeError, "two"),
        ("no image", UnreadableDatasetError, "without an image"),
        ("no resolution", MissingResolutionError, "column mpp"),
        ("genes apart", PanelError, "don't meet"),
        ("person", CohortError, "column patient"),
        ("twice", UnreadableDatasetError, r"section S1 more than once, in the rows 1, 2 below the header"),
        ("no name", UnreadableDatasetError, r"Row 2 below the header of .*\.csv has no section's name"),
        ("header alone", UnreadableDatasetError, "names no section"),
        ("no file", UnreadableDatasetError, "is not there"),
        ("no organ", UnreadableDatasetError, "has no organ"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(
    table: Path, fault: str, kind: type[HaikuEdgeError], words: str
) -> None:
    _break(table, fault)
    before = sorted(path.name for path in table.parent.iterdir())
    with pytest.raises(kind, match=words):
        built(table)
    assert sorted(path.name for path in table.parent.iterdir()) == before


@pytest.mark.parametrize("damage", ["cut short", "altered"])
def test_a_damaged_picture_is_refused_in_our_words_alone(
    table: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its decoder writes to standard error of what it does not take."""
    content = bytearray(cv2.imencode(".png", draw(2).image)[1].tobytes())
    content[len(content) // 2] ^= 1
    (table.parent / "two.png").write_bytes(content[: len(content) // 2] if damage == "cut short" else content)
    table.write_text(table.read_text().replace("two.tif", "two.png"))
    with pytest.raises(UnreadableDatasetError, match=r"two\.png"):
        built(table)
    assert capfd.readouterr() == ("", "")


def test_a_section_that_shares_too_few_genes_is_left_out_and_said(table: Path) -> None:
    as_anndata(draw(2, genes=20)).write_h5ad(table.parent / "two.h5ad")
    dataset, report = built(table)
    assert [own.section for own in dataset.sections] == ["S1", "S3"]
    assert list(report.left_out) == ["S2"]
    assert dataset.selection["left_out"] == report.left_out


def test_a_dataset_is_replaced_only_when_asked_and_nothing_else_ever(table: Path) -> None:
    first, _ = built(table)
    with pytest.raises(OutputExistsError, match="--force"):
        built(table)
    again, _ = built(table, force=True, genes_per_section=2)
    assert len(again.genes) < len(first.genes)
    with pytest.raises(OutputExistsError, match="no dataset of spots"):
        build_spots(table, table.parent / "one", replace(SETTINGS, force=True))


def test_a_changed_section_is_refused(table: Path) -> None:
    dataset, _ = built(table)
    file = dataset.path / dataset.sections[0].file
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UnreadableDatasetError, match="is not the one"):
        dataset.read("S1")
    assert len(dataset.read("S2")) == 28


def test_an_unreadable_part_of_a_slide_is_no_patch(table: Path) -> None:
    image = draw(2).image
    path = write_tiff(table.parent / "two.tif", image, tiled=True)
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    path.write_bytes(content)
    with pytest.raises((CorruptSlideError, UnreadableDatasetError)):
        built(table)
    assert not (table.parent / "spots").exists()


def test_another_dataset_can_give_the_genes(table: Path, dataset: SpotDataset, tmp_path: Path) -> None:
    genes = (dataset.genes[3], dataset.genes[0])
    made, report = build_spots(table, tmp_path / "like", replace(SETTINGS, genes=genes))
    assert made.genes == genes and report.genes == 2
    columns = [dataset.genes.index(gene) for gene in genes]
    for section in dataset.sections:
        expected = dataset.read(section.section).counts[:, columns].toarray()
        assert np.array_equal(made.read(section.section).counts.toarray(), expected)
    with pytest.raises(PanelError, match="1 of the 3 genes asked for"):
        build_spots(table, tmp_path / "none", replace(SETTINGS, genes=(*genes, "NO-SUCH-GENE")))
    assert not (tmp_path / "none").exists()
