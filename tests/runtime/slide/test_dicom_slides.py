"""DICOM slides: from a file, a folder or a zip, with the colours of the tissue, whole or refused."""

from __future__ import annotations

import shutil
import stat
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from haiku_edge.runtime.errors import (
    AmbiguousSlideError,
    CorruptSlideError,
    ImplausibleResolutionError,
    IncompleteSlideError,
    MissingResolutionError,
    NotASlideError,
    NoVolumeImageError,
    SlideError,
)
from haiku_edge.runtime.slide import Slide, UnreadableTileError, open_slide, slide_digest

from .written_dicom import (
    PATIENT,
    SERIES,
    TILE,
    brightfield,
    cut,
    header,
    jpeg,
    picture,
    save,
    save_plain,
    sparse_positions,
    write_slide,
)

DATA = Path(__file__).resolve().parents[3] / "../shared/data"
SVS, DICOM = DATA / "svs/CMU-1-Small-Region.svs", DATA / "dicom"
needs_data = pytest.mark.skipif(not SVS.exists(), reason="the shared slides are not here")


def whole_level(slide: Slide, index: int = 0) -> NDArray[np.uint8]:
    level = slide.info.levels[index]
    rows = [np.hstack([slide.read_tile(index, c, r) for c in range(level.columns)]) for r in range(level.rows)]
    return np.vstack(rows)[: level.height, : level.width]


