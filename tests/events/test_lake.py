"""Compaction: whatever happens, every event counts once, and every line is kept."""

from __future__ import annotations

import fcntl
import json
import os
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import duckdb  # noqa: TID251 - what other readers of Parquet see
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.lake_log import BAD_LINES, DAY, NEWER, NOON, a_log, call, every_kind, lines_of, pack, read, write

from flowai.errors import InfrastructureError
from flowai.events import EventLog, read_events
from flowai.events.lake import line_reader, staging
from flowai.events.lake.catalog import manifests_of
from flowai.events.lake.columns import columns
from flowai.events.lake.parquet import open_parquet
from flowai.events.lake.validate import validate
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow  # writes and reads large logs


def lines_left(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.glob("dt=*/*.jsonl"))


def test_the_same_events_are_read_before_and_after(tmp_path: Path) -> None:
    a_log(tmp_path)
    before, unreadable = read(tmp_path)
    done = pack(tmp_path)
    after, still = read(tmp_path)
    assert before == after
    assert [line.reason for line in still if "incomplete" not in line.reason]
    assert len(unreadable) == len(still) == 3
    assert lines_left(tmp_path) == []
    assert [(day.day, day.file_count, day.event_count, day.unparsed_count, day.problems) for day in done.days] == [
        (DAY, 2, 28, 3, {"torn": 1, "unknown_version": 1, "unreadable": 1}),
        ("dt=2026-05-03", 1, 5, 0, {}),
    ]
    assert done.removed_count == 3


def test_unparsed_lines_are_kept_byte_for_byte(tmp_path: Path) -> None:
    a_log(tmp_path)
    pack(tmp_path)
    (unparsed,) = tmp_path.glob("dt=*/unparsed/*.jsonl")
    assert unparsed.read_bytes() == NEWER + b"".join(BAD_LINES) + b"\n"


def test_other_parquet_readers_see_days_features_and_typed_columns(tmp_path: Path) -> None:
    a_log(tmp_path)
    pack(tmp_path)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        source = f"read_parquet('{tmp_path}/dt=*/feature=*/*.parquet', hive_partitioning = true)"
        found = connection.execute(
            f"SELECT dt::VARCHAR, feature, count(*) FROM {source} GROUP BY ALL ORDER BY ALL"  # noqa: S608 - a path of ours
        ).fetchall()
        types = {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}  # noqa: S608 - as above
    assert found == [
        ("2026-05-02", "chat", 22),
        ("2026-05-02", "search", 1),
        ("2026-05-02", None, 5),
        ("2026-05-03", None, 5),
    ]
    expected = {name: kind.replace("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE") for name, kind in columns().items()}
    assert expected.items() <= types.items()


QUERIED_COLUMNS = {
    "VARCHAR": """
        kind call_id origin user_hash tenant session feature release variant experiment arm prompt_id
        prompt_hash requested_model provider cache finish_reason error_class error_message verdict name
        cause message action serving
    """,
    "BIGINT": "schema_version input_tokens output_tokens",
    "TIMESTAMPTZ": "at",
    "BOOLEAN": "is_sticky degraded json_valid passed",
    "JSON": "attempts content",
    "DOUBLE": "cost_usd ttft_ms latency_ms",
}
"""Columns that metrics query, by SQL type."""


@pytest.mark.parametrize(("kind", "names"), QUERIED_COLUMNS.items())
def test_metrics_and_the_lake_agree_on_column_types(kind: str, names: str) -> None:
    assert {name: columns()[name] for name in names.split()} == dict.fromkeys(names.split(), kind)


def test_a_second_compaction_changes_nothing(tmp_path: Path) -> None:
    a_log(tmp_path)
    pack(tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path.is_file()}
    again = pack(tmp_path)
    assert again.days == ()
    assert again.skipped == ()
    assert again.removed_count == 0
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path.is_file()}


def test_the_same_lines_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        a_log(tmp_path / name)
        pack(tmp_path / name)
    found = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).glob("dt=*/**/*.*")}
        for name in ("a", "b")
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 7


def test_backed_up_lines_are_not_read(tmp_path: Path) -> None:
    path = write(tmp_path, lines_of(every_kind()))
    data = path.read_bytes()
    before, _ = read(tmp_path)
    done = pack(tmp_path, is_kept=True)
    assert done.backed_up_count == 1
    assert done.removed_count == 0
    assert (path.parent / "compacted" / path.name).read_bytes() == data
    assert read(tmp_path)[0] == before


def test_open_days_and_other_directories_are_unchanged(tmp_path: Path) -> None:
    line = lines_of([call()])
    for day in ("dt=2026-05-02", "dt=2026-05-04", "dt=soon", "dt=2026-02-30", "notes"):
        write(tmp_path, line, day=day)
    done = pack(tmp_path)
    assert [day.day for day in done.days] == ["dt=2026-05-02"]
    assert len(lines_left(tmp_path)) == 3
    assert len(read(tmp_path)[0]) == 4


