"""The records of alerts and deliveries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

import msgspec

Severity = Literal["info", "warning", "error", "critical"]


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody must know of; one incident per cause, however often it is told."""

    cause: str
    """Names the incident (`flowai/prod/release/v2`); what is told again under it joins it."""
    action: Literal["trigger", "resolve"] = "trigger"
    """`trigger` opens it or adds to it, `resolve` closes it."""
    summary: str
    """One line for a person, secrets redacted."""
    severity: Severity = "error"
    """How bad it is."""
    source: str
    """Where it was seen (`flowai` and the environment)."""
    at: datetime
    """When (RFC 3339, UTC)."""
    details: dict[str, Any] = {}
    """Further facts, secrets redacted."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one receiver. It holds no key and no secret address: its sender looks them up when it goes out."""

    id: str
    """Names it; queued twice under one id it goes out once."""
    to: str
    """What kind of receiver, by which its sender is found (`pagerduty`, `webhook`, `version`)."""
    label: str
    """How a person calls the receiver (`PagerDuty`)."""
    slot: str | None = None
    """Where only the newest counts (a variable's value): a later message of the slot replaces this one; None where each
    counts."""
    body: dict[str, Any]
    """The message."""


class DeliveryError(Exception):
    """A message did not go out; it stays in the outbox.

    Args:
        what: why, secrets redacted.
        retry_after_s: seconds the receiver asks us to wait, >= 0; None when it did not say.
        will_pass: whether waiting may help (429, 5xx, no connection); a refusal needs a person first.
    """

    def __init__(self, what: str, *, retry_after_s: float | None = None, will_pass: bool = True) -> None:
        super().__init__(what)
        self.what = what
        self.retry_after_s = retry_after_s
        self.will_pass = will_pass


Sender = Callable[[Delivery], None]
"""Sends one message, or raises DeliveryError."""
