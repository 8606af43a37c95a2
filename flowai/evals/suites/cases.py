"""Turns a test as people write it into cases: defaults merged, lists spread out, variables filled into assertions.

Source of the keys and their meaning: promptfoo, "Reference", sections "Test Case" and "Assertion"
(promptfoo.dev/docs/configuration/reference); where flowai differs, docs/reference/suites.md says so.
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
from flowai.evals.suites.substitution import fill, has_reference
from flowai.evals.suites.yaml_reader import (
    FILE_MARK,
    check_keys,
    expect_list,
    expect_mapping,
    expect_text,
    follow,
    shown,
    want_number,
    want_plain,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.evals.suites.yaml_reader import YamlNode

MAX_COMBINATIONS = 10_000
"""How many cases one test may spread into; more is a mistake rather than a wish."""

MAX_ID_CHARS = 120
MAX_WEIGHT = 1e6

TEST_KEYS = frozenset({"id", "description", "vars", "assert", "threshold", "metadata", "options"})
_DEFAULT_KEYS = TEST_KEYS - {"id", "description"}
_ASSERTION_KEYS = frozenset({"type", "value", "threshold", "weight", "metric"})
_SET_KEYS = frozenset({"type", "assert", "threshold", "weight", "metric"})
_OPTION_KEYS = frozenset({"disableVarExpansion", "disableDefaultAsserts"})

_NO_CODE = "flowai runs no code from suites"
_MODELS_BELONG_TO_SUITE = "models are chosen for the whole suite, under `providers`"
_UNSUPPORTED_IN_TESTS = {
    "provider": _MODELS_BELONG_TO_SUITE,
    "providers": _MODELS_BELONG_TO_SUITE,
    "prompts": "prompts are chosen for the whole suite, under `prompts`; split the suite in two",
    "providerOutput": "record the answers and replay them instead",
    "assertScoringFunction": _NO_CODE,
}
_UNSUPPORTED_IN_OPTIONS = {
    "transform": _NO_CODE,
    "transformVars": _NO_CODE,
    "postprocess": _NO_CODE,
    "prefix": "write it into the prompt",
    "suffix": "write it into the prompt",
    "provider": "assertions graded by a model are not supported yet",
    "rubricPrompt": "assertions graded by a model are not supported yet",
    "runSerially": "use `--max-concurrency 1`",
    "storeOutputAs": "cases are independent of each other",
}
_UNSUPPORTED_IN_ASSERTIONS = {
    "provider": "assertions graded by a model are not supported yet",
    "rubricPrompt": "assertions graded by a model are not supported yet",
    "transform": _NO_CODE,
    "contextTransform": _NO_CODE,
    "config": _NO_CODE,
    "normalizeUnicode": "texts are compared as they are",
    "metricOnly": "use `weight: 0`",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class AssertionTemplate:
    """An assertion whose variables are not filled in yet."""

    assertion: Assertion
    """As it stands in the file."""
    spot: YamlNode
    """Where it stands."""
    varies: bool
    """Whether it names a variable, so that each case needs its own."""

    def for_case(self, variables: dict[str, Any], case: str) -> Assertion:
        """Fill the case's variables in.

        Raises:
            SuiteError: it names an unknown variable.
        """
        return _filled(self.assertion, variables, self.spot, case) if self.varies else self.assertion


@dataclass(frozen=True, kw_only=True, slots=True)
class Defaults:
    """What `defaultTest` gives to every case."""

    vars: dict[str, Any] = field(default_factory=dict)
    """Variables; a test's own come before them."""
    assertions: tuple[AssertionTemplate, ...] = ()
    """Checks; a test's own come after them."""
    threshold: float | None = None
    """As in a case."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """As in a case."""
    expands: bool = True
    """Whether lists in `vars` spread into cases."""


def read_defaults(value: object, spot: YamlNode) -> Defaults:
    """Read `defaultTest`.

    Raises:
        ProjectError: a key is unknown or not supported, or a value is wrong.
    """
    test = expect_mapping(value, spot)
    unsupported = _UNSUPPORTED_IN_TESTS | dict.fromkeys(("id", "description"), "it belongs to a single test")
    check_keys(test, _DEFAULT_KEYS, spot, unsupported=unsupported)
    options = _options(test, spot)
    return Defaults(
        vars=_variables(test, spot),
        assertions=_assertions(test, spot),
        threshold=_threshold(test, spot),
        metadata=_metadata(test, spot),
        expands=not options.get("disableVarExpansion", False),
    )


def read_cases(value: object, spot: YamlNode, defaults: Defaults, *, name: str) -> Iterator[Case]:
    """Read one test.

    Args:
        value: the test.
        spot: where it stands.
        defaults: what `defaultTest` gives.
        name: its id if it has none of its own.

    Yields:
        One case; several where a variable is a list (every combination, the last variable changing fastest), their ids
        counted from 1 (`colors-1`).

    Raises:
        ProjectError: a key is unknown or not supported, or a value is wrong.
    """
    test = expect_mapping(value, spot)
    check_keys(test, TEST_KEYS, spot, unsupported=_UNSUPPORTED_IN_TESTS)
    options = _options(test, spot)
    metadata = defaults.metadata | _metadata(test, spot)
    description = expect_text(test["description"], spot.at("description")) if "description" in test else None
    case_id = _identity(test, metadata, description, spot) or name
    assertions = _assertions(test, spot)
    if not options.get("disableDefaultAsserts", False):
        assertions = defaults.assertions + assertions
    threshold = _threshold(test, spot)
    variables = defaults.vars | _variables(test, spot)
    expands = defaults.expands and not options.get("disableVarExpansion", False)
    spread = _combinations(variables, spot) if expands else [variables]
    for number, combination in enumerate(spread, start=1):
        yield Case(
            id=case_id if len(spread) == 1 else f"{case_id}-{number}",
            description=description,
            vars=combination,
            assertions=tuple([drafted.for_case(combination, spot.mark) for drafted in assertions]),
            threshold=defaults.threshold if threshold is None else threshold,
            place=spot.mark,
            metadata=metadata,
        )


def _options(test: dict[str, Any], spot: YamlNode) -> dict[str, bool]:
    if "options" not in test:
        return {}
    here = spot.at("options")
    options = expect_mapping(test["options"], here)
    check_keys(options, _OPTION_KEYS, here, unsupported=_UNSUPPORTED_IN_OPTIONS)
    for key, value in options.items():
        if not isinstance(value, bool):
            raise here.at(key).error(f"found {shown(value)}; expected true or false")
    return options


def _threshold(test: dict[str, Any], spot: YamlNode) -> float | None:
    if test.get("threshold") is None:
        return None
    return want_number(test["threshold"], spot.at("threshold"), most=1)


def _metadata(test: dict[str, Any], spot: YamlNode) -> dict[str, Any]:
    if test.get("metadata") is None:
        return {}
    here = spot.at("metadata")
    metadata = expect_mapping(test["metadata"], here)
    if not here.origin.is_table:
        want_plain(metadata, here)
    return metadata


def _identity(test: dict[str, Any], metadata: dict[str, Any], description: str | None, spot: YamlNode) -> str | None:
    """Find a test's own id: `id`, else `metadata.id`, else the slug of its description."""
    given = test.get("id", metadata.get("id"))
    if given is None:
        return _slug(description) if description else None
    where = spot.at("id") if "id" in test else spot.at("metadata", "id")
    if isinstance(given, bool) or not isinstance(given, str | int) or not str(given).strip():
        raise where.error(f"found {shown(given)}; expected an id", hint="a short text, such as `negation-07`")
    text = str(given).strip()
    if len(text) > MAX_ID_CHARS or "::" in text or not text.isprintable():
        raise where.error(
            f"{shown(text)} cannot be an id",
            hint=f"printable, without `::`, at most {MAX_ID_CHARS} characters",
        )
    return text


