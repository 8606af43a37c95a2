"""Who hears of an alert in a project: messages to queue, and the senders that find keys only when one goes out."""

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
    """Give a message for each receiver that the registry names.

    Args:
        alert: what is told.
        alerts: who is told.
        id: names this telling; the same one goes out once.
    """
    body = msgspec.to_builtins(alert)
    return tuple(
        Delivery(id=f"{id}/{to}", to=to, label=label, body=body)
        for to, label in LABELS.items()
        if getattr(alerts, to) is not None
    )


def senders(alerts: Alerts, environ: Mapping[str, str]) -> dict[str, Sender]:
    """Give what sends to each receiver that the registry names."""
    found: dict[str, Sender] = {}
    if (key := alerts.pagerduty) is not None:
        url = environ.get(URL_VARIABLE) or EVENTS_URL
        found["pagerduty"] = lambda one: send_to_pagerduty(
            _alert(one), routing_key=_substitute(key, environ, "`alerts.pagerduty`"), url=url
        )
    if (address := alerts.webhook) is not None:
        found["webhook"] = lambda one: send_to_webhook(
            _alert(one), url=_substitute(address, environ, "`alerts.webhook`")
        )
    return found


def _alert(delivery: Delivery) -> Alert:
    return msgspec.convert(delivery.body, Alert)


def _substitute(text: str, environ: Mapping[str, str], owner: str) -> str:
    try:
        return fill(text, environ, owner=owner)
    except MissingKeyError as error:
        raise DeliveryError(error.what, will_pass=False) from None
