"""Alerts to PagerDuty: Events API v2, one incident per dedup key.

Source: PagerDuty, Events API v2, "Send an alert event", for format and lengths.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from flowai.notifications.http import post_json

if TYPE_CHECKING:
    from flowai.notifications.records import Alert

EVENTS_URL = "https://events.pagerduty.com/v2/enqueue"
URL_VARIABLE = "PAGERDUTY_EVENTS_URL"
"""Variable for another URL, such as that of PagerDuty's European region."""
MAX_SUMMARY_LENGTH = 1024
MAX_KEY_LENGTH = 255


def send_to_pagerduty(alert: Alert, *, routing_key: str, url: str = EVENTS_URL) -> None:
    """Trigger or resolve an incident; raises DeliveryError if PagerDuty did not accept it."""
    post_json(url, {"routing_key": routing_key, **build_event(alert)}, secrets=frozenset({routing_key}))


def build_event(alert: Alert) -> dict[str, Any]:
    """Build the event without its routing key."""
    body: dict[str, Any] = {"event_action": alert.action, "dedup_key": dedup_key(alert.cause)}
    if alert.action == "trigger":
        body["payload"] = {
            "summary": alert.summary[:MAX_SUMMARY_LENGTH],
            "source": alert.source,
            "severity": alert.severity,
            "timestamp": alert.at.isoformat(),
            "custom_details": alert.details,
        }
        body["client"] = "flowai"
    return body


def dedup_key(cause: str) -> str:
    """Return the key of an incident: its cause, hashed if it is too long."""
    return cause if len(cause) <= MAX_KEY_LENGTH else hashlib.sha256(cause.encode()).hexdigest()
