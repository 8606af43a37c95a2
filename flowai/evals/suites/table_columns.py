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

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flowai.evals.suites.yaml_reader import YamlNode

COLUMN_PREFIX = "__"
_SINGLE_COLUMNS = ("__id", "__description", "__expected", "__metric", "__threshold", "__metadata:<key>")
_UNSUPPORTED = {
    "__prefix": "write it into the prompt",
    "__suffix": "write it into the prompt",
    "__providerOutput": "record the answers and replay them instead",
    "__metadata": "name the key: `__metadata:category`",
}
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
        else:
            raise _unknown(name, node)
    return Columns(
        variables=tuple(variables),
        expected=tuple(expected),
        thresholds=thresholds,
        metadata=tuple(metadata),
        single=frozenset(single),
    )


def _unknown(name: str, node: YamlNode) -> Exception:
    if name in _UNSUPPORTED:
        return node.error(f"column `{name}` is not supported", hint=_UNSUPPORTED[name])
    return node.error(f"unknown column `{name}`", hint=expected_one_of(_SINGLE_COLUMNS, found=name))


def build_test(row: Mapping[str, Any], columns: Columns, node: YamlNode) -> dict[str, Any]:
    """Build the test of a row; an empty cell of a `__` column is ignored."""
    test: dict[str, Any] = {"vars": {name: row[name] for name in columns.variables}}
    for column, key in (("__id", "id"), ("__description", "description")):
        if column in columns.single and _is_filled(row[column]):
            test[key] = row[column]
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

    Any other text is what the answer must equal. So is a single word before a colon that is not a type (`Note: x`); a
    hyphenated one (`contians-all: x`) is taken for a misspelt type. Promptfoo's unsupported types are kept for the
    catalog to report.
    """
    text = text.strip()
    match = _SHORTHAND.fullmatch(text)
    if match is None or not _is_type(match, node):
        return {"type": "equals", "value": text}
    negation, name, threshold, value = match[1] or "", match[2], match[3], match[4]
    assertion: dict[str, Any] = {"type": negation + name}
    if value is not None and value.strip():
        assertion["value"] = _list(value, node) if name in LIST_TYPES else value.strip()
    if threshold is not None:
        assertion["threshold"] = float(threshold)
    return assertion


def _is_type(match: re.Match[str], node: YamlNode) -> bool:
    name, value = match[2], match[4]
    if name == ASSERT_SET:
        raise node.error(f"`{ASSERT_SET}` is not possible in a column", hint="use YAML, or several columns")
    if name in _TYPES:  # `cost` alone is a text, `cost(0.1)` and `not-cost` are not
        return any(part is not None for part in (match[1], match[3], value)) or name in TYPES_WITHOUT_VALUE
    if value is None or not (match[1] or "-" in name):
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