def _slug(description: str) -> str | None:
    """Make an id of a description: letters and digits of any script, in lower case, joined by `-`."""
    text = unicodedata.normalize("NFC", description).lower()
    return re.sub(r"[\W_]+", "-", text)[:60].strip("-") or None


def _variables(test: dict[str, Any], spot: YamlNode) -> dict[str, Any]:
    if test.get("vars") is None:
        return {}
    here, value = spot.at("vars"), test["vars"]
    if isinstance(value, str) and not here.origin.is_table:
        value = follow(value, here)
    variables = expect_mapping(value, here)
    if here.origin.is_table:
        return variables
    want_plain(variables, here)
    return {name: _variable(part, here, name) for name, part in variables.items()}


def _variable(value: Any, spot: YamlNode, name: str) -> Any:  # noqa: ANN401 - any JSON value
    """Read the files that a variable, or an element of its list, names."""
    if isinstance(value, str) and value.startswith(FILE_MARK):
        return follow(value, spot.at(name))
    if isinstance(value, list) and any(isinstance(part, str) and part.startswith(FILE_MARK) for part in value):
        return [
            follow(part, spot.at(name, index)) if isinstance(part, str) and part.startswith(FILE_MARK) else part
            for index, part in enumerate(value)
        ]
    return value


def _combinations(variables: dict[str, Any], spot: YamlNode) -> list[dict[str, Any]]:
    """Spread lists out: one mapping per combination of their elements."""
    lists = {name: value for name, value in variables.items() if isinstance(value, list)}
    if not lists:
        return [variables]
    count = math.prod(len(values) for values in lists.values())
    if count == 0:
        empty = next(name for name, values in lists.items() if not values)
        raise spot.at("vars", empty).error(
            "an empty list gives no case at all",
            hint="set `options: {disableVarExpansion: true}` if the prompt takes a list",
        )
    if count > MAX_COMBINATIONS:
        raise spot.at("vars").error(
            f"the lists combine to {count:,} cases; at most {MAX_COMBINATIONS:,} are allowed",
            hint="set `options: {disableVarExpansion: true}` if the prompt takes a list",
        )
    return [variables | dict(zip(lists, chosen, strict=True)) for chosen in itertools.product(*lists.values())]


