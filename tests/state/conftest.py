"""The stores, opened one by one for the tests that hold for each of them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, cast

import pytest
from support.redis_server import RedisServer

from flowai.state import InMemoryStateStore
from flowai.state.sqlite_store import SqliteStateStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flowai.state import StateStore

    Opening = Callable[[Callable[[], float]], StateStore]


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """An empty Redis."""
    with socket.create_connection(("127.0.0.1", redis_server.port)) as connection:
        connection.sendall(b"FLUSHALL\r\n")
        assert connection.recv(16).startswith(b"+OK")
    return redis_server.url


@pytest.fixture(params=["memory", "file", pytest.param("redis", marks=pytest.mark.service)])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Opens an empty store on a clock of the test's."""
    if request.param == "memory":
        return InMemoryStateStore
    if request.param == "file":
        return lambda clock_s: SqliteStateStore(tmp_path, clock_s)
    from flowai.state.redis_store import RedisStateStore

    url = cast("str", request.getfixturevalue("redis_url"))
    return lambda clock_s: RedisStateStore(url, clock_s)
