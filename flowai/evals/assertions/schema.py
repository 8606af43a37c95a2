"""JSON Schemas of suites: each is compiled once and applied to models' answers."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

from flowai.errors import ProjectError
from flowai.evals.assertions.records import printable, quoted, suite_error
from flowai.evals.assertions.safe_regex import compile_pattern
from flowai.evals.assertions.schema_formats import build_format_checker
from flowai.evals.assertions.schema_keywords import Patterns
from flowai.storage.files import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jsonschema.exceptions import ValidationError

    from flowai.evals.suites.records import Assertion

MAX_ERRORS = 1_000
"""Errors of one answer that are compared to name the most telling one."""

_MAX_REASON_CHARS = 160


class Schemas:
    """The JSON Schemas of one run; each is compiled once, however many cases have it."""

    def __init__(self) -> None:
        self._checkers: dict[str, Callable[[object], str | None]] = {}

    def checker(self, assertion: Assertion) -> Callable[[object], str | None]:
        """Return a function that describes what is wrong with a value, or returns None; so for all without a schema.

        The value of the assertion is the schema: a mapping, true or false, or a text with JSON or YAML. The function
        raises TimeoutError if a pattern of the schema takes too long.
        """
        schema = assertion.value
        if isinstance(schema, str):
            try:
                schema = parse_yaml(schema, name=assertion.place).value
            except ProjectError as error:
                raise suite_error(assertion, f"has an invalid schema: {error.what}") from None
        if schema is None:
            return lambda _: None
        if not isinstance(schema, dict | bool):
            raise suite_error(assertion, f"found {quoted(schema)}; expected a JSON Schema")
        key = json.dumps(schema, sort_keys=True)
        if key not in self._checkers:
            self._checkers[key] = _compile(schema, assertion)
        return self._checkers[key]


def _compile(schema: dict[str, Any] | bool, assertion: Assertion) -> Callable[[object], str | None]:  # noqa: FBT001 - true and false are schemas
    from jsonschema import validators  # 150 ms; few suites have a schema
    from jsonschema.exceptions import best_match
    from referencing import Registry

    dialect = _dialect(schema, assertion)
    _check_references(schema, assertion)
    patterns = Patterns(_compile_patterns(schema, assertion))
    extend: Any = validators.extend  # ships no types
    # the library's default registry fetches an unknown `$ref` over the network
    build: Any = extend(dialect, patterns.keywords())
    validator: Any = build(schema, registry=Registry(), format_checker=build_format_checker())

    def check(value: object) -> str | None:
        try:
            error = best_match(itertools.islice(validator.iter_errors(value), MAX_ERRORS))
        except RecursionError:
            return "nested too deeply for its schema"
        except OverflowError:
            return "has a number that is too large for its schema"
        return None if error is None else _reason(error)

    return check


def _dialect(schema: dict[str, Any] | bool, assertion: Assertion) -> Any:  # noqa: ANN401, FBT001 - the library ships no types; true and false are schemas
    """Return the validator class that `$schema` names; without one, 2020-12 together with draft 7's tuples.

    Ajv reads a schema without `$schema` as draft 7, yet applies what stands beside a `$ref`.
    """
    from jsonschema import Draft6Validator, Draft7Validator, Draft202012Validator, FormatChecker, validators
    from jsonschema.exceptions import SchemaError

    choose: Any = validators.validator_for  # its default may be None, its types do not say so
    named: Any = choose(schema, default=None)
    candidates: list[Any] = [named] if named else [Draft202012Validator, Draft7Validator]
    problem: SchemaError | None = None
    for candidate in candidates:
        try:
            candidate.check_schema(schema, format_checker=FormatChecker(formats=()))  # patterns are JavaScript's
        except SchemaError as error:
            problem = problem or error
        else:
            break
    else:
        if problem is None:
            raise AssertionError("a dialect was tried")
        where = f"{problem.json_path}: " if problem.json_path != "$" else ""
        raise suite_error(assertion, f"has a wrong JSON Schema: {where}{_clipped(problem.message)}")
    if named not in {None, Draft6Validator, Draft7Validator}:
        return named
    extend: Any = validators.extend
    draft7: Any = Draft7Validator.VALIDATORS
    current: Any = Draft202012Validator.VALIDATORS

    def items(validator: Any, value: Any, instance: Any, schema: Any) -> Any:  # noqa: ANN401 - as the library calls it
        return (draft7 if isinstance(value, list) else current)["items"](validator, value, instance, schema)

    legacy = {name: draft7[name] for name in ("dependencies", "additionalItems")}
    return extend(Draft202012Validator, {"items": items, **legacy})


def _iterate_mappings(schema: object) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
    values = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    for part in values:
        yield from _iterate_mappings(part)


def _check_references(schema: object, assertion: Assertion) -> None:
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    root: Any = schema
    resolver = Registry[Any]().resolver_with_root(DRAFT202012.create_resource(root))
    for mapping in _iterate_mappings(schema):
        target = mapping.get("$ref")
        if not isinstance(target, str):
            continue
        if not target.startswith("#"):
            raise suite_error(
                assertion,
                f"has a `$ref` outside its schema: {quoted(target)}",
                hint="flowai fetches no schemas: copy that schema to `$defs` and write `#/$defs/NAME`",
            )
        try:
            resolver.lookup(target)
        except Unresolvable:
            raise suite_error(assertion, f"has an unresolvable `$ref`: {quoted(target)}") from None


def _compile_patterns(schema: object, assertion: Assertion) -> dict[str, Callable[[str], bool]]:
    compiled: dict[str, Callable[[str], bool]] = {}
    for mapping in _iterate_mappings(schema):
        names = mapping.get("patternProperties")
        for pattern in (mapping.get("pattern"), *(names if isinstance(names, dict) else ())):
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
    expected: Any
    found: Any
    keyword, expected, found = error.validator, error.validator_value, error.instance
    message = printable(_clipped(error.message))
    if keyword == "type":
        message = (
            f"is {quoted(found)}, expected {' or '.join([expected] if isinstance(expected, str) else list(expected))}"
        )
    elif keyword == "required":
        message = f"lacks {', '.join(quoted(name) for name in expected if name not in found)}"
    elif keyword == "enum":
        message = f"is {quoted(found)}, expected one of {quoted(expected)}"
    elif keyword == "const":
        message = f"is {quoted(found)}, expected {quoted(expected)}"
    elif keyword in _BOUNDS:
        message = f"is {quoted(found)}, expected {keyword} {quoted(expected)}"
    elif keyword in _LENGTHS:
        message = f"has length {len(found)}, expected {keyword} {expected}"
    return f"{printable(_clipped(error.json_path))} {message}"


def _clipped(text: str) -> str:
    return text if len(text) <= _MAX_REASON_CHARS else f"{text[: _MAX_REASON_CHARS - 3]}..."
