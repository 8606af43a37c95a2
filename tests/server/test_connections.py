"""Callers that hold connections, on real sockets: others are answered, and every refusal is JSON with Retry-After."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.scripted_gateway import ScriptedGateway, ServedGateway, served

from flowai.registry import Serve, ServeKey, ServeQueue
from flowai.server import app, http_server
from flowai.server.api_keys import hash_of
from flowai.server.app import AppOptions
from flowai.server.errors import RefusedError
from flowai.server.http import connection_table
from flowai.server.http.connection import LimitedConnection
from flowai.server.http.request_body import BodyMemory
from flowai.server.limits.lookup_limit import MAX_LOOKUPS, MAX_LOOKUPS_PER_TENANT, LookupLimit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

CHAT = "/v1/chat/completions"
BODY = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "hi"}]}).encode()
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """Allow the sockets of both sides in one process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(8192, hard)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def gateway() -> ScriptedGateway:
    return ScriptedGateway()


def head(*lines: str, path: str = CHAT, length: int | None = len(BODY)) -> bytes:
    first = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
    given = [] if length is None else [f"content-length: {length}"]
    return "\r\n".join([*first, *given, *lines, "", ""]).encode()


@contextmanager
def connections(server: ServedGateway, count: int, data: bytes = b"") -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        lines = []
        for _ in range(count):
            line = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
            if data:
                line.sendall(data)
            lines.append(line)
        yield lines


def until_closed(line: socket.socket) -> bytes:
    parts = b""
    while True:
        try:
            part = line.recv(65536)
        except ConnectionResetError:
            return parts
        if not part:
            return parts
        parts += part


def received_now(line: socket.socket) -> bytes:
    line.setblocking(False)
    try:
        return line.recv(65536)
    except (BlockingIOError, ConnectionResetError):
        return b""


def raw(server: ServedGateway, data: bytes) -> bytes:
    with connections(server, 1, data) as (line,):
        return until_closed(line)


def is_overloaded(answer: bytes) -> bool:
    first, _, body = answer.partition(b"\r\n\r\n")
    return (
        first.startswith(b"HTTP/1.1 503 ")
        and b"retry-after: 1" in first
        and b"content-type: application/json" in first
        and json.loads(body)["error"]["code"] == "overloaded"
    )


def hold(gateway: ScriptedGateway) -> Callable[[], Awaitable[None]]:
    """Let all calls wait; return what lets them go on, in the server's loop."""
    go_on = asyncio.Event()

    async def wait() -> None:
        await go_on.wait()

    async def release() -> None:
        go_on.set()

    gateway.wait = wait
    return release


def call(server: ServedGateway) -> int:
    """Call on a new connection; return the status."""
    return httpx.post(server.address + CHAT, content=BODY, headers={"content-type": "application/json"}).status_code


@pytest.mark.parametrize(
    "data",
    [b"", HEALTH, b"GET /healthz HT", head() + b'{"model"'],
    ids=["silent", "kept alive", "half a head", "half a body"],
)
def test_a_thousand_held_connections_stop_no_other_caller(gateway: ScriptedGateway, data: bytes) -> None:
    with served(gateway) as server, connections(server, 1000, data) as held:
        time.sleep(1.1)
        for _ in range(20):
            assert b"alive" in raw(server, HEALTH.replace(b"host", b"connection: close\r\nhost"))
            assert raw(server, head("connection: close") + BODY).startswith(b"HTTP/1.1 200 ")
        answers = [received_now(line) for line in held] if data != HEALTH else []
        assert all(is_overloaded(answer) for answer in answers if answer)
        assert any(answers) is (data not in (b"", HEALTH)), "a request that has begun learns why it ends"


def test_running_calls_are_never_closed_for_new_connections(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "_SPARE_CONNECTIONS", 4)
    monkeypatch.setattr(connection_table, "HEALTH_CONNECTIONS", 2)
    gateway.limit(Serve(max_concurrency=16))
    release = hold(gateway)
    with served(gateway) as server, connections(server, 16, head("connection: close") + BODY) as calls:
        while server.http.get("/readyz").json()["in_flight_count"] < 16:
            pass
        with connections(server, 40), connections(server, 40, head() + b"{"):
            assert httpx.get(server.address + "/healthz").status_code == 200
            assert is_overloaded(raw(server, head("connection: close") + BODY)), "no slot is free"

        server.run(release)
        assert all(until_closed(line).startswith(b"HTTP/1.1 200 ") for line in calls)


