"""The event log: complete lines that survive a killed process, one file per process and day, no secrets."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest

from flowai.errors import InfrastructureError
from flowai.events import (
    OTEL_NAMES,
    AlertEvent,
    Attempt,
    CallEvent,
    Content,
    Event,
    EventLog,
    FeedbackEvent,
    UnreadableLine,
    read_events,
)
from flowai.events.schema import SCHEMA_FILE, event_schema
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 5, 2, 12, tzinfo=UTC)
KEY = "sk-ant-api03-" + "Zx9" * 10


def call(call_id: str = "c1", **changes: Any) -> CallEvent:
    event = CallEvent(call_id=call_id, at=NOON, origin="library", requested_model="gpt-4o-mini", latency_ms=812.5)
    return msgspec.structs.replace(event, **changes)


def everything() -> CallEvent:
    return call(
        feature="summarization",
        release="v2",
        variant="canary",
        experiment="concise-vs-detailed",
        arm="A",
        is_sticky=True,
        prompt_id="prompts/summary_v2",
        prompt_hash="3fa91c",
        served_model="gpt-4o-mini-2024-07-18",
        provider="openai",
        attempts=(
            Attempt(model="claude", provider="anthropic", status="skipped", reason="open", at_ms=0.1),
            Attempt(
                model="gpt-4o",
                provider="openai",
                status="error",
                http_status=429,
                error_class="RateLimitedError",
                message="slow down",
                at_ms=0.2,
                latency_ms=80.0,
            ),
            Attempt(model="gpt-4o-mini", provider="openai", status="ok", http_status=200, at_ms=80.5, latency_ms=700.0),
        ),
        user_hash="u1",
        tenant="acme",
        session="s1",
        similarity=0.97,
        input_tokens=120,
        output_tokens=40,
        cost_usd=0.0003,
        ttft_ms=210.0,
        finish_reason="stop",
        json_valid=True,
        content=Content(messages=({"role": "user", "content": "hello"},), output="hi"),
    )


def feedback() -> FeedbackEvent:
    return FeedbackEvent(
        call_id="c1",
        at=NOON,
        origin="serve",
        verdict="edited",
        text="hello",
        user_hash="u1",
        tenant="acme",
        feature="summarization",
        release="v2",
        variant="canary",
        experiment="concise-vs-detailed",
        arm="A",
    )


def alert() -> AlertEvent:
    return AlertEvent(
        at=NOON, cause="auth", message="401", feature="f", provider="openai", model="gpt-4o", release="v2"
    )


KINDS = (
    call(),
    everything(),
    feedback(),
    FeedbackEvent(call_id="c1", at=NOON, origin="library", verdict="thumbs_up"),
    alert(),
    AlertEvent(at=NOON, cause="state", message="away"),
)


def log(directory: Path, clock: Any = lambda: NOON, known: tuple[str, ...] = ()) -> EventLog:
    return EventLog(directory, "host-1", Redactor(known), clock)


def read(directory: Path) -> tuple[list[Event], list[UnreadableLine]]:
    unreadable: list[UnreadableLine] = []
    return list(read_events(directory, on_unreadable=unreadable.append)), unreadable


def test_written_events_are_read_back(tmp_path: Path) -> None:
    with log(tmp_path) as events:
        for event in KINDS:
            events.append(event)
    assert read(tmp_path) == (list(KINDS), [])
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jsonl")] == [
        "dt=2026-05-02/host-1.jsonl"
    ]


@pytest.mark.parametrize(
    ("event", "kind"), [(call(), "call"), (everything(), "call"), (feedback(), "feedback"), (alert(), "alert")]
)
def test_every_line_has_every_field_its_kind_and_version(tmp_path: Path, event: Event, kind: str) -> None:
    with log(tmp_path) as events:
        events.append(event)
    line = json.loads(next(tmp_path.rglob("*.jsonl")).read_text())
    assert set(line) == {"kind", *type(event).__struct_fields__}
    assert line["kind"] == kind
    assert line["schema_version"] == 1
    assert line["at"] == "2026-05-02T12:00:00Z"


OLD_LINE = (
    '{"kind":"call","schema_version":1,"call_id":"c1","at":"2026-05-02T12:00:00Z","origin":"library",'
    '"requested_model":"gpt-4o-mini","latency_ms":812.5,"arm":null,"prompt_id":null,'
    '"attempts":[{"model":"gpt-4o","provider":"openai","status":"ok","http_status":200,"error_class":null,"latency_ms":1}]}'
)


def test_lines_from_before_feedback_and_alerts_are_read(tmp_path: Path) -> None:
    (tmp_path / "dt=2026-05-02").mkdir()
    (tmp_path / "dt=2026-05-02" / "old.jsonl").write_text(OLD_LINE + "\n")
    attempt = Attempt(model="gpt-4o", provider="openai", status="ok", http_status=200, latency_ms=1.0)
    assert read(tmp_path) == ([call(attempts=(attempt,))], [])


def test_an_unknown_kind_is_reported(tmp_path: Path) -> None:
    (tmp_path / "dt=2026-05-02").mkdir()
    (tmp_path / "dt=2026-05-02" / "new.jsonl").write_text(OLD_LINE.replace('"call",', '"moon",') + "\n")
    events, (line,) = read(tmp_path)
    assert events == []
    assert "moon" in line.reason


def test_a_new_utc_day_starts_a_new_file(tmp_path: Path) -> None:
    times = iter([NOON, NOON + timedelta(hours=11, minutes=59), NOON + timedelta(hours=12)])
    with log(tmp_path, clock=lambda: next(times).astimezone(timezone(timedelta(hours=9)))) as events:
        for number in range(3):
            events.append(call(str(number)))
    files = {path.parent.name: len(path.read_text().splitlines()) for path in tmp_path.rglob("*.jsonl")}
    assert files == {"dt=2026-05-02": 2, "dt=2026-05-03": 1}


def test_times_are_written_in_utc(tmp_path: Path) -> None:
    with log(tmp_path) as events:
        events.append(call(at=NOON.astimezone(timezone(timedelta(hours=2)))))
    assert '"at":"2026-05-02T12:00:00Z"' in next(tmp_path.rglob("*.jsonl")).read_text()


def test_planted_keys_appear_nowhere_in_the_file(tmp_path: Path) -> None:
    with log(tmp_path, known=("the-known-value",)) as events:
        events.append(
            call(
                error_message=f"401: bad key {KEY}",
                served_model="the-known-value",
                content=Content(messages=({"role": "user", "content": f"my key is {KEY}"},), output=f"{KEY}!"),
                attempts=(Attempt(model="m", provider=f"http://u:{KEY}@h", status="error", message=f"no {KEY}"),),
            )
        )
        events.append(msgspec.structs.replace(feedback(), text=f"my key is {KEY}", user_hash="the-known-value"))
        events.append(msgspec.structs.replace(alert(), message=f"the-known-value, {KEY}"))
    written = next(tmp_path.rglob("*.jsonl")).read_text()
    assert KEY not in written
    assert "the-known-value" not in written
    assert "bad key [REDACTED:anthropic]" in written


def test_an_unpaired_surrogate_loses_no_event(tmp_path: Path) -> None:
    said = Content(messages=({"role": "user", "content": ["half \ud83d"], "\udc00": 2**70},))
    with log(tmp_path) as events:
        events.append(call(session="\ud800", content=said))
    cleaned = Content(messages=({"role": "user", "content": ["half ?"], "?": 2**70},))
    assert read(tmp_path) == ([call(session="?", content=cleaned)], [])


def test_torn_and_damaged_lines_are_reported_and_the_others_read(tmp_path: Path) -> None:
    with log(tmp_path) as events:
        events.append(call("1"))
    path = next(tmp_path.rglob("*.jsonl"))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"kind":"call","call_id":"torn"')
    with log(tmp_path) as events:  # opening closes the torn line
        events.append(call("2"))
    path.write_bytes(path.read_bytes() + b"\xff\xfe\n\n" + b'{"kind":"call","call_id":"tail"')
    events_read, unreadable = read(tmp_path)
    assert events_read == [call("1"), call("2")]
    assert [line.place.line for line in unreadable] == [2, 4, 6]
    assert unreadable[0].place.file == str(path)
    assert unreadable[2].reason.startswith("the line is incomplete")


def test_fields_of_a_newer_version_are_ignored(tmp_path: Path) -> None:
    with log(tmp_path) as events:
        events.append(call())
    path = next(tmp_path.rglob("*.jsonl"))
    path.write_text(path.read_text().replace('{"kind"', '{"moon_phase":0.5,"kind"'))
    assert read(tmp_path) == ([call()], [])


def test_a_missing_log_contains_no_events(tmp_path: Path) -> None:
    assert read(tmp_path / "none") == ([], [])


@pytest.mark.parametrize("process", ["", "../up", "a/b", ".hidden"])
def test_a_process_name_cannot_leave_the_directory(tmp_path: Path, process: str) -> None:
    with pytest.raises(ValueError, match="cannot name a file"):
        EventLog(tmp_path, process, Redactor(), lambda: NOON)


def test_an_unwritable_directory_is_an_infrastructure_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InfrastructureError, match="cannot write"):
        log(tmp_path / "file").append(call())


WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from flowai.events import CallEvent, EventLog
from flowai.redaction import Redactor

now = datetime(2026, 5, 2, tzinfo=UTC)
log = EventLog(Path(sys.argv[1]), "writer", Redactor(), lambda: now)
number = 0
while True:
    log.append(CallEvent(call_id=str(number), at=now, origin="eval", requested_model="m" * 300, latency_ms=1))
    print(number, flush=True)
    number += 1
"""


