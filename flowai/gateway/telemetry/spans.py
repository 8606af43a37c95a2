"""Creates OpenTelemetry spans of finished calls: one per call, one child per attempt.

Source: OpenTelemetry semantic conventions, version SEMCONV_VERSION: Gen AI client spans (name, kind, attributes,
content as JSON), recording errors.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flowai.errors import UsageError
from flowai.events import OTEL_NAMES, SEMCONV_VERSION
from flowai.timestamps import to_us

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind, TracerProvider

    from flowai.events import Attempt, CallEvent
    from flowai.redaction import Redactor

SCHEMA_URL = f"https://opentelemetry.io/schemas/{SEMCONV_VERSION}"
PROVIDER_NAMES: dict[str, str] = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""Provider names of the conventions that differ from LiteLLM's."""

_NS_PER_MS = 1_000_000
_USAGE = frozenset({"input_tokens", "output_tokens"})

SpanAttribute = str | bool | int | float | list[str]


class SpanExporter:
    """Exports finished calls to OpenTelemetry; without a `tracer_provider`, to the process's own.

    The call's span follows the conventions (`chat MODEL`); its attempts have no operation and no tokens, so that each
    call and token is counted once. Almost free where the process samples or has no tracer provider.
    """

    def __init__(self, redactor: Redactor, *, tracer_provider: TracerProvider | None = None) -> None:
        try:
            from opentelemetry import context, trace
        except ImportError:
            raise UsageError("spans need the package `opentelemetry-api`", hint="pip install 'flowai[otel]'") from None
        self._trace = trace
        self._context = context
        self._redactor = redactor
        self._is_given = tracer_provider is not None
        self._tracer = trace.get_tracer("flowai", tracer_provider=tracer_provider, schema_url=SCHEMA_URL)

    def current_context(self) -> Context:
        """Return the caller's trace context, for a call that is recorded later."""
        return self._context.get_current()

    def record(self, event: CallEvent, *, parent: Context | None = None) -> None:
        """Create the spans of a call; content is in them only if it is in the event.

        `parent` is the trace context of the call's start, see `current_context`; None for the current one.
        """
        if not self._is_given and isinstance(self._trace.get_tracer_provider(), self._trace.ProxyTracerProvider):
            return  # the process has no tracer provider
        kinds = self._trace.SpanKind
        has_called = any(attempt.status != "skipped" for attempt in event.attempts)
        start_ns = to_us(event.at) * 1000
        span = self._tracer.start_span(
            f"chat {self._text(event.requested_model)}",
            context=parent,
            kind=kinds.CLIENT if has_called else kinds.INTERNAL,
            start_time=start_ns,
        )
        if span.is_recording():
            span.set_attributes(self._call_attributes(event))
            if event.error_class is not None:
                span.set_status(self._trace.StatusCode.ERROR, self._text(event.error_message or ""))
            below = self._trace.set_span_in_context(span, parent)
            for attempt in event.attempts:
                kind = kinds.INTERNAL if attempt.status == "skipped" else kinds.CLIENT
                self._record_attempt(attempt, below, kind, start_ns)
        span.end(start_ns + round(event.latency_ms * _NS_PER_MS))

    def _record_attempt(self, attempt: Attempt, below: Context, kind: SpanKind, call_start_ns: int) -> None:
        start_ns = call_start_ns + round((attempt.at_ms or 0.0) * _NS_PER_MS)
        span = self._tracer.start_span(
            f"attempt {self._text(attempt.model)}",
            context=below,
            kind=kind,
            attributes=dict(self._attributes(attempt)),
            start_time=start_ns,
        )
        if attempt.status == "error":
            span.set_status(self._trace.StatusCode.ERROR, self._text(attempt.message or ""))
        span.end(start_ns + round((attempt.latency_ms or 0.0) * _NS_PER_MS))

    def _call_attributes(self, event: CallEvent) -> dict[str, SpanAttribute]:
        attributes: dict[str, SpanAttribute] = {"gen_ai.operation.name": "chat", **dict(self._attributes(event))}
        if event.cache != "miss":  # the tokens belong to another call's span
            for name in _USAGE:
                attributes.pop(OTEL_NAMES[name], None)
        if event.ttft_ms is not None:
            attributes["gen_ai.response.time_to_first_chunk"] = event.ttft_ms / 1000
        if event.json_valid is not None:
            attributes["gen_ai.output.type"] = "json"
        if event.content is not None:
            attributes["gen_ai.input.messages"] = self._json([_message(item) for item in event.content.messages])
            if event.content.output is not None:
                answer = _message({"role": "assistant", "content": event.content.output})
                attributes["gen_ai.output.messages"] = self._json([{**answer, "finish_reason": event.finish_reason}])
        return attributes

    def _attributes(self, record: CallEvent | Attempt) -> Iterator[tuple[str, SpanAttribute]]:
        """Yield the fields that have a name in OTEL_NAMES and a value."""
        for field in record.__struct_fields__:
            name, value = OTEL_NAMES.get(field), getattr(record, field)
            if name is None or value is None:
                continue
            if field == "attempts":
                yield name, len(value)
            elif field == "would_be_hit":
                yield name, value.outcome
            elif field == "provider":
                yield name, PROVIDER_NAMES.get(value, self._text(value))
            elif field == "finish_reason":
                yield name, [self._text(value)]
            else:
                yield name, self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        """Redact a text and replace lone surrogates, which would cost an exporter its whole batch."""
        return self._redactor.text(text).encode("utf-8", "replace").decode()

    def _json(self, value: object) -> str:
        return json.dumps(self._redactor.value(value), default=str)  # ASCII only


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """Convert an OpenAI chat message, unchecked, to the conventions' form."""
    role, content = str(message.get("role")), message.get("content")
    if role == "tool":
        parts = [{"type": "tool_call_response", "id": message.get("tool_call_id"), "response": content}]
        return {"role": role, "parts": parts}
    parts = [{"type": "text", "content": content}] if isinstance(content, str) else []
    if isinstance(content, list | tuple):
        parts = [_part(item) for item in content]
    calls = message.get("tool_calls")
    parts += [_tool_call(item) for item in calls] if isinstance(calls, list | tuple) else []
    return {"role": role, "parts": parts}


def _part(part: object) -> dict[str, Any]:
    """Keep text; of pictures and sounds only their type."""
    if not isinstance(part, dict):
        return {"type": "unknown"}
    kind = str(part.get("type"))
    return {"type": "text", "content": part.get("text")} if kind == "text" else {"type": kind}


def _tool_call(call: object) -> dict[str, Any]:
    given = call if isinstance(call, dict) else {}
    function = given.get("function")
    named = function if isinstance(function, dict) else {}
    return {"type": "tool_call", "id": given.get("id"), "name": named.get("name"), "arguments": named.get("arguments")}
