"""Picoschema, the short way to write a schema, to plain JSON Schema.

Must never see a value that is checked against it.

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
    """Where a schema stands."""

    document: Document
    """The front matter."""
    keys: tuple[str | int, ...]
    """The way to the schema in it."""
    named: Mapping[str, Schema]
    """Schemas that may be used by their name."""

    def place(self) -> Place:
        """Give file, line and key."""
        return self.document.location(*self.keys)

    def at(self, *keys: str | int) -> SchemaSource:
        """Step down."""
        return SchemaSource(document=self.document, keys=(*self.keys, *keys), named=self.named)


def to_json_schema(written: object, source: SchemaSource) -> Schema:
    """Turn Picoschema or JSON Schema into JSON Schema.

    Args:
        written: a type with an optional description, a map of fields, or JSON Schema.
        source: where it stands.

    Returns:
        JSON Schema; optional fields also allow null, as dotprompt has it.

    Raises:
        PromptError: an unknown type, or a shape that is neither.
    """
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
    return _pico(written, source)


def _pico(written: object, source: SchemaSource) -> Schema:
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
            schema["additionalProperties"] = _pico(value, inner)
            continue
        name, field, is_optional = _field(str(key), value, inner)
        schema["properties"][name] = field
        if not is_optional:
            required.append(name)
    return {**schema, "required": required} if required else schema


def _scalar(written: str, source: SchemaSource) -> Schema:
    """Read `type, description`, where the type may be a named schema."""
    kind, description = _described(written)
    extra = {"description": description} if description else {}
    if kind in SCALARS:
        return extra if kind == "any" else {"type": kind, **extra}
    if kind in source.named:
        return {**source.named[kind], **extra}
    expected = expected_one_of((*SCALARS, *source.named), found=kind)
    raise PromptError(f"no type `{kind}`", place=source.place(), hint=expected)


def _field(key: str, value: object, source: SchemaSource) -> tuple[str, Schema, bool]:
    """Read one field: its name, its schema, and whether it is optional."""
    head, has_shape, shape = key.partition("(")
    name = head.removesuffix("?")
    is_optional = name != head
    if not has_shape:
        field = dict(_pico(value, source))
    else:
        if not shape.endswith(")"):
            raise PromptError(f"`{key}` lacks its `)`", place=source.place(), hint="write `name(array, what it is)`")
        kind, description = _described(shape[:-1])
        field = _shaped(kind, value, source)
        if description:
            field["description"] = description
    if is_optional:
        if isinstance(field.get("type"), str):
            field["type"] = [field["type"], "null"]
        if "enum" in field and None not in field["enum"]:
            field["enum"] = [*field["enum"], None]
    return name, field, is_optional


def _shaped(kind: str, value: object, source: SchemaSource) -> Schema:
    """Read what `name(array)`, `name(object)` or `name(enum)` holds."""
    if kind == "array":
        return {"type": "array", "items": _pico(value, source)}
    if kind == "object":
        return dict(_pico(value, source))
    if kind != "enum":
        hint = expected_one_of(_SHAPES, found=kind)
        raise PromptError(f"`({kind})` is no kind of field", place=source.place(), hint=hint)
    if not isinstance(value, list) or not value:
        raise PromptError("an enum needs a list of values", place=source.place(), hint="write `[RED, GREEN]`")
    if any(isinstance(item, bool) for item in value):
        hint = "YAML reads yes, no, on and off as true and false: put them in quotes"
        raise PromptError("an enum holds true or false", place=source.place(), hint=hint)
    return {"enum": value}


def _described(written: str) -> tuple[str, str]:
    """Split `type, description` at its first comma."""
    kind, _, description = written.partition(",")
    return kind.strip(), description.strip()
