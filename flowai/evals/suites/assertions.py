"""Reads the assertions of a test, and substitutes a case's variables in them.

Source of the keys: promptfoo, "Reference", section "Assertion" (promptfoo.dev/docs/configuration/reference).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.evals.suites.assertion_types import (
    ASSERT_SET,
    ASSERTION_TYPES,
    CODE_TYPES,
    SET_TYPES,
    SUPPORTED_TYPES,
    UNSUPPORTED_TYPES,
)
from flowai.evals.suites.files.code_refs import code, code_file, is_code_file
from flowai.evals.suites.options import read_rubric
from flowai.evals.suites.providers import read_graders
from flowai.evals.suites.records import Assertion, CodeRef
from flowai.evals.suites.substitution import has_reference, substitute
from flowai.evals.suites.unknown_keys import warn_unknown
from flowai.evals.suites.yaml_reader import (
    FILE_PREFIX,
    YamlNode,
    expect_json_value,
    expect_list,
    expect_mapping,
    expect_number,
    expect_text,
    read_document,
    read_reference,
    resolve_path,
    warn_ignored,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_WEIGHT = 1e6
_SCHEMA_TYPES = frozenset({"is-json", "contains-json"})

_ASSERTION_KEYS = frozenset({
    "type", "value", "threshold", "weight", "metric", "provider", "rubricPrompt", "transform", "contextTransform",
    "config",
})  # fmt: skip
_SET_KEYS = frozenset({"type", "assert", "threshold", "weight", "metric", "config"})
_UNSUPPORTED = {"normalizeUnicode": "texts are compared unchanged", "metricOnly": "use `weight: 0`"}
_IGNORED = dict.fromkeys(("description", "name", "id", "label", "comment"), "it is for people")


@dataclass(frozen=True, kw_only=True, slots=True)
class AssertionTemplate:
    """An assertion before its variables are substituted."""

    assertion: Assertion
    node: YamlNode
    has_variables: bool

    def for_case(self, variables: dict[str, Any], case: str, *, late_names: frozenset[str] = frozenset()) -> Assertion:
        """Return the assertion with the case's variables; `late_names` are known only when the case is run."""
        if not self.has_variables:
            return self.assertion
        return _substitute(self.assertion, _Values(variables, self.node, case, late_names))


@dataclass(frozen=True, slots=True)
class _Values:
    variables: dict[str, Any]
    node: YamlNode
    case: str
    late_names: frozenset[str]

    def fill(self, value: Any) -> Any:  # noqa: ANN401 - any JSON value
        return substitute(value, self.variables, self.node, case=self.case)


def read_assertions(test: Mapping[str, Any], node: YamlNode) -> tuple[AssertionTemplate, ...]:
    """Read `assert` of a test."""
    if test.get("assert") is None:
        return ()
    child, listed = node.at("assert"), test["assert"]
    if isinstance(listed, str) and listed.startswith(FILE_PREFIX) and not child.file.is_table:
        file = read_document(resolve_path(listed, child), child)
        child, listed = YamlNode(file=file, line=1), file.document.value if file.document else None
    templates = []
    for index, value in enumerate(expect_list(listed, child)):
        assertion_node = child.at(index)
        assertion = read_assertion(value, assertion_node)
        templates.append(
            AssertionTemplate(assertion=assertion, node=assertion_node, has_variables=_has_variables(assertion))
        )
    return tuple(templates)


