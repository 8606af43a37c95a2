"""`/metrics` and `/readyz`: what an operator watches, and what must never be in it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.scripted_gateway import WHOLE, ScriptedGateway, ServedGateway, served

from flowai.errors import CallNotFoundError, ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from httpx import Client

HELLO: list[Any] = [{"role": "user", "content": "hi"}]


@pytest.fixture
def gateway() -> ScriptedGateway:
    return ScriptedGateway()


@pytest.fixture
def server(gateway: ScriptedGateway) -> Iterator[ServedGateway]:
    with served(gateway) as made:
        yield made


def samples(http: Client) -> dict[str, float]:
    """Give the samples of flowai's own metrics by their name and labels, as Prometheus reads them."""
    found = {}
    for family in text_string_to_metric_families(http.get("/metrics").text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def chat(http: Client, **fields: Any) -> int:
    return http.post("/v1/chat/completions", json={"model": "chat", "messages": HELLO} | fields).status_code


def test_calls_are_counted_by_outcome(gateway: ScriptedGateway, server: ServedGateway) -> None:
    assert chat(server.http) == 200
    assert chat(server.http, stream=True) == 200
    gateway.answer = msgspec.structs.replace(WHOLE, degraded=True, model="n")
    assert chat(server.http) == 200
    gateway.answer = msgspec.structs.replace(WHOLE, cache="exact", latency_ms=1.0)
    assert chat(server.http) == 200
    gateway.fail = ServerError("no", provider="p", model="m")
    assert chat(server.http) == 502
    assert server.http.post("/v1/chat/completions", json={"model": "no"}).status_code == 404

    found = samples(server.http)
    own = "feature=chat,model={},outcome={},release=v1,variant=stable}}"
    assert found["flowai_calls_total{cache=miss," + own.format("m", "ok")] == 2
    assert found["flowai_calls_total{cache=miss," + own.format("n", "degraded")] == 1
    assert found["flowai_calls_total{cache=exact," + own.format("m", "ok")] == 1
    failed = "feature=chat,model=none,outcome=ServerError,release=none,variant=none}"
    assert found["flowai_calls_total{cache=miss," + failed] == 1
    assert found["flowai_call_duration_seconds_count{cache=miss,feature=chat}"] == 4
    assert found["flowai_tokens_total{direction=output,feature=chat,model=m}"] == 4, "cache hits use none"
    assert found["flowai_cost_usd_total{feature=chat,model=m,release=v1,variant=stable}"] == pytest.approx(0.002)
    assert found["flowai_http_requests_total{method=POST,route=/v1/chat/completions,status=200}"] == 4
    assert found["flowai_http_requests_total{method=POST,route=/v1/chat/completions,status=404}"] == 1


def test_clients_cannot_create_labels(server: ServedGateway) -> None:
    http = server.http
    for number in range(20):
        http.get(f"/made-up/{number}")
        http.get(f"/v1/models/made-up-{number}")
        http.request(f"VERB{number}", "/healthz")
        chat(http, model=f"made-up-{number}", user=f"user-{number}")
        chat(http, user=f"user-{number}")
    text = http.get("/metrics", headers={"X-Tenant": "secret-tenant"}).text
    assert "made-up" not in text
    assert "VERB" not in text
    assert "user-" not in text
    assert "secret-tenant" not in text


def test_names_follow_prometheus(server: ServedGateway) -> None:
    chat(server.http)
    text = server.http.get("/metrics").text
    names = set(re.findall(r"^# TYPE (flowai_\w+) (\w+)$", text, re.MULTILINE))
    assert all(name.endswith("_total") for name, kind in names if kind == "counter")
    assert all(name.endswith("_seconds") for name, kind in names if kind == "histogram")
    assert not any("_ms" in name for name, _ in names)


def test_degraded_parts_are_shown(gateway: ScriptedGateway, server: ServedGateway) -> None:
    gateway.stands = replace(gateway.stands, degraded={"state_unavailable": "redis is away"}, open_breakers=("openai",))
    ready = server.http.get("/readyz")
    assert ready.status_code == 200, "it can serve"
    assert ready.json()["degraded"] == {"state_unavailable": "redis is away"}
    assert ready.json()["open_breakers"] == ["openai"]
    found = samples(server.http)
    assert found["flowai_degraded{kind=state_unavailable}"] == 1
    assert found["flowai_degraded{kind=event_log_unwritable}"] == 0
    assert found["flowai_breaker_open{provider=openai}"] == 1
    gateway.stands = replace(gateway.stands, held_event_count=3, dropped_event_count=2)
    found = [samples(server.http) for _ in range(2)][1]
    assert found["flowai_events_held{}"] == 3
    assert found["flowai_events_dropped_total{}"] == 2
    gateway.stands = replace(gateway.stands, degraded={}, open_breakers=(), release=None)
    assert server.http.get("/readyz").status_code == 503
    assert "flowai_breaker_open{provider=openai}" not in samples(server.http)


def test_readiness_names_models_that_cannot_be_called(gateway: ScriptedGateway, server: ServedGateway) -> None:
    assert server.http.get("/readyz").json()["unavailable_models"] == {}
    gateway.stands = replace(gateway.stands, unavailable_models={"small": "model `small`: no file `small.gguf`"})
    ready = server.http.get("/readyz")
    assert ready.status_code == 200, "others can serve"
    assert ready.json()["unavailable_models"] == {"small": "model `small`: no file `small.gguf`"}


def test_readiness_shows_the_warm_up(server: ServedGateway) -> None:
    assert server.http.get("/readyz").json()["warm"] is False
    server.run(server.server.warm_up)
    assert server.http.get("/readyz").json()["warm"] is True


def test_feedback_is_recorded(gateway: ScriptedGateway, server: ServedGateway) -> None:
    body = {"call_id": "chatcmpl-c1", "verdict": "edited", "text": "better", "user": "u"}
    assert server.http.post("/v1/feedback", json=body).json() == {"status": "recorded", "call_id": "c1"}
    assert gateway.noted == [("c1", "edited", "better", "u")]
    assert server.http.post("/v1/feedback", json={"call_id": "c1", "verdict": "meh"}).status_code == 400
    assert samples(server.http)["flowai_feedback_total{verdict=edited}"] == 1


def test_scores_are_recorded(gateway: ScriptedGateway, server: ServedGateway) -> None:
    body = {"call_id": "resp_c1", "name": "hallucination", "passed": False, "score": 0.25, "judge": "j"}
    assert server.http.post("/v1/score", json=body).json() == {"status": "recorded", "call_id": "c1"}
    assert gateway.scored == [("c1", "hallucination", False, 0.25, "j")]
    assert samples(server.http)["flowai_scores_total{passed=false}"] == 1
    gateway.fail = CallNotFoundError("no call")
    for path, unknown in (("score", body), ("feedback", {"call_id": "c2", "verdict": "saved"})):
        answer = server.http.post(f"/v1/{path}", json=unknown)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "call_not_found")
        assert answer.json()["error"]["param"] == "call_id"
