"""The results of all commands as JSON, and the JSON Schemas that are published for them."""

from __future__ import annotations

import json
import math
from typing import Any

from pydantic import BaseModel


def document_json(document: BaseModel) -> bytes:
    """A result as indented UTF-8 JSON. A number that is not finite becomes null: JSON has no NaN.

    Raises:
        pydantic.ValidationError: A number that must be there is not finite.
    """
    content = _without_nan(document.model_dump(mode="python"))
    type(document).model_validate(content)
    return _indented(content).encode()


def schema_text(document: type[BaseModel], name: str) -> str:
    """The JSON Schema (draft 2020-12) of a kind of result, as published in docs/schema.

    Args:
        document: The kind; its `schema_version` has a default.
        name: Of the schema: 'result', 'counterfactual' or 'retrieval'.
    """
    return _indented(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"urn:haiku-edge:{name}:{document.model_fields['schema_version'].default}",
            **document.model_json_schema(mode="serialization"),
        }
    )


def _indented(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2) + "\n"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
