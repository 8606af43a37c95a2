"""The lake in an object store: copies are verified, and readers get the written events, whatever fails."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from support.lake_log import DAY, NOON, a_log, call, lines_of, pack, read, write
from support.object_store import SECRET, S3Server, running_store

from flowai.errors import FlowaiError, InfrastructureError, UsageError
from flowai.events.lake import object_store
from flowai.events.lake.local_copy import DownloadOptions, local_copy
from flowai.events.lake.object_store import ObjectStore, open_store
from flowai.events.lake.sync import SyncReport, sync
from flowai.events.lake.validate import validate_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date
    from pathlib import Path


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with running_store() as running:
        yield running


@pytest.fixture
def store(server: S3Server) -> ObjectStore:
    return open_store(f"s3://{server.new_bucket()}/team/events", server.environ)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    a_log(tmp_path / "here")
    pack(tmp_path / "here")
    return tmp_path / "here"


def sync_to(directory: Path, store: ObjectStore) -> SyncReport:
    record = directory.parent / "synced.jsonl"
    return sync(directory, store, record=record, on_copied=lambda *_: None)


def download_options(*present: Path, day: str | None = None, **changes: Any) -> DownloadOptions:
    def is_day(found: date | None) -> bool:
        return day is None or str(found) == day

    facts: dict[str, Any] = {
        "is_needed": is_day,
        "local_directories": present,
        "max_bytes": 10**9,
        "clock_s": lambda: 0.0,
    }
    return DownloadOptions(**(facts | changes))


def keys(store: ObjectStore) -> list[str]:
    return sorted(key for name in store.directories() for key in store.objects(name))


def test_synced_events_are_read_on_another_machine(tmp_path: Path, packed: Path, store: ObjectStore) -> None:
    expected, unreadable = read(packed)
    done = sync_to(packed, store)
    assert done.copied_count == 7
    assert done.present_count == 0
    assert done.event_count == 33
    assert done.conflicts == ()
    assert len(keys(store)) == 7
    with local_copy(store, tmp_path / "there", download_options()):
        found, still = read(tmp_path / "there")
    assert found == expected
    assert len(still) == len(unreadable)
    assert validate_store(store).problems == {}


def test_a_second_sync_copies_and_reads_nothing(
    packed: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_to(packed, store)
    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "blocks", lambda *_: pytest.fail("it was read again"))
        again = sync_to(packed, store)
    assert again.copied_count == 0
    assert again.present_count == 7
    assert again.event_count == 33
    (packed.parent / "synced.jsonl").write_bytes(b'{"key": torn')
    unremembered = sync_to(packed, store)
    assert unremembered.copied_count == 0, "read back once, and known again"
    assert unremembered.present_count == 7, "read back once, and known again"


def test_an_interrupted_sync_continues(packed: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put = ObjectStore.put
    for point in range(7):
        calls: list[str] = []

        def put_some(
            self: ObjectStore, key: str, path: Path, calls: list[str] = calls, point: int = point
        ) -> str | None:
            calls.append(key)
            if len(calls) > 1:
                raise InfrastructureError(f"away at {point}")
            return put(self, key, path)

        with monkeypatch.context() as patch:
            patch.setattr(ObjectStore, "put", put_some)
            if point < 6:
                with pytest.raises(InfrastructureError, match="away"):
                    sync_to(packed, store)
            else:
                sync_to(packed, store)
        # whatever is there: what a manifest names is there too
        assert validate_store(store).problems == {}
    assert len(keys(store)) == 7


def test_other_bytes_under_a_name_are_never_overwritten(packed: Path, tmp_path: Path) -> None:
    part = next(packed.glob(f"{DAY}/feature=chat/*.parquet"))
    key = part.relative_to(packed).as_posix()
    for number, data in enumerate((b"x" * part.stat().st_size, b"short")):
        (tmp_path / "other").write_bytes(data)
        target = open_store(str(tmp_path / f"target-{number}"), {})
        target.put(key, tmp_path / "other")
        done = sync_to(packed, target)
        assert [one.key for one in done.conflicts] == [key]
        assert done.event_count == 5, "the day that lacks a part has no manifest there"
        assert target.read(key) == data
        assert not [one for one in keys(target) if one.startswith(f"{DAY}/manifest")]


def test_a_damaged_file_is_not_copied(packed: Path, store: ObjectStore) -> None:
    part = next(packed.glob(f"{DAY}/feature=chat/*.parquet"))
    part.write_bytes(b"P" * part.stat().st_size)
    done = sync_to(packed, store)
    assert [one.reason for one in done.conflicts] == ["the local file is damaged: its digest differs"]
    part.unlink()
    assert [one.reason for one in sync_to(packed, store).conflicts] == [
        "the local file cannot be read: No such file or directory"
    ]


def test_large_files_are_sent_in_parts(
    tmp_path: Path, packed: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "BLOCK_BYTES", 5 << 20)
    data = bytes(range(256)) * 50_000
    (tmp_path / "large").write_bytes(data)
    etag = store.put("dt=2026-05-02/large", tmp_path / "large")
    assert etag is not None
    assert etag.strip('"').endswith("-3")
    assert store.read("dt=2026-05-02/large") == data
    assert sync_to(packed, store).conflicts == ()


def test_local_lines_and_remote_parquet_are_one_log(tmp_path: Path, packed: Path, store: ObjectStore) -> None:
    sync_to(packed, store)
    write(packed, lines_of([call("today", at=NOON)]), process="today", day="dt=2026-05-04")
    expected, _ = read(packed)
    cache = tmp_path / "cache"
    with local_copy(store, cache, download_options(packed)):
        assert read(packed, cache)[0] == expected
        assert not list(cache.rglob("*.parquet")), "what is here is not fetched"
    for path in packed.glob("dt=*/feature=*/*.parquet"):
        path.unlink()  # shipped, and removed to save room
    with local_copy(store, cache, download_options(packed)):
        assert read(packed, cache)[0] == expected


def test_only_needed_days_are_downloaded_and_old_ones_are_evicted(
    tmp_path: Path, packed: Path, store: ObjectStore
) -> None:
    sync_to(packed, store)
    cache = tmp_path / "cache"
    with local_copy(store, cache, download_options(day="2026-05-03")):
        assert [path.name for path in cache.iterdir()] == ["dt=2026-05-03"]
        assert len(read(cache)[0]) == 5
    size = sum(stored.byte_count for stored in store.objects(DAY).values())
    with local_copy(store, cache, download_options(day="2026-05-02", max_bytes=size + 10)):
        assert [path.name for path in cache.iterdir()] == [DAY]
    with (
        pytest.raises(InfrastructureError, match="the limit of the local copy is"),
        local_copy(store, cache, download_options(max_bytes=size)),
    ):
        pass


def test_a_damaged_or_missing_object_is_an_error(tmp_path: Path, packed: Path) -> None:
    lake = tmp_path / "lake"
    store = open_store(str(lake), {})
    sync_to(packed, store)
    part = next(lake.glob(f"{DAY}/feature=chat/*.parquet"))
    data = part.read_bytes()
    part.write_bytes(data[:-1] + b"?")
    with (
        pytest.raises(InfrastructureError, match="its digest is not"),
        local_copy(store, tmp_path / "c1", download_options()),
    ):
        pass
    assert validate_store(store).problems == {"damaged_file": 1}
    part.unlink()
    with (
        pytest.raises(InfrastructureError, match="names this file, but it is missing"),
        local_copy(store, tmp_path / "c2", download_options()),
    ):
        pass
    assert validate_store(store).problems == {"missing_file": 1}
    assert not list(tmp_path.glob("c?/dt=*/manifest-*")), "half a day does not look whole"


def test_files_of_other_writers_in_the_store_are_read_too(tmp_path: Path, store: ObjectStore) -> None:
    (tmp_path / "web.jsonl").write_bytes(lines_of([call("theirs")]))
    store.put(f"{DAY}/web.jsonl", tmp_path / "web.jsonl")
    for _ in range(2):
        with local_copy(store, tmp_path / "cache", download_options()):
            assert len(read(tmp_path / "cache")[0]) == 1


def test_an_unreachable_or_refusing_store_is_an_error_without_secrets(
    server: S3Server, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "MAX_RETRIES", 0)
    environ = server.environ
    cases = {
        "there is no such bucket": ("s3://no-such-bucket/x", environ),
        "does not answer": ("s3://lake/x", environ | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}),
    }
    for expected, (address, variables) in cases.items():
        with pytest.raises(FlowaiError) as met:
            sync_to(packed, open_store(address, variables))
        text = f"{met.value} {met.value.hint}"
        assert expected in text
        assert "\n" not in text
        assert SECRET not in text


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ftp://bucket/x", "`ftp://`"),
        ("s3://AKIA:secret@bucket/x", "must not contain credentials"),
        ("s3://", "names no bucket"),
        ("s3:///x", "names no bucket"),
    ],
)
def test_invalid_addresses(address: str, expected: str) -> None:
    with pytest.raises(UsageError) as met:
        open_store(address, {})
    assert expected in str(met.value)
    assert "secret@" not in str(met.value)


class _Refusing(BaseHTTPRequestHandler):
    """A store with one answer to every request."""

    status = 403
    body = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'

    def _answer(self) -> None:
        if length := int(self.headers.get("Content-Length") or 0):
            self.rfile.read(length)
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_GET = do_PUT = do_HEAD = do_POST = _answer  # noqa: N815 - the library's names

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[type[_Refusing], ObjectStore]]:
    monkeypatch.setattr(object_store, "MAX_RETRIES", 1)

    class Handler(_Refusing):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        environ = {
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        }
        yield Handler, open_store("s3://lake/x", environ)
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "expected"), [(403, "the store refuses"), (500, "does not answer"), (301, "does not answer")]
)
def test_errors_of_the_server(
    packed: Path, refusing: tuple[type[_Refusing], ObjectStore], status: int, expected: str
) -> None:
    handler, store = refusing
    handler.status = status
    with pytest.raises(InfrastructureError, match=expected) as met:
        sync_to(packed, store)
    assert SECRET not in f"{met.value}{met.value.hint}"
    assert len(str(met.value)) < 500
