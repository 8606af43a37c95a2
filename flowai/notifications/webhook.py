"""Alerts to a URL of one's own, as plain JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from flowai.notifications.http import post_json

if TYPE_CHECKING:
    from flowai.notifications.records import Alert

SCHEMA_VERSION = 1


def send_to_webhook(alert: Alert, *, url: str) -> None:
    """Post an alert.

    Raises:
        DeliveryError: the receiver did not take it.
    """
    post_json(url, document(alert))


def document(alert: Alert) -> dict[str, Any]:
    """Give what is posted: the alert's fields and `schema_version`; `text` is the line that chat tools show."""
    text = f"{'resolved: ' if alert.action == 'resolve' else ''}{alert.summary}"
    return {"schema_version": SCHEMA_VERSION, "text": text, **msgspec.to_builtins(alert)}
