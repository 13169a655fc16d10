"""The published schema is the one that the program keeps."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema

from haiku_edge.runtime.bundle import manifest_schema

PUBLISHED = Path(__file__).resolve().parents[3] / "docs" / "schema" / "bundle.schema.json"


def test_the_published_schema_is_current() -> None:
    """If not: write what `haiku_edge.runtime.bundle.manifest_schema()` gives to the file."""
    assert json.loads(PUBLISHED.read_text()) == json.loads(manifest_schema())


def test_a_written_manifest_keeps_the_published_schema(bundle_folder: Path) -> None:
    schema = json.loads(PUBLISHED.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads((bundle_folder / "bundle.json").read_bytes()), schema)
