"""The columns of the lake: one table for all kinds of events, derived from the event records."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, get_args

from msgspec import inspect

from flowai.events.records import Event

if TYPE_CHECKING:
    from collections.abc import Mapping

OTHER_FIELDS = "other_fields"
"""Column for fields that this version does not know, as JSON."""


@cache
def columns() -> Mapping[str, str]:
    """Return the SQL type of each column, in the order of the records.

    Nested values, and fields that are a number or a text, are JSON.
    """
    types = {"kind": "VARCHAR"}
    for record in get_args(Event):
        kind = inspect.type_info(record)
        if not isinstance(kind, inspect.StructType):
            raise TypeError(f"{record} is not a record")
        for field in kind.fields:
            types.setdefault(field.encode_name, _sql_type(field.type))
    return {**types, OTHER_FIELDS: "JSON"}


def fields_by_kind() -> dict[str, frozenset[str]]:
    """Return the field names of each kind of event, `kind` included."""
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
        members = [member for member in kind.types if not isinstance(member, inspect.NoneType)]
        return _sql_type(members[0]) if len(members) == 1 else "JSON"
    return next((name for record, name in _SQL_TYPES if isinstance(kind, record)), "JSON")
