"""Builds OpenAI's `response_format` of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowai.providers.client import Request


def response_format(request: Request) -> dict[str, Any] | None:
    """Return the `response_format` of a request: its schema, else the caller's own; None for free text."""
    if request.response_schema is None:
        return request.response_format
    return {
        "type": "json_schema",
        "json_schema": {
            "name": "answer",
            "schema": request.response_schema,
            "strict": is_strict(request.response_schema),
        },
    }


def is_strict(schema: Any) -> bool:  # noqa: ANN401 - JSON is anything
    """Return whether a schema is valid in OpenAI's strict mode: closed objects, all properties required.

    Source:
        OpenAI, "Structured Outputs", section "Supported schemas".
    """
    if isinstance(schema, list):
        return all(is_strict(item) for item in schema)
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        names = schema.get("properties", {})
        is_closed = schema.get("additionalProperties") is False
        if not is_closed or set(schema.get("required", ())) != set(names):
            return False
    return all(is_strict(value) for value in schema.values())