def pixels_of(path: Path, mpp: float | None = None) -> NDArray[np.uint8]:
    slide = open_slide(path, mpp=mpp)
    try:
        return whole_level(slide)
    finally:
        slide.close()


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Mean absolute difference in grey levels of 255."""
    return float(np.abs(a.astype(int) - b).mean())


def zipped(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as packed:
        for file in sorted(folder.rglob("*")):
            packed.write(file, f"case/{file.name}")
    return target


@needs_data
@pytest.mark.parametrize(
    "twin, reader, most",
    [
        ("derived_from_svs/CMU_passthrough", "dicom-jpeg", 0.0),  # the very JPEG tiles of the SVS
        ("derived_from_svs/CMU_j2k", "wsidicom", 0.3),  # JPEG 2000 of them, cropped at the edges; measured 0.23
        ("jcupitt_cmu1", "dicom-jpeg", 3.6),  # coded again as JPEG of another tile size; measured 3.44
    ],
)
def test_a_dicom_twin_has_the_pixels_of_its_svs(twin: str, reader: str, most: float) -> None:
    expected = pixels_of(SVS)
    slide = open_slide(DICOM / twin)
    assert slide.info.reader == reader
    resolution = slide.info.resolution
    assert (resolution.x, resolution.y) == pytest.approx((0.499, 0.499))
    assert resolution.source == "DICOM PixelSpacing"
    found = whole_level(slide)
    assert difference(found, expected) <= most
    # False colours would shift whole channels; coding loss does not.
    assert np.abs(found.mean(axis=(0, 1)) - expected.mean(axis=(0, 1))).max() < 0.5
    slide.close()


@needs_data
@pytest.mark.parametrize("twin", ["derived_from_svs/CMU_passthrough", "derived_from_svs/CMU_j2k", "jcupitt_cmu1"])
def test_every_level_of_a_twin_has_the_colours_of_the_finest(twin: str) -> None:
    slide = open_slide(DICOM / twin)
    finest = whole_level(slide).mean(axis=(0, 1))
    large = [index for index, level in enumerate(slide.info.levels) if level.width > 100]
    assert len(large) >= 5
    assert all(np.abs(whole_level(slide, index).mean(axis=(0, 1)) - finest).max() < 1 for index in large)
    slide.close()


@needs_data
def test_false_headers_are_overruled_and_said() -> None:
    slide = open_slide(DICOM / "jcupitt_cmu1")
    assert any("wrong colour" in warning for warning in slide.info.warnings)
    slide.close()


@needs_data
def test_label_overview_and_thumbnail_are_no_part_of_the_slide() -> None:
    slide = open_slide(DICOM / "derived_from_svs/CMU_passthrough")
    assert [level.width for level in slide.info.levels] == [2220, 1110, 555, 278, 139]
    assert len(slide.info.files) == 5
    slide.close()


@needs_data
def test_a_file_a_folder_and_a_zip_are_the_same_slide(tmp_path: Path) -> None:
    folder = tmp_path / "nested/case"
    shutil.copytree(DICOM / "derived_from_svs/CMU_passthrough", folder, copy_function=shutil.copyfile)
    one = min(folder.iterdir(), key=lambda file: file.stat().st_size)
    slides = [open_slide(place) for place in (one, tmp_path / "nested", zipped(folder, tmp_path / "case.zip"))]
    assert len({slide_digest(slide.info) for slide in slides}) == 1
    first = whole_level(slides[0], 1)
    assert all(np.array_equal(whole_level(slide, 1), first) for slide in slides)
    unpacked = slides[2].info.files[0].parent
    assert stat.S_IMODE(unpacked.stat().st_mode) == 0o700
    for slide in slides:
        slide.close()
    assert not unpacked.exists()


@needs_data
@pytest.mark.parametrize("name", ["sm_image_jpegls.dcm", "sm_image_jpegls_nobot.dcm"])
def test_lossless_codings_that_openslide_lacks_give_the_same_pixels(name: str) -> None:
    assert np.array_equal(pixels_of(DICOM / "highdicom" / name), pixels_of(DICOM / "highdicom/sm_image.dcm"))


PLACEHOLDER_SYNTAX = "1.2.840.10008.1.2.4.100"
"""Of the length of those that pydicom does not know yet, and so refuses to write."""


@pytest.mark.parametrize(
    "syntax, encode",
    [
        ("1.2.840.10008.1.2.4.110", partial(imagecodecs.jpegxl_encode, lossless=True)),
        ("1.2.840.10008.1.2.4.201", imagecodecs.htj2k_encode),
    ],
    ids=["JPEG XL", "HTJ2K"],
)
def test_new_lossless_codings_are_read_exactly(tmp_path: Path, syntax: str, encode: Callable[..., bytes]) -> None:
    pixels = picture()
    frames = [encode(np.ascontiguousarray(tile)) for tile in cut(pixels)]
    data = header(pixels, 20, PhotometricInterpretation="RGB", **brightfield())
    path = save(tmp_path / "s.dcm", data, frames, coding=PLACEHOLDER_SYNTAX)
    path.write_bytes(path.read_bytes().replace(PLACEHOLDER_SYNTAX.encode(), syntax.encode()))
    slide = open_slide(path)
    assert slide.info.reader == "wsidicom"
    assert np.array_equal(whole_level(slide), pixels)
    assert (slide.read_tile(0, 4, 3)[8:] == 255).all()
    slide.close()


def test_a_coding_that_nobody_reads_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "s.dcm", header(picture(), 20), [b"frame!"] * 20, coding=PLACEHOLDER_SYNTAX)
    with pytest.raises(NotASlideError, match="MPEG2"):
        open_slide(path)


@needs_data
@pytest.mark.parametrize(
    "name, error, said",
    [
        ("highdicom/sm_image_grayscale.dcm", NotASlideError, "16 bits"),
        ("highdicom/seg_image_sm_control.dcm", NotASlideError, "Segmentation"),
        ("highdicom/sm_annotations.dcm", NotASlideError, "Annotations"),
        ("highdicom", AmbiguousSlideError, "6 DICOM series"),
        ("derived_from_svs", AmbiguousSlideError, "2 DICOM series"),
        ("ezwsi_test_wsi.dcm", NoVolumeImageError, "label"),
        ("ezwsi_multiframe_camelyon_challenge_image.dcm", ImplausibleResolutionError, "28.9"),
    ],
)
def test_what_is_no_usable_slide_is_refused_by_its_own_error(name: str, error: type[SlideError], said: str) -> None:
    with pytest.raises(error, match=said):
        open_slide(DICOM / name)


@needs_data
def test_an_overview_alone_is_incomplete_whatever_resolution_the_user_states() -> None:
    with pytest.raises(IncompleteSlideError, match="full-resolution"):
        open_slide(DICOM / "ezwsi_multiframe_camelyon_challenge_image.dcm", mpp=0.5)


@needs_data
def test_without_its_finest_instance_a_series_is_incomplete(tmp_path: Path) -> None:
    for file in (DICOM / "jcupitt_cmu1").rglob("*.dcm"):
        if not file.name.startswith("level-0"):
            shutil.copyfile(file, tmp_path / file.name)
    with pytest.raises(IncompleteSlideError, match="full-resolution"):
        open_slide(tmp_path)


@pytest.mark.parametrize("rgb", [False, True])
@pytest.mark.parametrize("stated", ["RGB", "YBR_FULL_422"])
def test_glass_is_white_whatever_the_header_states(tmp_path: Path, rgb: bool, stated: str) -> None:
    pixels = picture()
    slide = open_slide(write_slide(tmp_path / "s.dcm", pixels, rgb=rgb, PhotometricInterpretation=stated))
    assert difference(whole_level(slide), pixels) < 2
    assert bool(slide.info.warnings) == (rgb != (stated == "RGB"))
    slide.close()


def test_without_glass_the_header_is_trusted(tmp_path: Path) -> None:
    pixels = picture(glass=False)
    for rgb, stated in [(True, "RGB"), (False, "YBR_FULL_422")]:
        slide = open_slide(write_slide(tmp_path / f"{stated}.dcm", pixels, rgb=rgb, PhotometricInterpretation=stated))
        assert difference(whole_level(slide), pixels) < 2
        assert not slide.info.warnings
        slide.close()
        (tmp_path / f"{stated}.dcm").unlink()


@pytest.mark.parametrize("table", ["basic", "extended", "none"])
def test_every_kind_of_offset_table_finds_the_frames(tmp_path: Path, table: str) -> None:
    pixels = picture()
    assert difference(pixels_of(write_slide(tmp_path / "s.dcm", pixels, table=table)), pixels) < 2


@pytest.mark.parametrize("table", ["basic", "none"])
def test_frames_in_several_fragments_are_joined(tmp_path: Path, table: str) -> None:
    pixels = picture()
    frames = [jpeg(tile) for tile in cut(pixels)]
    path = save(tmp_path / "s.dcm", header(pixels, len(frames)), frames, table=table, fragments=3)
    assert difference(pixels_of(path), pixels) < 2


def test_beyond_the_edge_tiles_are_white_though_the_file_pads_with_black(tmp_path: Path) -> None:
    slide = open_slide(write_slide(tmp_path / "s.dcm", picture(300, 200)))
    corner = slide.read_tile(0, 4, 3)
    assert corner.shape == (TILE, TILE, 3)
    assert (corner[8:] == 255).all() and (corner[:, 44:] == 255).all()
    slide.close()


def test_tiles_that_a_sparse_slide_leaves_out_are_white(tmp_path: Path) -> None:
    pixels = picture()
    tiles = cut(pixels)
    places = [(column * TILE, row * TILE) for row in range(4) for column in range(5)]
    kept = [number for number in range(20) if number not in (6, 13)][::-1]
    data = header(
        pixels,
        len(kept),
        DimensionOrganizationType="TILED_SPARSE",
        PerFrameFunctionalGroupsSequence=sparse_positions([places[number] for number in kept]),
    )
    slide = open_slide(save(tmp_path / "s.dcm", data, [jpeg(tiles[number]) for number in kept]))
    assert slide.info.reader == "dicom-jpeg"
    assert (slide.read_tile(0, 1, 1) == 255).all() and (slide.read_tile(0, 3, 2) == 255).all()
    assert difference(slide.read_tile(0, 2, 1), tiles[7]) < 2
    assert difference(slide.read_tile(0, 0, 2), tiles[10]) < 2
    slide.close()


def write_parts(folder: Path, pixels: NDArray[np.uint8], numbers: tuple[int, ...], total: int | None = 3) -> None:
    frames = [jpeg(tile) for tile in cut(pixels)]
    for number in numbers:
        own = frames[(number - 1) * 7 : number * 7]
        data = header(pixels, len(own), ConcatenationUID="1.2.3.9", InConcatenationNumber=number)
        data.ConcatenationFrameOffsetNumber = (number - 1) * 7
        if total:
            data.InConcatenationTotalNumber = total
        save(folder / f"{9 - number}.dcm", data, own)


def test_the_parts_of_a_concatenation_are_one_level(tmp_path: Path) -> None:
    pixels = picture()
    write_parts(tmp_path, pixels, (1, 2, 3))
    assert difference(pixels_of(tmp_path), pixels) < 2


@pytest.mark.parametrize("numbers, total", [((1, 2), 3), ((1, 3), 3), ((2, 3), None), ((1, 2), None)])
def test_a_missing_part_of_a_concatenation_is_said(tmp_path: Path, numbers: tuple[int, ...], total: int | None) -> None:
    write_parts(tmp_path, picture(), numbers, total)
    with pytest.raises(IncompleteSlideError, match="incomplete"):
        open_slide(tmp_path)


@pytest.mark.parametrize("table", ["basic", "extended", "none"])
def test_missing_frames_are_said(tmp_path: Path, table: str) -> None:
    pixels = picture()
    frames = [jpeg(tile) for tile in cut(pixels)]
    with pytest.raises(IncompleteSlideError):
        open_slide(save(tmp_path / "fewer.dcm", header(pixels, 18), frames[:18], table=table))
    (tmp_path / "fewer.dcm").unlink()
    with pytest.raises(IncompleteSlideError):
        open_slide(save(tmp_path / "lies.dcm", header(pixels, 20), frames[:18], table=table))


@pytest.mark.parametrize("table", ["basic", "none"])
def test_dicom_cut_at_any_byte_is_refused(tmp_path: Path, table: str) -> None:
    data = write_slide(tmp_path / "whole.dcm", picture(), table=table).read_bytes()
    (tmp_path / "whole.dcm").unlink()
    path = tmp_path / "cut.dcm"
    for size in [140, 600, *np.random.default_rng(2).integers(200, len(data) - 1, 30), len(data) - 1]:
        path.write_bytes(data[: int(size)])
        with pytest.raises((CorruptSlideError, NoVolumeImageError, NotASlideError)):
            open_slide(path)


def test_uncompressed_dicom_is_read_exactly_and_its_loss_noticed(tmp_path: Path) -> None:
    pixels = picture()
    tiles = np.stack(cut(pixels)).tobytes()
    data = header(pixels, 20, PhotometricInterpretation="RGB", PositionReferenceIndicator="SLIDE_CORNER")
    path = save_plain(tmp_path / "s.dcm", data, tiles)
    assert np.array_equal(pixels_of(path), pixels)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CorruptSlideError, match="cut short"):
        open_slide(path)


def test_a_damaged_frame_is_refused_alone(tmp_path: Path) -> None:
    pixels = picture()
    frames = [jpeg(tile) for tile in cut(pixels)]
    frames[7] = frames[7][: len(frames[7]) // 2] + bytes(len(frames[7]) - len(frames[7]) // 2)
    slide = open_slide(save(tmp_path / "s.dcm", header(pixels, 20), frames))
    with pytest.raises(UnreadableTileError):
        slide.read_tile(0, 2, 1)
    assert difference(slide.read_tile(0, 3, 1), cut(pixels)[8]) < 2
    slide.close()


def test_resolution_is_read_across_and_down_or_refused(tmp_path: Path) -> None:
    slide = open_slide(write_slide(tmp_path / "s.dcm", picture()))
    assert (slide.info.resolution.x, slide.info.resolution.y) == pytest.approx((0.49, 0.5))
    slide.close()
    path = write_slide(tmp_path / "s.dcm", picture(), SharedFunctionalGroupsSequence=None)
    with pytest.raises(MissingResolutionError, match="--mpp"):
        open_slide(path)
    slide = open_slide(path, mpp=0.25)
    assert slide.info.resolution.source == "--mpp"
    slide.close()


def test_messages_name_no_patient_and_no_identifier(tmp_path: Path) -> None:
    pixels = picture()
    write_slide(tmp_path / "two/a.dcm", pixels)
    write_slide(tmp_path / "two/b.dcm", pixels, SeriesInstanceUID="1.2.3.4.9999")
    write_slide(tmp_path / "label/a.dcm", pixels, ImageType=["ORIGINAL", "PRIMARY", PATIENT, "NONE"])
    write_slide(tmp_path / "same/a.dcm", pixels)
    write_slide(tmp_path / "same/b.dcm", pixels)
    data = write_slide(tmp_path / "cut/a.dcm", pixels).read_bytes()
    (tmp_path / "cut/a.dcm").write_bytes(data[:900])
    for folder, error in [
        ("two", AmbiguousSlideError),
        ("label", NoVolumeImageError),
        ("same", AmbiguousSlideError),
        ("cut", SlideError),
    ]:
        with pytest.raises(error) as caught:
            open_slide(tmp_path / folder)
        assert not any(secret in str(caught.value) for secret in (PATIENT, "MRN", SERIES, "9999"))


def test_a_file_reads_its_own_series_beside_others(tmp_path: Path) -> None:
    write_slide(tmp_path / "a.dcm", picture())
    write_slide(tmp_path / "b.dcm", picture(160, 90), SeriesInstanceUID="1.2.3.4.9999")
    slide = open_slide(tmp_path / "b.dcm")
    assert (slide.info.levels[0].width, slide.info.levels[0].height) == (160, 90)
    slide.close()


def test_a_dicomdir_and_other_objects_beside_a_slide_are_passed_over(tmp_path: Path) -> None:
    pixels = picture()
    write_slide(tmp_path / "s.dcm", pixels)
    write_slide(tmp_path / "report.dcm", pixels, SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1", SeriesInstanceUID="1.2.3")
    directory = Dataset()
    directory.FileSetID = "CASE"
    directory.file_meta = FileMetaDataset()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
    directory.save_as(tmp_path / "DICOMDIR", enforce_file_format=True)
    assert difference(pixels_of(tmp_path), pixels) < 2


def test_a_folder_given_as_a_dot_keeps_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_slide(tmp_path / "case 7/s.dcm", picture())
    monkeypatch.chdir(tmp_path / "case 7")
    slide = open_slide(Path("."))
    assert slide.info.name == "case 7"
    slide.close()


def test_a_folder_without_dicom_is_no_slide(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(NotASlideError, match="no DICOM"):
        open_slide(tmp_path)


def test_a_zip_is_unpacked_under_names_of_our_own(tmp_path: Path) -> None:
    data = write_slide(tmp_path / "s.dcm", picture()).read_bytes()
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as packed:
        packed.writestr("../../escaped.dcm", data)
        packed.writestr("/etc/readme.txt", "no slide")
    slide = open_slide(tmp_path / "s.zip")
    assert [file.name for file in slide.info.files] == ["000000.dcm"]
    assert slide.info.name == "s"
    slide.close()
    assert not (tmp_path.parent / "escaped.dcm").exists()


def test_hostile_and_damaged_zips_are_refused(tmp_path: Path) -> None:
    slide = write_slide(tmp_path / "s.dcm", picture()).read_bytes()
    bomb, link, text, damaged = (tmp_path / f"{name}.zip" for name in ("bomb", "link", "text", "damaged"))
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.dcm", slide[:132] + bytes(20_000_000))
    with zipfile.ZipFile(link, "w") as packed:
        entry = zipfile.ZipInfo("a.dcm")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(entry, "/etc/passwd")
    with zipfile.ZipFile(text, "w") as packed:
        packed.writestr("a.txt", "no slide")
    with zipfile.ZipFile(damaged, "w") as packed:
        packed.writestr("a.dcm", slide)
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 0xFF
    damaged.write_bytes(data)
    for path, error, said in [
        (bomb, NotASlideError, "200 times"),
        (link, NotASlideError, "links"),
        (text, NotASlideError, "no DICOM"),
        (damaged, CorruptSlideError, "damaged"),
    ]:
        with pytest.raises(error, match=said):
            open_slide(path)
