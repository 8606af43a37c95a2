"""Turns a flat row (a line of CSV, an object without `vars`) into a test: plain columns are variables, `__` ones more.

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
from flowai.evals.suites.assertion_types import ASSERT_SET, LISTING, NOT_SUPPORTED, SUPPORTED, VALUELESS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flowai.evals.suites.yaml_reader import YamlNode

COLUMN_PREFIX = "__"
_KNOWN = ("__id", "__description", "__expected", "__metric", "__threshold", "__metadata:<key>")
_UNSUPPORTED = {
    "__prefix": "write it into the prompt",
    "__suffix": "write it into the prompt",
    "__providerOutput": "record the answers and replay them instead",
    "__metadata": "name the key: `__metadata:category`",
}
_EXPECTED = re.compile(r"__expected(\d*)")
_CONFIG = re.compile(r"__config:__expected(\d*):(\w+)")
_TYPES = SUPPORTED | NOT_SUPPORTED
_SHORTHAND = re.compile(r"(not-)?((?:trajectory:)?[a-z][a-z0-9-]*?)(?:\((\d+(?:\.\d+)?)\))?(?::(.*))?", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Which column says what; read once, used for every row."""

    variables: tuple[str, ...]
    """Plain columns."""
    expected: tuple[tuple[str, str], ...]
    """Columns of assertions, with the number in their names (`""`, `"1"`)."""
    thresholds: dict[str, str]
    """Columns with an assertion's threshold, by that number; `""` is for all."""
    metadata: tuple[tuple[str, str, bool], ...]
    """Columns of metadata: column, key, whether it is a list."""
    single: frozenset[str]
    """The others that are there (`__id`, `__description`, `__metric`, `__threshold`)."""


def read_columns(names: Iterable[str], spot: YamlNode) -> Columns:
    """Sort the columns by what they say.

    Raises:
        ProjectError: a column beginning with `__` is unknown or not supported.
    """
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
        elif name in _KNOWN:
            single.add(name)
        else:
            raise _unknown(name, spot)
    return Columns(
        variables=tuple(variables),
        expected=tuple(expected),
        thresholds=thresholds,
        metadata=tuple(metadata),
        single=frozenset(single),
    )


def _unknown(name: str, spot: YamlNode) -> Exception:
    if name in _UNSUPPORTED:
        return spot.error(f"column `{name}` is not supported", hint=_UNSUPPORTED[name])
    return spot.error(f"unknown column `{name}`", hint=expected_one_of(_KNOWN, found=name))


def test_of(row: Mapping[str, Any], columns: Columns, spot: YamlNode) -> dict[str, Any]:
    """Give the test a row stands for; an empty cell of a `__` column says nothing.

    Args:
        row: cells by column name.
        columns: what they say.
        spot: where the row stands.

    Raises:
        ProjectError: a threshold is no number, or an assertion's shorthand is wrong.
    """
    test: dict[str, Any] = {"vars": {name: row[name] for name in columns.variables}}
    for column, key in (("__id", "id"), ("__description", "description")):
        if column in columns.single and _is_filled(row[column]):
            test[key] = row[column]
    if "__threshold" in columns.single and _is_filled(row["__threshold"]):
        test["threshold"] = _number(row["__threshold"], "__threshold", spot)
    if columns.metadata:
        test["metadata"] = {
            key: _items(str(row[column]), spot) if is_list else row[column]
            for column, key, is_list in columns.metadata
            if _is_filled(row[column])
        }
    if columns.expected:
        test["assert"] = [
            _expected(row, column, number, columns, spot)
            for column, number in columns.expected
            if _is_filled(row[column])
        ]
    return test


def _is_filled(cell: object) -> bool:
    return cell is not None and (not isinstance(cell, str) or bool(cell.strip()))


def _number(cell: object, column: str, spot: YamlNode) -> float:
    try:
        return float(str(cell))
    except ValueError:
        raise spot.error(f"`{column}`: found `{str(cell)[:60]}`; expected a number") from None


def _expected(row: Mapping[str, Any], column: str, number: str, columns: Columns, spot: YamlNode) -> dict[str, Any]:
    cell = row[column]
    assertion = assertion_of(cell, spot) if isinstance(cell, str) else {"type": "equals", "value": cell}
    if "__metric" in columns.single and _is_filled(row["__metric"]):
        assertion["metric"] = row["__metric"]
    limit = columns.thresholds.get(number or "1", columns.thresholds.get(""))
    if limit is not None and _is_filled(row[limit]):
        assertion["threshold"] = _number(row[limit], limit, spot)
    return assertion


def assertion_of(text: str, spot: YamlNode) -> dict[str, Any]:
    """Read an assertion's shorthand: `type`, `type: value`, `type(threshold): value`, each with or without `not-`.

    Anything else is the text the answer must equal. So is a single word before a colon that is no type (`Note: x`); a
    hyphenated one (`contians-all: x`) is taken for a misspelt type.

    Args:
        text: the cell.
        spot: where the row stands.

    Returns:
        The assertion as in YAML; a type of promptfoo's that is not supported is kept, for the catalog to name it.

    Raises:
        ProjectError: a misspelt type, or `assert-set`, which has no shorthand.
    """
    text = text.strip()
    match = _SHORTHAND.fullmatch(text)
    if match is None or not _is_type(match, spot):
        return {"type": "equals", "value": text}
    negation, name, threshold, value = match[1] or "", match[2], match[3], match[4]
    assertion: dict[str, Any] = {"type": negation + name}
    if value is not None and value.strip():
        assertion["value"] = _items(value, spot) if name in LISTING else value.strip()
    if threshold is not None:
        assertion["threshold"] = float(threshold)
    return assertion


def _is_type(match: re.Match[str], spot: YamlNode) -> bool:
    name, value = match[2], match[4]
    if name == ASSERT_SET:
        raise spot.error(f"`{ASSERT_SET}` cannot stand in a column", hint="use YAML, or several columns")
    if name in _TYPES:  # the bare word `cost` is a text, `cost(0.1)` and `not-cost` are not
        return any(part is not None for part in (match[1], match[3], value)) or name in VALUELESS
    if value is None or not (match[1] or "-" in name):
        return False
    raise spot.error(
        f"unknown assertion type `{match[1] or ''}{name}`",
        hint=f"{expected_one_of(SUPPORTED, found=name)}; a text to compare with begins with `equals:`",
    )


def _items(text: str, spot: YamlNode) -> list[str]:
    try:
        return split_list(text)
    except csv.Error as error:
        raise spot.error(f"not a list parted by commas: {error}") from None


def split_list(text: str) -> list[str]:
    """Split at commas and line ends; an item that holds one stands in double quotes, or has a backslash before it.

    Raises:
        csv.Error: an item is too long.
    """
    rows = csv.reader(io.StringIO(text.strip(), newline=""), skipinitialspace=True, escapechar="\\")
    return [item.strip() for row in rows for item in row if item.strip()]
