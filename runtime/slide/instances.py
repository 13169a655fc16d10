"""DICOM instances: what the readers need of each header, and nothing that names a patient.

A header's errors are never repeated in a message: they may quote its values.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import UID

from ..errors import CorruptSlideError
from .resolution import number

SLIDE_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"
"""SOP class VL Whole Slide Microscopy Image Storage."""

_PREAMBLE = 128
_MAGIC = b"DICM"
_MICROMETRES = 1000.0
"""Per millimetre, the unit of PixelSpacing."""


# Their messages quote header values, which may name a patient.
logging.getLogger("pydicom").addHandler(logging.NullHandler())
logging.getLogger("wsidicom").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Part:
    """Where an instance stands in a concatenation, one image cut into several instances.

    Attributes:
        image: UID that all parts share.
        number: Of this part, from 1.
        total: Number of parts; None where it is not stated.
    """

    image: str
    number: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Instance:
    """One DICOM instance of a whole-slide image.

    Attributes:
        path: Its file.
        name: What messages call it; a file that was unpacked is not called by the name that it was given.
        sop_class: UID of the kind of object.
        series: UID of its series; groups instances, never shown.
        uid: UID of the instance; finds duplicates, never shown.
        image_type: Such as ('ORIGINAL', 'PRIMARY', 'VOLUME', 'NONE').
        transfer_syntax: UID of the pixels' coding.
        photometric: Photometric interpretation, as the header states it.
        samples: Samples per pixel.
        bits: Bits allocated for each sample.
        width: Of the whole image at this level, pixels.
        height: Of the whole image.
        tile_width: Of one frame.
        tile_height: Of one frame.
        frames: Number of frames in this instance.
        planes: Focal planes times optical paths.
        spacing: (x, y) µm per pixel of this level; None where it is not stated.
        power: Magnification of the objective, such as 40; None where it is not stated.
        places: For each frame its (column, row) pixel of the whole image, from 0, where the header lists them (sparse
            tiling); None where all tiles follow row by row.
        part: Its place in a concatenation, or None.
        pixels: Byte position of the pixel data element in the file.
        offsets: Extended offset table, bytes from the first frame; empty where there is none.
    """

    path: Path
    name: str
    sop_class: str
    series: str
    uid: str
    image_type: tuple[str, ...]
    transfer_syntax: str
    photometric: str
    samples: int
    bits: int
    width: int
    height: int
    tile_width: int
    tile_height: int
    frames: int
    planes: int
    spacing: tuple[float, float] | None
    power: float | None
    places: tuple[tuple[int, int], ...] | None
    part: Part | None
    pixels: int
    offsets: bytes

    @property
    def kind(self) -> str:
        """VOLUME for tissue; LABEL, OVERVIEW, LOCALIZER or THUMBNAIL for what is never read."""
        return self.image_type[2] if len(self.image_type) > 2 else ""

    @property
    def resampled(self) -> bool:
        """Whether it says that it was made from a finer level."""
        return len(self.image_type) > 3 and self.image_type[3] == "RESAMPLED"

    @property
    def columns(self) -> int:
        """Number of tiles across the whole image."""
        return -(-self.width // self.tile_width)

    @property
    def rows(self) -> int:
        """Number of tiles down the whole image."""
        return -(-self.height // self.tile_height)

    @property
    def coding(self) -> str:
        """Name of the pixels' coding, for messages."""
        return UID(self.transfer_syntax).name


def is_dicom(path: Path) -> bool:
    """Whether a file bears the mark of DICOM."""
    with path.open("rb") as file:
        return file.read(_PREAMBLE + len(_MAGIC))[_PREAMBLE:] == _MAGIC


def read_instances(files: Mapping[Path, str]) -> tuple[Instance, ...]:
    """The headers of DICOM files, each with what messages call it.

    Raises:
        CorruptSlideError: A header can't be read.
    """
    return tuple(read_instance(path, name) for path, name in files.items())


