"""Receivers of a project's alerts: messages to queue, and senders that look up keys only on delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flowai.errors import MissingKeyError
from flowai.notifications.pagerduty import EVENTS_URL, URL_VARIABLE, send_to_pagerduty
from flowai.notifications.records import Alert, Delivery, DeliveryError
from flowai.notifications.webhook import send_to_webhook
from flowai.registry.environment import fill

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.notifications.records import Sender
    from flowai.registry.records import Alerts

LABELS = {"pagerduty": "PagerDuty", "webhook": "webhook"}


def deliveries(alert: Alert, alerts: Alerts, *, id: str) -> tuple[Delivery, ...]:  # noqa: A002 - the field's own name
    """Build a message for each receiver in the registry; the outbox queues it once per `id`."""
    body = msgspec.to_builtins(alert)
    return tuple(
        Delivery(id=f"{id}/{to}", to=to, label=label, body=body)
        for to, label in LABELS.items()
        if getattr(alerts, to) is not None
    )


def senders(alerts: Alerts, environ: Mapping[str, str]) -> dict[str, Sender]:
    """Build a sender for each receiver in the registry."""
    result: dict[str, Sender] = {}
    if (key := alerts.pagerduty) is not None:
        url = environ.get(URL_VARIABLE) or EVENTS_URL
        result["pagerduty"] = lambda delivery: send_to_pagerduty(
            _alert(delivery), routing_key=_fill_in(key, environ, "`alerts.pagerduty`"), url=url
        )
    if (address := alerts.webhook) is not None:
        result["webhook"] = lambda delivery: send_to_webhook(
            _alert(delivery), url=_fill_in(address, environ, "`alerts.webhook`")
        )
    return result


def _alert(delivery: Delivery) -> Alert:
    return msgspec.convert(delivery.body, Alert)


def _fill_in(text: str, environ: Mapping[str, str], owner: str) -> str:
    try:
        return fill(text, environ, owner=owner)
    except MissingKeyError as error:
        raise DeliveryError(error.what, is_transient=False) from None
