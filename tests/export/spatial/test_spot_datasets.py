"""A dataset of spots gives back what was written, or refuses; features of its patches are kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from haiku_edge.export.spatial import SpotDataset, SpotSection, decode_patch, open_spots, write_spots
from haiku_edge.export.spatial.features import engine_encoder, section_features
from haiku_edge.runtime.bundle import open_bundle
from haiku_edge.runtime.errors import (
    CohortError,
    HaikuEdgeError,
    MissingResolutionError,
    PanelError,
    PatchShapeError,
    UnreadableDatasetError,
)

SIZE = 32
SPOTS = 700
GENES = ("A", "B", "C", "D")


def section(name: str = "S1", spots: int = SPOTS) -> SpotSection:
    """A section of so many spots."""
    rng = np.random.default_rng(spots)
    return SpotSection(
        section=name,
        patient=f"P-{name}",
        organ="colon",
        genes=GENES,
        spots=np.array([f"b{i}" for i in range(spots)]),
        x=np.arange(spots, dtype=np.float32),
        y=np.full(spots, 8, np.float32),
        counts=csr_matrix(rng.poisson(0.7, (spots, len(GENES))).astype(np.float32)),
        image=None,
        mpp=0.25,
        facts={"grade": "2"},
    )


def patches(spots: int = SPOTS) -> list[NDArray[np.uint8]]:
    """Patches of one colour each, with a darker rim of four pixels."""
    made = [np.full((SIZE, SIZE, 3), (i % 200, 255 - i % 200, 90), np.uint8) for i in range(spots)]
    for patch in made:
        patch[:4] = patch[-4:] = patch[:, :4] = patch[:, -4:] = 0
    return made


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> SpotDataset:
    """Two sections."""
    given = [(section(), iter(patches())), (section("S2", 3), iter(patches(3)))]
    return write_spots(tmp_path_factory.mktemp("d") / "spots", given, name="spots", genes=("D", "B"), size=SIZE)


def test_what_was_written_is_read(dataset: SpotDataset) -> None:
    given, read = section(), open_spots(dataset.path).read("S1")
    assert read.spots.tolist() == given.spots.tolist()
    assert np.array_equal(read.x, given.x * np.float32(0.25))
    assert set(read.y.tolist()) == {2.0}
    assert np.array_equal(read.counts.toarray(), given.counts.toarray()[:, [3, 1]])
    assert np.array_equal(read.library, given.counts.toarray().sum(axis=1))
    assert len(read.patches) == len(read) == SPOTS
    for row in (0, 255, 256, 699):
        assert np.abs(decode_patch(read.patches[row]).astype(int) - patches()[row]).mean() < 4
    assert list(read.patches[5:7]) == [read.patches[5], read.patches[6]]


def _changed(fault: str) -> tuple[SpotSection, list[NDArray[np.uint8]]]:
    own, made = section(spots=5), patches(5)
    counts = own.counts.toarray()
    counts[2, 1] = {"negative": -1, "fraction": 0.5, "nan": np.nan}.get(fault, counts[2, 1])
    own = replace(own, counts=csr_matrix(counts * (fault != "all zero")))
    if fault == "few patches":
        made = made[:4]
    if fault == "many patches":
        made = [*made, made[0]]
    if fault == "wrong size":
        made[3] = made[3][:-1]
    changes: dict[str, dict[str, object]] = {
        "lacks a gene": {"genes": ("A", "B", "C", "E")},
        "one name": {"genes": ("A", "B", "D", "D")},
        "one barcode": {"spots": np.array(["a", "b", "c", "a", "e"])},
        "no place": {"x": np.array([0, 1, np.nan, 3, 4], np.float32)},
        "no resolution": {"mpp": None},
        "fewer places": {"y": own.y[:3]},
    }
    return replace(own, **changes.get(fault, {})), made


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("negative", UnreadableDatasetError, "some are negative"),
        ("fraction", UnreadableDatasetError, "some are fractions"),
        ("nan", UnreadableDatasetError, "some are no numbers"),
        ("all zero", UnreadableDatasetError, "all are 0"),
        ("few patches", PatchShapeError, "ends after 4 of 5 spots"),
        ("many patches", PatchShapeError, "goes on"),
        ("wrong size", PatchShapeError, r"\(31, 32, 3\)"),
        ("lacks a gene", PanelError, "lacks 1 .* such as D"),
        ("one name", PanelError, "two of one name"),
        ("one barcode", UnreadableDatasetError, "a spot twice"),
        ("no place", UnreadableDatasetError, "no number"),
        ("no resolution", MissingResolutionError, "column mpp"),
        ("fewer places", UnreadableDatasetError, "3 places"),
    ],
)
def test_a_section_that_does_not_fit_is_refused_and_nothing_is_left(
    tmp_path: Path, fault: str, kind: type[HaikuEdgeError], words: str
) -> None:
    own, made = _changed(fault)
    given = [(section("before", 3), patches(3)), (own, made)]
    with pytest.raises(kind, match=words):
        write_spots(tmp_path / "spots", given, name="spots", genes=("D", "B"), size=SIZE)
    assert list(tmp_path.iterdir()) == []


def test_no_section_and_one_of_the_same_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError):
        write_spots(tmp_path / "spots", [], name="spots", genes=("A",), size=SIZE)
    twice = [(section(spots=3), patches(3)), (section(spots=3), patches(3))]
    with pytest.raises(UnreadableDatasetError, match="Two sections"):
        write_spots(tmp_path / "spots", twice, name="spots", genes=("A",), size=SIZE)


@pytest.mark.parametrize(
    ("key", "value"),
    [("schema", "haiku-edge spots 2"), ("genes", []), ("genes", ["A", "A"]), ("size", "32"), ("more", 1)],
)
def test_a_dataset_that_says_other_things_is_refused(
    dataset: SpotDataset, tmp_path: Path, key: str, value: object
) -> None:
    about = json.loads((dataset.path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps({**about, key: value}))
    with pytest.raises(UnreadableDatasetError, match=r"dataset\.json"):
        open_spots(tmp_path)


def test_a_file_outside_the_folder_is_never_opened(dataset: SpotDataset, tmp_path: Path) -> None:
    about = json.loads((dataset.path / "dataset.json").read_text())
    about["sections"][0]["file"] = "../0000.arrow"
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    with pytest.raises(UnreadableDatasetError, match=r"sections\.0\.file"):
        open_spots(tmp_path)


class Counting:
    """An encoder of mean colours that counts the patches that it sees, and may stop."""

    digest = "c" * 64

    def __init__(self, size: int = SIZE, stop_after: int = 10**9) -> None:
        self.size = size
        self.seen = 0
        self._stop_after = stop_after

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert tiles.shape[1:] == (self.size, self.size, 3)
        self.seen += len(tiles)
        if self.seen > self._stop_after:
            raise KeyboardInterrupt
        return tiles.mean(axis=(1, 2), dtype=np.float64).astype(np.float32)


def test_features_are_those_of_the_patches_in_the_order_of_the_spots(dataset: SpotDataset) -> None:
    read = dataset.read("S1")
    expected = np.stack([decode_patch(jpeg).mean(axis=(0, 1)) for jpeg in read.patches])
    assert section_features(dataset, "S1", Counting(), None) == pytest.approx(expected, rel=1e-6)


def test_the_middle_of_a_larger_patch_is_taken(dataset: SpotDataset) -> None:
    blue = section_features(dataset, "S1", Counting(SIZE - 8), None)[:, 2]
    assert blue == pytest.approx(np.full(SPOTS, 90), abs=8)
    assert section_features(dataset, "S1", Counting(), None)[:, 2].mean() < 60
    with pytest.raises(PatchShapeError, match="--size 64"):
        section_features(dataset, "S1", Counting(64), None)


def test_features_are_computed_once_and_a_stopped_run_goes_on(dataset: SpotDataset, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        section_features(dataset, "S1", Counting(stop_after=600), tmp_path)
    second, third = Counting(), Counting()
    features = section_features(dataset, "S1", second, tmp_path)
    assert second.seen == SPOTS - 512
    assert features.tolist() == section_features(dataset, "S1", third, tmp_path).tolist()
    assert features.tolist() == section_features(dataset, "S1", Counting(), None).tolist()
    assert third.seen == 0
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"]


def test_features_of_another_encoder_or_damaged_ones_are_not_taken(dataset: SpotDataset, tmp_path: Path) -> None:
    section_features(dataset, "S2", Counting(), tmp_path)
    other, again = Counting(), Counting()
    other.digest = "d" * 64
    section_features(dataset, "S2", other, tmp_path)
    assert other.seen == 3
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:60])
    section_features(dataset, "S2", again, tmp_path)
    assert again.seen == 3


def test_the_embedded_tower_is_an_encoder_of_patches_of_its_own_scale(tmp_path: Path) -> None:
    encoder = engine_encoder(open_bundle(None), 0.5, device="cpu", threads=1)
    rng = np.random.default_rng(0)
    made = [rng.integers(0, 256, (encoder.size, encoder.size, 3), np.uint8) for _ in range(3)]
    given = [(section(spots=3), made)]
    dataset = write_spots(tmp_path / "spots", given, name="spots", genes=("A",), size=encoder.size)
    features = section_features(dataset, "S1", encoder, None)
    tiles = np.stack([decode_patch(jpeg) for jpeg in dataset.read("S1").patches])
    assert features == pytest.approx(encoder.engine(tiles=tiles), abs=1e-6)
    assert np.linalg.norm(features, axis=1) == pytest.approx([1, 1, 1], abs=1e-4)
    with pytest.raises(PatchShapeError, match=r"--mpp 0\.5"):
        engine_encoder(open_bundle(None), 1.0)
