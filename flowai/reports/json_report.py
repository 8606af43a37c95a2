"""Writes a report as JSON: the whole record, the form other programs read.

In: a Report. Out: bytes. Must never know where they are written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from flowai.reports.model import Report


def to_json(report: Report) -> bytes:
    """Give the report as indented JSON with a line feed at its end; equal reports give equal bytes."""
    return msgspec.json.format(msgspec.json.encode(report, order="deterministic"), indent=1) + b"\n"
