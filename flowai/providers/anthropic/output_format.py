"""Converts the schema of an answer into one that Anthropic accepts, as LiteLLM does.

Anthropic compiles a schema into a grammar, which cannot express every keyword: those become notes in the description.
"""

from __future__ import annotations

import json
from typing import Any

from flowai.providers.anthropic.unproven import UnprovenRequestError

MAX_REFERENCE_COUNT = 1_000
"""References that are resolved in one schema; a few lines can refer to each other without end."""
_NOTES = {
    "minItems": "minimum number of items: {}",
    "maxItems": "maximum number of items: {}",
    "uniqueItems": "all array items must be unique",
    "contains": "array must contain an item matching: {}",
    "minContains": "minimum number of matching items: {}",
    "maxContains": "maximum number of matching items: {}",
    "prefixItems": "leading items must match, in order: {}",
    "minimum": "minimum value: {}",
    "maximum": "maximum value: {}",
    "exclusiveMinimum": "exclusive minimum value: {}",
    "exclusiveMaximum": "exclusive maximum value: {}",
    "multipleOf": "must be a multiple of {}",
    "minLength": "minimum length: {}",
    "maxLength": "maximum length: {}",
    "minProperties": "minimum number of properties: {}",
    "maxProperties": "maximum number of properties: {}",
    "patternProperties": "properties whose names match each pattern must satisfy: {}",
    "propertyNames": "property names must satisfy: {}",
    "dependentRequired": "dependent required properties: {}",
    "dependentSchemas": "dependent schemas: {}",
    "unevaluatedProperties": "unevaluated properties must satisfy: {}",
    "if": "conditional (if): {}",
    "then": "conditional (then): {}",
    "else": "conditional (else): {}",
    "not": "must not match: {}",
}
"""Keywords that Anthropic refuses, and the words that LiteLLM writes instead, in this order."""
_SCHEMA_MAPS = frozenset({"properties"})
_SCHEMA_LISTS = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}
_TYPES: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "array": (list,),
    "object": (dict,),
}


def convert_response_format(given: Any) -> dict[str, Any] | None:  # noqa: ANN401 - JSON is anything
    """Return Anthropic's `output_format`; None for a format without a schema, which is not sent.

    Args:
        given: OpenAI's `response_format`.

    Raises:
        UnprovenRequestError: LiteLLM must convert it.
    """
    match given:
        case {"type": "text" | "json_object", **rest} if not rest:
            return None
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}, **rest} if not rest:
            return {"type": "json_schema", "schema": _acceptable(_Resolver(schema).resolved())}
    raise UnprovenRequestError("an unusual `response_format`")


class _Resolver:
    """Replaces the references of a schema by copies of their targets."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._targets = schema.get("$defs", {})
        self._schema = {key: value for key, value in schema.items() if key != "$defs"}
        self._count = 0
        if not isinstance(self._targets, dict):
            raise UnprovenRequestError("an unusual `$defs`")

    def resolved(self) -> dict[str, Any]:
        resolved: dict[str, Any] = self._copy(self._schema, frozenset())
        return resolved

    def _copy(self, node: Any, chain: frozenset[str]) -> Any:  # noqa: ANN401 - JSON is anything
        if isinstance(node, list):
            return [self._copy(item, chain) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return self._target(node["$ref"], chain)
        if "$defs" in node or "definitions" in node:
            raise UnprovenRequestError("definitions within a schema")
        return {key: self._copy(value, chain) for key, value in node.items()}

    def _target(self, reference: Any, chain: frozenset[str]) -> Any:  # noqa: ANN401 - JSON is anything
        name = reference.removeprefix("#/$defs/") if isinstance(reference, str) else ""
        self._count += 1
        if name in chain or "/" in name or self._count > MAX_REFERENCE_COUNT:
            raise UnprovenRequestError("a reference in a circle, or too many")
        if not isinstance(self._targets.get(name), dict):
            raise UnprovenRequestError("an unknown reference")
        return self._copy(self._targets[name], chain | {name})


def _acceptable(schema: Any) -> Any:  # noqa: ANN401 - JSON is anything
    """Return a schema without the keywords that Anthropic refuses."""
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    if note := _note(schema):
        description = schema.get("description", "")
        kept["description"] = f"{description} {note}" if description else note
    for key, value in schema.items():
        if key in _NOTES or (key == "type" and _contradicts_enum(schema)) or key == "description" in kept:
            continue
        if key in _SCHEMA_MAPS and isinstance(value, dict):
            kept[key] = {name: _acceptable(item) for name, item in value.items()}
        elif key in _SCHEMA_LISTS and isinstance(value, list):
            kept[_SCHEMA_LISTS[key]] = _joined(kept, _SCHEMA_LISTS[key], [_acceptable(item) for item in value])
        else:
            kept[key] = _acceptable(value) if key == "items" else value
    if kept.get("type") == "object":
        kept["additionalProperties"] = False
    return kept


def _joined(kept: dict[str, Any], key: str, schemas: list[Any]) -> list[Any]:
    """Return the alternatives so far and new ones: `anyOf` and `oneOf` become one list."""
    before = kept.get(key, [])
    if not isinstance(before, list):
        raise UnprovenRequestError("an unusual schema")
    return [*before, *schemas]


def _note(schema: dict[str, Any]) -> str:
    notes = [text.format(_words(schema[key])) for key, text in _NOTES.items() if schema.get(key, False) is not False]
    return f"Note: {', '.join(notes)}." if notes else ""


def _words(value: Any) -> Any:  # noqa: ANN401 - JSON is anything
    return json.dumps(value) if isinstance(value, dict | list) else value


def _contradicts_enum(schema: dict[str, Any]) -> bool:
    """Return whether a value of `enum` is not of the schema's `type`; Anthropic refuses such a schema."""
    values, kind = schema.get("enum"), schema.get("type")
    if not isinstance(values, list) or kind is None:
        return False
    if isinstance(kind, list):
        return True
    classes = _TYPES.get(kind) if isinstance(kind, str) else None
    return classes is not None and not all(_is_one_of(value, classes) for value in values)


def _is_one_of(value: Any, classes: tuple[type, ...]) -> bool:  # noqa: ANN401 - JSON is anything
    return isinstance(value, classes) and (bool in classes or not isinstance(value, bool))
