"""The index of an event log's calls: what it finds in files that grow, are replaced, damaged or removed."""

from __future__ import annotations

import json
import tracemalloc
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest

from flowai.events import CallEvent, FeedbackEvent
from flowai.events.call_index import CallIndex

if TYPE_CHECKING:
    from pathlib import Path

DAY = "dt=2026-05-02"
AT = datetime(2026, 5, 2, 10, tzinfo=UTC)


def call(call_id: str, tenant: str | None = None) -> CallEvent:
    return CallEvent(call_id=call_id, at=AT, origin="serve", tenant=tenant, requested_model="m", latency_ms=1.0)


def line(event: CallEvent | FeedbackEvent) -> bytes:
    return msgspec.json.encode(event) + b"\n"


@pytest.fixture
def day(tmp_path: Path) -> Path:
    (tmp_path / DAY).mkdir()
    return tmp_path / DAY


@pytest.fixture
def index(tmp_path: Path) -> CallIndex:
    return CallIndex(tmp_path)


def find(index: CallIndex, call_id: str, tenant: str | None = None) -> CallEvent | None:
    return index.find(call_id, [DAY], is_match=lambda event: event.tenant == tenant)


def test_calls_of_all_files_are_found_as_they_are_written(day: Path, index: CallIndex) -> None:
    assert find(index, "a") is None
    with (day / "one.jsonl").open("ab") as one, (day / "two.jsonl").open("ab") as two:
        for number in range(50):
            one.write(line(call(f"one-{number}")))
            two.write(line(call(f"two-{number}")))
            one.flush()
            two.flush()
            assert find(index, f"one-{number}") == call(f"one-{number}")
            assert find(index, f"two-{number}") == call(f"two-{number}")
    assert find(index, "one-0") == call("one-0")
    assert find(index, "one-50") is None


def test_feedback_damage_and_ids_inside_of_content_are_no_calls(day: Path, index: CallIndex) -> None:
    feedback = FeedbackEvent(call_id="judged", at=AT, origin="serve", verdict="saved")
    planted = {**msgspec.to_builtins(call("outer")), "content": {"messages": [{"call_id": "inner"}], "output": None}}
    lines = [line(feedback), b'{"kind":"call","call_id":"torn\n', b"[" * 5000 + b"\n", b"\xff\xfe\n", b"\n"]
    (day / "p.jsonl").write_bytes(b"".join(lines) + json.dumps(planted).encode() + b"\n")
    assert [find(index, call_id) for call_id in ("judged", "torn", "inner")] == [None, None, None]
    found = find(index, "outer")
    assert found is not None
    assert found.call_id == "outer", "the spaces and the order of another program's lines do not matter"


def test_a_line_counts_when_its_end_is_written(day: Path, index: CallIndex) -> None:
    whole = line(call("slow"))
    with (day / "p.jsonl").open("ab", buffering=0) as stream:
        stream.write(whole[:40])
        assert find(index, "slow") is None
        stream.write(whole[40:])
        assert find(index, "slow") == call("slow")


def test_a_replaced_a_cut_and_a_removed_file(day: Path, index: CallIndex) -> None:
    path = day / "p.jsonl"
    path.write_bytes(line(call("a")) + line(call("b")))
    assert find(index, "b") == call("b")
    path.write_bytes(line(call("c")))
    assert find(index, "c") == call("c")
    assert find(index, "b") is None
    (day / "new").write_bytes(line(call("d")) * 3)
    (day / "new").rename(path)
    assert find(index, "d") == call("d")
    assert find(index, "c") is None
    path.unlink()
    assert find(index, "d") is None
    assert index.find("d", [], is_match=lambda _: True) is None


def test_only_matching_calls_are_found(day: Path, index: CallIndex) -> None:
    (day / "p.jsonl").write_bytes(line(call("a", "acme")))
    assert find(index, "a", "other") is None
    assert find(index, "a") is None
    assert find(index, "a", "acme") == call("a", "acme")


def test_memory_is_bounded_and_the_newest_calls_stay(tmp_path: Path, day: Path) -> None:
    index = CallIndex(tmp_path, max_calls=8000)
    with (day / "p.jsonl").open("wb") as stream:
        stream.writelines(line(call(str(number))) for number in range(30_000))
    assert find(index, "29999") is not None
    tracemalloc.start()
    with (day / "p.jsonl").open("ab") as stream:
        stream.writelines(line(call(str(number))) for number in range(30_000, 60_000))
    assert find(index, "59999") is not None
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert find(index, "53000") is not None
    assert find(index, "40000") is None
    assert grown < 8 * 4096 * 150, "the buckets of eight generations"


def test_a_pipe_in_the_log_is_not_read(day: Path, index: CallIndex) -> None:
    import os

    os.mkfifo(day / "p.jsonl")
    assert find(index, "a") is None
