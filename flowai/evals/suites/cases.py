"""Builds the cases of one test: defaults merged, lists expanded, variables substituted in assertions.

Source of the keys and their meaning: promptfoo, "Reference", sections "Test Case" and "Assertion"
(promptfoo.dev/docs/configuration/reference); docs/reference/suites.md lists the differences.
"""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.evals.suites.assertion_types import ASSERT_SET
from flowai.evals.suites.records import Assertion, Case
from flowai.evals.suites.substitution import has_reference, substitute
from flowai.evals.suites.yaml_reader import (
    FILE_PREFIX,
    check_keys,
    describe,
    expect_json_value,
    expect_list,
    expect_mapping,
    expect_number,
    expect_text,
    read_reference,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.evals.suites.yaml_reader import YamlNode

MAX_COMBINATIONS = 10_000
"""Limit of cases that one test may expand to; more is taken for a mistake."""

MAX_ID_CHARS = 120
MAX_WEIGHT = 1e6

TEST_KEYS = frozenset({"id", "description", "vars", "assert", "threshold", "metadata", "options"})
_DEFAULT_KEYS = TEST_KEYS - {"id", "description"}
_ASSERTION_KEYS = frozenset({"type", "value", "threshold", "weight", "metric"})
_SET_KEYS = frozenset({"type", "assert", "threshold", "weight", "metric"})
_OPTION_KEYS = frozenset({"disableVarExpansion", "disableDefaultAsserts"})

_NO_CODE = "flowai executes no code from suites"
_NO_GRADING = "assertions graded by a model are not supported yet"
_UNSUPPORTED_IN_TESTS = {
    **dict.fromkeys(("provider", "providers"), "models are chosen for the whole suite, under `providers`"),
    "prompts": "prompts are chosen for the whole suite, under `prompts`; use two suites",
    "providerOutput": "record the answers and replay them instead",
    "assertScoringFunction": _NO_CODE,
}
_UNSUPPORTED_IN_OPTIONS = {
    **dict.fromkeys(("transform", "transformVars", "postprocess"), _NO_CODE),
    **dict.fromkeys(("prefix", "suffix"), "write it into the prompt"),
    **dict.fromkeys(("provider", "rubricPrompt"), _NO_GRADING),
    "runSerially": "use `--max-concurrency 1`",
    "storeOutputAs": "cases are independent of each other",
}
_UNSUPPORTED_IN_ASSERTIONS = {
    **dict.fromkeys(("provider", "rubricPrompt"), _NO_GRADING),
    **dict.fromkeys(("transform", "contextTransform", "config"), _NO_CODE),
    "normalizeUnicode": "texts are compared unchanged",
    "metricOnly": "use `weight: 0`",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class AssertionTemplate:
    """An assertion before its variables are substituted."""

    assertion: Assertion
    node: YamlNode
    has_variables: bool

    def for_case(self, variables: dict[str, Any], case: str) -> Assertion:
        """Return the assertion with the case's variables."""
        return _substitute(self.assertion, variables, self.node, case) if self.has_variables else self.assertion


@dataclass(frozen=True, kw_only=True, slots=True)
class Defaults:
    """The settings in `defaultTest`, for every case."""

    vars: dict[str, Any] = field(default_factory=dict)
    """A test's own variables override them."""
    assertions: tuple[AssertionTemplate, ...] = ()
    """Checked before a test's own."""
    threshold: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    expands: bool = True
    """Whether lists in `vars` expand to cases."""


def read_defaults(value: object, node: YamlNode) -> Defaults:
    """Read `defaultTest`."""
    test = expect_mapping(value, node)
    unsupported = _UNSUPPORTED_IN_TESTS | dict.fromkeys(("id", "description"), "it belongs to a single test")
    check_keys(test, _DEFAULT_KEYS, node, unsupported=unsupported)
    options = _options(test, node)
    return Defaults(
        vars=_variables(test, node),
        assertions=_assertions(test, node),
        threshold=_threshold(test, node),
        metadata=_metadata(test, node),
        expands=not options.get("disableVarExpansion", False),
    )


def read_cases(value: object, node: YamlNode, defaults: Defaults, *, name: str) -> Iterator[Case]:
    """Build the cases of one test; `name` is its id if it has no id of its own.

    Lists in variables expand to every combination, the last variable changing fastest, ids counted from 1 (`colors-1`).
    """
    test = expect_mapping(value, node)
    check_keys(test, TEST_KEYS, node, unsupported=_UNSUPPORTED_IN_TESTS)
    options = _options(test, node)
    metadata = defaults.metadata | _metadata(test, node)
    description = expect_text(test["description"], node.at("description")) if "description" in test else None
    case_id = _identity(test, metadata, description, node) or name
    assertions = _assertions(test, node)
    if not options.get("disableDefaultAsserts", False):
        assertions = defaults.assertions + assertions
    threshold = _threshold(test, node)
    variables = defaults.vars | _variables(test, node)
    expands = defaults.expands and not options.get("disableVarExpansion", False)
    combinations = _combinations(variables, node) if expands else [variables]
    for number, combination in enumerate(combinations, start=1):
        yield Case(
            id=case_id if len(combinations) == 1 else f"{case_id}-{number}",
            description=description,
            vars=combination,
            assertions=tuple([template.for_case(combination, node.location) for template in assertions]),
            threshold=defaults.threshold if threshold is None else threshold,
            place=node.location,
            metadata=metadata,
        )


def _options(test: dict[str, Any], node: YamlNode) -> dict[str, bool]:
    if "options" not in test:
        return {}
    child = node.at("options")
    options = expect_mapping(test["options"], child)
    check_keys(options, _OPTION_KEYS, child, unsupported=_UNSUPPORTED_IN_OPTIONS)
    for key, value in options.items():
        if not isinstance(value, bool):
            raise child.at(key).error(f"found {describe(value)}; expected true or false")
    return options


def _threshold(test: dict[str, Any], node: YamlNode) -> float | None:
    if test.get("threshold") is None:
        return None
    return expect_number(test["threshold"], node.at("threshold"), max_value=1)


def _metadata(test: dict[str, Any], node: YamlNode) -> dict[str, Any]:
    if test.get("metadata") is None:
        return {}
    child = node.at("metadata")
    metadata = expect_mapping(test["metadata"], child)
    if not child.file.is_table:
        expect_json_value(metadata, child)
    return metadata


def _identity(test: dict[str, Any], metadata: dict[str, Any], description: str | None, node: YamlNode) -> str | None:
    """Return a test's own id: `id`, else `metadata.id`, else the slug of its description."""
    given = test.get("id", metadata.get("id"))
    if given is None:
        return _slug(description) if description else None
    id_node = node.at("id") if "id" in test else node.at("metadata", "id")
    if isinstance(given, bool) or not isinstance(given, str | int) or not str(given).strip():
        raise id_node.error(f"found {describe(given)}; expected an id", hint="a short text, such as `negation-07`")
    text = str(given).strip()
    if len(text) > MAX_ID_CHARS or "::" in text or not text.isprintable():
        raise id_node.error(
            f"{describe(text)} is not a valid id", hint=f"printable, without `::`, at most {MAX_ID_CHARS} characters"
        )
    return text


def _slug(description: str) -> str | None:
    """Build an id from a description: letters and digits of any script, in lower case, joined by `-`."""
    text = unicodedata.normalize("NFC", description).lower()
    return re.sub(r"[\W_]+", "-", text)[:60].strip("-") or None


def _variables(test: dict[str, Any], node: YamlNode) -> dict[str, Any]:
    if test.get("vars") is None:
        return {}
    child, value = node.at("vars"), test["vars"]
    if isinstance(value, str) and not child.file.is_table:
        value = read_reference(value, child)
    variables = expect_mapping(value, child)
    if child.file.is_table:
        return variables
    expect_json_value(variables, child)
    return {name: _variable(part, child, name) for name, part in variables.items()}


def _variable(value: Any, node: YamlNode, name: str) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str) and value.startswith(FILE_PREFIX):
        return read_reference(value, node.at(name))
    if isinstance(value, list) and any(isinstance(part, str) and part.startswith(FILE_PREFIX) for part in value):
        return [
            read_reference(part, node.at(name, index))
            if isinstance(part, str) and part.startswith(FILE_PREFIX)
            else part
            for index, part in enumerate(value)
        ]
    return value


def _combinations(variables: dict[str, Any], node: YamlNode) -> list[dict[str, Any]]:
    lists = {name: value for name, value in variables.items() if isinstance(value, list)}
    if not lists:
        return [variables]
    count = math.prod(len(values) for values in lists.values())
    if count == 0:
        empty = next(name for name, values in lists.items() if not values)
        raise node.at("vars", empty).error(
            "an empty list expands to no case",
            hint="set `options: {disableVarExpansion: true}` if the prompt expects a list",
        )
    if count > MAX_COMBINATIONS:
        raise node.at("vars").error(
            f"the lists expand to {count:,} cases; at most {MAX_COMBINATIONS:,} are allowed",
            hint="set `options: {disableVarExpansion: true}` if the prompt expects a list",
        )
    return [variables | dict(zip(lists, chosen, strict=True)) for chosen in itertools.product(*lists.values())]


def _assertions(test: dict[str, Any], node: YamlNode) -> tuple[AssertionTemplate, ...]:
    if test.get("assert") is None:
        return ()
    child = node.at("assert")
    templates = []
    for index, value in enumerate(expect_list(test["assert"], child)):
        assertion_node = child.at(index)
        assertion = _assertion(value, assertion_node)
        templates.append(
            AssertionTemplate(assertion=assertion, node=assertion_node, has_variables=_has_variables(assertion))
        )
    return tuple(templates)


def _assertion(value: object, node: YamlNode) -> Assertion:
    fields = expect_mapping(value, node)
    if "type" not in fields:
        raise node.error("an assertion without `type`", hint="such as `{type: contains, value: Paris}`")
    spelling = expect_text(fields["type"], node.at("type"))
    name = spelling.removeprefix("not-")
    is_set = name == ASSERT_SET
    unsupported = _UNSUPPORTED_IN_ASSERTIONS | ({} if is_set else {"assert": f"only `{ASSERT_SET}` has `assert`"})
    check_keys(fields, _SET_KEYS if is_set else _ASSERTION_KEYS, node, unsupported=unsupported)
    metric = fields.get("metric")
    return Assertion(
        type=name,
        negated=spelling != name,
        value=_value(fields.get("value"), name, node),
        threshold=None if fields.get("threshold") is None else expect_number(fields["threshold"], node.at("threshold")),
        weight=1.0
        if fields.get("weight") is None
        else expect_number(fields["weight"], node.at("weight"), max_value=MAX_WEIGHT),
        metric=None if metric is None else expect_text(metric, node.at("metric")),
        place=node.location,
        children=_children(fields, node) if is_set else (),
    )


def _children(fields: dict[str, Any], node: YamlNode) -> tuple[Assertion, ...]:
    child = node.at("assert")
    values = expect_list(fields.get("assert"), child)
    if not values:
        raise child.error("an empty set checks nothing")
    return tuple(_assertion(value, child.at(index)) for index, value in enumerate(values))


def _value(value: Any, name: str, node: YamlNode) -> Any:  # noqa: ANN401 - any JSON value
    """Read the file that an assertion's value names; in a table only a JSON Schema's, because texts are data there."""
    if isinstance(value, str) and value.startswith(FILE_PREFIX):
        if not node.file.is_table or name in {"is-json", "contains-json"}:
            return read_reference(value, node.at("value"))
    elif value is not None and not isinstance(value, str) and not node.file.is_table:
        expect_json_value(value, node.at("value"))
    return value


def _has_variables(assertion: Assertion) -> bool:
    return (
        has_reference(assertion.value)
        or has_reference(assertion.metric)
        or any(_has_variables(child) for child in assertion.children)
    )


def _substitute(assertion: Assertion, variables: dict[str, Any], node: YamlNode, case: str) -> Assertion:
    metric = substitute(assertion.metric, variables, node, case=case)
    return msgspec.structs.replace(
        assertion,
        value=substitute(assertion.value, variables, node, case=case),
        metric=None if metric is None else str(metric),
        children=tuple(_substitute(child, variables, node, case) for child in assertion.children),
    )
