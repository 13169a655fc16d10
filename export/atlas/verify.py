"""Check an atlas: that of a bundle, or a folder of patches."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from haiku_edge.runtime.atlas import Atlas, open_atlas
from haiku_edge.runtime.bundle import (
    MANIFEST_NAME,
    AtlasSection,
    Bundle,
    CalibrationSection,
    open_bundle,
    read_known_patients,
)
from haiku_edge.runtime.bundle.open import SHIPPED
from haiku_edge.runtime.inference import Progress, Silent, read_cases
from haiku_edge.runtime.notice import RESEARCH_USE_ONLY

from ..dataset import FolderDataset, PatchDataset, open_dataset
from .index import LEAST_RECALL, measure_recall

UNIT_TOLERANCE = 1e-3
_PICTURES = 50
_MEAN_TOLERANCE = 1e-2


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What.
        passed: Whether it is as it should be.
        finding: What was found, in a few words.
    """

    name: str
    passed: bool
    finding: str


@dataclass(frozen=True, slots=True)
class _Evidence:
    """The evidence of one family.

    Attributes:
        prefix: What its checks begin with, where they need telling apart.
        section: What the manifest says of it.
        calibration: Likewise; None without calibration patients.
        atlas: The evidence.
    """

    prefix: str
    section: AtlasSection
    calibration: CalibrationSection | None
    atlas: Atlas


def is_bundle(path: Path) -> bool:
    """Whether a folder is a bundle, or the name of one that ships, rather than patches."""
    return (path / MANIFEST_NAME).is_file() or (not path.exists() and str(path) in SHIPPED)


def verify_atlas(path: Path | None, progress: Progress | None = None) -> tuple[Check, ...]:
    """Check a bundle's atlas, or every patch of a dataset.

    Args:
        path: A bundle or a folder of patches; None for the embedded bundle.
        progress: Told about every patch.

    Raises:
        BundleError, DatasetError: So damaged that nothing more can be said.
    """
    if path is None or is_bundle(path):
        return verify_bundle_atlas(open_bundle(path))
    return verify_dataset(open_dataset(path), progress)


def verify_bundle_atlas(bundle: Bundle) -> tuple[Check, ...]:
    """Digests (by opening), and of each family's evidence vectors, leakage, index against exact search, pictures."""
    digests = Check("digests", passed=True, finding=f"all {len(bundle.manifest.files)} files are as shipped")
    return (digests, *(check for held in _open_evidence(bundle) for check in _verify(bundle, held)))


def _open_evidence(bundle: Bundle) -> list[_Evidence]:
    """Haiku's patches, SPADE's spots, or both; `BundleContentError` where there is neither."""
    manifest, spade = bundle.manifest, bundle.manifest.spade
    parts = [] if manifest.atlas is None else [("", manifest.atlas, manifest.calibration)]
    if spade is not None and spade.atlas is not None:
        parts.append(("spots: " if parts else "", spade.atlas, spade.calibration))
    if not parts:
        manifest.need_atlas()
    return [_Evidence(prefix, section, cases, open_atlas(bundle, section)) for prefix, section, cases in parts]


def _verify(bundle: Bundle, held: _Evidence) -> Iterator[Check]:
    atlas, prefix = held.atlas, held.prefix
    yield _vectors(atlas, prefix)
    yield Check(f"{prefix}leakage", passed=True, finding=_leakage(bundle, held))
    recall = measure_recall(atlas.index, atlas.vectors)
    found = f"{held.section.index.kind}: {recall:.1%} of what exact search finds"
    yield Check(f"{prefix}index", recall >= LEAST_RECALL, found)
    yield _pictures(atlas, prefix)
    yield from (Check("note", passed=True, finding=warning) for warning in atlas.warnings)


def _leakage(bundle: Bundle, evidence: _Evidence) -> str:
    """What reading the calibration patients, which refuses those in the atlas or trained on, leaves to say."""
    known, atlas = read_known_patients(bundle), evidence.atlas
    if evidence.calibration is None:
        held = "no calibration patients"
    else:
        count = len(set(map(str, read_cases(bundle, atlas, evidence.calibration).patients)))
        held = f"none of {count} calibration patients is in the atlas{' or was trained on' if known else ''}"
    if not known:
        return f"{held}; whom the towers learned from is not known"
    patients = set(map(str, atlas.patients))
    others = "" if known.complete else "; they may have learned from others, who are not known"
    return f"{held}; {len(known.among(patients))} of {len(patients)} evidence patients were also trained on{others}"


