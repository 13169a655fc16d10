"""`result.json` as text, and the JSON Schema that is published for it."""

from __future__ import annotations

import json
import math
from typing import Any

from .schema import SCHEMA_VERSION, Result


def result_json(result: Result) -> bytes:
    """The result as indented UTF-8 JSON. A number that is not finite becomes null: JSON has no NaN.

    Raises:
        pydantic.ValidationError: A number that must be there is not finite.
    """
    content = _without_nan(result.model_dump(mode="python"))
    Result.model_validate(content)
    return (json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2) + "\n").encode()


def schema_text() -> str:
    """The JSON Schema (draft 2020-12) of `result.json`, as published in docs/schema."""
    schema = Result.model_json_schema(mode="serialization")
    published = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:haiku-edge:result:{SCHEMA_VERSION}",
        **schema,
    }
    return json.dumps(published, ensure_ascii=False, indent=2) + "\n"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
