"""JSON Schemas from suites, compiled once and applied to values from models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flowai.errors import ProjectError
from flowai.evals.assertions.records import printable, quoted, suite_error
from flowai.evals.assertions.safe_regex import compile_pattern
from flowai.evals.assertions.schema_keywords import Patterns
from flowai.storage.files import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jsonschema.exceptions import ValidationError

    from flowai.evals.suites.records import Assertion

_REASON_CHARS = 160


class Schemas:
    """The schemas of one run, each compiled once however many cases name it."""

    def __init__(self) -> None:
        self._checkers: dict[str, Callable[[object], str | None]] = {}

    def checker(self, assertion: Assertion) -> Callable[[object], str | None] | None:
        """Give the check of an assertion's schema.

        Args:
            assertion: its value is the schema: a mapping, true or false, or a text that holds one as JSON or YAML.

        Returns:
            A function that says what is wrong with a value, or None when nothing is; it raises TimeoutError when a
            pattern of the schema takes too long. None when the assertion gives no schema.

        Raises:
            SuiteError: not a JSON Schema, a wrong pattern, or a `$ref` that leads nowhere or out of the schema.
        """
        schema = assertion.value
        if isinstance(schema, str):
            schema = _parsed(schema, assertion)
        if schema is None:
            return None
        if not isinstance(schema, dict | bool):
            raise suite_error(assertion, f"found {quoted(schema)}; expected a JSON Schema")
        key = json.dumps(schema, sort_keys=True)
        if key not in self._checkers:
            self._checkers[key] = _compile(schema, assertion)
        return self._checkers[key]


def _parsed(text: str, assertion: Assertion) -> object:
    try:
        return parse_yaml(text, name=assertion.place).value
    except ProjectError as error:
        raise suite_error(assertion, f"has a schema that is {error.what}") from None


def _compile(schema: dict[str, Any] | bool, assertion: Assertion) -> Callable[[object], str | None]:  # noqa: FBT001 - true and false are schemas
    from jsonschema import Draft202012Validator, validators  # 150 ms; few suites give a schema
    from jsonschema.exceptions import SchemaError, best_match
    from referencing import Registry

    dialect: Any = validators.validator_for(schema, default=Draft202012Validator)
    try:
        dialect.check_schema(schema)
    except SchemaError as error:
        where = f"{error.json_path}: " if error.json_path != "$" else ""
        raise suite_error(assertion, f"has a wrong JSON Schema: {where}{_clipped(error.message)}") from None
    _check_references(schema, assertion)
    patterns = Patterns(_patterns(schema, assertion))
    extend: Any = validators.extend  # ships no types
    # the library's default registry asks the network for a `$ref` it does not know
    validator: Any = extend(dialect, patterns.keywords())(schema, registry=Registry())

    def check(value: object) -> str | None:
        try:
            error = best_match(validator.iter_errors(value))
        except RecursionError:
            return "nested too deeply for its schema"
        return None if error is None else _reason(error)

    return check


def _parts(schema: object) -> Iterator[dict[str, Any]]:
    """Give every mapping inside a schema."""
    if isinstance(schema, dict):
        yield schema
    parts = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    for part in parts:
        yield from _parts(part)


def _check_references(schema: object, assertion: Assertion) -> None:
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    root: Any = schema
    resolver = Registry[Any]().resolver_with_root(DRAFT202012.create_resource(root))
    for part in _parts(schema):
        target = part.get("$ref")
        if not isinstance(target, str):
            continue
        if not target.startswith("#"):
            raise suite_error(
                assertion,
                f"has a `$ref` out of its schema: {quoted(target)}",
                hint="flowai fetches no schemas; copy the part under `$defs` and write `#/$defs/NAME`",
            )
        try:
            resolver.lookup(target)
        except Unresolvable:
            raise suite_error(assertion, f"has a `$ref` that leads nowhere: {quoted(target)}") from None


def _patterns(schema: object, assertion: Assertion) -> dict[str, Callable[[str], bool]]:
    """Compile every pattern of a schema."""
    compiled: dict[str, Callable[[str], bool]] = {}
    for part in _parts(schema):
        names = part.get("patternProperties")
        for pattern in (part.get("pattern"), *(names if isinstance(names, dict) else ())):
            if isinstance(pattern, str):
                try:
                    compiled[pattern] = compile_pattern(pattern)
                except ValueError as error:
                    raise suite_error(
                        assertion, f"has a wrong pattern {quoted(pattern)} in its schema: {error}"
                    ) from None
    return compiled


_LENGTHS = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"})
_BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})


def _reason(error: ValidationError) -> str:
    """Say what is wrong in one short line, the path first."""
    wanted: Any
    found: Any
    keyword, wanted, found = error.validator, error.validator_value, error.instance
    says = printable(_clipped(error.message))
    if keyword == "type":
        says = f"is {quoted(found)}, expected {' or '.join([wanted] if isinstance(wanted, str) else list(wanted))}"
    elif keyword == "required":
        says = f"lacks {', '.join(quoted(name) for name in wanted if name not in found)}"
    elif keyword == "enum":
        says = f"is {quoted(found)}, expected one of {quoted(wanted)}"
    elif keyword == "const":
        says = f"is {quoted(found)}, expected {quoted(wanted)}"
    elif keyword in _BOUNDS:
        says = f"is {quoted(found)}, expected {keyword} {quoted(wanted)}"
    elif keyword in _LENGTHS:
        says = f"has length {len(found)}, expected {keyword} {wanted}"
    return f"{printable(_clipped(error.json_path))} {says}"


def _clipped(text: str) -> str:
    return text if len(text) <= _REASON_CHARS else f"{text[: _REASON_CHARS - 3]}..."
