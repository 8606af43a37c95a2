"""Alerts to any URL, as plain JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from flowai.notifications.http import post_json

if TYPE_CHECKING:
    from flowai.notifications.records import Alert

SCHEMA_VERSION = 1


def send_to_webhook(alert: Alert, *, url: str) -> None:
    """Post an alert; raises DeliveryError if the receiver did not accept it."""
    post_json(url, build_document(alert))


def build_document(alert: Alert) -> dict[str, Any]:
    """Build the document: the alert's fields, `schema_version`, and `text`, the line that chat tools show."""
    text = f"{'resolved: ' if alert.action == 'resolve' else ''}{alert.summary}"
    return {"schema_version": SCHEMA_VERSION, "text": text, **msgspec.to_builtins(alert)}