def _assertions(test: dict[str, Any], spot: YamlNode) -> tuple[AssertionTemplate, ...]:
    if test.get("assert") is None:
        return ()
    here = spot.at("assert")
    drafted = []
    for index, value in enumerate(expect_list(test["assert"], here)):
        place = here.at(index)
        assertion = _assertion(value, place)
        drafted.append(AssertionTemplate(assertion=assertion, spot=place, varies=_is_nondeterministic(assertion)))
    return tuple(drafted)


def _assertion(value: object, spot: YamlNode) -> Assertion:
    found = expect_mapping(value, spot)
    if "type" not in found:
        raise spot.error("an assertion without `type`", hint="such as `{type: contains, value: Paris}`")
    spelling = expect_text(found["type"], spot.at("type"))
    name = spelling.removeprefix("not-")
    is_set = name == ASSERT_SET
    unsupported = _UNSUPPORTED_IN_ASSERTIONS | ({} if is_set else {"assert": f"only `{ASSERT_SET}` has it"})
    check_keys(found, _SET_KEYS if is_set else _ASSERTION_KEYS, spot, unsupported=unsupported)
    metric = found.get("metric")
    return Assertion(
        type=name,
        negated=spelling != name,
        value=_value(found.get("value"), name, spot),
        threshold=None if found.get("threshold") is None else want_number(found["threshold"], spot.at("threshold")),
        weight=1.0 if found.get("weight") is None else want_number(found["weight"], spot.at("weight"), most=MAX_WEIGHT),
        metric=None if metric is None else expect_text(metric, spot.at("metric")),
        place=spot.mark,
        children=_children(found, spot) if is_set else (),
    )


def _children(found: dict[str, Any], spot: YamlNode) -> tuple[Assertion, ...]:
    here = spot.at("assert")
    values = expect_list(found.get("assert"), here)
    if not values:
        raise here.error("an empty set checks nothing")
    return tuple(_assertion(value, here.at(index)) for index, value in enumerate(values))


def _value(value: Any, name: str, spot: YamlNode) -> Any:  # noqa: ANN401 - any JSON value
    """Read the file an assertion's value names; a table's row may name a JSON Schema only, its texts are data."""
    if isinstance(value, str) and value.startswith(FILE_MARK):
        if not spot.origin.is_table or name in {"is-json", "contains-json"}:
            return follow(value, spot.at("value"))
    elif value is not None and not isinstance(value, str) and not spot.origin.is_table:
        want_plain(value, spot.at("value"))
    return value


def _is_nondeterministic(assertion: Assertion) -> bool:
    return (
        has_reference(assertion.value)
        or has_reference(assertion.metric)
        or any(_is_nondeterministic(child) for child in assertion.children)
    )


def _filled(assertion: Assertion, variables: dict[str, Any], spot: YamlNode, case: str) -> Assertion:
    metric = fill(assertion.metric, variables, spot, case=case)
    return msgspec.structs.replace(
        assertion,
        value=fill(assertion.value, variables, spot, case=case),
        metric=None if metric is None else str(metric),
        children=tuple(_filled(child, variables, spot, case) for child in assertion.children),
    )
