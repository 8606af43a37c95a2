"""Converts flat rows (CSV lines, objects without `vars`) to tests: plain columns are variables, `__` columns the rest.

Source: promptfoo, "Test case configuration", section "Special CSV columns"
    (promptfoo.dev/docs/configuration/test-cases); `__id` is flowai's.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowai.errors import expected_one_of
from flowai.evals.suites.assertion_types import (
    ASSERT_SET,
    LIST_TYPES,
    SUPPORTED_TYPES,
    TYPES_WITHOUT_VALUE,
    UNSUPPORTED_TYPES,
)
from flowai.evals.suites.comma_list import split_list
from flowai.evals.suites.unknown_keys import closest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flowai.evals.suites.yaml_reader import YamlNode

COLUMN_PREFIX = "__"
_SINGLE_COLUMNS = (
    "__id", "__description", "__expected", "__metric", "__threshold", "__prefix", "__suffix", "__provider",
    "__providerOutput", "__metadata:<key>",
)  # fmt: skip
_TEXT_COLUMNS = {
    "__id": "id",
    "__description": "description",
    "__provider": "provider",
    "__providerOutput": "providerOutput",
}
_OPTION_COLUMNS = {"__prefix": "prefix", "__suffix": "suffix"}
_CODE_PREFIXES = {"javascript:": "javascript", "fn:": "javascript", "eval:": "javascript", "python:": "python"}
_RUBRIC_PREFIXES = ("grade:", "llm-rubric:")
_CODE_FILES = {
    "python": re.compile(r"file://.*\.py(?::\w+)?"),
    "javascript": re.compile(r"file://.*\.[cm]?[jt]s(?::\w+)?"),
}
_DEFAULT_THRESHOLDS = {
    "similar": 0.8,
    **dict.fromkeys(
        (
            "answer-relevance", "classifier", "context-faithfulness", "context-recall", "context-relevance", "cost",
            "latency", "levenshtein", "perplexity-score", "perplexity", "rouge-n",
        ),
        0.75,
    ),
}  # fmt: skip
"""Thresholds that promptfoo sets in tables where a row has none."""
_MISSPELT_SIMILARITY = 0.85
_EXPECTED = re.compile(r"__expected(\d*)")
_CONFIG = re.compile(r"__config:__expected(\d*):(\w+)")
_TYPES = SUPPORTED_TYPES | UNSUPPORTED_TYPES
_SHORTHAND = re.compile(r"(not-)?((?:trajectory:)?[a-z][a-z0-9-]*?)(?:\((\d+(?:\.\d+)?)\))?(?::(.*))?", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """The columns of a table by their meaning."""

    variables: tuple[str, ...]
    expected: tuple[tuple[str, str], ...]
    """Columns of assertions, with the number in their names (`""`, `"1"`)."""
    thresholds: dict[str, str]
    """Columns with an assertion's threshold, by that number; `""` is for all."""
    metadata: tuple[tuple[str, str, bool], ...]
    """Columns of metadata: column, key, whether it is a list."""
    single: frozenset[str]
    """Those of `__id`, `__description`, `__metric` and `__threshold` that the table has."""


def read_columns(names: Iterable[str], node: YamlNode) -> Columns:
    """Sort the columns by their meaning."""
    variables: list[str] = []
    expected: list[tuple[str, str]] = []
    thresholds: dict[str, str] = {}
    metadata: list[tuple[str, str, bool]] = []
    single: set[str] = set()
    for name in names:
        if not name.startswith(COLUMN_PREFIX):
            variables.append(name)
        elif match := _EXPECTED.fullmatch(name):
            expected.append((name, match[1]))
        elif (match := _CONFIG.fullmatch(name)) and match[2] == "threshold":
            thresholds[match[1]] = name
        elif name.startswith("__metadata:") and name != "__metadata:":
            key = name.removeprefix("__metadata:")
            metadata.append((name, key.removesuffix("[]"), key.endswith("[]")))
        elif name in _SINGLE_COLUMNS:
            single.add(name)
        elif name == "__metadata":
            node.warn("column `__metadata` is ignored: name the key, such as `__metadata:category`")
        else:
            raise node.error(f"unknown column `{name}`", hint=expected_one_of(_SINGLE_COLUMNS, found=name))
    return Columns(
        variables=tuple(variables),
        expected=tuple(expected),
        thresholds=thresholds,
        metadata=tuple(metadata),
        single=frozenset(single),
    )


def build_test(row: Mapping[str, Any], columns: Columns, node: YamlNode) -> dict[str, Any]:
    """Build the test of a row; an empty cell of a `__` column is ignored."""
    test: dict[str, Any] = {"vars": {name: row[name] for name in columns.variables}}
    for column, key in _TEXT_COLUMNS.items():
        if column in columns.single and _is_filled(row[column]):
            test[key] = row[column]
    options = {key: row[column] for column, key in _OPTION_COLUMNS.items() if column in columns.single and row[column]}
    if options:
        test["options"] = options
    if "__threshold" in columns.single and _is_filled(row["__threshold"]):
        test["threshold"] = _number(row["__threshold"], "__threshold", node)
    if columns.metadata:
        test["metadata"] = {
            key: _items(str(row[column]), node) if is_list else row[column]
            for column, key, is_list in columns.metadata
            if _is_filled(row[column])
        }
    if columns.expected:
        test["assert"] = [
            _expected(row, column, number, columns, node)
            for column, number in columns.expected
            if _is_filled(row[column])
        ]
    return test


