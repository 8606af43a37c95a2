"""Descriptions of fields: the string after the field; an inherited field's is in the class that declares it."""

from __future__ import annotations

import msgspec

from flowai.storage.json_schema import describe_fields, json_schema


class Base(msgspec.Struct, kw_only=True):
    """A base."""

    inherited: int
    """Beside the field."""
    undescribed: int = 0
    plain: int = 0
    """Described once."""
    _private: int = 0
    "Two\n    lines."


class Child(Base, kw_only=True):
    """A child."""

    plain: int = 1
    """Described again."""
    own: str
    """Its own."""


def test_a_field_is_described_by_the_string_after_it() -> None:
    base = {"inherited": "Beside the field.", "plain": "Described once.", "_private": "Two lines."}
    assert describe_fields(Base) == base
    assert describe_fields(Child) == {**base, "plain": "Described again.", "own": "Its own."}


def test_the_schema_has_the_descriptions() -> None:
    properties = json_schema(Child)["$defs"]["Child"]["properties"]
    assert properties["own"]["description"] == "Its own."
    assert properties["inherited"]["description"] == "Beside the field."
    assert "description" not in properties["undescribed"]
