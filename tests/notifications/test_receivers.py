"""Requests to PagerDuty and webhooks: content, transient and permanent failures, no keys in errors."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from support.alert_receiver import AlertReceiver, Reply

from flowai.notifications.http import post_json
from flowai.notifications.pagerduty import build_event, dedup_key, send_to_pagerduty
from flowai.notifications.records import Alert, DeliveryError
from flowai.notifications.routing import deliveries, senders
from flowai.notifications.webhook import send_to_webhook
from flowai.registry.records import Alerts

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "r0ut1ngk3y5e6f7a8b9c0d1e2f3a4b5c"


@pytest.fixture
def receiver() -> Iterator[AlertReceiver]:
    with AlertReceiver() as made:
        yield made


def alert(**changes: Any) -> Alert:
    facts: dict[str, Any] = {
        "cause": "flowai/prod/release/v2",
        "summary": "v2 fails",
        "source": "flowai prod",
        "at": datetime(2026, 5, 2, 12, 0, tzinfo=UTC),
        **changes,
    }
    return Alert(**facts)


def test_pagerduty_gets_a_trigger_and_a_resolve_of_one_incident(receiver: AlertReceiver) -> None:
    send_to_pagerduty(alert(details={"rate": 0.07}), routing_key=KEY, url=receiver.url)
    send_to_pagerduty(alert(action="resolve"), routing_key=KEY, url=receiver.url)
    trigger, resolve = receiver.posted
    assert trigger == {
        "routing_key": KEY,
        "event_action": "trigger",
        "dedup_key": "flowai/prod/release/v2",
        "client": "flowai",
        "payload": {
            "summary": "v2 fails",
            "source": "flowai prod",
            "severity": "error",
            "timestamp": "2026-05-02T12:00:00+00:00",
            "custom_details": {"rate": 0.07},
        },
    }
    assert resolve == {"routing_key": KEY, "event_action": "resolve", "dedup_key": "flowai/prod/release/v2"}


def test_pagerduty_length_limits() -> None:
    assert len(build_event(alert(summary="x" * 5_000))["payload"]["summary"]) == 1024
    assert len(dedup_key("c" * 300)) <= 255
    assert dedup_key("c" * 300) != dedup_key("c" * 301)


def test_a_webhook_gets_the_alert_and_a_text_line(receiver: AlertReceiver) -> None:
    send_to_webhook(alert(action="resolve"), url=receiver.url)
    (got,) = receiver.posted
    assert got["schema_version"] == 1
    assert got["text"] == "resolved: v2 fails"
    assert got["action"] == "resolve"
    assert got["cause"] == "flowai/prod/release/v2"


@pytest.mark.parametrize(
    ("said", "passes", "retry_after_s"),
    [
        (Reply(status=429, headers={"Retry-After": "7"}), True, 7.0),
        (Reply(status=503, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}), True, None),
        (Reply(status=500), True, None),
        (Reply(status=408), True, None),
        (Reply(status=400, body=b"invalid key"), False, None),
        (Reply(status=404), False, None),
        (Reply(status=302, headers={"Location": "http://127.0.0.1:9/"}), False, None),
    ],
)
def test_which_statuses_are_transient(
    receiver: AlertReceiver, said: Reply, passes: bool, retry_after_s: float | None
) -> None:
    receiver.script(said)
    with pytest.raises(DeliveryError) as failed:
        post_json(receiver.url, {})
    assert failed.value.is_transient == passes
    assert failed.value.retry_after_s == retry_after_s
    assert str(said.status) in failed.value.what


def test_refused_connections_and_timeouts_are_transient() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(DeliveryError) as failed:
            post_json(f"http://127.0.0.1:{port}/", {}, timeout_s=0.05)
        assert failed.value.is_transient
    with pytest.raises(DeliveryError) as failed:
        post_json(f"http://127.0.0.1:{port}/", {})
    assert failed.value.is_transient


@pytest.mark.parametrize("url", ["file:///etc/passwd", "", "http://", "http://[", "http://a b/", "http://x:y/"])
def test_an_invalid_address_is_an_error_without_the_address(url: str) -> None:
    with pytest.raises(DeliveryError) as failed:
        post_json(url, {})
    assert "passwd" not in failed.value.what


def test_errors_contain_no_keys_or_addresses_that_the_receiver_quotes(receiver: AlertReceiver) -> None:
    receiver.script(Reply(status=400, body=f"no {KEY} at {receiver.url}".encode()))
    with pytest.raises(DeliveryError) as failed:
        send_to_pagerduty(alert(), routing_key=KEY, url=receiver.url)
    assert KEY not in failed.value.what
    assert receiver.url not in failed.value.what


def test_queued_messages_contain_only_names_of_keys(receiver: AlertReceiver) -> None:
    alerts = Alerts(pagerduty="${PD}", webhook="${HOOK}")
    environ = {"PD": KEY, "HOOK": receiver.url, "PAGERDUTY_EVENTS_URL": receiver.url}
    queued = deliveries(alert(), alerts, id="x")
    assert [one.id for one in queued] == ["x/pagerduty", "x/webhook"]
    assert KEY not in str(queued)
    found = senders(alerts, environ)
    for one in queued:
        found[one.to](one)
    assert [got.get("routing_key") for got in receiver.posted] == [KEY, None]


def test_a_missing_key_is_permanent() -> None:
    alerts = Alerts(pagerduty="${PD}")
    (one,) = deliveries(alert(), alerts, id="x")
    with pytest.raises(DeliveryError, match="`PD`, which is not set") as failed:
        senders(alerts, {})["pagerduty"](one)
    assert not failed.value.is_transient
