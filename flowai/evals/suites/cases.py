"""Builds the cases of one test: defaults merged, lists expanded, variables substituted in assertions.

Source of the keys and their meaning: promptfoo, "Reference", section "Test Case"
(promptfoo.dev/docs/configuration/reference); docs/reference/suites.md lists the differences.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowai.evals.suites.assertions import AssertionTemplate, read_assertions
from flowai.evals.suites.files.code_refs import code
from flowai.evals.suites.options import build_options, read_options
from flowai.evals.suites.provider_names import model_name
from flowai.evals.suites.providers import read_provider
from flowai.evals.suites.records import Case
from flowai.evals.suites.unknown_keys import warn_unknown
from flowai.evals.suites.variables import Variables, combinations, read_variables
from flowai.evals.suites.yaml_reader import (
    describe,
    expect_json_value,
    expect_list,
    expect_mapping,
    expect_number,
    expect_text,
)
from flowai.evals.templates import resolve_references

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flowai.evals.suites.records import Assertion, CodeRef, SuiteProvider
    from flowai.evals.suites.yaml_reader import YamlNode

MAX_ID_CHARS = 120

TEST_KEYS = frozenset({
    "id", "description", "vars", "assert", "threshold", "metadata", "options", "provider", "providers", "prompts",
    "providerOutput", "assertScoringFunction", "storeOutputAs", "critical", "tags",
})  # fmt: skip
_DEFAULT_KEYS = TEST_KEYS - {"id", "description", "storeOutputAs"}
_IGNORED = {"type": "tests have no types", "author": "it is for people", "vars_config": "it has no meaning here"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Defaults:
    """The settings in `defaultTest`, for every case."""

    variables: Variables = field(default_factory=Variables)
    """A test's own variables override them."""
    assertions: tuple[AssertionTemplate, ...] = ()
    """Checked before a test's own."""
    threshold: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    """Other fields of `Case`."""
    late_names: frozenset[str] = frozenset()
    """Variables that are only known when a case is run, such as the answers of earlier cases."""
    ids: dict[str, str] = field(default_factory=dict)
    """Places of the cases that were built, by id."""


def read_defaults(value: object, node: YamlNode, *, late_names: frozenset[str] = frozenset()) -> Defaults:
    """Read `defaultTest`."""
    unsupported = dict.fromkeys(("id", "description"), "it belongs to a single test")
    test = warn_unknown(expect_mapping(value, node), _DEFAULT_KEYS, node, unsupported=unsupported, ignored=_IGNORED)
    return Defaults(
        variables=read_variables(test, node),
        assertions=read_assertions(test, node),
        threshold=_threshold(test, node),
        metadata=_metadata(test, node),
        options=read_options(test.get("options"), node.at("options")),
        fields=_fields(test, node),
        late_names=late_names,
    )


def read_cases(value: object, node: YamlNode, defaults: Defaults, *, name: str) -> Iterator[Case]:
    """Build the cases of one test; `name` is its id if it has no id of its own.

    Lists in variables expand to every combination, the last variable changing fastest, ids counted from 1 (`colors-1`).
    """
    test = warn_unknown(expect_mapping(value, node), TEST_KEYS, node, unsupported={}, ignored=_IGNORED)
    own = _options(test, node)
    switches = {**defaults.options, **own}
    metadata = defaults.metadata | _metadata(test, node)
    description = None
    if test.get("description") is not None:
        description = expect_text(str(test["description"]), node.at("description"))
    assertions = read_assertions(test, node)
    if not own.get("disableDefaultAsserts", False):
        assertions = defaults.assertions + assertions
    threshold = _threshold(test, node)
    variables = read_variables(test, node).over(defaults.variables)
    expanded = [variables.values]
    if not switches.get("disableVarExpansion", False):
        expanded = combinations(variables.values, node)
    late_names = defaults.late_names | variables.dynamic.keys()
    fields = defaults.fields | _fields(test, node)
    given, options = _identity(test, metadata, node), build_options(defaults.options, own)
    case_id = given or (_slug(description) if description else None) or name
    for number, combination in enumerate(expanded, start=1):
        chosen = case_id if len(expanded) == 1 else f"{case_id}-{number}"
        yield Case(
            id=_unique(chosen, node, defaults, is_given=given is not None and _owns_id(test, node)),
            description=description,
            vars=combination,
            dynamic_vars=variables.dynamic,
            assertions=_fill(assertions, combination, node, late_names),
            threshold=defaults.threshold if threshold is None else threshold,
            place=node.location,
            metadata=metadata,
            options=options,
            **_with_metadata(fields, metadata),
        )


def _fill(
    templates: tuple[AssertionTemplate, ...], variables: dict[str, Any], node: YamlNode, late_names: frozenset[str]
) -> tuple[Assertion, ...]:
    """Return a case's assertions with its variables."""
    if not any(template.has_variables for template in templates):
        return tuple([template.assertion for template in templates])
    known = resolve_references(variables) if node.file.context.has_own_prompts else variables
    return tuple([template.for_case(known, node.location, late_names=late_names) for template in templates])


