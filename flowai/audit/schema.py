"""JSON Schema of the audit log."""

from __future__ import annotations

from pathlib import Path

from flowai.audit.records import AuditRecord
from flowai.storage.json_schema import as_text, json_schema

SCHEMA_FILE = Path(__file__).with_name("audit.schema.json")


def audit_schema() -> str:
    """Return the text of the format's schema file, as it ships beside this module."""
    return as_text({"title": "flowai audit record", **json_schema(AuditRecord)})
