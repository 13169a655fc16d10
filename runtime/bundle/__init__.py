"""The bundle: the folder that ships, with its manifest, of which no byte is used before it was verified."""

from __future__ import annotations

from .info import bundle_info
from .known import KnownPatients, patient_digest, read_known_patients
from .manifest import DIGEST_NAME, MANIFEST_NAME, Description, Manifest, manifest_schema, parse_manifest
from .open import Bundle, open_bundle, opening_bundle
from .panel import panel_rows
from .sections import (
    Agreement,
    AtlasSection,
    CalibrationSection,
    ExpertSection,
    FileEntry,
    GoldenSection,
    HeadSection,
    HETower,
    IndexSection,
    MifTower,
    Retrieval,
    SpadeSection,
    StudentSection,
    TextTower,
    TrainingSection,
)

__all__ = [
    "DIGEST_NAME",
    "MANIFEST_NAME",
    "Agreement",
    "AtlasSection",
    "Bundle",
    "CalibrationSection",
    "Description",
    "ExpertSection",
    "FileEntry",
    "GoldenSection",
    "HETower",
    "HeadSection",
    "IndexSection",
    "KnownPatients",
    "Manifest",
    "MifTower",
    "Retrieval",
    "SpadeSection",
    "StudentSection",
    "TextTower",
    "TrainingSection",
    "bundle_info",
    "manifest_schema",
    "open_bundle",
    "opening_bundle",
    "panel_rows",
    "parse_manifest",
    "patient_digest",
    "read_known_patients",
]
