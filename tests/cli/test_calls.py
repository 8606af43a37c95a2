"""`flowai calls` and `calls show`: the listed calls, columns on narrow terminals, and everything about one call."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from flowai.analytics.call_list import CallList
from flowai.cli.commands.run.calls import list_lines
from flowai.events import Attempt, CallEvent, Content, EventLog, FeedbackEvent, ScoreEvent
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.sample_project import Ran, SampleProject

    from flowai.events import Event

    Flowai = Callable[..., Ran]

NOW = datetime.now(UTC).replace(microsecond=0)
TORN = b'{"kind": "call", "call_id": "5'


def attempt(model: str, **facts: Any) -> Attempt:
    return Attempt(**{"model": model, "provider": model, "status": "ok", "at_ms": 0.0, "latency_ms": 100.0, **facts})


def call(call_id: str, minutes_ago: float, **facts: Any) -> CallEvent:
    fields: dict[str, Any] = {
        "origin": "library",
        "feature": "chat",
        "release": "v1",
        "requested_model": "m",
        "attempts": (attempt("m"),),
        "input_tokens": 1200,
        "output_tokens": 34,
        "cost_usd": 0.5,
        "ttft_ms": 40.0,
        "latency_ms": 1234.0,
    }
    return CallEvent(call_id=call_id, at=NOW - timedelta(minutes=minutes_ago), **{**fields, **facts})


FAILED = call(
    "1b000000000000000000000000000000",
    30,
    attempts=(attempt("m", status="error", error_class="ServerError", http_status=500, message="boom"),),
    error_class="AllModelsFailedError",
    error_message="no model answered",
    input_tokens=None,
    output_tokens=None,
    cost_usd=None,
    ttft_ms=None,
)
DEGRADED = call(
    "1c000000000000000000000000000000",
    20,
    degraded=True,
    variant="canary",
    attempts=(
        attempt("m", status="error", error_class="TimedOutError", message="no token"),
        attempt("o", status="skipped", reason="open", latency_ms=None),
        attempt("n", at_ms=1000.0, latency_ms=234.0),
    ),
    content=Content(messages=({"role": "user", "content": "the\x1b[31m question"},), output="the answer"),
)
CALLS = [
    call("1a000000000000000000000000000000", 10, cache="exact", attempts=(), cost_usd=0.0),
    DEGRADED,
    FAILED,
    call("2a000000000000000000000000000000", 40, error_class="Cancelled"),
    call("3a000000000000000000000000000000", 50, origin="eval", feature="facts"),
    call("4a000000000000000000000000000000", 3 * 24 * 60),
]


@pytest.fixture
def log(project: SampleProject) -> Callable[..., None]:
    def write(*events: Event) -> None:
        directory = project.root / ".flowai" / "events"
        for event in events:
            clock = partial(getattr, event, "at")
            with closing(EventLog(directory, process="web", redactor=Redactor(set()), clock=clock)) as log:
                log.append(event)

    write(*CALLS)
    *_, file = sorted((project.root / ".flowai" / "events").rglob("*.jsonl"))
    with file.open("ab") as stream:
        stream.write(TORN)
    registry = (project.root / "registry.yaml").read_text(encoding="utf-8")
    project.write("registry.yaml", registry.replace("features:", "features:\n  facts: {}"))
    return write


def listed(ran: Ran) -> list[str]:
    return [line.split()[2] for line in ran.out.splitlines()[1:-1]]


def test_the_newest_calls_come_first(flowai: Flowai, log: Callable[..., None]) -> None:  # noqa: ARG001 - a log is there
    ran = flowai("calls")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0].split("  ")[0] == "time (UTC)"
    assert listed(ran) == ["1a000000", "1c000000", "1b000000", "2a000000", "3a000000"]
    assert lines[-1] == "5 calls   details: flowai calls show 1a000000"
    assert listed(flowai("calls", "-n", "2")) == ["1a000000", "1c000000"]
    assert listed(flowai("calls", "--since", f"{NOW - timedelta(minutes=25):%Y-%m-%dT%H:%M:%SZ}")) == [
        "1a000000",
        "1c000000",
    ]
    assert len(listed(flowai("calls", "--since", "7d"))) == 6


def test_calls_are_selected(flowai: Flowai, log: Callable[..., None]) -> None:  # noqa: ARG001 - as above
    assert listed(flowai("calls", "--failed")) == ["1b000000"], "a cancelled call is no failure"
    assert listed(flowai("calls", "--degraded")) == ["1c000000"]
    assert listed(flowai("calls", "--feature", "facts")) == ["3a000000"]
    ran = flowai("calls", "--failed", "--feature", "facts")
    assert (ran.code, ran.out) == (0, "no calls since 24h\n")
    ran = flowai("calls", "--failed", "--degraded")
    assert ran.code == 2
    assert ran.err.startswith("error: --failed and --degraded exclude each other")
    assert flowai("calls", "--feature", "chart").code == 2


def test_a_log_that_does_not_exist_has_no_calls(flowai: Flowai) -> None:
    assert flowai("calls").out == "no calls since 24h\n"


def test_a_line_that_is_twice_in_the_log_is_listed_once(flowai: Flowai, log: Callable[..., None]) -> None:
    log(DEGRADED)
    assert listed(flowai("calls", "--degraded")) == ["1c000000"]


def test_narrow_terminals_leave_out_the_least_important_columns(flowai: Flowai, log: Callable[..., None]) -> None:  # noqa: ARG001 - as above
    import msgspec

    found = msgspec.json.decode(flowai("calls", "--json").out, type=CallList)
    heads = {}
    for width in (60, 80, 100, 120, 160, None):
        lines = list(list_lines(found, "24h", width))
        assert width is None or max(map(len, lines)) <= max(width, 80)
        heads[width] = lines[0]
        assert "AllModelsFailedError 500" in lines[3], "words are whole"
    assert heads[None].endswith("release    attempts    tokens  cost  origin   TTFT ms")
    assert heads[80].split() == ["time", "(UTC)", "id", "feature", "result", "model", "ms"]
    assert "tokens" in heads[120]


def test_json_has_numbers(flowai: Flowai, log: Callable[..., None]) -> None:  # noqa: ARG001 - as above
    calls = json.loads(flowai("calls", "--json").out)["calls"]
    assert [one["attempt_count"] for one in calls] == [0, 2, 1, 1, 1]
    assert [one["model"] for one in calls] == ["m", "n", "m", "m", "m"]
    assert calls[2]["http_status"] == 500
    assert calls[1]["http_status"] is None, "it was answered"


def test_show_has_attempts_content_and_judgements(flowai: Flowai, log: Callable[..., None]) -> None:
    about: dict[str, Any] = {"call_id": DEGRADED.call_id, "at": NOW, "origin": "library"}
    log(
        FeedbackEvent(verdict="edited", text="a better answer", **about),
        ScoreEvent(name="hallucination", passed=False, score=0.25, judge="gpt-4o", **about),
        FeedbackEvent(verdict="saved", **{**about, "call_id": FAILED.call_id}),
    )
    ran = flowai("calls", "show", "1c")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0].startswith(f"call {DEGRADED.call_id}   {DEGRADED.at:%Y-%m-%d %H:%M:%S} UTC   origin library")
    assert "variant canary" in lines[0]
    assert lines[1].startswith(
        "degraded: answered by n   cache miss   tokens 1,200 in, 34 out   cost $0.5   TTFT 0.04 s"
    )
    assert [line.split()[0] for line in lines[2:7]] == ["model", "m", "no", "o", "n"]
    assert "skipped: open" in lines[5]
    assert lines[7:] == [
        "--- user ---",
        r"the\x1b[31m question",
        "--- answer ---",
        "the answer",
        f"feedback  edited   {NOW:%Y-%m-%d %H:%M:%S} UTC",
        "a better answer",
        "score     hallucination: FAILED 0.25   gpt-4o",
    ]
    shown = json.loads(flowai("calls", "show", DEGRADED.call_id, "--json").out)
    assert shown["call"]["attempts"][1]["reason"] == "open"
    assert shown["call"]["content"]["output"] == "the answer"
    assert [one["verdict"] for one in shown["feedback"]] == ["edited"]
    assert [one["score"] for one in shown["scores"]] == [0.25]


def test_show_says_why_there_is_no_content(flowai: Flowai, log: Callable[..., None]) -> None:  # noqa: ARG001 - as above
    lines = flowai("calls", "show", "chatcmpl-1b").out.splitlines()
    assert "FAILED  AllModelsFailedError: no model answered" in lines
    assert lines[-1] == "prompt and answer: not in the log (`log_content: redacted` of the feature stores them)"


def test_show_needs_one_call(flowai: Flowai, log: Callable[..., None]) -> None:  # noqa: ARG001 - as above
    ran = flowai("calls", "show", "1")
    assert ran.code == 2
    assert ran.err.startswith("error: 3 calls begin with `1`\nhint: such as 1a0000")
    ran = flowai("calls", "show", "9")
    assert ran.code == 2
    assert ran.err == "error: no call `9` since `30d`\nhint: --since 90d searches further back\n"
    assert flowai("calls", "show", "4a", "--since", "1d").code == 2
    assert flowai("calls", "show", "4a").code == 0


def test_show_reads_a_log_in_parquet(flowai: Flowai, log: Callable[..., None]) -> None:  # noqa: ARG001 - as above
    assert flowai("calls", "show", "4a").code == 0
    before = [flowai("calls", "show", one, "--json").out for one in ("1c", "4a")]
    ran = flowai("events", "compact", "--json")
    assert ran.code == 0, ran.err
    assert [flowai("calls", "show", one, "--json").out for one in ("1c", "4a")] == before
    assert listed(flowai("calls", "--since", "7d")) == [one.call_id[:8] for one in CALLS]