def test_above_all_limits_health_checks_are_answered_and_others_refused(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "_SPARE_CONNECTIONS", -11)  # fewer connections than calls
    monkeypatch.setattr(http_server, "_MIN_CONNECTIONS", 1)
    monkeypatch.setattr(connection_table, "HEALTH_CONNECTIONS", 3)
    gateway.limit(Serve(max_concurrency=16))
    release = hold(gateway)
    with served(gateway) as server, connections(server, 5, head("connection: close") + BODY) as calls:
        while len(server.server.app.in_flight) < 5:
            time.sleep(0.01)
        health = HEALTH.replace(b"host", b"connection: close\r\nhost")
        with connections(server, 3, b"GET /h"):
            assert raw(server, health).startswith(b"HTTP/1.1 200 ")
            assert raw(server, health.replace(b"/healthz", b"/readyz")).startswith(b"HTTP/1.1 200 ")
            assert is_overloaded(raw(server, health.replace(b"/healthz", b"/v1/models")))
            assert is_overloaded(raw(server, head("connection: close") + BODY))
        with connections(server, 3, head("connection: close") + BODY) as others:
            assert all(is_overloaded(until_closed(line)) for line in others)

        server.run(release)
        assert all(until_closed(line).startswith(b"HTTP/1.1 200 ") for line in calls)


def test_a_connection_is_refused_at_once_when_all_others_are_busy() -> None:
    class Recorder:
        def __init__(self) -> None:
            self.ends: list[str] = []

        def evict(self) -> None:
            self.ends.append("evicted")

        def refuse(self, problem: Any) -> None:
            self.ends.append(problem.code)

    now_s = 0.0
    table = connection_table.ConnectionTable(1, clock_s=lambda: now_s)
    busy = [Recorder() for _ in range(1 + connection_table.HEALTH_CONNECTIONS)]
    for connection in busy:
        table.add(connection)
        table.update(connection, "busy")
    late = Recorder()
    table.add(late)
    assert late.ends == ["overloaded"]
    table.update(busy[3], "receiving")
    table.update(busy[2], "idle")
    now_s = 5.0
    young = [Recorder() for _ in range(3)]
    table.add(young[0])
    assert (busy[2].ends, busy[3].ends) == (["evicted"], []), "without a request first"
    table.add(young[1])
    assert (busy[3].ends, young[0].ends) == (["evicted"], []), "one that has just been opened may send its request"
    table.add(young[2])
    assert [connection.ends for connection in young] == [["evicted"], [], []]
    assert len(table) == len(busy)


def test_a_trickling_body_takes_no_slot_and_ends(gateway: ScriptedGateway) -> None:
    gateway.limit(Serve(max_concurrency=1, body_timeout="1s"))
    with served(gateway) as server, connections(server, 50, head(length=100) + b"{") as slow:
        for _ in range(3):
            for line in slow:
                line.sendall(b" ")
            assert call(server) == 200
        for line in slow:
            answer = until_closed(line)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"body_timeout" in answer


def test_a_drain_waits_for_a_body_that_was_begun(gateway: ScriptedGateway) -> None:
    with served(gateway) as server, connections(server, 1, head("connection: close") + BODY[:10]) as (line,):
        time.sleep(0.1)
        drained: list[Any] = []
        draining = threading.Thread(target=lambda: drained.append(server.run(lambda: server.server.drain(20))))
        draining.start()
        time.sleep(0.1)
        line.sendall(BODY[10:])
        assert until_closed(line).startswith(b"HTTP/1.1 200 ")
        draining.join(20)
        assert drained == [0]


def test_bodies_are_limited_in_memory() -> None:
    memory = BodyMemory(max_bytes=100)
    with memory.share() as first:
        first.add(100)
        with memory.share() as second, pytest.raises(RefusedError, match="already holds 100 bytes") as refused:
            second.add(1)
        assert refused.value.problem.all_headers()["retry-after"] == "1"
        first.release()
        with memory.share() as third:
            third.add(100)
    with memory.share() as alone:
        alone.add(101)