def read_assertion(value: object, node: YamlNode) -> Assertion:
    """Read one assertion."""
    fields = expect_mapping(value, node)
    if "type" not in fields:
        found = next((key for key in fields if key.removeprefix("not-") in SUPPORTED_TYPES | UNSUPPORTED_TYPES), None)
        hint = f"write `{{type: {found}, value: ...}}`" if found else "such as `{type: contains, value: Paris}`"
        raise node.error("an assertion without `type`", hint=hint)
    spelling = expect_text(fields["type"], node.at("type")).strip()
    name = spelling.removeprefix("not-")
    if name.startswith(("promptfoo:redteam", "redteam:")):
        raise node.at("type").error(f"`{spelling}` is not supported", hint="flowai has no red-team plugins")
    is_set = name in SET_TYPES
    unsupported = _UNSUPPORTED | ({} if is_set else {"assert": f"only `{ASSERT_SET}` has `assert`"})
    fields = warn_unknown(
        fields,
        _SET_KEYS if is_set else _ASSERTION_KEYS,
        node,
        unsupported=unsupported,
        ignored=_IGNORED,
        words=SUPPORTED_TYPES | UNSUPPORTED_TYPES,
    )
    fields = _without_ignored(fields, name, node)
    weight, threshold = fields.get("weight"), fields.get("threshold")
    graders: Any = read_graders(fields.get("provider"), node.at("provider"))
    code_ref, content = _value(fields.get("value"), name, node)
    return Assertion(
        type=name,
        negated=spelling != name,
        value=content,
        code=code_ref,
        threshold=None if threshold is None else expect_number(threshold, node.at("threshold")),
        weight=1.0 if weight is None else expect_number(weight, node.at("weight"), max_value=MAX_WEIGHT),
        metric=_text(fields.get("metric"), node.at("metric")),
        place=node.location,
        children=_children(fields, node) if is_set else (),
        transform=_code(fields.get("transform"), node.at("transform")),
        context_transform=_code(fields.get("contextTransform"), node.at("contextTransform")),
        config=_config(fields.get("config"), node.at("config")),
        rubric_prompt=read_rubric(fields.get("rubricPrompt"), node.at("rubricPrompt")),
        **graders,
    )


def _without_ignored(fields: dict[str, Any], name: str, node: YamlNode) -> dict[str, Any]:
    """Return the fields without those that promptfoo ignores for a type, each with a warning."""
    definition = ASSERTION_TYPES.get(name)
    if definition is None or not node.file.context.has_own_prompts:
        return fields
    if fields.get("threshold") is not None and not definition.threshold:
        fields = warn_ignored(fields, {"threshold": f"`{name}` only passes or fails"}, node)
    if fields.get("value") is not None and definition.value == "forbidden":
        fields = warn_ignored(fields, {"value": f"`{name}` has only a threshold"}, node)
    return fields


def _text(value: object, node: YamlNode) -> str | None:
    return None if value is None else expect_text(value, node)


def _code(value: object, node: YamlNode) -> CodeRef | None:
    return None if value is None else code(expect_text(value, node), node)


def _config(value: object, node: YamlNode) -> dict[str, Any]:
    if value is None:
        return {}
    if not node.file.is_table:
        expect_json_value(value, node)
    return expect_mapping(value, node)


def _children(fields: dict[str, Any], node: YamlNode) -> tuple[Assertion, ...]:
    child = node.at("assert")
    values = expect_list(fields.get("assert"), child)
    if not values:
        raise child.error("an empty set checks nothing")
    return tuple(read_assertion(value, child.at(index)) for index, value in enumerate(values))


def _value(value: Any, name: str, node: YamlNode) -> tuple[CodeRef | None, Any]:  # noqa: ANN401 - any JSON value
    """Return the code and the value of an assertion.

    A file is read; of code files, the code computes the value. In a table only a JSON Schema's file is read, and code
    that its row names as such, because texts are data there.
    """
    child = node.at("value")
    if name in CODE_TYPES and isinstance(value, str):
        language: Any = name
        return code(value, child, language=language), None
    if not isinstance(value, str):
        if value is not None and not node.file.is_table:
            expect_json_value(value, child)
        return None, value
    if not value.startswith(FILE_PREFIX) or (node.file.is_table and name not in _SCHEMA_TYPES):
        return None, value
    if is_code_file(value):
        return code_file(value, child), None
    read = read_reference(value, child)
    is_trimmed = node.file.context.has_own_prompts and isinstance(read, str)
    return None, read.strip() if is_trimmed else read


def _has_variables(assertion: Assertion) -> bool:
    return (
        has_reference(assertion.value)
        or has_reference(assertion.metric)
        or (assertion.code is not None and has_reference(assertion.code.source))
        or any(_has_variables(child) for child in assertion.children)
    )


def _substitute(assertion: Assertion, values: _Values) -> Assertion:
    parts = (assertion.value, assertion.metric, assertion.code.source if assertion.code else None)
    if values.late_names and any(has_reference(part, values.late_names) for part in parts):
        return msgspec.structs.replace(assertion, is_template=True)
    metric = values.fill(assertion.metric)
    code_ref = assertion.code
    if code_ref is not None and code_ref.source is not None:
        code_ref = msgspec.structs.replace(code_ref, source=str(values.fill(code_ref.source)))
    return msgspec.structs.replace(
        assertion,
        value=values.fill(assertion.value),
        metric=None if metric is None else str(metric),
        code=code_ref,
        children=tuple(_substitute(child, values) for child in assertion.children),
    )
