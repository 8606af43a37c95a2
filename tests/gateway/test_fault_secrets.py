"""A provider that echoes our key, in whatever part of whatever failure: the key is nowhere afterwards."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.fault_project import KEY, Clocks, Providers, ask, write_project
from support.fault_table import EVERY, TEXTS, WELL, Way
from support.scripted_replies import Reply

from flowai.errors import AllModelsFailedError, FlowaiError
from flowai.events import CallEvent
from flowai.gateway.gateway import Gateway
from flowai.providers.failures import MAX_REASON_CHARS

pytest.importorskip("opentelemetry.sdk", reason="needs opentelemetry-sdk")

from opentelemetry import trace  # noqa: TID251 - to look at spans as an exporter gets them
from opentelemetry.sdk.trace import TracerProvider  # noqa: TID251 - as above
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: TID251 - as above
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: TID251 - as above

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flowai.events import Event

MARKS = (KEY[:12], KEY[-12:])
"""Neither the key nor half of it."""
STATUSES = (400, 401, 403, 404, 408, 422, 429, 500, 503, 529)


def _error(message: str, **fields: str) -> dict[str, Any]:
    return {"message": message, "type": KEY, "param": KEY, **fields}


LONG = "x" * (MAX_REASON_CHARS - len(KEY) * 4 // 5) + KEY
ECHOES: dict[str, Reply] = {
    **{f"{status}": Reply(status=status, error=_error(f"bad key {KEY}")) for status in STATUSES},
    "401, the message cut in the key": Reply(status=401, error=_error(LONG)),
    "500, no error object": Reply(status=500, body=f"no {KEY}".encode(), content_type=f"text/plain; {KEY}"),
    "500, a web page": Reply(status=500, body=f"<html>{KEY}</html>".encode(), content_type="text/html"),
    "400, filter": Reply(status=400, error=_error(f"{KEY} is no prompt", code="content_filter")),
    "400, context": Reply(status=400, error=_error(KEY, code="context_length_exceeded")),
    "429, in a header": Reply(status=429, error=_error(KEY), retry_after=KEY),
    "in a stream": Reply(fault="error_chunk", text=f"{KEY} {KEY}", error=_error(KEY, code=KEY)),
    "as the content type": Reply(body=b"<html>", content_type=KEY),
    "malformed JSON": Reply(body=f'{{"id": "{KEY}", "choi'.encode()),
    "another JSON": Reply(body=f'{{"{KEY}": "{KEY}"}}'.encode()),
    "as a text": Reply(body=KEY.encode()),
    "cut": Reply(fault="cut", text=f"{KEY} {KEY}"),
    "no finish reason": Reply(fault="no_finish", text=f"{KEY} {KEY}"),
    "malformed chunks": Reply(fault="garbage", text=KEY),
    "reset": Reply(fault="reset_after_headers", text=f"{KEY} {KEY}"),
    "as the finish reason": Reply(finish_reason=KEY),
    "as the model": Reply(model=KEY, fault="no_finish"),
    "as the model of a good answer": Reply(model=KEY),
    "in a good answer": Reply(text=f"your key is {KEY}"),
    "in a good tool call": Reply(text="", tool_calls=(("1", KEY, f'{{"key": "{KEY}"}}'),)),
}


@pytest.fixture(scope="module")
def providers() -> Iterator[Providers]:
    with Providers() as running:
        yield running


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Set OpenTelemetry up as a process would, for one test."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return exporter


def _told(error: FlowaiError) -> str:
    """Return everything that an error says of itself, and what it carries."""
    parts = [str(error), repr(error), str(error.hint), repr(vars(error)), *traceback.format_exception(error)]
    if isinstance(error, AllModelsFailedError):
        parts += map(_told, error.failures)
    return "\n".join(parts)


def _everything_below(root: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("way", EVERY)
@pytest.mark.parametrize("echo", ECHOES)
def test_an_echoed_key_is_in_no_error_event_or_log(
    echo: str,
    way: Way,
    providers: Providers,
    tmp_path: Path,
    exported: InMemorySpanExporter,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    log_content = "redacted" if way == "whole" else "none"  # the log has a shorter way for events without content
    write_project(tmp_path, providers, entry=f"log_content: {log_content}, cache: {{kind: exact}}")
    providers.do("primary", ECHOES[echo])
    providers.do("fallback", WELL["fallback"])
    heard: list[Event] = []
    told: list[str] = []

    async def calls() -> None:
        async with Gateway(tmp_path, settings=Clocks().settings(on_event=heard.append)) as gateway:
            for feature in ("plain", "alone"):
                result, _ = await ask(gateway, way, feature)
                if isinstance(result, FlowaiError):
                    told.append(_told(result))
                else:
                    told.append("" if result.model == "primary" else repr(result))
            for event in heard:
                if isinstance(event, CallEvent):
                    told.append(msgspec.json.encode(await gateway.explain(event.call_id)).decode())
            told.append(repr(await gateway.status()))

    asyncio.run(calls())
    spans = exported.get_finished_spans()
    assert spans
    told += [span.to_json() for span in spans]
    captured = capfd.readouterr()
    told += [captured.out, captured.err, caplog.text, _everything_below(tmp_path).decode(errors="replace")]
    assert [mark for mark in MARKS for text in told if mark in text] == []


def test_the_key_is_sent(providers: Providers, tmp_path: Path) -> None:
    """Else the test above would prove nothing."""
    write_project(tmp_path, providers)
    providers.do("primary", WELL["primary"])

    async def call() -> None:
        async with Gateway(tmp_path, settings=Clocks().settings()) as gateway:
            result, _ = await ask(gateway, "whole", "plain")
            assert not isinstance(result, FlowaiError)
            assert result.text == TEXTS["primary"]

    asyncio.run(call())
    assert KEY in providers.by_name["primary"].asked[-1].headers["authorization"]
