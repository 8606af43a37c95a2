"""The tail of the event log: each line once, whatever happens to the files, and never more than was added."""

from __future__ import annotations

import itertools
import json
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.events import tail as tail_module
from flowai.events.tail import EventTail, TailReport

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 5, 2, 12, 0, tzinfo=UTC)
DAY = "dt=2026-05-02"


class Line(msgspec.Struct):
    n: int


class Log:
    """A log and its tail."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tail = EventTail(root, Line)
        self.report = TailReport()

    def write(self, text: str | bytes, name: str = f"{DAY}/web-1.jsonl") -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as stream:
            stream.write(text.encode() if isinstance(text, str) else text)

    def read(self, since: datetime = NOON - timedelta(hours=1)) -> list[int]:
        got: list[int] = []
        self.report = self.tail.read(lambda line: got.append(line.n), since=since)
        return got


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "events")


def line(n: int, at: datetime = NOON, **more: object) -> str:
    return json.dumps({"n": n, "at": at.isoformat(), **more}) + "\n"


def test_each_line_is_read_once_and_new_files_are_found(log: Log) -> None:
    assert log.read() == []
    log.write(line(1) + line(2))
    assert log.read() == [1, 2]
    assert log.read() == []
    log.write(line(3))
    log.write(line(4), f"{DAY}/web-2.jsonl")
    log.write(line(5), "dt=2026-05-03/web-1.jsonl")
    assert log.read() == [3, 4, 5]


def test_a_torn_last_line_is_read_when_it_is_complete(log: Log) -> None:
    whole = line(2)
    log.write(line(1) + whole[:7])
    assert log.read() == [1]
    log.write(whole[7:])
    assert log.read() == [2]
    assert log.report.unreadable_count == 0


def test_a_line_that_stays_torn_is_counted_and_the_next_is_read(log: Log) -> None:
    log.write('{"n": 1, "at\n' + line(2) + '\xff\n[]\n\n{"n": "x"}\n' + line(3))
    assert log.read() == [2, 3]
    assert log.report.unreadable_count == 4


def test_old_days_are_not_opened(log: Log) -> None:
    log.write(line(1), "dt=2026-04-20/web-1.jsonl")
    log.write(line(2), "dt=2026-05-01/web-1.jsonl")
    log.write(line(3), "not-a-day/web-1.jsonl")
    log.write(line(4), f"{DAY}/web-1.parquet")
    assert log.read() == [2]


def test_a_replaced_or_shortened_file_is_read_again(log: Log) -> None:
    log.write(line(1) + line(2))
    log.read()
    path = log.root / DAY / "web-1.jsonl"
    path.write_text(line(7))
    assert log.read() == [7]
    other = path.with_name("other")
    other.write_text(line(8) + line(9) + line(10))
    os.replace(other, path)  # noqa: PTH105 - the name is what counts here
    assert log.read() == [8, 9, 10]


def test_missing_and_unreadable_files_are_reported_and_the_rest_is_read(log: Log) -> None:
    log.write(line(1), f"{DAY}/a.jsonl")
    log.write(line(2), f"{DAY}/c.jsonl")
    (log.root / DAY / "b.jsonl").mkdir()
    assert log.read() == [1, 2]
    assert log.report.errors == (f"{DAY}/b.jsonl: Is a directory",)
    (log.root / DAY / "a.jsonl").unlink()
    assert log.read() == []


def test_a_log_that_is_not_a_directory_is_reported(tmp_path: Path) -> None:
    (tmp_path / "events").write_text("")
    log = Log(tmp_path / "events")
    assert log.read() == []
    assert log.report.errors == ("events: Not a directory",)


def test_a_large_file_is_read_from_the_first_recent_line(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_module, "_INITIAL_SEEK_BYTES", 1_000)
    begin = NOON - timedelta(hours=20)
    log.write("".join(line(n, begin + n * timedelta(minutes=1)) for n in range(1200)))
    got = log.read(since=NOON - timedelta(hours=1))
    assert got[-1] == 1199
    assert 60 + 15 <= len(got) < 200, "an hour, the slack, and less than as much again"


def test_a_large_file_of_old_clocks_only_is_read_to_its_end(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_module, "_INITIAL_SEEK_BYTES", 300)
    log.write("".join(line(n, NOON - timedelta(days=400)) for n in range(100)))
    assert len(log.read()) < 20
    log.write(line(100))
    assert log.read() == [100]


def test_an_endless_line_is_skipped_in_pieces(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_module, "MAX_LINE_BYTES", 100)
    log.write(line(1) + "x" * 250)
    assert log.read() == [1]
    log.write("x" * 250 + "\n" + line(2))
    assert log.read() == [2]
    log.write(line(3))
    assert log.read() == [3]


@given(cuts=st.lists(st.integers(min_value=0, max_value=600), max_size=6))
def test_wherever_a_writer_pauses_nothing_is_lost_or_duplicated(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    log = Log(tmp_path_factory.mktemp("log"))
    whole = "".join(line(n) for n in range(10))
    got: list[int] = []
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    for begin, end in itertools.pairwise(edges):
        log.write(whole[begin:end])
        got += log.read()
    assert got == list(range(10))
    assert log.report.unreadable_count == 0
