"""Whom a bundle knows by name, whichever family asks."""

from __future__ import annotations

import pyarrow as pa

from ..bundle import Bundle
from ..errors import BundleContentError, UsageError


def check_excluded(bundle: Bundle, excluded: tuple[str, ...]) -> None:
    """See that every excluded patient is somewhere in the bundle: a misspelt one would stay evidence unnoticed.

    Args:
        bundle: The open bundle; one that names nobody has no evidence, and is not refused here.
        excluded: Pseudonyms.

    Raises:
        UsageError: A patient is not in the bundle.
        BundleContentError: A table can't be read.
    """
    known = sorted(bundle_patients(bundle)) if excluded else []
    unknown = sum(name not in known for name in excluded)
    if known and unknown:
        raise UsageError(
            f"{unknown} of the patients named by --exclude-patient are not in the bundle, whose {len(known)} patients "
            f"are called {known[0]} to {known[-1]}."
        )


def bundle_patients(bundle: Bundle) -> frozenset[str]:
    """Pseudonyms of everybody in the evidence, the calibrations and the heads, of both families.

    Raises:
        BundleContentError: A table can't be read.
    """
    manifest, spade = bundle.manifest, bundle.manifest.spade
    evidence = [manifest.atlas] if spade is None else [manifest.atlas, spade.atlas]
    calibrations = [manifest.calibration, *(student.calibration for student in manifest.students)]
    calibrations += [] if spade is None else [spade.calibration]
    tables = {section.patches for section in evidence if section is not None}
    tables |= {section.file for section in calibrations if section is not None}
    tables |= {head.cases for head in manifest.heads}
    return frozenset(name for table in tables for name in _patients(bundle, table))


def _patients(bundle: Bundle, file: str) -> list[str]:
    try:
        table = pa.ipc.open_file(pa.BufferReader(bundle.read(file))).read_all()
        return [str(name) for name in table["patient"].unique().to_pylist()]
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise BundleContentError(f"The table {file} of the bundle can't be read: {error}") from error
