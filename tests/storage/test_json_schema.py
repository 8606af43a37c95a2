"""Descriptions of fields: the string after the field, `Args:` of its class, and inherited ones from their class."""

from __future__ import annotations

import msgspec

from flowai.storage.json_schema import describe_fields, json_schema


class Base(msgspec.Struct, kw_only=True):
    """A base.

    Args:
        old: as before,
            over two lines.
        both: under `Args:`.
    """

    old: int
    both: int
    """Beside the field."""
    plain: int = 0
    _private: int = 0
    "Two\n    lines."


class Child(Base, kw_only=True):
    """A child."""

    plain: int = 1
    """Described anew."""
    own: str
    """Its own."""


def test_a_field_is_described_beside_it_or_in_its_class() -> None:
    base = {"old": "as before, over two lines.", "both": "Beside the field.", "_private": "Two lines."}
    assert describe_fields(Base) == base
    assert describe_fields(Child) == {**base, "plain": "Described anew.", "own": "Its own."}


def test_the_schema_has_the_descriptions() -> None:
    properties = json_schema(Child)["$defs"]["Child"]["properties"]
    assert properties["own"]["description"] == "Its own."
    assert properties["old"]["description"] == "as before, over two lines."
