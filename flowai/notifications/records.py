"""Records of alerts and deliveries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

import msgspec

Severity = Literal["info", "warning", "error", "critical"]


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A message about a problem; all alerts of one cause are one incident."""

    cause: str
    """Id of the incident (`flowai/prod/release/v2`)."""
    action: Literal["trigger", "resolve"] = "trigger"
    """`trigger` opens the incident or adds to it, `resolve` closes it."""
    summary: str
    """One line, secrets redacted."""
    severity: Severity = "error"
    source: str
    """`flowai` and the environment."""
    at: datetime
    details: dict[str, Any] = {}
    """Further facts, secrets redacted."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A message to one receiver. It contains no key or secret address: its sender looks them up on delivery."""

    id: str
    """A message is queued once per id."""
    to: str
    """Kind of receiver, which selects the sender (`pagerduty`, `webhook`, `version`)."""
    label: str
    """Name of the receiver for people (`PagerDuty`)."""
    slot: str | None = None
    """A later message of the same slot (a variable's value) replaces this one; None if every message counts."""
    body: dict[str, Any]


class DeliveryError(Exception):
    """A message was not delivered; it stays in the outbox.

    `what` is the reason, secrets redacted; `retry_after_s` the wait that the receiver asks for, >= 0. `is_transient`: a
    retry may help (429, 5xx, no connection); other failures need a person.
    """

    def __init__(self, what: str, *, retry_after_s: float | None = None, is_transient: bool = True) -> None:
        super().__init__(what)
        self.what = what
        self.retry_after_s = retry_after_s
        self.is_transient = is_transient


Sender = Callable[[Delivery], None]
"""Sends one message, or raises DeliveryError."""