def read_instance(path: Path, name: str) -> Instance:
    """The header of one DICOM file, which messages call `name`; its pixels are not read.

    Raises:
        CorruptSlideError: The header can't be read.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote header values
            header = pydicom.dcmread(file, stop_before_pixels=True)
            return _instance(path, name, header, file.tell())
    except OSError:
        raise
    except Exception:  # pydicom raises anything on damaged headers, and its messages quote header values
        raise CorruptSlideError(
            f"The DICOM header of {name} is damaged or cut short. Export or copy the slide again."
        ) from None


def _instance(path: Path, name: str, header: pydicom.Dataset, position: int) -> Instance:
    sop_class = str(header.get("SOPClassUID") or header.file_meta.MediaStorageSOPClassUID)
    slide = sop_class == SLIDE_CLASS  # others, such as a DICOMDIR, may lack what a slide must have
    return Instance(
        path=path,
        name=name,
        sop_class=sop_class,
        series=str(header.SeriesInstanceUID) if slide else "",
        uid=str(header.SOPInstanceUID) if slide else "",
        image_type=tuple(str(value) for value in _several(header.get("ImageType"))),
        transfer_syntax=str(header.file_meta.TransferSyntaxUID),
        photometric=str(header.get("PhotometricInterpretation", "")),
        samples=int(header.get("SamplesPerPixel", 0)),
        bits=int(header.get("BitsAllocated", 0)),
        width=int(header.get("TotalPixelMatrixColumns", 0)),
        height=int(header.get("TotalPixelMatrixRows", 0)),
        tile_width=int(header.get("Columns", 0)),
        tile_height=int(header.get("Rows", 0)),
        frames=int(header.get("NumberOfFrames", 1)),
        planes=_planes(header),
        spacing=_spacing(header),
        power=_power(header),
        places=_places(header),
        part=_part(header),
        pixels=position,
        offsets=bytes(header.get("ExtendedOffsetTable", b"")),
    )


def _several(value: Any) -> Sequence[Any]:
    """A DICOM value of any multiplicity as a sequence."""
    if value is None:
        return ()
    return [value] if isinstance(value, str) else value


def _planes(header: pydicom.Dataset) -> int:
    return int(header.get("TotalPixelMatrixFocalPlanes") or 1) * int(header.get("NumberOfOpticalPaths") or 1)


def _spacing(header: pydicom.Dataset) -> tuple[float, float] | None:
    """From the shared or the first frame's functional groups. PixelSpacing is (between rows, between columns) in mm."""
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in (header.get(name) or [])[:1]:
            for measures in (group.get("PixelMeasuresSequence") or [])[:1]:
                y, x = (number(str(value)) for value in measures.get("PixelSpacing") or (None, None))
                if x is not None and y is not None:
                    return x * _MICROMETRES, y * _MICROMETRES
    return None


def _power(header: pydicom.Dataset) -> float | None:
    """Of the strongest objective that an optical path names."""
    paths = header.get("OpticalPathSequence") or []
    powers = [number(str(path.get("ObjectiveLensPower"))) for path in paths]
    return max((power for power in powers if power is not None), default=None)


def _places(header: pydicom.Dataset) -> tuple[tuple[int, int], ...] | None:
    if header.get("DimensionOrganizationType") == "TILED_FULL":
        return None
    groups = header.get("PerFrameFunctionalGroupsSequence") or []
    if not all("PlanePositionSlideSequence" in group for group in groups) or not groups:
        return None
    positions = (group.PlanePositionSlideSequence[0] for group in groups)
    return tuple(
        (
            int(position.ColumnPositionInTotalImagePixelMatrix) - 1,
            int(position.RowPositionInTotalImagePixelMatrix) - 1,
        )
        for position in positions
    )


def _part(header: pydicom.Dataset) -> Part | None:
    image = header.get("ConcatenationUID")
    if not image:
        return None
    total = header.get("InConcatenationTotalNumber")
    return Part(str(image), int(header.InConcatenationNumber), int(total) if total else None)
