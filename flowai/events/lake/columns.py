"""The columns of the lake: one table for every kind of event, each field of each kind in it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, get_args

from msgspec import inspect

from flowai.events.records import Event

if TYPE_CHECKING:
    from collections.abc import Mapping

OTHER_FIELDS = "other_fields"
"""The column of what a newer flowai wrote and this one does not know, as JSON."""


@cache
def columns() -> Mapping[str, str]:
    """Return the SQL type of each column, in the order of the records.

    What is nested, and what is a number here and a word there, is JSON.
    """
    found = {"kind": "VARCHAR"}
    for record in get_args(Event):
        kind = inspect.type_info(record)
        if not isinstance(kind, inspect.StructType):
            raise TypeError(f"{record} is no record")
        for field in kind.fields:
            found.setdefault(field.encode_name, _sql_type(field.type))
    return {**found, OTHER_FIELDS: "JSON"}


def fields_by_kind() -> dict[str, frozenset[str]]:
    """Give the names of the fields of each kind of event, `kind` among them."""
    return {
        str(record.__struct_config__.tag): frozenset(("kind", *record.__struct_encode_fields__))
        for record in get_args(Event)
    }


_SQL_TYPES: tuple[tuple[type[inspect.Type], str], ...] = (
    (inspect.BoolType, "BOOLEAN"),
    (inspect.IntType, "BIGINT"),
    (inspect.FloatType, "DOUBLE"),
    (inspect.DateTimeType, "TIMESTAMPTZ"),
    (inspect.StrType, "VARCHAR"),
    (inspect.LiteralType, "VARCHAR"),
)


def _sql_type(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.UnionType):
        several = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
        return _sql_type(several[0]) if len(several) == 1 else "JSON"
    return next((name for record, name in _SQL_TYPES if isinstance(kind, record)), "JSON")