def _options(test: dict[str, Any], node: YamlNode) -> dict[str, Any]:
    """Read `options`; `storeOutputAs` may be beside them."""
    own = read_options(test.get("options"), node.at("options"))
    if test.get("storeOutputAs") is not None:
        own.setdefault("store_output_as", expect_text(test["storeOutputAs"], node.at("storeOutputAs")))
    return own


def _unique(chosen: str, node: YamlNode, defaults: Defaults, *, is_given: bool) -> str:
    """Return an id that no case has yet; only ids made of descriptions may be equal, and only in others' suites."""
    ids, name, number = defaults.ids, chosen, 1
    while name in ids:
        if is_given or not node.file.context.has_own_prompts:
            raise node.error(
                f"two cases have the id `{name}`: {ids[name]} and {node.location}",
                hint="set a different `id`; without `id` it is made from the description",
            )
        number += 1
        name = f"{chosen}-{number}"
    ids[name] = node.location
    return name


def _fields(test: dict[str, Any], node: YamlNode) -> dict[str, Any]:
    """Read the fields that a test's own value replaces as a whole."""
    fields: dict[str, Any] = {}
    for key, name, read in _READERS:
        if test.get(key) is not None:
            fields[name] = read(test[key], node.at(key))
    return fields


def _with_metadata(fields: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    """Add what a test's metadata says of the gate: `critical`, `tags`."""
    found = dict(fields)
    if isinstance(metadata.get("critical"), bool):  # other values are the user's own
        found.setdefault("is_critical", metadata["critical"])
    listed = metadata.get("tags")
    shared = [str(part) for part in listed] if isinstance(listed, list) else [listed] if isinstance(listed, str) else []
    if shared:
        found["tags"] = tuple(dict.fromkeys([*found.get("tags", ()), *shared]))
    return found


def _names(value: object, node: YamlNode) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else expect_list(value, node)
    return tuple(_name(part, node.at(index)) for index, part in enumerate(values))


def _providers(value: object, node: YamlNode) -> tuple[str, ...]:
    names = _names(value, node)
    return tuple(dict.fromkeys([*names, *filter(None, map(_model_name, names))]))


def _model_name(text: str) -> str | None:
    try:
        return model_name(text)
    except ValueError:  # a target's label
        return None


def _name(value: object, node: YamlNode) -> str:
    if isinstance(value, dict):
        value = value.get("label") or value.get("id")
    return expect_text(value, node)


def _provider(value: object, node: YamlNode) -> SuiteProvider:
    return read_provider(value, node)


def _scoring(value: object, node: YamlNode) -> CodeRef:
    return code(expect_text(value, node), node)


def _switch(value: object, node: YamlNode) -> bool:
    if isinstance(value, bool):
        return value
    raise node.error(f"found {describe(value)}; expected true or false")


_READERS: tuple[tuple[str, str, Any], ...] = (
    ("provider", "provider", _provider),
    ("providers", "providers", _providers),
    ("prompts", "prompts", _names),
    ("providerOutput", "recorded_output", lambda value, _: value),
    ("assertScoringFunction", "scoring", _scoring),
    ("critical", "is_critical", _switch),
    ("tags", "tags", _names),
)


def _threshold(test: Mapping[str, Any], node: YamlNode) -> float | None:
    if test.get("threshold") is None:
        return None
    return expect_number(test["threshold"], node.at("threshold"), max_value=1)


def _metadata(test: Mapping[str, Any], node: YamlNode) -> dict[str, Any]:
    if test.get("metadata") is None:
        return {}
    child = node.at("metadata")
    metadata = expect_mapping(test["metadata"], child)
    if not child.file.is_table:
        expect_json_value(metadata, child)
    return metadata


def _identity(test: Mapping[str, Any], metadata: dict[str, Any], node: YamlNode) -> str | None:
    """Return a test's own id: `id`, else `metadata.id`."""
    given = test.get("id", metadata.get("id"))
    if given is None:
        return None
    id_node = node.at("id") if "id" in test else node.at("metadata", "id")
    problem, hint = _id_problem(given)
    if problem is None:
        return str(given).strip()
    if not _owns_id(test, node):
        return None
    raise id_node.error(problem, hint=hint)


def _owns_id(test: Mapping[str, Any], node: YamlNode) -> bool:
    """Return whether an id is meant as one; in a suite of other people, `metadata.id` may be anything."""
    return "id" in test or not node.file.context.has_own_prompts


def _id_problem(given: object) -> tuple[str | None, str]:
    if isinstance(given, bool) or not isinstance(given, str | int) or not str(given).strip():
        return f"found {describe(given)}; expected an id", "a short text, such as `negation-07`"
    text = str(given).strip()
    if len(text) > MAX_ID_CHARS or "::" in text or not text.isprintable():
        return f"{describe(text)} is not a valid id", f"printable, without `::`, at most {MAX_ID_CHARS} characters"
    return None, ""


def _slug(description: str) -> str | None:
    """Build an id from a description: letters and digits of any script, in lower case, joined by `-`."""
    text = unicodedata.normalize("NFC", description).lower()
    return re.sub(r"[\W_]+", "-", text)[:60].strip("-") or None
