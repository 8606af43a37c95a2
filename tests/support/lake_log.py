"""Logs for the tests of the lake: every kind of event, lines of other writers, and unreadable lines."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.events import (
    AlertEvent,
    Attempt,
    CallEvent,
    Content,
    Event,
    FeedbackEvent,
    ReleaseEvent,
    ScoreEvent,
    UnreadableLine,
    read_events,
)
from flowai.events.lake.compact import Compaction, CompactionSettings, compact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

NOON = datetime(2026, 5, 2, 12, tzinfo=UTC)
DAY = "dt=2026-05-02"

NEWER = b'{"kind":"call","schema_version":7,"call_id":"n","at":"2026-05-02T12:00:00Z","mood":"sunny"}\n'
BAD_LINES = (
    b"\x00\xff\xfe binary \x80\n",
    b'{"kind":"call","call_id":"half',
)
"""The last one is torn."""


def call(call_id: str = "c1", **changes: Any) -> CallEvent:
    event = CallEvent(call_id=call_id, at=NOON, origin="library", requested_model="gpt-4o-mini", latency_ms=812.5)
    return msgspec.structs.replace(event, **changes)


def every_kind() -> list[Event]:
    odd = "'\"\\ \u0000 \n é 😀 {{x}} <|im_start|>"
    return [
        call(
            "full",
            feature="chat",
            release="v2",
            variant="canary",
            is_sticky=True,
            session=odd,
            attempts=(
                Attempt(
                    model="a", provider="p", status="error", http_status=503, message=odd, at_ms=0.1, latency_ms=3.0
                ),
                Attempt(model="b", provider="q", status="skipped", reason="open"),
            ),
            similarity=0.1 + 0.2,
            input_tokens=2**63 - 1,
            output_tokens=0,
            cost_usd=1e-9,
            json_valid=False,
            content=Content(messages=({"role": "user", "content": odd, "n": 10**30, "f": -0.0},), output=odd),
        ),
        call("plain"),
        call("micro", at=NOON + timedelta(microseconds=1), feature="search"),
        FeedbackEvent(call_id="full", at=NOON, origin="library", verdict="edited", text=odd, feature="chat"),
        ScoreEvent(call_id="full", at=NOON, origin="judge", name="hallucination", passed=False, score=0.25),
        ReleaseEvent(at=NOON, action="promote", release="v2", from_stage="dogfood", to_stage=1, actor="ann"),
        ReleaseEvent(at=NOON, action="complete", release="v2", from_stage=100, actor="ann"),
        AlertEvent(at=NOON, cause="auth", message=odd),
    ]


def lines_of(events: Iterable[Event]) -> bytes:
    return b"".join(msgspec.json.encode(event) + b"\n" for event in events)


def write(directory: Path, data: bytes, *, process: str = "web-1", day: str = DAY) -> Path:
    path = directory / day / f"{process}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def a_log(directory: Path) -> None:
    """Write two days, several processes, every kind, and unreadable lines."""
    write(directory, lines_of(every_kind()) + NEWER)
    write(directory, lines_of(call(f"w{n}", feature="chat") for n in range(20)) + b"".join(BAD_LINES), process="web-2")
    write(directory, lines_of(call(f"n{n}", at=NOON + timedelta(days=1)) for n in range(5)), day="dt=2026-05-03")


def read(*directories: Path) -> tuple[list[bytes], list[UnreadableLine]]:
    """Return all events as JSON, sorted, and the unreadable lines."""
    unreadable: list[UnreadableLine] = []
    events = read_events(directories, on_unreadable=unreadable.append)
    return sorted(msgspec.json.encode(event) for event in events), unreadable


def pack(
    directory: Path,
    *,
    before: date = date(2026, 5, 4),
    is_kept: bool = False,
    clock_s: Callable[[], float] | None = None,
) -> Compaction:
    hours = iter(range(0, 10**9, 3600))  # every reading is an hour later, so that no lock waits
    clock = clock_s or (lambda: float(next(hours)))
    return compact(
        directory, CompactionSettings(before=before, should_back_up=is_kept, clock_s=clock, on_day=lambda _: None)
    )
