"""The three layouts of patches on disk, and what is refused."""

from __future__ import annotations

import json
import pickle
import shutil
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from haiku_edge.export.dataset import (
    FolderDataset,
    PatchSample,
    open_dataset,
    refuse_person_names,
    remarks_on_names,
    write_dataset,
)
from haiku_edge.runtime.errors import (
    CohortError,
    OutputExistsError,
    PanelError,
    PatchShapeError,
    UnreadableDatasetError,
)

from .patches_on_disk import PANEL, he_of, mif_of, samples, write_hdf5, write_metadata, write_paper

WRITERS = pytest.mark.parametrize("write", [write_paper, write_hdf5], ids=["paper", "hdf5"])


def write_open(path: Path, made: list[PatchSample], **more: object) -> int:
    options = {"name": "small", "markers": PANEL, "mpp": 0.3775, "made": {"by": "test"}} | more
    return write_dataset(path, made, **options)  # type: ignore[arg-type]


@WRITERS
def test_a_published_layout_gives_what_was_written(tmp_path: Path, write: type) -> None:
    names = write(tmp_path, "aai-60795", [0, 1, 2])
    dataset = open_dataset(tmp_path)
    assert sorted(dataset.patches.tolist()) == sorted(names)
    assert dataset.markers == PANEL
    for sample in dataset:
        number = names.index(sample.patch)
        np.testing.assert_array_equal(sample.mif, mif_of(number))
        np.testing.assert_array_equal(sample.he, he_of(number))
        assert sample.caption == f"Caption {number}."
        assert sample.region == sample.patient == "aai-60795"
        assert (sample.x, sample.y) == pytest.approx((179 * number * 0.3775, 10 * 0.3775))


@WRITERS
def test_names_become_the_vocabularys_and_blank_channels_go(tmp_path: Path, write: type) -> None:
    write(tmp_path, "r", [0], ("Pan-Cytokeratin", "blank", "PGP9.5", "OurOwnMarker"))
    sample = open_dataset(tmp_path)[0]
    assert sample.markers == ("PanCK", "PGP9_5", "OurOwnMarker")
    np.testing.assert_array_equal(sample.mif, mif_of(0, 4)[[0, 2, 3]])


@WRITERS
def test_two_channels_of_one_marker_are_refused(tmp_path: Path, write: type) -> None:
    write(tmp_path, "r", [0], ("PGP9_5", "PGP9.5", "CD8"))
    with pytest.raises(PanelError, match="PGP9_5"):
        open_dataset(tmp_path)[0]


@WRITERS
def test_patients_come_from_the_sample_label_and_patients_csv_overrules_it(tmp_path: Path, write: type) -> None:
    for region in ("a", "b", "c"):
        write(tmp_path, region, [0])
    write_metadata(tmp_path / "a.metadata.csv", {"SAMPLE_LABEL": "case7_1", "disease": "Colorectal cancer"})
    write_metadata(tmp_path / "b.metadata.csv", {"SAMPLE_LABEL": "case7_2"})

    def patient_of_region() -> dict[str, str]:
        dataset = open_dataset(tmp_path)
        return dict(zip(dataset.regions.tolist(), dataset.patients.tolist(), strict=True))

    assert patient_of_region() == {"a": "case7", "b": "case7", "c": "c"}
    (tmp_path / "patients.csv").write_text("region,patient\nc,case7\n")
    assert patient_of_region() == {"a": "case7", "b": "case7", "c": "case7"}
    (tmp_path / "patients.csv").write_text("region,patient\nc,case7\nc,case8\n")
    with pytest.raises(UnreadableDatasetError, match="two"):
        open_dataset(tmp_path)


@WRITERS
def test_facts_lose_identifiers_and_keep_their_order(tmp_path: Path, write: type) -> None:
    write(tmp_path, "a", [0])
    facts = {"tissue_type": "Colon", "patient_name": "Erika Mustermann", "disease": "cancer", "core no": "7", "x": "-"}
    write_metadata(tmp_path / "a.metadata.csv", facts)
    assert list(open_dataset(tmp_path)[0].facts.items()) == [("tissue_type", "Colon"), ("disease", "cancer")]


@pytest.mark.parametrize("layout", ["paper", "hdf5"])
@pytest.mark.parametrize("image", [np.zeros((3, 128, 128), np.uint8), np.zeros((3, 256, 256), np.uint16)])
def test_patches_of_the_wrong_size_or_type_are_refused(
    tmp_path: Path, layout: str, image: np.ndarray[tuple[int, ...], np.dtype[np.uint16]]
) -> None:
    if layout == "paper":
        (name,) = write_paper(tmp_path, "r", [0])
        content = {"codex": image, "biomarker_name": list(PANEL)}
        (tmp_path / "codex_patches" / "r" / f"{name}.pkl").write_bytes(pickle.dumps(content))
    else:
        (name,) = write_hdf5(tmp_path, "r", [0])
        with h5py.File(tmp_path / "r.h5", "a") as file:
            del file[name]["codex"]
            file[name]["codex"] = image
    with pytest.raises(PatchShapeError, match="256"):
        open_dataset(tmp_path)[0]


