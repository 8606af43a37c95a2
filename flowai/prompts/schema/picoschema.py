"""Conversion of Picoschema, a short notation for schemas, to JSON Schema.

Source: dotprompt reference, "Picoschema", and its specification cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowai.errors import PromptError, expected_one_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.errors import Place
    from flowai.storage.files import Document

Schema = dict[str, Any]

SCALARS = ("string", "boolean", "null", "number", "integer", "any")
TYPES = (*SCALARS[:-1], "object", "array")
_SHAPES = ("array", "enum", "object")
_WILDCARD = "(*)"
# a map with one of these is JSON Schema already; `type` and `properties` count only with a fitting value
_JSON_SCHEMA_KEYS = ("$schema", "$ref", "$defs", "anyOf", "oneOf", "allOf")


@dataclass(frozen=True, kw_only=True, slots=True)
class SchemaSource:
    """Location of a schema."""

    document: Document
    keys: tuple[str | int, ...]
    named: Mapping[str, Schema]
    """Schemas that may be used by name."""

    def place(self) -> Place:
        """Return file, line and key."""
        return self.document.location(*self.keys)

    def at(self, *keys: str | int) -> SchemaSource:
        """Return the location of a part."""
        return SchemaSource(document=self.document, keys=(*self.keys, *keys), named=self.named)


def to_json_schema(written: object, source: SchemaSource) -> Schema:
    """Convert Picoschema or JSON Schema to JSON Schema; optional fields also allow null, as in dotprompt."""
    if isinstance(written, dict):
        kind = written.get("type")
        if kind == "any":
            return {key: value for key, value in written.items() if key != "type"}
        if kind in TYPES or isinstance(kind, list) or any(key in written for key in _JSON_SCHEMA_KEYS):
            return written
        if isinstance(written.get("properties"), dict):
            return {"type": "object", **written}
        if isinstance(written.get("enum"), list):
            return written
    return _convert(written, source)


def _convert(written: object, source: SchemaSource) -> Schema:
    if isinstance(written, str):
        return _scalar(written, source)
    if not isinstance(written, dict):
        found = "nothing" if written is None else f"a {type(written).__name__}"
        hint = "write a type such as `string, what it is`, or a map of fields"
        raise PromptError(f"a schema is a type or a map of fields; found {found}", place=source.place(), hint=hint)
    schema: Schema = {"type": "object", "properties": {}, "additionalProperties": False}
    required: list[str] = []
    for key, value in written.items():
        inner = source.at(key)
        if key == _WILDCARD:
            schema["additionalProperties"] = _convert(value, inner)
            continue
        name, field, is_optional = _field(str(key), value, inner)
        schema["properties"][name] = field
        if not is_optional:
            required.append(name)
    return {**schema, "required": required} if required else schema


def _scalar(written: str, source: SchemaSource) -> Schema:
    """Convert `type, description`; the type may be a named schema."""
    kind, description = _split_description(written)
    extra = {"description": description} if description else {}
    if kind in SCALARS:
        return extra if kind == "any" else {"type": kind, **extra}
    if kind in source.named:
        return {**source.named[kind], **extra}
    expected = expected_one_of((*SCALARS, *source.named), found=kind)
    raise PromptError(f"no type `{kind}`", place=source.place(), hint=expected)


def _field(key: str, value: object, source: SchemaSource) -> tuple[str, Schema, bool]:
    head, has_shape, shape = key.partition("(")
    name = head.removesuffix("?")
    is_optional = name != head
    if not has_shape:
        field = dict(_convert(value, source))
    else:
        if not shape.endswith(")"):
            raise PromptError(f"`{key}` lacks its `)`", place=source.place(), hint="write `name(array, what it is)`")
        kind, description = _split_description(shape[:-1])
        field = _convert_container(kind, value, source)
        if description:
            field["description"] = description
    if is_optional:
        if isinstance(field.get("type"), str):
            field["type"] = [field["type"], "null"]
        if "enum" in field and None not in field["enum"]:
            field["enum"] = [*field["enum"], None]
    return name, field, is_optional


def _convert_container(kind: str, value: object, source: SchemaSource) -> Schema:
    if kind == "array":
        return {"type": "array", "items": _convert(value, source)}
    if kind == "object":
        return dict(_convert(value, source))
    if kind != "enum":
        hint = expected_one_of(_SHAPES, found=kind)
        raise PromptError(f"`({kind})` is not a kind of field", place=source.place(), hint=hint)
    if not isinstance(value, list) or not value:
        raise PromptError("an enum needs a list of values", place=source.place(), hint="write `[RED, GREEN]`")
    if any(isinstance(item, bool) for item in value):
        hint = "YAML reads yes, no, on and off as true and false: put them in quotes"
        raise PromptError("an enum holds true or false", place=source.place(), hint=hint)
    return {"enum": value}


def _split_description(written: str) -> tuple[str, str]:
    kind, _, description = written.partition(",")
    return kind.strip(), description.strip()
