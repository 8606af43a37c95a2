"""Check of a prompt's values against its input schema and its template.

Common keywords (types, required fields, enums, items) are checked here, because importing jsonschema takes longer than
a thousand renders; schemas with other keywords are left to jsonschema.

Source: JSON Schema 2020-12, core and validation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from flowai.errors import Place, PromptError, expected_one_of
from flowai.prompts.template.values import is_number

if TYPE_CHECKING:
    from flowai.prompts.schema.picoschema import Schema

_CHECKED_KEYWORDS = {"type", "enum", "properties", "required", "additionalProperties", "items"}
_ANNOTATIONS = {"title", "description", "default", "examples", "$schema", "$comment", "deprecated"}


_TYPE_CHECKS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: is_number(value) and float(value).is_integer(),
    "number": is_number,
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list | tuple),
}


@dataclass(frozen=True, kw_only=True)
class InputSchema:
    """Requirements of a prompt for its values."""

    file: str
    schema: Schema | None
    """None if only the template defines the variables."""
    schema_place: Place | None
    uses: Mapping[str, Place]
    """Variables in the template, each with the location of its first use."""
    uses_all: bool
    """Whether the template uses all values at once; then it accepts any name."""
    defaults: Mapping[str, Any]

    @cached_property
    def _properties(self) -> Mapping[str, Any]:
        properties = (self.schema or {}).get("properties", {})
        return properties if isinstance(properties, Mapping) else {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Variables of the template or the schema, sorted."""
        return tuple(sorted({*self.uses, *self._properties}))

    @cached_property
    def accepts_unknown(self) -> bool:
        """True if other names are accepted too."""
        return self.uses_all or (self.schema or {}).get("additionalProperties", False) is not False

    @cached_property
    def required(self) -> frozenset[str]:
        """Variables that need a value: they have no default."""
        return self._required - self.defaults.keys()

    @cached_property
    def _required(self) -> frozenset[str]:
        undeclared = self.uses.keys() - self._properties.keys()
        return frozenset({*(self.schema or {}).get("required", ()), *undeclared})

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset({*self.names, *self.defaults})

    @cached_property
    def _has_plain_schema(self) -> bool:
        return _is_plain(self.schema)

    def check_schema(self) -> None:
        """Refuse a schema that is not of an object, and a template that uses a variable the schema excludes."""
        if self.schema is None:
            return
        if self.schema.get("type", "object") != "object":
            hint = "write a map of variables, each with its type"
            raise PromptError("`input.schema` does not describe an object", place=self.schema_place, hint=hint)
        if self.schema.get("additionalProperties") is not False:
            return
        for name, place in self.uses.items():
            if name not in self._properties:
                hint = f"declare it under `input.schema`; {expected_one_of(self._properties, found=name)}"
                raise PromptError(f"the template uses `{name}`, which the schema does not have", place=place, hint=hint)

    def check(self, values: Mapping[str, Any]) -> None:
        """Refuse values, defaults included, that do not meet the requirements; errors name the line that uses them."""
        if not self._required <= values.keys():
            raise self._missing(sorted(self._required - values.keys()))
        if not self.accepts_unknown and not values.keys() <= self._known:
            raise self._unknown(sorted(map(str, values.keys() - self._known)))
        if self.schema is not None:
            problem = (
                _problem(self.schema, values, "")
                if self._has_plain_schema
                else _jsonschema_problem(self.schema, values)
            )
            if problem is not None:
                path, what = problem
                place = self._place(path.partition(".")[0].partition("[")[0])
                raise PromptError(
                    f"`{path}` {what}",
                    place=place,
                    hint="pass a value that `input.schema` allows, or change the schema",
                )

    def _place(self, name: str) -> Place:
        return self.uses.get(name) or self.schema_place or Place(file=self.file)

    def _missing(self, names: list[str]) -> PromptError:
        listed = ", ".join(f"`{name}`" for name in names)
        what = f"variable {listed} is missing" if len(names) == 1 else f"variables {listed} are missing"
        hint = f"pass a value, or declare it optional: `input: {{schema: {{{names[0]}?: string}}}}`"
        return PromptError(what, place=self._place(names[0]), hint=hint)

    def _unknown(self, names: list[str]) -> PromptError:
        listed = ", ".join(f"`{name}`" for name in names)
        what = f"variable {listed} is unknown" if len(names) == 1 else f"variables {listed} are unknown"
        hint = (
            f"use it in the template or declare it under `input.schema`; {expected_one_of(self._known, found=names[0])}"
        )
        return PromptError(what, place=self.schema_place or Place(file=self.file), hint=hint)