def test_an_h_and_e_array_with_pickled_objects_is_refused(tmp_path: Path) -> None:
    (name,) = write_paper(tmp_path, "r", [0])
    np.save(tmp_path / "he_patches" / "r" / f"{name}.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(UnreadableDatasetError, match=r"\.npy"):
        open_dataset(tmp_path)[0]


def test_two_versions_of_a_patch_in_one_folder_are_refused(tmp_path: Path) -> None:
    write_paper(tmp_path / "old", "r", [0])
    write_paper(tmp_path / "new", "r", [0])
    with pytest.raises(UnreadableDatasetError, match="twice"):
        open_dataset(tmp_path)


def test_damaged_hdf5_and_unknown_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDatasetError, match="layout"):
        open_dataset(tmp_path)
    with pytest.raises(UnreadableDatasetError, match="no folder"):
        open_dataset(tmp_path / "nowhere")
    (tmp_path / "r.h5").write_bytes(b"\x89HDF\r\n\x1a\n cut short")
    with pytest.raises(UnreadableDatasetError, match="damaged"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("kind", ["external link", "external bytes", "virtual"])
def test_an_hdf5_file_shows_nothing_of_other_files(tmp_path: Path, kind: str) -> None:
    (name,) = write_hdf5(tmp_path, "r", [0])
    write_hdf5(tmp_path / "other", "secret", [1])
    with h5py.File(tmp_path / "r.h5", "a") as file:
        del file[name]["he"]
        if kind == "external link":
            file[name]["he"] = h5py.ExternalLink("other/secret.h5", "secret_179-435-10-266/he")
        elif kind == "external bytes":
            (tmp_path / "bytes").write_bytes(bytes(256 * 256 * 3))
            place = [(str(tmp_path / "bytes"), 0, 256 * 256 * 3)]
            file[name].create_dataset("he", (256, 256, 3), np.uint8, external=place)
        else:
            layout = h5py.VirtualLayout((256, 256, 3), np.uint8)
            layout[:] = h5py.VirtualSource(
                tmp_path / "other" / "secret.h5", "secret_179-435-10-266/he", (256, 256, 3), np.uint8
            )
            file[name].create_virtual_dataset("he", layout)
    with pytest.raises(UnreadableDatasetError, match="can't be read"):
        open_dataset(tmp_path)[0]


def test_the_open_layout_gives_back_every_sample(tmp_path: Path) -> None:
    small = samples(["P2"], 1, ("CD8", "DAPI"))
    bare = samples(["P3"], 1, with_he=False)
    made = [*samples(["P1"], 40), *small, *bare]
    assert write_open(tmp_path / "d", made, roles={"P2": "calibration"}) == 42
    dataset = open_dataset(tmp_path / "d")
    assert isinstance(dataset, FolderDataset)
    for row, (read, expected) in enumerate(zip(dataset, made, strict=True)):
        assert (read.patch, read.region, read.patient) == (expected.patch, expected.region, expected.patient)
        assert read.markers == expected.markers
        np.testing.assert_array_equal(read.mif, expected.mif)
        assert (read.he is None) == (expected.he is None)
        if expected.he is not None:
            np.testing.assert_array_equal(read.he, expected.he)
        assert (read.caption, dict(read.facts)) == (expected.caption, dict(expected.facts))
        assert (read.x, read.y) == (expected.x, expected.y)
        means = dict(zip(dataset.markers, dataset.measurements.expression[row].tolist(), strict=True))
        assert expected.mif is not None
        for marker, channel in zip(expected.markers, expected.mif, strict=True):
            assert means[marker] == pytest.approx(channel.astype(float).mean())
    assert np.isnan(dataset.measurements.expression[40, PANEL.index("PanCK")])
    assert np.isnan(dataset.measurements.positive[40, PANEL.index("PanCK")])
    assert dataset.measurements.roles.tolist() == [""] * 40 + ["calibration", ""]
    assert json.loads((tmp_path / "d" / "dataset.json").read_text())["notice"].startswith("For research use only")
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize("what", ["shape", "foreign marker", "twice", "nothing", "interrupted"])
def test_nothing_is_written_where_a_sample_does_not_fit(tmp_path: Path, what: str) -> None:
    good = samples(["P1"], 1)
    wrong = PatchSample("w", "r", "p", None, np.zeros((3, 64, 64), np.uint8), PANEL)
    foreign = PatchSample("w", "r", "p", None, mif_of(0, 1), ("CD4",))

    def broken() -> Iterator[PatchSample]:
        yield good[0]
        raise KeyboardInterrupt

    made = {
        "shape": ([*good, wrong], PatchShapeError),
        "foreign marker": ([*good, foreign], PanelError),
        "twice": ([*good, *good], UnreadableDatasetError),
        "nothing": ([], CohortError),
        "interrupted": (broken(), KeyboardInterrupt),
    }[what]
    with pytest.raises(made[1]):
        write_open(tmp_path / "d", made[0])  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(OutputExistsError):
        write_open(tmp_path / "d", samples(["P1"], 1))


@pytest.mark.parametrize("what", ["table", "images", "about", "version", "chunk"])
def test_a_damaged_folder_is_refused(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "d"
    write_open(folder, samples(["P1"], 2))
    if what == "table":
        (folder / "patches.parquet").write_bytes(b"PAR1")
    elif what == "images":
        shutil.rmtree(folder / "patches.zarr" / "mif")
    elif what == "about":
        (folder / "dataset.json").write_text("{}")
    elif what == "version":
        about = json.loads((folder / "dataset.json").read_text())
        (folder / "dataset.json").write_text(json.dumps(about | {"version": "9.0"}))
    else:
        (chunk,) = (path for path in (folder / "patches.zarr" / "mif" / "c").rglob("*") if path.is_file())
        chunk.write_bytes(chunk.read_bytes()[:-2000])
    with pytest.raises(UnreadableDatasetError):
        open_dataset(folder)[0]


def test_a_table_that_does_not_fit_the_images_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    write_open(folder, samples(["P1"], 3))
    pq.write_table(pq.read_table(folder / "patches.parquet").slice(0, 2), folder / "patches.parquet")
    with pytest.raises(PatchShapeError):
        open_dataset(folder)


def test_memory_stays_flat_however_many_patches_are_written(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        image = mif_of(0)
        made = (PatchSample(f"p{i}", "r", "P", None, image, PANEL) for i in range(count))
        tracemalloc.start()
        write_dataset(tmp_path / str(count), made, name="n", markers=PANEL, mpp=None, made={}, with_he=False)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(8)  # imports and caches
    assert peak(320) < peak(64) + 4 * image_bytes()


def image_bytes() -> int:
    return mif_of(0).nbytes


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("facts", ["no JSON", "{}"], "no JSON object"),
        ("facts", ["[1]", "{}"], "no JSON object"),
        ("facts", ['{"stage": ["II"]}', "{}"], "no JSON object"),
        ("facts", [None, "{}"], "no JSON object"),
        ("role", ["atlas", "calibration"], "two roles"),
        ("channels", [[PANEL[0], PANEL[0]], []], "two channels"),
    ],
)
def test_a_foreign_table_is_refused_where_it_can_not_be_used(
    tmp_path: Path, column: str, values: list[object], says: str
) -> None:
    _with_column(tmp_path / "d", column, values)
    with pytest.raises(UnreadableDatasetError, match=says):
        open_dataset(tmp_path / "d")


def test_facts_of_a_foreign_table_lose_identifiers(tmp_path: Path) -> None:
    facts = {"patient_name": "Jane Doe", "disease": "Colon cancer", "note": "seen on 12.03.1956", "age": 61}
    _with_column(tmp_path / "d", "facts", [json.dumps(facts), json.dumps(facts)])
    dataset = open_dataset(tmp_path / "d")
    assert dict(dataset[0].facts) == dict(dataset[1].facts) == {"disease": "Colon cancer", "age": "61"}


def _with_column(folder: Path, name: str, values: list[object]) -> None:
    """A folder of two patches of a patient, one column of whose table somebody else wrote."""
    write_open(folder, samples(["P1"], 2))
    table = pq.read_table(folder / "patches.parquet")
    column = pa.array(values, table.schema.field(name).type)
    table = table.set_column(table.column_names.index(name), name, column)
    pq.write_table(table, folder / "patches.parquet")


def test_names_that_look_like_identifiers_are_counted_and_not_repeated(tmp_path: Path) -> None:
    write_open(tmp_path / "good", samples(["P1", "P2"], 1))
    assert remarks_on_names(open_dataset(tmp_path / "good")) == ()
    write_open(tmp_path / "bad", samples(["Jane Doe 1956-12-03", "MRN12345678", "P3"], 1))
    remark = remarks_on_names(open_dataset(tmp_path / "bad"))[0]
    assert "Names of patients" in remark and "2 of 3" in remark and "Doe" not in remark and "12345678" not in remark


@pytest.mark.parametrize(
    "name", ["Jane Doe", "Doe, Jane", "Jane_Doe", "JANE_DOE", "Doe^Jane", "Dr. Mueller", "Patient Jane Doe", "Mary"]
)
def test_a_patient_called_by_a_name_is_refused_without_repeating_it(name: str) -> None:
    with pytest.raises(CohortError, match="1 of 2 patients of trial") as refused:
        refuse_person_names(["P1", name, name], "trial")
    assert name not in str(refused.value)


def test_pseudonyms_are_no_names() -> None:
    numbered = ["P0647", "CRC01", "TCGA-AA-3514", "S12-3456", "HTA7_1", "a", "region_a", "noise"]
    lettered = ["Patient A", "Patient_B", "PatientC", "Case D", "Donor E", "case-12", "Lung_A", "Tumor-B", "TMA-A"]
    refuse_person_names([*numbered, *lettered], "trial")