def test_a_file_of_a_live_process_is_skipped(tmp_path: Path) -> None:
    write(tmp_path, lines_of([call("other")]))
    with EventLog(tmp_path, "live-1", Redactor(), lambda: NOON) as log:
        log.append(call("one"))
        done = pack(tmp_path)
        assert [(one.file, one.reason) for one in done.skipped] == [
            (f"{DAY}/live-1.jsonl", "a process still writes to it")
        ]
        log.append(call("two"))
        assert len(read(tmp_path)[0]) == 3
    pack(tmp_path)
    assert lines_left(tmp_path) == []
    assert len(read(tmp_path)[0]) == 3


def test_a_writer_that_returns_to_a_compacted_day_loses_nothing(tmp_path: Path) -> None:
    for number in range(3):
        with EventLog(tmp_path, "web-1", Redactor(), lambda: NOON) as log:
            log.append(call(f"c{number}"))
        pack(tmp_path)
    assert len(read(tmp_path)[0]) == 3
    assert len(manifests_of(tmp_path / DAY)) == 3


def test_a_writer_whose_file_is_removed_while_it_opens_it_opens_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowai.storage.jsonl import AppendLog

    hold = AppendLog.lock
    taken: list[Path] = []

    def hold_late(self: AppendLog) -> bool:
        if not taken:
            taken.append(self.path)
            self.path.unlink()
        return hold(self)

    monkeypatch.setattr(AppendLog, "lock", hold_late)
    with EventLog(tmp_path, "web-1", Redactor(), lambda: NOON) as log:
        log.append(call())
    assert taken
    assert len(read(tmp_path)[0]) == 1


def test_a_file_that_grows_without_a_lock_is_skipped_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_log(tmp_path)
    growing = tmp_path / DAY / "web-1.jsonl"
    finish = staging.Staging.finish
    grown: list[int] = []

    def grow(self: staging.Staging) -> None:
        finish(self)
        if not grown:
            grown.append(growing.stat().st_size)
            with growing.open("ab") as stream:
                stream.write(lines_of([call("late")]))

    monkeypatch.setattr(staging.Staging, "finish", grow)
    before, _ = read(tmp_path)
    done = pack(tmp_path)
    assert [one.file for one in done.skipped] == [f"{DAY}/web-1.jsonl"]
    assert lines_left(tmp_path) == [f"{DAY}/web-1.jsonl"]
    assert len(read(tmp_path)[0]) == len(before) + 1


