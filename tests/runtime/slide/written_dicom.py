"""DICOM whole-slide instances that a test writes itself, right or wrong in a stated way."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
PATIENT = "Doe^Jane"
SERIES = "1.2.3.4.5678"
TILE = 64


def picture(width: int = 300, height: int = 200, *, glass: bool = True) -> NDArray[np.uint8]:
    """Smooth pinks and violets; the left third is bare glass."""
    coarse = np.random.default_rng(1).integers((120, 40, 110), (220, 120, 200), (5, 7, 3)).astype(np.uint8)
    pixels = np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    if glass:
        pixels[:, : width // 3] = (243, 241, 244)
    return pixels


def cut(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Full-size tiles, row by row, padded with black as careless writers do."""
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % TILE), (0, -width % TILE), (0, 0)))
    return [
        padded[y : y + TILE, x : x + TILE]
        for y in range(0, padded.shape[0], TILE)
        for x in range(0, padded.shape[1], TILE)
    ]


def jpeg(tile: NDArray[np.uint8], *, rgb: bool = False) -> bytes:
    file = io.BytesIO()
    Image.fromarray(tile).save(file, "JPEG", quality=95, subsampling=0, keep_rgb=rgb)
    return file.getvalue()


def header(pixels: NDArray[np.uint8], frames: int, **tags: object) -> Dataset:
    """A whole-slide header with a patient in it, and `tags` set on top; None takes a tag out."""
    data = Dataset()
    data.SOPClassUID = WHOLE_SLIDE
    data.SOPInstanceUID = generate_uid()
    data.SeriesInstanceUID = SERIES
    data.StudyInstanceUID = "1.2.3.4"
    data.PatientName, data.PatientID = PATIENT, "MRN-0042"
    data.Modality = "SM"
    data.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    data.Rows = data.Columns = TILE
    data.TotalPixelMatrixRows, data.TotalPixelMatrixColumns = pixels.shape[:2]
    data.NumberOfFrames = frames
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "YBR_FULL_422", 0
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.DimensionOrganizationType = "TILED_FULL"
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing = [0.0005, 0.00049]
    shared.PixelMeasuresSequence = [measures]
    data.SharedFunctionalGroupsSequence = [shared]
    for name, value in tags.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    return data


def brightfield() -> dict[str, object]:
    """The tags that a complete header has beside; wsidicom asks for some."""
    illumination, path = Dataset(), Dataset()
    illumination.CodeValue, illumination.CodingSchemeDesignator = "111744", "DCM"
    illumination.CodeMeaning = "Brightfield illumination"
    path.OpticalPathIdentifier, path.IlluminationTypeCodeSequence = "1", [illumination]
    return {
        "OpticalPathSequence": [path],
        "NumberOfOpticalPaths": 1,
        "TotalPixelMatrixFocalPlanes": 1,
        "FrameOfReferenceUID": "1.2.3.4.77",
        "ImagedVolumeWidth": 0.147,
        "ImagedVolumeHeight": 0.1,
        "ImagedVolumeDepth": 0.001,
        "FocusMethod": "AUTO",
        "ExtendedDepthOfField": "NO",
        "LossyImageCompression": "00",
        "SpecimenLabelInImage": "NO",
        "ImageOrientationSlide": [0, -1, 0, -1, 0, 0],
    }


def sparse_positions(places: list[tuple[int, int]]) -> list[Dataset]:
    """Per-frame groups that put frames at (x, y) pixels from 0."""
    groups = []
    for x, y in places:
        plane, group = Dataset(), Dataset()
        plane.ColumnPositionInTotalImagePixelMatrix, plane.RowPositionInTotalImagePixelMatrix = x + 1, y + 1
        group.PlanePositionSlideSequence = [plane]
        groups.append(group)
    return groups


def save(
    path: Path,
    data: Dataset,
    frames: list[bytes],
    *,
    table: str = "basic",
    fragments: int = 1,
    coding: str = JPEGBaseline8Bit,
) -> Path:
    """Write compressed frames with a basic, an extended, or no offset table."""
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = coding
    if table == "extended":
        data.PixelData, data.ExtendedOffsetTable, data.ExtendedOffsetTableLengths = encapsulate_extended(frames)
    else:
        data.PixelData = encapsulate(frames, fragments_per_frame=fragments, has_bot=table == "basic")
    data["PixelData"].VR = "OB"
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def save_plain(path: Path, data: Dataset, pixels: bytes) -> Path:
    """Write uncompressed pixels."""
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.PixelData = pixels
    data["PixelData"].VR = "OB"
    data.save_as(path, enforce_file_format=True)
    return path


def write_slide(
    path: Path, pixels: NDArray[np.uint8], *, rgb: bool = False, table: str = "basic", **tags: object
) -> Path:
    """One level of a slide in one file."""
    frames = [jpeg(tile, rgb=rgb) for tile in cut(pixels)]
    return save(path, header(pixels, len(frames), **tags), frames, table=table)
