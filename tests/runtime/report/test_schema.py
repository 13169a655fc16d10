"""The published schema is the one that the code keeps."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema

from haiku_edge.runtime.report import Result
from haiku_edge.runtime.report.document import schema_text

PUBLISHED = Path(__file__).resolve().parents[3] / "docs" / "schema" / "result.schema.json"


def test_the_published_schema_is_current() -> None:
    remedy = "write schema_text(Result, 'result') to docs/schema/result.schema.json"
    assert PUBLISHED.read_text("utf-8") == schema_text(Result, "result"), remedy


def test_a_written_result_keeps_the_published_schema(outputs: Path) -> None:
    schema = json.loads(PUBLISHED.read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads((outputs / "result.json").read_text("utf-8")))


def test_every_section_that_the_schema_names_is_explained_in_the_documentation() -> None:
    schema = json.loads(PUBLISHED.read_text("utf-8"))
    text = (PUBLISHED.parents[1] / "outputs.md").read_text("utf-8")
    objects = [schema, *schema["$defs"].values()]
    missing = {name for item in objects for name in item.get("properties", {}) if f"`{name}`" not in text}
    assert not missing
