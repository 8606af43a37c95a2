"""A registry's `state:` opens a store, or says what is wrong with it without showing a password."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from flowai.errors import FlowaiError, InfrastructureError, ProjectError
from flowai.state import BreakerRule, InMemoryStateStore, open_state, shown_address
from flowai.state.sqlite_store import FILE_NAME
from flowai.state.urls import without_password

if TYPE_CHECKING:
    from pathlib import Path


def clock_s() -> float:
    return 1_772_366_400.0


@pytest.mark.parametrize("named", [".flowai", "deep/below", "{tmp}/elsewhere"])
def test_a_directory_opens_a_sqlite_store(tmp_path: Path, named: str) -> None:
    async def run() -> None:
        state = open_state(named.format(tmp=tmp_path), tmp_path, clock_s=clock_s)
        await state.record_failure("alpha", BreakerRule())
        await state.aclose()

    asyncio.run(run())
    assert (tmp_path / named.format(tmp=tmp_path) / FILE_NAME).is_file()


def test_memory_opens_a_store_of_this_process(tmp_path: Path) -> None:
    assert isinstance(open_state("memory:", tmp_path, clock_s=clock_s), InMemoryStateStore)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("named", ["postgres://host/db", "s3://bucket", "http://host", "Redis+Unix:///x"])
def test_an_unknown_scheme_is_an_error_that_lists_the_known_ones(tmp_path: Path, named: str) -> None:
    with pytest.raises(ProjectError, match=r"expected a directory, `redis://\.\.\.`"):
        open_state(named, tmp_path, clock_s=clock_s)


def test_without_the_extra_the_error_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(InfrastructureError, match="`redis://host:6379/0`") as caught:
        open_state("redis://:planted-7351@host", tmp_path, clock_s=clock_s)
    assert caught.value.hint == "pip install 'flowai[redis]'"
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:planted#7351@host:6379/0",
        "redis://user:12#planted@host:6379/0",
        "redis://:planted/7351@host",
        "redis://:1/planted@host",
        "redis://:planted7351@host:port",
        "redis://:planted7351@[::1",
        "redis://:planted7351@host/name",
        "redis://:planted7351@host?colour=red",
        "redis://host?socket_timeout=planted7351",
        "redis://:planted7351@host:99999",
    ],
)
def test_an_invalid_url_is_an_error_without_the_password(tmp_path: Path, url: str) -> None:
    pytest.importorskip("redis", reason="needs the `redis` extra")
    with pytest.raises(ProjectError) as caught:
        open_state(url, tmp_path, clock_s=clock_s)
    told = f"{caught.value} {caught.value.hint} {caught.value.__cause__}"
    assert "planted" not in told
    assert "7351" not in told


@pytest.mark.parametrize(
    ("named", "shown"),
    [
        ("redis://user:planted@host:7000/3", "redis://host:7000/3"),
        ("rediss://:planted@host", "rediss://host:6379/0"),
        ("REDIS://host", "redis://host:6379/0"),
        ("redis://:p%40lanted@[::1]:7/2", "redis://[::1]:7/2"),
        ("redis://host/1?password=planted&username=me", "redis://host:6379/1"),
        ("redis://:planted@host:nope", "redis://..."),
        (".flowai", ".flowai"),
        ("memory:", "memory:"),
    ],
)
def test_an_address_is_shown_without_secrets(named: str, shown: str) -> None:
    assert shown_address(named) == shown


@pytest.mark.parametrize(
    "url", ["redis://:planted%407351@host", "redis://u:planted@7351@host", "redis://host?password=planted%407351"]
)
def test_a_password_quoted_by_the_server_is_redacted(url: str) -> None:
    said = "unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 'planted@7351'"
    assert "planted" not in without_password(said, url)


def test_an_unreachable_store_is_an_error_that_names_its_address(tmp_path: Path) -> None:
    pytest.importorskip("redis", reason="needs the `redis` extra")

    async def run() -> None:
        state = open_state("redis://:planted@127.0.0.1:1/0", tmp_path, clock_s=clock_s)
        for _ in range(2):
            with pytest.raises(FlowaiError, match=r"redis://127\.0\.0\.1:1/0") as caught:
                await state.shared("")
            assert "planted" not in str(caught.value)
        await state.aclose()

    asyncio.run(run())
