"""The bundle: the folder that ships, with its manifest, read only after every byte of it was verified."""

from __future__ import annotations

from .info import bundle_info
from .manifest import (
    DIGEST_NAME,
    MANIFEST_NAME,
    AtlasSection,
    CalibrationSection,
    Description,
    FileEntry,
    GoldenSection,
    HeadSection,
    HETower,
    IndexSection,
    Manifest,
    MifTower,
    Retrieval,
    TextTower,
    manifest_schema,
    parse_manifest,
)
from .open import Bundle, open_bundle
from .panel import panel_rows

__all__ = [
    "DIGEST_NAME",
    "MANIFEST_NAME",
    "AtlasSection",
    "Bundle",
    "CalibrationSection",
    "Description",
    "FileEntry",
    "GoldenSection",
    "HETower",
    "HeadSection",
    "IndexSection",
    "Manifest",
    "MifTower",
    "Retrieval",
    "TextTower",
    "bundle_info",
    "manifest_schema",
    "open_bundle",
    "panel_rows",
    "parse_manifest",
]