def _is_filled(cell: object) -> bool:
    return cell is not None and (not isinstance(cell, str) or bool(cell.strip()))


def _number(cell: object, column: str, node: YamlNode) -> float:
    try:
        return float(str(cell))
    except ValueError:
        raise node.error(f"`{column}`: found `{str(cell)[:60]}`; expected a number") from None


def _expected(row: Mapping[str, Any], column: str, number: str, columns: Columns, node: YamlNode) -> dict[str, Any]:
    cell = row[column]
    assertion = parse_assertion(cell, node) if isinstance(cell, str) else {"type": "equals", "value": cell}
    if "__metric" in columns.single and _is_filled(row["__metric"]):
        assertion["metric"] = row["__metric"]
    limit = columns.thresholds.get(number or "1", columns.thresholds.get(""))
    if limit is not None and _is_filled(row[limit]):
        assertion["threshold"] = _number(row[limit], limit, node)
    return assertion


def parse_assertion(text: str, node: YamlNode) -> dict[str, Any]:
    """Parse an assertion's shorthand: `type`, `type: value`, `type(threshold): value`, each with or without `not-`.

    Code and rubrics have prefixes of their own (`fn:`, `javascript:`, `python:`, `grade:`, `file://check.py`). Any other
    text is what the answer must equal. So is a single word before a colon that is not a type (`Note: x`); a hyphenated
    one, and one that is nearly a type (`contians: x`), is taken for a misspelt type. Promptfoo's unsupported types are kept for the
    catalog to report.
    """
    text = text.strip()
    code = _parse_code(text)
    if code is not None:
        return code
    match = _SHORTHAND.fullmatch(text)
    if match is None or not _is_type(match, node):
        return {"type": "equals", "value": text}
    negation, name, threshold, value = match[1] or "", match[2], match[3], match[4]
    assertion: dict[str, Any] = {"type": negation + name}
    if value is not None and value.strip():
        assertion["value"] = _list(value, node) if name in LIST_TYPES else value.strip()
    limit = float(threshold) if threshold is not None else None
    if limit is None and node.file.context.has_own_prompts:
        limit = _DEFAULT_THRESHOLDS.get(name)
    return assertion if limit is None else {**assertion, "threshold": limit}


def _parse_code(text: str) -> dict[str, Any] | None:
    """Parse the shorthand of code and rubrics (`fn: ...`, `file://check.py`, `grade: ...`); None for any other text."""
    for prefix, name in _CODE_PREFIXES.items():
        if text.startswith(prefix):
            return {"type": name, "value": text.removeprefix(prefix).strip()}
    for prefix in _RUBRIC_PREFIXES:
        if text.startswith(prefix):
            return {"type": "llm-rubric", "value": text.removeprefix(prefix).strip()}
    for name, pattern in _CODE_FILES.items():
        if pattern.fullmatch(text):
            return {"type": name, "value": text}
    return None


def _is_type(match: re.Match[str], node: YamlNode) -> bool:
    name, value = match[2], match[4]
    if name == ASSERT_SET:
        raise node.error(f"`{ASSERT_SET}` is not possible in a column", hint="use YAML, or several columns")
    if name in _TYPES:  # `cost` alone is a text, `cost(0.1)` and `not-cost` are not
        return any(part is not None for part in (match[1], match[3], value)) or name in TYPES_WITHOUT_VALUE
    if value is None:
        return False
    if not (match[1] or "-" in name) and closest(name, _TYPES, similarity=_MISSPELT_SIMILARITY) is None:
        return False
    raise node.error(
        f"unknown assertion type `{match[1] or ''}{name}`",
        hint=f"{expected_one_of(SUPPORTED_TYPES, found=name)}; for a text to compare with, write `equals: TEXT`",
    )


def _list(text: str, node: YamlNode) -> list[str]:
    try:
        return split_list(text)
    except ValueError as error:
        raise node.error(f"not a list separated by commas: {error}") from None


def _items(text: str, node: YamlNode) -> list[str]:
    try:
        return _split_metadata(text)
    except csv.Error as error:
        raise node.error(f"not a list separated by commas: {error}") from None


def _split_metadata(text: str) -> list[str]:
    """Split at commas and line ends; an item that contains one is in double quotes, or has a backslash before it."""
    rows = csv.reader(io.StringIO(text.strip(), newline=""), skipinitialspace=True, escapechar="\\")
    return [item.strip() for row in rows for item in row if item.strip()]