def verify_dataset(dataset: PatchDataset, progress: Progress | None = None) -> tuple[Check, ...]:
    """Read every patch, and compare the stated means. That no patient has two roles, opening has seen already."""
    told = progress or Silent()
    told.start("Reading patches", len(dataset))
    pairs, differing = 0, 0
    for row in range(len(dataset)):
        sample = dataset[row]
        pairs += sample.he is not None and sample.mif is not None
        if isinstance(dataset, FolderDataset) and sample.mif is not None:
            stated = dataset.measurements.expression[row][[dataset.markers.index(name) for name in sample.markers]]
            differing += not np.allclose(stated, sample.mif.mean(axis=(1, 2)), atol=_MEAN_TOLERANCE)
        told.advance(1)
    told.finish()
    return (
        Check("patches", passed=True, finding=f"all {len(dataset)} can be read, {pairs} with H&E and mIF"),
        Check("means", not differing, f"{differing} patches have other means than the table states"),
    )


def atlas_info(path: Path | None) -> dict[str, Any]:
    """What a bundle's atlas or a dataset holds, as JSON values."""
    if path is None or is_bundle(path):
        return _bundle_info(open_bundle(path))
    dataset = open_dataset(path)
    about: dict[str, Any] = {
        "notice": RESEARCH_USE_ONLY,
        "name": dataset.name,
        "mpp": dataset.mpp,
        "patches": len(dataset),
        "regions": len(set(dataset.regions.tolist())),
        "patients": len(set(dataset.patients.tolist())),
        "markers": list(dataset.markers),
    }
    if isinstance(dataset, FolderDataset):
        about |= {key: dataset.about[key] for key in ("positivity", "created_by", "made")}
        about["roles"] = _count(dataset.measurements.roles.tolist())
    return about


def _bundle_info(bundle: Bundle) -> dict[str, Any]:
    first, *others = _open_evidence(bundle)
    return {
        "notice": RESEARCH_USE_ONLY,
        "name": bundle.manifest.name,
        "digest": bundle.digest,
        "statement": bundle.manifest.statement,
        **_evidence_info(bundle, first),
        **({"spots": _evidence_info(bundle, others[0])} if others else {}),
    }


def _evidence_info(bundle: Bundle, held: _Evidence) -> dict[str, Any]:
    section, calibration, atlas = held.section, held.calibration, held.atlas
    known = read_known_patients(bundle)
    return {
        "measure": section.measure,
        "patches": section.patch_count,
        "regions": len(set(map(str, atlas.sections))),
        "patients": section.patient_count,
        "organs": _count(atlas.organs.tolist()),
        "panels": _count(atlas.panels.tolist()),
        "markers": {
            marker: int(np.isfinite(column).sum()) for marker, column in zip(section.markers, atlas.z.T, strict=True)
        },
        "positivity": section.positivity,
        "patients_with_facts": len(atlas.facts),
        "index": section.index.kind,
        "calibration_patients": 0 if calibration is None else calibration.patients,
        "training_patients": len(known.train) if known else None,
        "evidence_patients_trained_on": len(known.among(map(str, atlas.patients))) if known else None,
    }


def _vectors(atlas: Atlas, prefix: str) -> Check:
    lengths = np.linalg.norm(atlas.vectors, axis=1)
    off = float(np.abs(lengths - 1).max())
    return Check(f"{prefix}vectors", off <= UNIT_TOLERANCE, f"{len(lengths)} vectors, lengths within {off:.1e} of 1")


def _pictures(atlas: Atlas, prefix: str) -> Check:
    """Decode some pictures."""
    rows = np.linspace(0, len(atlas.patches) - 1, min(_PICTURES, len(atlas.patches))).astype(int)
    damaged = sum(not _decodes(atlas.pictures.composite(int(row))) for row in rows)
    return Check(f"{prefix}pictures", not damaged, f"{len(rows) - damaged} of {len(rows)} pictures can be shown")


def _decodes(picture: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(picture)) as opened:
            opened.load()
    except Exception:  # whatever a decoder raises
        return False
    return True


def _count(values: list[str]) -> dict[str, int]:
    return {value: values.count(value) for value in sorted(set(values))}
