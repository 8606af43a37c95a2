"""JSON Schema of records, with their field docstrings as descriptions."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from functools import cache, reduce
from itertools import pairwise
from operator import or_
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(*records: type[msgspec.Struct]) -> dict[str, Any]:
    """Build the JSON Schema of records and all records in them; the outermost value is any one of them, by its tag."""
    (outer,), definitions = schema_components([reduce(or_, records)], ref_template="#/$defs/{name}")
    for kind in records_in(*records):
        texts = describe_fields(kind)
        for name, field in definitions[kind.__name__]["properties"].items():
            if name in texts:
                field["description"] = texts[name]
    return {"$schema": DIALECT, **outer, "$defs": definitions}


def schema_components(
    records: Sequence[Any], *, ref_template: str
) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    """Return the schema of each record or union, and the definitions they refer to with `ref_template` (`{name}`).

    Equal for all supported versions of msgspec, which differ in how they indent a docstring, and in whether they list
    the keys of a mapping. Each definition is described by its first sentence.
    """
    schemas, definitions = msgspec.json.schema_components(records, ref_template=ref_template)
    for kind in records_in(*records):
        definitions[kind.__name__]["description"] = _first_sentence(kind)
    _drop_listed_keys(definitions)
    return schemas, definitions


def describe_fields(record: type[Any]) -> dict[str, str]:
    """Return the description of each field, which is the string after it, in one line.

    `record` is a Struct or a dataclass. An inherited field is described by the class that declares it, unless the
    record describes it again.
    """
    texts: dict[str, str] = {}
    for kind in reversed([base for base in record.__mro__ if base not in (object, msgspec.Struct)]):
        texts |= _attribute_docstrings(kind.__module__).get(kind.__qualname__, {})
    names = record.__struct_fields__ if issubclass(record, msgspec.Struct) else record.__dataclass_fields__
    return {name: texts[name] for name in names if name in texts}


@cache
def _attribute_docstrings(module: str) -> dict[str, dict[str, str]]:
    """Read the strings after fields, by class and field; Python itself does not store them."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError, KeyError):  # built in, or installed without its source
        return {}
    return {
        node.name: {
            field.target.id: " ".join(text.value.value.split())
            for field, text in pairwise(node.body)
            if isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        }
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }


def as_text(schema: dict[str, Any]) -> str:
    """Return the content of a schema's file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _first_sentence(record: type[msgspec.Struct]) -> str:
    return inspect.cleandoc(record.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def _drop_listed_keys(schema: object) -> None:
    """Remove `propertyNames` that only list keys: msgspec 0.23 writes them, 0.22 does not."""
    if isinstance(schema, list):
        for item in schema:
            _drop_listed_keys(item)
    elif isinstance(schema, dict):
        names = schema.get("propertyNames")
        if schema.get("type") == "object" and isinstance(names, dict) and names.keys() <= {"type", "enum"}:
            del schema["propertyNames"]
        for value in schema.values():
            _drop_listed_keys(value)


def records_in(*records: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
    """Return records and every record inside them, each once."""
    result: list[type[msgspec.Struct]] = []

    def visit(kind: Any) -> None:  # noqa: ANN401 - any type's inspection
        if isinstance(kind, msgspec.inspect.StructType):
            if kind.cls in result:
                return
            result.append(kind.cls)
            for field in kind.fields:
                visit(field.type)
        for attribute in ("types", "item_types"):
            for inner in getattr(kind, attribute, ()):
                visit(inner)
        for attribute in ("item_type", "key_type", "value_type"):
            if (inner := getattr(kind, attribute, None)) is not None:
                visit(inner)

    for record in records:
        visit(msgspec.inspect.type_info(record))
    return result