def test_kill_9_loses_no_acknowledged_event(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline().strip() for _ in range(300)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += [line.strip() for line in writer.stdout if line.endswith("\n")]
    events, unreadable = read(tmp_path)
    assert not unreadable
    written = [event.call_id for event in events if isinstance(event, CallEvent)]
    assert written[: len(acknowledged)] == acknowledged


def test_the_schema_file_matches_the_records() -> None:
    assert SCHEMA_FILE.read_text() == event_schema(), "write event_schema() to the file again"


@pytest.mark.parametrize("event", KINDS)
def test_events_follow_the_schema(event: Event) -> None:
    import jsonschema

    schema = json.loads(SCHEMA_FILE.read_text())
    validator = jsonschema.Draft202012Validator(schema)
    line = json.loads(msgspec.json.encode(event))
    validator.validate(line)
    wrong = {"origin": "elsewhere", "latency_ms": -1, "verdict": "so so", "cause": "mood", "at": 1, "kind": "moon"}
    for name in wrong.keys() & line.keys():
        assert not validator.is_valid({**line, name: wrong[name]})


def test_lines_from_before_feedback_and_alerts_follow_the_schema() -> None:
    import jsonschema

    jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text())).validate(json.loads(OLD_LINE))


def test_every_field_is_described_and_has_one_otel_name() -> None:
    definitions = json.loads(SCHEMA_FILE.read_text())["$defs"]
    named: set[str] = set()
    for record in (*get_args(Event), Attempt):
        properties = definitions[record.__name__]["properties"]
        assert [name for name, field in properties.items() if name != "kind" and "description" not in field] == []
        own = set(record.__struct_fields__) - {"schema_version", "at", "content"}
        assert len({OTEL_NAMES[name] for name in own}) == len(own)
        named |= own
    assert named == set(OTEL_NAMES)
