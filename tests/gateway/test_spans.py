"""Spans: what a finished call looks like in OpenTelemetry, and what never gets there."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from flowai.errors import UsageError
from flowai.events import OTEL_NAMES, SEMCONV_VERSION, Attempt, CallEvent, Content
from flowai.gateway.telemetry.spans import PROVIDER_NAMES, SCHEMA_URL, SpanExporter
from flowai.redaction import Redactor

pytest.importorskip("opentelemetry.sdk", reason="needs opentelemetry-sdk")

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

NOON = datetime(2026, 5, 2, 12, 0, 0, 123456, tzinfo=UTC)
NOON_NS = 1_777_723_200_123_456_000
KEY = "sk-ant-api03-" + "Zx9" * 10


class Setup:
    """Spans that are kept in memory."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.spans = SpanExporter(Redactor(("the-known-value",)), tracer_provider=self.provider)

    def record(self, event: CallEvent) -> tuple[ReadableSpan, list[ReadableSpan]]:
        """Record a call; give its span and those of its attempts."""
        self.exporter.clear()
        self.spans.record(event)
        *attempts, whole = self.exporter.get_finished_spans()
        return whole, attempts


@pytest.fixture
def setup() -> Setup:
    return Setup()


def call(**changes: Any) -> CallEvent:
    event = CallEvent(
        call_id="c1",
        at=NOON,
        origin="library",
        feature="summarization",
        release="v2",
        variant="canary",
        session="s1",
        prompt_id="prompts/summary_v2",
        requested_model="gpt-4o",
        served_model="claude-x-2026",
        provider="anthropic",
        attempts=(
            Attempt(model="mini", provider="azure", status="skipped", reason="open", at_ms=0.5),
            Attempt(
                model="gpt-4o",
                provider="openai",
                status="error",
                http_status=429,
                error_class="RateLimitedError",
                message="slow down",
                at_ms=1.0,
                latency_ms=80.0,
            ),
            Attempt(model="claude", provider="anthropic", status="ok", http_status=200, at_ms=82.0, latency_ms=700.0),
        ),
        input_tokens=120,
        output_tokens=40,
        cost_usd=0.0003,
        ttft_ms=210.0,
        latency_ms=812.5,
        finish_reason="stop",
        json_valid=True,
    )
    return msgspec.structs.replace(event, **changes)


def test_a_call_is_one_span_with_its_attempts_below(setup: Setup) -> None:
    whole, attempts = setup.record(call())
    assert whole.name == "chat gpt-4o"
    assert whole.kind == SpanKind.CLIENT
    assert whole.status.status_code == StatusCode.UNSET
    assert whole.parent is None
    assert [span.name for span in attempts] == ["attempt mini", "attempt gpt-4o", "attempt claude"]
    assert [span.kind for span in attempts] == [SpanKind.INTERNAL, SpanKind.CLIENT, SpanKind.CLIENT]
    assert whole.context is not None
    assert all(span.parent is not None and span.parent.span_id == whole.context.span_id for span in attempts)


def test_span_times_are_the_call_s(setup: Setup) -> None:
    whole, attempts = setup.record(call())
    assert whole.start_time == NOON_NS
    assert whole.end_time == NOON_NS + 812_500_000
    offsets = [(span.start_time or 0, span.end_time or 0) for span in attempts]
    assert [((start - NOON_NS) / 1e6, (end - NOON_NS) / 1e6) for start, end in offsets] == [
        (0.5, 0.5),
        (1.0, 81.0),
        (82.0, 782.0),
    ]


def test_attributes_follow_the_conventions(setup: Setup) -> None:
    whole, attempts = setup.record(call())
    assert dict(whole.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "claude-x-2026",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.conversation.id": "s1",
        "gen_ai.prompt.name": "prompts/summary_v2",
        "gen_ai.usage.input_tokens": 120,
        "gen_ai.usage.output_tokens": 40,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.21,
        "gen_ai.output.type": "json",
        "flowai.call.id": "c1",
        "flowai.origin": "library",
        "flowai.feature": "summarization",
        "flowai.release": "v2",
        "flowai.variant": "canary",
        "flowai.is_sticky": False,
        "flowai.attempts": 3,
        "flowai.degraded": False,
        "flowai.cache.verdict": "miss",
        "flowai.cost_usd": 0.0003,
        "flowai.ttft_ms": 210.0,
        "flowai.latency_ms": 812.5,
        "flowai.json_valid": True,
    }
    assert dict(attempts[0].attributes or {}) == {
        "gen_ai.request.model": "mini",
        "gen_ai.provider.name": "azure.ai.openai",
        "flowai.attempt.status": "skipped",
        "flowai.attempt.skip_reason": "open",
        "flowai.attempt.at_ms": 0.5,
    }
    assert dict(attempts[1].attributes or {}) == {
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.provider.name": "openai",
        "flowai.attempt.status": "error",
        "http.response.status_code": 429,
        "error.type": "RateLimitedError",
        "flowai.error.message": "slow down",
        "flowai.attempt.at_ms": 1.0,
        "flowai.latency_ms": 80.0,
    }