def test_bodies_of_requests_that_wait_for_a_slot_count_and_those_of_running_calls_do_not(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "BodyMemory", partial(BodyMemory, max_bytes=2 * len(BODY)))
    gateway.limit(Serve(max_concurrency=1, queue=ServeQueue(max_wait="20s")))
    release = hold(gateway)
    data = head("connection: close") + BODY
    with served(gateway) as server, connections(server, 1, data) as (running,):
        while len(server.server.app.in_flight) < 1:
            time.sleep(0.01)
        with connections(server, 2, data) as waiting:
            time.sleep(0.5)
            assert is_overloaded(raw(server, data))
            server.run(release)
            assert all(until_closed(line).startswith(b"HTTP/1.1 200 ") for line in [running, *waiting])
        assert raw(server, data).startswith(b"HTTP/1.1 200 ")


def test_a_caller_that_reads_nothing_is_cut_off_after_its_answer_too(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LimitedConnection, "write_timeout_s", 0.3)
    with served(gateway) as server:
        with connections(server, 1) as (line,):
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.settimeout(0.2)
            sent = 0
            began_s = time.monotonic()
            try:
                while time.monotonic() - began_s < 20:
                    try:
                        line.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" * 50)
                    except TimeoutError:
                        sent += 1
            except OSError:
                pass  # the server closed the connection
            else:
                pytest.fail("the connection is still open")
        assert server.http.get("/healthz").status_code == 200


CHUNKED = "transfer-encoding: chunked"
AMBIGUOUS = [
    head(CHUNKED) + b"0\r\n\r\n" + HEALTH,
    head(CHUNKED, length=None).replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n" + HEALTH,
    head(f"content-length: {len(BODY)}") + BODY + HEALTH,
    head(f"content-length: {len(BODY) + 1}") + BODY + HEALTH,
    head(f"content-length: {len(BODY)}, {len(BODY)}", length=None) + BODY + HEALTH,
    head("transfer-encoding:\r\n chunked", length=None) + b"0\r\n\r\n" + HEALTH,
    head("x: a\r\n\tb") + BODY + HEALTH,
    head("transfer-encoding : chunked", length=None) + b"0\r\n\r\n" + HEALTH,
    head("transfer-encoding: xchunked", length=None) + b"0\r\n\r\n" + HEALTH,
    head("transfer-encoding: chunked, identity", length=None) + b"0\r\n\r\n" + HEALTH,
    head("transfer-encoding: chunked\r\ntransfer-encoding: chunked", length=None) + b"0\r\n\r\n" + HEALTH,
    head(f"content-length: +{len(BODY)}", length=None) + BODY + HEALTH,
    head("content-length: 0x10", length=None) + BODY + HEALTH,
    head(CHUNKED, length=None) + b"-1\r\n\r\n" + HEALTH,
    head(CHUNKED, length=None) + b"0x0\r\n\r\n" + HEALTH,
    head(CHUNKED, length=None) + b"f" * 40 + b"\r\n" + HEALTH,
    head(CHUNKED, length=None) + b"2\r\n{}X\r\n0\r\n\r\n" + HEALTH,
    b"GET /healthz\r\n\r\n" + HEALTH,
    b"GET /healthz HTTP/2.0\r\nhost: 127.0.0.1\r\n\r\n" + HEALTH,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HEALTH,
    b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx: a\x00b\r\n\r\n" + HEALTH,
    b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx: a\rcontent-length: 9\r\n\r\n" + HEALTH,
    b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n" + b"x: y\r\n" * 20_000 + b"\r\n" + HEALTH,
]


@pytest.mark.parametrize("data", AMBIGUOUS, ids=range(len(AMBIGUOUS)))
def test_ambiguous_requests_are_refused_and_nothing_after_them_is_read(gateway: ScriptedGateway, data: bytes) -> None:
    with served(gateway) as server:
        answer = raw(server, data)
        assert b"alive" not in answer, "the connection is closed before the next request"
        assert gateway.asks == []
        first, _, body = answer.partition(b"\r\n\r\n")
        if first:  # reset by the bytes that were not read
            assert first.startswith((b"HTTP/1.1 4", b"HTTP/1.1 501"))
            assert b"connection: close" in first
            assert json.loads(body)["error"]["type"] == "invalid_request_error"
        assert call(server) == 200


