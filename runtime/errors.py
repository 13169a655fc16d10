"""Every way in which haiku-edge refuses, as a tree with one exit code a class.

HaikuEdgeError                        1
├── UsageError                        2
├── SlideError                       10
│   ├── NotASlideError               11   no reader takes the file for a slide
│   ├── CorruptSlideError            12   a slide, but cut short or damaged
│   ├── MissingResolutionError       13   no micrometres per pixel
│   ├── ImplausibleResolutionError   14   micrometres per pixel that no scanner gives
│   ├── ResolutionTooCoarseError     15   coarser than the tower can use
│   ├── NoTissueError                16   no tile is left after the filters
│   ├── AmbiguousSlideError          17   more than one DICOM series
│   ├── NoVolumeImageError           18   DICOM without a tissue image (only a label or overview)
│   └── IncompleteSlideError         19   an instance or part of the DICOM series is missing
├── NotesError                       20
│   ├── UnreadableNotesError         21   not JSON, or not text
│   ├── NotesShapeError              22   JSON, but not a flat object of facts
│   ├── EmptyNotesError              23   no clinical fact in it
│   └── OverlongNotesError           24   larger than any clinical note
├── BundleError                      30
│   ├── BundleNotFoundError          31   no bundle in that place
│   ├── BundleSchemaError            32   a manifest of another version, or malformed
│   ├── BundleAlteredError           33   a file is missing, extra or changed
│   ├── BundleLinkError              34   a link, or a path that leaves the bundle
│   └── BundleContentError           35   verified, yet its parts do not fit each other
├── DeviceError                      40
│   ├── DeviceUnavailableError       41   the asked-for device is not there
│   ├── EngineError                  42   the engine failed while it ran
│   ├── EngineStaleError             43   no engine is built for this machine, or only one for another
│   ├── EngineBuildError             44   the builder does not take the tower
│   ├── EngineGateError              45   the engine gives other embeddings than the tower
│   ├── DeviceMemoryError            46   the device's memory is too small
│   └── EngineCacheError             47   the cache of engines can't be used
├── OutputError                      50
│   ├── OutputNotWritableError       51   the folder cannot be written
│   ├── OutputExistsError            52   a finished result is there already
│   └── DiskFullError                53   the disk is full
├── NativeCrashError                 60   a native library ended the process
├── CheckpointError                  70
│   ├── CheckpointIncompleteError    71   a file is missing, or cut short
│   ├── CheckpointUnsafeError        72   pickled code inside, or larger than any checkpoint
│   ├── CheckpointLayoutError        73   a tensor is missing, unexpected or misshapen
│   └── CheckpointValueError         74   weights that are not numbers
├── DatasetError                     80
│   ├── UnreadableDatasetError       81   no known layout, or a damaged file
│   ├── PanelError                   82   unknown, duplicate or missing markers
│   ├── PatchShapeError              83   a patch of the wrong size or type
│   └── CohortError                  84   too few patients, classes or events for the question
└── StoppedError                     130   stopped from the keyboard or by another process
"""

from __future__ import annotations

from typing import ClassVar


class HaikuEdgeError(Exception):
    """Base of every error that haiku-edge raises on purpose.

    The message says what happened, to what, and what to do; it never holds an identifier of a patient.

    Attributes:
        exit_code: Status with which the command line ends.
    """

    exit_code: ClassVar[int] = 1


class UsageError(HaikuEdgeError):
    """The call itself is wrong: an option's value, or options that exclude each other."""

    exit_code = 2


class SlideError(HaikuEdgeError):
    """The slide can't be used."""

    exit_code = 10


class NotASlideError(SlideError):
    """No reader takes the file or folder for a slide."""

    exit_code = 11


class CorruptSlideError(SlideError):
    """The slide is cut short or damaged beyond the stated share of tiles."""

    exit_code = 12


class MissingResolutionError(SlideError):
    """The slide does not state its micrometres per pixel."""

    exit_code = 13


class ImplausibleResolutionError(SlideError):
    """The stated micrometres per pixel are outside what scanners give."""

    exit_code = 14


class ResolutionTooCoarseError(SlideError):
    """The slide's finest level is too coarse for the tower."""

    exit_code = 15


class NoTissueError(SlideError):
    """No tile is left after the tissue and quality filters."""

    exit_code = 16


class AmbiguousSlideError(SlideError):
    """The folder or archive holds more than one slide."""

    exit_code = 17