def _is_plain(schema: object) -> bool:
    """Return whether `_problem` below supports every keyword of a schema."""
    if isinstance(schema, bool):
        return True
    if not isinstance(schema, Mapping) or not schema.keys() <= _CHECKED_KEYWORDS | _ANNOTATIONS:
        return False
    inner = [
        *schema.get("properties", {}).values(),
        schema.get("items", True),
        schema.get("additionalProperties", True),
    ]
    return all(map(_is_plain, inner))


def _problem(schema: Any, value: object, path: str) -> tuple[str, str] | None:  # noqa: ANN401 - a schema is a map or a boolean
    """Return the path of the first wrong value, and what is wrong."""
    if isinstance(schema, bool):
        return None if schema else (path, "is not allowed here")
    kinds = schema.get("type")
    if kinds is not None:
        expected = [kinds] if isinstance(kinds, str) else kinds
        if not any(_TYPE_CHECKS[kind](value) for kind in expected):
            return path, f"is {_shown(value)}; expected {' or '.join(expected)}"
    if "enum" in schema and not any(_is_same(value, item) for item in schema["enum"]):
        return path, f"is {_shown(value)}; expected one of {', '.join(map(_shown, schema['enum']))}"
    if isinstance(value, Mapping):
        return _object_problem(schema, value, path)
    if isinstance(value, list | tuple) and "items" in schema:
        problems = (_problem(schema["items"], item, f"{path}[{index}]") for index, item in enumerate(value))
        return next(filter(None, problems), None)
    return None


def _object_problem(schema: Mapping[str, Any], value: Mapping[str, Any], path: str) -> tuple[str, str] | None:
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            return _joined(path, name), "is missing"
    others = schema.get("additionalProperties", True)
    problems = (_problem(properties.get(name, others), item, _joined(path, name)) for name, item in value.items())
    return next(filter(None, problems), None)


def _joined(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def _is_same(left: object, right: object) -> bool:
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def _shown(value: object) -> str:
    """Describe a value without printing all of it: it may be long, and it is the user's."""
    kinds = [kind for kind, test in _TYPE_CHECKS.items() if kind != "number" and test(value)]
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if isinstance(value, str) and len(value) <= 30:  # noqa: PLR2004 - a word or two
        return f'"{value}"'
    if is_number(value):
        return str(value)
    return f"a {kinds[0]}" if kinds else f"a Python `{type(value).__name__}`"


def _jsonschema_problem(schema: Schema, values: Mapping[str, Any]) -> tuple[str, str] | None:
    """Validate with jsonschema; an empty registry prevents it from fetching a `$ref`."""
    from jsonschema import Draft202012Validator, SchemaError  # slow import, only for other keywords
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        Draft202012Validator.check_schema(schema)
        error = next(Draft202012Validator(schema, registry=Registry()).iter_errors(dict(values)), None)
    except SchemaError as broken:
        return "input.schema", f"is not a valid JSON Schema: {broken.message}"
    except Unresolvable as broken:
        return "input.schema", f"cannot be used: {broken}"
    if error is None:
        return None
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)
    return path.lstrip(".") or "values", f"breaks the schema at `{error.validator}`"
