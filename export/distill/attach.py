"""Put a student into a bundle: a new bundle is written, the old one stays."""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from haiku_edge.runtime.atomic import make_directory
from haiku_edge.runtime.bundle import Bundle, Description, KnownPatients, Manifest, StudentSection, read_known_patients
from haiku_edge.runtime.errors import UsageError

from ..bundle import check_replaceable, write_bundle
from ..bundle_copy import carry_files
from ..trained_on import training_part


@dataclass(frozen=True, slots=True)
class TrainedStudent:
    """A student, ready for a bundle.

    Attributes:
        section: What the manifest says of it.
        graph: Its ONNX graph.
        golden: (n, d) float32: what the torch tower makes of the bundle's golden tiles.
        cases: Its calibration table, where the section names one.
        known: Whom it learned from.
    """

    section: StudentSection
    graph: bytes
    golden: NDArray[np.float32]
    cases: bytes | None
    known: KnownPatients


def check_place(bundle: Bundle, out: Path, *, force: bool) -> None:
    """Refuse a place before hours of training, not after.

    Raises:
        UsageError: `out` is the old bundle.
        OutputExistsError: Something is in `out` that is no bundle, or is one and `force` is off.
    """
    if out.resolve() == bundle.root:
        raise UsageError("The new bundle can't replace the one that it is made from. Name another folder with --out.")
    check_replaceable(out, force=force)


def add_student(bundle: Bundle, student: TrainedStudent, out: Path, *, force: bool = False) -> Manifest:
    """Write a bundle with the old one's parts and this student, first among its students.

    One of the same kind is replaced.

    Raises:
        UsageError: See `check_place`.
        OutputExistsError, DiskFullError, OutputNotWritableError: It can't be written.
        BundleAlteredError: The old bundle changed meanwhile; what is in `out` stays.
    """
    check_place(bundle, out, force=force)
    manifest, section = bundle.manifest, student.section
    others = tuple(one for one in manifest.students if one.kind != section.kind)
    training, digests = training_part(student.known.with_earlier(read_known_patients(bundle)))
    stated = {name: getattr(manifest, name) for name in Description.model_fields}
    description = Description(**stated | {"students": (section, *others), "training": training})
    new = {section.file: student.graph, manifest.golden.file: _golden(bundle, student), **digests}
    if section.calibration is not None and student.cases is not None:
        new[section.calibration.file] = student.cases
    kept = sorted(set(manifest.files) - _replaced(bundle, section) - set(new))
    make_directory(out.parent)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.", suffix=".copy") as folder:
        return write_bundle(out, description, {**carry_files(bundle, kept, Path(folder)), **new})


def _replaced(bundle: Bundle, section: StudentSection) -> set[str]:
    """Files of an older student of the same kind."""
    same = [one for one in bundle.manifest.students if one.kind == section.kind]
    cases = {one.calibration.file for one in same if one.calibration is not None}
    return cases | {name for one in same for name in (one.file, *one.weights)}


def _golden(bundle: Bundle, student: TrainedStudent) -> bytes:
    """The golden cases with the student's vectors."""
    with np.load(io.BytesIO(bundle.read(bundle.manifest.golden.file)), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays[f"{student.section.name}_vectors"] = student.golden
    sink = io.BytesIO()
    np.savez_compressed(sink, **arrays)
    return sink.getvalue()