class NoVolumeImageError(SlideError):
    """The DICOM instances hold no tissue image, only labels or overviews."""

    exit_code = 18


class IncompleteSlideError(SlideError):
    """An instance, a part or frames of the DICOM series are missing."""

    exit_code = 19


class NotesError(HaikuEdgeError):
    """The clinical notes can't be used."""

    exit_code = 20


class UnreadableNotesError(NotesError):
    """The notes are not JSON text."""

    exit_code = 21


class NotesShapeError(NotesError):
    """The notes are JSON, but not a flat object of facts, free text or a FHIR bundle."""

    exit_code = 22


class EmptyNotesError(NotesError):
    """The notes hold no clinical fact (or none is left once identifiers are dropped)."""

    exit_code = 23


class OverlongNotesError(NotesError):
    """The notes are larger than any clinical note."""

    exit_code = 24


class BundleError(HaikuEdgeError):
    """The bundle can't be used."""

    exit_code = 30


class BundleNotFoundError(BundleError):
    """There is no bundle in that place."""

    exit_code = 31


class BundleSchemaError(BundleError):
    """The manifest is malformed or of an unknown schema version."""

    exit_code = 32


class BundleAlteredError(BundleError):
    """A file of the bundle is missing, extra or not the one that was shipped."""

    exit_code = 33


class BundleLinkError(BundleError):
    """The bundle holds a link, or names a path outside itself."""

    exit_code = 34


class BundleContentError(BundleError):
    """Every digest is right, yet the parts of the bundle do not fit each other."""

    exit_code = 35


class DeviceError(HaikuEdgeError):
    """The device can't be used."""

    exit_code = 40


class DeviceUnavailableError(DeviceError):
    """The asked-for device is not on this machine."""

    exit_code = 41


class EngineError(DeviceError):
    """The engine failed while it ran."""

    exit_code = 42


class EngineStaleError(DeviceError):
    """No engine is built for this machine, or only one for another GPU, driver or version."""

    exit_code = 43


class EngineBuildError(DeviceError):
    """The builder does not take the tower: an operator that it does not know, or a limit of the device."""

    exit_code = 44


class EngineGateError(DeviceError):
    """The engine gives other embeddings than the tower that it was built from."""

    exit_code = 45


class DeviceMemoryError(DeviceError):
    """The device's memory is too small, even for the smallest batch."""

    exit_code = 46


class EngineCacheError(DeviceError):
    """The cache of engines can't be read or written, or something in it was altered."""

    exit_code = 47


class OutputError(HaikuEdgeError):
    """The results can't be written."""

    exit_code = 50


class OutputNotWritableError(OutputError):
    """The output folder can't be created or written."""

    exit_code = 51


class OutputExistsError(OutputError):
    """A finished result of another run is there already."""

    exit_code = 52


class DiskFullError(OutputError):
    """The disk filled while the results were written."""

    exit_code = 53


class NativeCrashError(HaikuEdgeError):
    """A native library ended the process that read the slide or built the engine."""

    exit_code = 60


class CheckpointError(HaikuEdgeError):
    """A trained checkpoint can't be used."""

    exit_code = 70


class CheckpointIncompleteError(CheckpointError):
    """A file of the checkpoint is missing, or cut short."""

    exit_code = 71


class CheckpointUnsafeError(CheckpointError):
    """The checkpoint holds pickled code, or is larger than any checkpoint."""

    exit_code = 72


class CheckpointLayoutError(CheckpointError):
    """A tensor is missing, unexpected, misshapen or of another type."""

    exit_code = 73


class CheckpointValueError(CheckpointError):
    """Weights are not numbers: NaN or infinite."""

    exit_code = 74


class DatasetError(HaikuEdgeError):
    """Patches or patients can't be used."""

    exit_code = 80


class UnreadableDatasetError(DatasetError):
    """No known layout, or a damaged file."""

    exit_code = 81


class PanelError(DatasetError):
    """A panel with unknown, duplicate or missing markers."""

    exit_code = 82


class PatchShapeError(DatasetError):
    """A patch of the wrong size or type."""

    exit_code = 83


class CohortError(DatasetError):
    """Too few patients, classes or events for the question asked."""

    exit_code = 84


class StoppedError(HaikuEdgeError):
    """The run was stopped from the keyboard or by another process."""

    exit_code = 130
