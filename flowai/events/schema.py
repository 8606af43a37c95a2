"""JSON Schema of the event format."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from flowai.events.records import Event
from flowai.storage.json_schema import as_text, json_schema

SCHEMA_FILE = Path(__file__).with_name("event.schema.json")


def event_schema() -> str:
    """Return the text of the event format's schema file, as it ships beside this module."""
    return as_text({"title": "flowai event", **json_schema(*get_args(Event))})