def test_a_concurrent_compaction_is_refused(tmp_path: Path) -> None:
    a_log(tmp_path)
    before, _ = read(tmp_path)
    with (tmp_path / ".compact.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InfrastructureError, match="another compaction"):
            pack(tmp_path)
    pack(tmp_path)
    assert read(tmp_path)[0] == before


def test_lines_that_are_being_read_are_removed_by_the_next_compaction(tmp_path: Path) -> None:
    a_log(tmp_path)
    before, _ = read(tmp_path)
    reader = read_events(tmp_path, on_unreadable=lambda _: None)
    first = next(reader)
    done = pack(tmp_path)
    assert len(done.skipped) == 3
    assert len(lines_left(tmp_path)) == 3
    assert read(tmp_path)[0] == before, "both exist, one counts"
    assert sorted(map(msgspec.json.encode, [first, *reader])) == before, "an earlier reader sees all events too"
    again = pack(tmp_path)
    assert again.days == ()
    assert again.removed_count == 3
    assert read(tmp_path)[0] == before


class Killed(BaseException):
    """The process is killed."""


class KillSwitch:
    """Allows a number of changes on the disk; afterwards each raises `Killed`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 10**9
        for name in ("replace", "unlink", "mkdir", "rmdir", "fsync", "chmod"):
            monkeypatch.setattr(os, name, self._counted(getattr(os, name)))

    def _counted(self, inner: Any) -> Any:
        def call_it(*arguments: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise Killed
            return inner(*arguments, **named)

        return call_it


def test_killed_at_any_point_nothing_is_lost_and_nothing_counts_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_small_log(tmp_path / "whole")
    expected, unreadable = read(tmp_path / "whole")
    switch = KillSwitch(monkeypatch)
    died_count, point, is_done = 0, 0, False
    while not is_done:
        directory = tmp_path / f"killed-{point}"
        a_small_log(directory)
        switch.left = point
        try:
            pack(directory)
            is_done = True
        except Killed:
            died_count += 1
        switch.left = 10**9
        found, still = read(directory)
        assert found == expected, f"killed after {point} changes"
        assert len(still) == len(unreadable)
        pack(directory)
        assert read(directory)[0] == expected
        assert lines_left(directory) == []
        assert not (directory / ".compacting").exists()
        named = {path for one in directory.glob("dt=*") for path in _named(one)}
        assert named == {path for path in directory.glob("dt=*/*/*") if path.is_file()}, "no file is left over"
        point += 1
    assert died_count > 15


def a_small_log(directory: Path) -> None:
    write(directory, lines_of([call("a", feature="chat"), call("b")]) + NEWER)
    write(directory, lines_of([call("c", feature="chat")]), process="web-2")


def _named(day: Path) -> Iterator[Path]:
    for manifest in manifests_of(day).values():
        for one in manifest.files:
            yield day / one.path


def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_log(tmp_path)
    before, _ = read(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(staging.Staging, "_flush", full)
        with pytest.raises(InfrastructureError, match="No space left on device"):
            pack(tmp_path)
    assert read(tmp_path)[0] == before
    pack(tmp_path)
    assert read(tmp_path)[0] == before


def test_parquet_that_differs_from_the_lines_removes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_log(tmp_path)
    before, _ = read(tmp_path)
    monkeypatch.setattr(staging, "events_digest", lambda *_: (28, 0))
    with pytest.raises(InfrastructureError, match="nothing was removed"):
        pack(tmp_path)
    assert read(tmp_path)[0] == before
    assert len(lines_left(tmp_path)) == 3


def test_fields_of_a_newer_flowai_are_kept(tmp_path: Path) -> None:
    fields = json.loads(lines_of([call(attempts=())]))
    fields |= {
        "mood": {"a": [1, 2.5]},
        "content": {"messages": [{"role": "user"}], "tone": "calm"},
        "at": "2026-05-02T14:00:00+02:00",
    }
    write(tmp_path, json.dumps(fields).encode() + b"\n")
    before, _ = read(tmp_path)
    pack(tmp_path)
    (part,) = tmp_path.glob("dt=*/feature=*/*.parquet")
    with open_parquet() as rows:
        ((line, others),) = rows.read(part)
    assert json.loads(line)["content"] == fields["content"]
    assert json.loads(line)["at"] == "2026-05-02T12:00:00.000000Z"
    assert json.loads(others or "") == {"mood": {"a": [1, 2.5]}}
    assert len(read(tmp_path)[0]) == len(before) == 1


def test_large_and_too_long_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_reader, "MAX_LINE_BYTES", 1 << 20)
    large = [call(f"l{n}", content={"messages": ({"content": "x" * 900_000},)}) for n in range(40)]
    too_long = lines_of([call("long", content={"messages": ({"content": "y" * 2_500_000},)})])
    write(tmp_path, lines_of([*large, call("small")]) + too_long + lines_of([call("after")]))
    before, _ = read(tmp_path)
    (day,) = pack(tmp_path).days
    assert day.event_count == 42
    assert day.unparsed_count == 1
    assert day.problems == {"too_long": 1}
    assert read(tmp_path)[0] == before
    (unparsed,) = tmp_path.glob("dt=*/unparsed/*.jsonl")
    assert unparsed.read_bytes() == too_long


@pytest.mark.parametrize(
    ("feature", "directory"),
    [
        ("a.b_c-1", "feature=a.b_c-1"),
        ("../../etc", "feature=_"),
        ("..", "feature=_"),
        ("x/y'; --", "feature=_"),
        ("é" * 300, "feature=_"),
        ("", "feature=_"),
        (None, "feature=__HIVE_DEFAULT_PARTITION__"),
    ],
)
def test_a_feature_name_never_leaves_the_day(tmp_path: Path, feature: str | None, directory: str) -> None:
    write(tmp_path, lines_of([call(feature=feature)]))
    pack(tmp_path)
    (part,) = tmp_path.rglob("*.parquet")
    assert part.parent.parent == tmp_path / DAY
    assert part.parent.name.startswith(directory)
    assert b'"feature":' in read(tmp_path)[0][0]
    ((manifest,),) = (manifests_of(tmp_path / DAY).values(),)
    assert manifest.parts[0].feature == feature


def test_many_features_and_small_buffers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "MAX_STAGED_BYTES", 20_000)
    monkeypatch.setattr(staging, "_MAX_BUFFER_BYTES", 2_000)
    write(tmp_path, lines_of(call(f"c{n}", feature=f"f{n % 7}") for n in range(100)))
    before, _ = read(tmp_path)
    pack(tmp_path)
    assert read(tmp_path)[0] == before
    assert len(list(tmp_path.rglob("*.parquet"))) > 7


def test_a_damaged_manifest_or_one_with_foreign_paths_is_refused(tmp_path: Path) -> None:
    write(tmp_path, lines_of([call()]))
    pack(tmp_path)
    (path,) = tmp_path.glob("dt=*/manifest-*.json")
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"line_count": 1', b'"line_count": 2'))
    with pytest.raises(InfrastructureError, match="its name has another digest"):
        read(tmp_path)
    from flowai.events.lake.manifest import manifest_name

    leading = data.replace(b"feature=__HIVE_DEFAULT_PARTITION__/", b"feature=../../../../x/")
    path.unlink()
    (path.parent / manifest_name(leading)).write_bytes(leading)
    with pytest.raises(InfrastructureError, match="not a manifest of this version"):
        read(tmp_path)


def test_parquet_of_another_writer_counts(tmp_path: Path) -> None:
    a_log(tmp_path / "lines")
    write(tmp_path / "ours", lines_of(every_kind()))
    pack(tmp_path / "ours")
    (tmp_path / "theirs" / DAY).mkdir(parents=True)
    for number, part in enumerate((tmp_path / "ours").rglob("*.parquet")):
        part.rename(tmp_path / "theirs" / DAY / f"{number}.parquet")
    assert len(read(tmp_path / "theirs")[0]) == len(every_kind())


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "feature": JSON,
                "content": st.fixed_dictionaries(
                    {"messages": st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=2))}
                ),
                "cost_usd": JSON,
                "input_tokens": JSON,
                "at": st.sampled_from(
                    ["2026-05-02T12:00:00.1234567Z", "1969-12-31T00:00:00Z", "0001-01-01T00:00:00+10:00", "x"]
                ),
                "schema_version": JSON,
                "other": JSON,
                "kind": st.sampled_from(["call", "feedback", "sing"]),
                "verdict": st.just("saved"),
                "from_stage": JSON,
            },
        ),
        min_size=1,
        max_size=6,
    ),
    st.binary(max_size=40),
)
def test_no_line_is_ever_lost(tmp_path: Path, changes: list[dict[str, Any]], tail: bytes) -> None:
    directory = tmp_path / os.urandom(8).hex()
    base = json.loads(lines_of([call()]))
    data = b"".join(json.dumps(base | change).encode("utf-8", "surrogatepass") + b"\n" for change in changes) + tail
    write(directory, data)
    before, unreadable = read(directory)
    (day,) = pack(directory).days
    after, still = read(directory)
    # times keep their moment, not their zone; events are compared as such
    assert [msgspec.json.decode(line)["call_id"] for line in after] == [
        msgspec.json.decode(line)["call_id"] for line in before
    ]
    assert len(after) == len(before)
    assert len(still) == len(unreadable)
    assert day.event_count + day.unparsed_count == sum(bool(line.strip()) for line in data.split(b"\n"))


def test_problems_of_lines_are_found_in_lines_and_parquet(tmp_path: Path) -> None:
    a_log(tmp_path)
    write(tmp_path, lines_of([call("full"), call("ahead", at=NOON + timedelta(days=99))]), process="again")
    found = {}
    for form in ("lines", "parquet"):
        found[form] = validate(tmp_path, future=NOON + timedelta(days=9), shown="log")
        pack(tmp_path)
    expected = {"duplicate": 1, "future": 1, "unknown_version": 1, "unreadable": 1}
    assert found["lines"].problems == expected | {"torn": 1}
    assert found["parquet"].problems == expected | {"unreadable": 2}, "compaction ends the torn line"
    assert found["lines"].kinds == found["parquet"].kinds
    assert ("unreadable", f"{DAY}/web-2.jsonl", 21) in {
        (one.problem, one.file, one.line) for one in found["lines"].locations
    }


def test_missing_and_damaged_files_are_found(tmp_path: Path) -> None:
    a_log(tmp_path)
    pack(tmp_path)
    assert not {"missing_file", "damaged_file"} & validate(tmp_path, future=NOON, shown="log").problems.keys()
    chat, search = (next(tmp_path.glob(f"{DAY}/feature={name}/*.parquet")) for name in ("chat", "search"))
    data = bytearray(chat.read_bytes())
    data[len(data) // 2] ^= 1
    chat.write_bytes(data)
    search.unlink()
    found = validate(tmp_path, future=NOON + timedelta(days=9), shown="log")
    assert found.problems["missing_file"] == 1
    assert found.problems["damaged_file"] == 1
    with pytest.raises(InfrastructureError):
        read(tmp_path)


def test_nothing_to_compact(tmp_path: Path) -> None:
    assert pack(tmp_path / "none", before=date(2026, 5, 4)).days == ()
    write(tmp_path, b"")
    (day,) = pack(tmp_path).days
    assert day.event_count == 0
    assert day.file_count == 1
    assert read(tmp_path) == ([], [])