def test_each_of_pipelined_requests_is_checked(gateway: ScriptedGateway) -> None:
    with served(gateway) as server:
        answer = raw(server, HEALTH + head(CHUNKED) + b"0\r\n\r\n" + HEALTH)
        assert answer.count(b"alive") == 1
        assert answer.count(b"HTTP/1.1 400 ") == 1
        gateway.limit(Serve(max_body_bytes=1024))
        long_body = b'"' + b"x" * 2000 + b'"'
        answer = raw(server, head(length=len(long_body)) + long_body + head(CHUNKED) + b"0\r\n\r\n" + HEALTH)
        assert b"HTTP/1.1 413 " in answer
        assert b"alive" not in answer


KEYS = {name: f"sk-flowai-{name}" for name in ("acme", "other")}


def test_feedback_is_of_the_callers_tenant(gateway: ScriptedGateway) -> None:
    gateway.limit(Serve(keys={name: ServeKey(tenant=name, sha256=hash_of(key)) for name, key in KEYS.items()}))
    with served(gateway) as server:
        headers = {"authorization": f"Bearer {KEYS['acme']}"}
        assert server.http.post("/v1/feedback", json={"call_id": "c1", "verdict": "saved"}, headers=headers).is_success
        body = {"call_id": "c1", "name": "tone", "passed": True}
        assert server.http.post("/v1/score", json=body, headers=headers).is_success
    assert gateway.tenants == ["acme", "acme"]


def test_waiting_feedback_is_limited_per_caller_and_takes_no_slot(gateway: ScriptedGateway) -> None:
    gateway.limit(
        Serve(max_concurrency=1, keys={name: ServeKey(tenant=name, sha256=hash_of(key)) for name, key in KEYS.items()})
    )
    release = hold(gateway)
    feedback = b'{"call_id": "c1", "verdict": "saved"}'

    def request(key: str) -> bytes:
        return (
            head(f"authorization: Bearer {KEYS[key]}", "connection: close", path="/v1/feedback", length=len(feedback))
            + feedback
        )

    with served(gateway) as server, connections(server, MAX_LOOKUPS_PER_TENANT, request("acme")) as waiting:
        time.sleep(0.5)
        refused = raw(server, request("acme"))
        assert refused.startswith(b"HTTP/1.1 429 ")
        assert b"retry-after: 1" in refused
        assert b"too_many_lookups" in refused
        with connections(server, 1, request("other")) as (other,):
            time.sleep(0.1)
            server.run(release)
            assert until_closed(other).startswith(b"HTTP/1.1 200 ")
        assert all(until_closed(line).startswith(b"HTTP/1.1 200 ") for line in waiting)
        assert len(server.server.app.in_flight) == 0


def test_a_look_up_that_takes_too_long_is_503(gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LookupLimit, "lookup_timeout_s", 0.2)
    gateway.wait = lambda: asyncio.sleep(30)
    with served(gateway) as server:
        answer = server.http.post("/v1/feedback", json={"call_id": "c1", "verdict": "saved"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
    assert answer.headers["retry-after"] == "1"
    assert gateway.noted == []


def test_all_tenants_together_are_limited() -> None:
    async def work() -> int:
        limit = LookupLimit()
        async with ExitStackOf([limit.hold(str(number % 100)) for number in range(MAX_LOOKUPS)]):
            with pytest.raises(RefusedError) as refused:
                async with limit.hold("new"):
                    pass
            return refused.value.problem.status

    assert asyncio.run(work()) == 503


class ExitStackOf:
    """Enters several context managers."""

    def __init__(self, managers: list[Any]) -> None:
        self._managers = managers

    async def __aenter__(self) -> None:
        for manager in self._managers:
            await manager.__aenter__()

    async def __aexit__(self, *_: object) -> None:
        for manager in self._managers:
            await manager.__aexit__(None, None, None)


def test_readiness_waits_for_the_warm_up(gateway: ScriptedGateway) -> None:
    with served(gateway, options=AppOptions(waits_for_warm_up=True)) as server:
        early = server.http.get("/readyz")
        assert (early.status_code, early.json()["status"]) == (503, "warming")
        assert early.headers["retry-after"] == "1"
        assert call(server) == 200, "calls are answered, only later"
        server.run(server.server.warm_up)
        assert server.http.get("/readyz").status_code == 200