def test_a_failure_is_an_error_with_its_type(setup: Setup) -> None:
    whole, attempts = setup.record(call(error_class="AllModelsFailedError", error_message="all models failed"))
    assert whole.status.status_code == StatusCode.ERROR
    assert whole.status.description == "all models failed"
    assert (whole.attributes or {})["error.type"] == "AllModelsFailedError"
    assert [span.status.status_code for span in attempts] == [StatusCode.UNSET, StatusCode.ERROR, StatusCode.UNSET]
    assert attempts[1].status.description == "slow down"


def test_a_cache_hit_has_no_attempts_and_no_tokens(setup: Setup) -> None:
    whole, attempts = setup.record(call(attempts=(), cache="semantic", similarity=0.97))
    assert whole.kind == SpanKind.INTERNAL
    assert attempts == []
    attributes = dict(whole.attributes or {})
    assert attributes["flowai.cache.verdict"] == "semantic"
    assert attributes["flowai.cache.similarity"] == 0.97
    assert not [name for name in attributes if name.startswith("gen_ai.usage.")]


def test_the_parent_is_the_caller_s_current_or_earlier_span(setup: Setup) -> None:
    tracer = trace.get_tracer("test", tracer_provider=setup.provider)
    with tracer.start_as_current_span("request") as request:
        setup.spans.record(call(attempts=()))
        stood = setup.spans.current_context()
    setup.spans.record(call(), parent=stood)
    calls = [span for span in setup.exporter.get_finished_spans() if span.name.startswith("chat")]
    assert [span.parent.span_id for span in calls if span.parent] == [request.get_span_context().span_id] * 2
    assert {span.context.trace_id for span in setup.exporter.get_finished_spans() if span.context} == {
        request.get_span_context().trace_id
    }


def test_spans_have_content_only_if_the_event_has_it(setup: Setup) -> None:
    whole, _ = setup.record(call())
    assert not [name for name in whole.attributes or {} if name.endswith(".messages")]
    said = Content(
        messages=(
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": 1}],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "t1", "content": "a cat"},
        ),
        output="A cat.",
    )
    whole, _ = setup.record(call(content=said))
    attributes = dict(whole.attributes or {})
    assert json.loads(str(attributes["gen_ai.input.messages"])) == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": "What is it?"}, {"type": "image_url"}]},
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "t1", "name": "look", "arguments": "{}"}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "t1", "response": "a cat"}]},
    ]
    assert json.loads(str(attributes["gen_ai.output.messages"])) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "A cat."}], "finish_reason": "stop"}
    ]


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"role": 7, "content": {"a": 1}},
        {"role": "user", "content": [None, "text", {"type": None}, {"type": "text"}]},
        {"role": "assistant", "tool_calls": [None, {"function": 3}, {}], "content": "half \ud83d"},
        {"role": "assistant", "tool_calls": "many", "content": float("nan")},
        {"role": "tool", "content": {"set"}},
    ],
)
def test_any_message_is_accepted(setup: Setup, message: dict[str, Any]) -> None:
    whole, _ = setup.record(call(content=Content(messages=(message,)), session="\ud800", requested_model="\udc00"))
    json.dumps(whole.to_json()).encode()
    assert (whole.attributes or {})["gen_ai.conversation.id"] == "?"


def test_planted_secrets_appear_in_no_span(setup: Setup) -> None:
    secret = f"{KEY} the-known-value"
    failed = Attempt(model="m", provider=f"http://u:{KEY}@h", status="error", error_class="AuthError", message=secret)
    setup.record(
        call(
            tenant=secret,
            session=secret,
            requested_model=KEY,
            served_model=secret,
            provider=secret,
            finish_reason=secret,
            error_class="AuthError",
            error_message=secret,
            attempts=(failed, msgspec.structs.replace(failed, model=KEY)),
            content=Content(messages=({"role": "user", "content": secret, KEY: 1},), output=secret),
        )
    )
    written = "".join(span.to_json() for span in setup.exporter.get_finished_spans())
    assert "[REDACTED:anthropic]" in written
    assert KEY not in written
    assert "the-known-value" not in written


def test_without_a_tracer_provider_nothing_is_recorded() -> None:
    SpanExporter(Redactor(), tracer_provider=trace.NoOpTracerProvider()).record(call())


def test_every_attribute_name_is_in_the_conventions(setup: Setup) -> None:
    from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
    from opentelemetry.semconv.schemas import Schemas

    known = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")}
    whole, _ = setup.record(call(content=Content(messages=(), output="")))
    used = {*OTEL_NAMES.values(), *(whole.attributes or {})}
    assert {name for name in used if name.startswith("gen_ai.")} <= known
    providers = {provider.value for provider in gen_ai_attributes.GenAiProviderNameValues}
    assert set(PROVIDER_NAMES.values()) <= providers
    assert SCHEMA_URL in {schema.value for schema in Schemas}
    assert whole.instrumentation_scope is not None
    assert whole.instrumentation_scope.schema_url == f"https://opentelemetry.io/schemas/{SEMCONV_VERSION}"


def test_without_the_extra_only_span_export_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(UsageError, match="opentelemetry-api") as caught:
        SpanExporter(Redactor())
    assert caught.value.hint == "pip install 'flowai[otel]'"
    code = "import sys, flowai.gateway.telemetry.spans; sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
