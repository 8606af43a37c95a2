"""The records of alerts and deliveries.

In: nothing. Out: frozen records. Must never know keys, nor how anything is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

import msgspec

Severity = Literal["info", "warning", "error", "critical"]


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody must know of; one incident per cause, however often it is told.

    Args:
        cause: names the incident (`flowai/prod/release/v2`); what is told again under it joins it.
        action: `trigger` opens it or adds to it, `resolve` closes it.
        summary: one line for a person, secrets redacted.
        severity: how bad it is.
        source: where it was seen (`flowai` and the environment).
        at: when (RFC 3339, UTC).
        details: further facts, secrets redacted.
    """

    cause: str
    action: Literal["trigger", "resolve"] = "trigger"
    summary: str
    severity: Severity = "error"
    source: str
    at: datetime
    details: dict[str, Any] = {}


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one receiver. It holds no key and no secret address: its sender looks them up when it goes out.

    Args:
        id: names it; queued twice under one id it goes out once.
        to: what kind of receiver, by which its sender is found (`pagerduty`, `webhook`, `version`).
        label: how a person calls the receiver (`PagerDuty`).
        slot: where only the newest counts (a variable's value): a later message of the slot replaces this one; None
            where each counts.
        body: the message.
    """

    id: str
    to: str
    label: str
    slot: str | None = None
    body: dict[str, Any]


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
