"""What no honest caller sends: each gets a typed answer or a closed connection, and the server goes on."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scripted_gateway import ScriptedGateway, ServedGateway, served

from flowai.gateway.records import TextChunk
from flowai.registry import Serve, ServeKey
from flowai.server.api_keys import hash_of
from flowai.server.app import AppOptions
from flowai.server.http.connection import LimitedConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"
GOOD = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
VALID: dict[str, dict[str, Any]] = {
    CHAT: GOOD,
    RESPONSES: {"model": "chat", "input": [{"role": "user", "content": "hi"}]},
    MESSAGES: GOOD | {"max_tokens": 9},
    f"{MESSAGES}/count_tokens": GOOD,
}
SCORE = {"call_id": "c1", "name": "hallucination", "passed": True}
KEY = "sk-flowai-" + "1a" * 32
KEYS = Serve(keys={"one": ServeKey(tenant="acme", sha256=hash_of(KEY))})


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[ScriptedGateway, ServedGateway]]:
    gateway = ScriptedGateway()
    with served(gateway) as server:
        yield gateway, server


@pytest.fixture
def gateway(shared: tuple[ScriptedGateway, ServedGateway]) -> ScriptedGateway:
    shared[0].reset()
    return shared[0]


@pytest.fixture
def server(shared: tuple[ScriptedGateway, ServedGateway], gateway: ScriptedGateway) -> ServedGateway:  # noqa: ARG001 - reset
    return shared[1]


def post(server: ServedGateway, body: bytes | None = None, /, *, path: str = CHAT, **headers: str) -> httpx.Response:
    content = json.dumps(VALID[path]).encode() if body is None else body
    named = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return server.http.post(path, content=content, headers=named)


def problem(answer: httpx.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "Traceback" not in answer.text
    return answer.status_code, error["code"]


def anthropic_problem(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert set(body) == {"type", "error"}
    assert body["type"] == "error"
    assert set(body["error"]) == {"type", "message"}
    assert "Traceback" not in answer.text
    return answer.status_code, body["error"]["type"]


@contextmanager
def connected(server: ServedGateway) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as line:
        yield line


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


def raw(server: ServedGateway, data: bytes) -> bytes:
    with connected(server) as line:
        line.sendall(data)
        line.shutdown(socket.SHUT_WR)
        return until_closed(line)


def head(length: int, *lines: str, path: str = CHAT) -> bytes:
    return "\r\n".join(
        [
            f"POST {path} HTTP/1.1",
            "host: 127.0.0.1",
            "content-type: application/json",
            f"content-length: {length}",
            *lines,
            "",
            "",
        ]
    ).encode()


INVALID_BODIES = pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b'{"model": NaN}',
        b'{"model": Infinity}',
        b'{"model": 1e999}',
        b'{"seed": ' + b"9" * 5000 + b"}",
        b'{"model": "\xff\xfe"}',
        b'{"model": "\\ud800"}',
        b"\xef\xbb\xbf{}",
        b'{"a":1} {"b":2}',
        b"[" * 100_000,
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b"\x00" * 100,
    ],
    ids=lambda body: repr(body[:20]),
)


@INVALID_BODIES
@pytest.mark.parametrize("path", [CHAT, RESPONSES, "/v1/score"])
def test_bodies_other_than_json_objects_are_refused(server: ServedGateway, path: str, body: bytes) -> None:
    assert problem(post(server, body, path=path)) == (400, "invalid_json")


@INVALID_BODIES
@pytest.mark.parametrize("path", [MESSAGES, f"{MESSAGES}/count_tokens"])
def test_anthropics_clients_read_the_refusal_of_such_bodies(server: ServedGateway, path: str, body: bytes) -> None:
    assert anthropic_problem(post(server, body, path=path)) == (400, "invalid_request_error")


def test_limits_of_size_and_time_have_each_protocols_shape(server: ServedGateway, gateway: ScriptedGateway) -> None:
    gateway.limit(Serve(max_body_bytes=1024))
    long_body = b'"' + b"x" * 5000 + b'"'
    assert problem(post(server, long_body, path=RESPONSES)) == (413, "body_too_large")
    assert anthropic_problem(post(server, long_body, path=MESSAGES)) == (413, "request_too_large")
    assert anthropic_problem(post(server, path=MESSAGES, content_type="text/plain")) == (415, "invalid_request_error")
    gateway.limit(Serve(body_timeout="0.2s"))
    with connected(server) as line:
        line.sendall(head(100, path=MESSAGES) + b'{"model"')
        answer = until_closed(line)
    assert b" 408 " in answer
    assert answer.endswith(b"}}")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "error"


def test_the_last_of_duplicate_keys_counts(server: ServedGateway, gateway: ScriptedGateway) -> None:
    body = b'{"model": "no", "model": "chat", "messages": [{"role": "user", "content": "x"}]}'
    assert post(server, body).status_code == 200
    assert gateway.asks[0].feature == "chat"


@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=300))
def test_any_bytes_get_a_response(shared: tuple[ScriptedGateway, ServedGateway], body: bytes) -> None:
    assert post(shared[1], body).status_code in {200, 400, 404}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = {
    CHAT: ("stop", "response_format", "messages"),
    RESPONSES: ("input", "instructions", "text", "reasoning", "include", "background"),
    MESSAGES: ("messages", "system", "thinking", "output_config", "mcp_servers", "stop_sequences"),
    f"{MESSAGES}/count_tokens": ("messages", "system"),
}
COMMON_FIELDS = ("model", "prompt_variables", "stream", "tools", "tool_choice", "metadata", "flowai")
ITEMS = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "text", "function", "custom", "function_call", "tool_result", "tool_use", 1])},
    optional={
        "role": st.sampled_from(["user", "assistant", "tool"]) | JSON,
        "content": JSON,
        "name": JSON,
        "arguments": JSON,
        "call_id": st.text(max_size=3) | JSON,
        "input": JSON,
        "source": JSON,
        "output": JSON,
    },
)
NESTED = st.lists(ITEMS | st.fixed_dictionaries({"role": st.just("user"), "content": st.lists(ITEMS)}), max_size=3)


@pytest.mark.parametrize("path", list(VALID))
def test_any_values_get_a_response(shared: tuple[ScriptedGateway, ServedGateway], path: str) -> None:
    shared[0].reset()
    fields = st.sampled_from(COMMON_FIELDS + FIELDS[path])

    @settings(max_examples=200, deadline=None)
    @given(changes=st.dictionaries(fields, JSON | NESTED, max_size=3))
    def ask(changes: dict[str, Any]) -> None:
        body = json.dumps(VALID[path] | changes, ensure_ascii=True).encode()
        assert post(shared[1], body, path=path).status_code in {200, 400, 404}

    ask()


def test_a_long_body_is_refused_before_it_is_read(server: ServedGateway, gateway: ScriptedGateway) -> None:
    gateway.limit(Serve(max_body_bytes=1024))
    assert problem(post(server, b'"' + b"x" * 5000 + b'"')) == (413, "body_too_large")
    with connected(server) as line:
        line.sendall(head(10**12))
        assert b" 413 " in line.recv(65536)


def test_a_long_body_without_a_length_is_refused(server: ServedGateway, gateway: ScriptedGateway) -> None:
    gateway.limit(Serve(max_body_bytes=1024))
    answer = server.http.post(
        CHAT,
        content=(b"x" * 100 for _ in range(100)),
        headers={"content-type": "application/json", "transfer-encoding": "chunked"},
    )
    assert problem(answer) == (413, "body_too_large")


def test_a_slow_body_times_out(server: ServedGateway, gateway: ScriptedGateway) -> None:
    gateway.limit(Serve(body_timeout="0.2s"))
    with connected(server) as line:
        line.sendall(head(100) + b'{"model"')
        answer = until_closed(line)
    assert b" 408 " in answer
    assert b"body_timeout" in answer


def test_a_slow_head_times_out(server: ServedGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LimitedConnection, "head_timeout_s", 0.2)
    with connected(server) as silent, connected(server) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127")
        assert until_closed(silent) == b""
        assert until_closed(slow) == b""
    with connected(server) as second:
        second.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\nGET /hea")
        assert until_closed(second).startswith(b"HTTP/1.1 200 "), "the second head never came whole"


def test_a_large_head_is_refused(server: ServedGateway) -> None:
    assert problem(server.http.get("/healthz", headers={"x-big": "x" * 40_000})) == (
        431,
        "headers_too_large",
    )
    many = {f"x-{number}": "1" for number in range(150)}
    assert problem(server.http.get("/healthz", headers=many)) == (431, "headers_too_large")
    with connected(server) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nx: ")
        try:
            for _ in range(50):
                line.sendall(b"y" * 10_000)
        except (BrokenPipeError, ConnectionResetError):
            pass
        until_closed(line)
    assert server.http.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\r\n" * 10 + b"nonsense\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nhost: 127.0.0.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nbad header\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n x: folded\r\n\r\n" + b"\xff" * 10,
    ],
    ids=lambda data: repr(data[:24]),
)
def test_invalid_http_gets_an_error_object(server: ServedGateway, data: bytes) -> None:
    answer = raw(server, data)
    if not answer.startswith(b"HTTP/1.1 200 "):
        first, _, body = answer.partition(b"\r\n\r\n")
        assert first.startswith(b"HTTP/1.1 4")
        assert json.loads(body)["error"]["type"] == "invalid_request_error"


def test_a_malformed_chunk_in_the_middle_ends_the_connection_only(server: ServedGateway) -> None:
    lines = head(0).replace(b"content-length: 0", b"transfer-encoding: chunked")
    assert b" 400 " in raw(server, lines + b"5\r\nhello\r\nZZ\r\n")
    assert post(server).status_code == 200


def test_pipelined_requests_are_answered_in_order(server: ServedGateway) -> None:
    body = json.dumps(GOOD).encode()
    answer = raw(server, (head(len(body)) + body) * 3 + b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 ") == 4
    assert answer.count(b"chat.completion") == 3
    assert answer.endswith(b'{"status":"alive"}')


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_of_another_kind_is_refused(server: ServedGateway, kind: str) -> None:
    assert problem(post(server, content_type=kind)) == (415, "unsupported_media_type")


def test_a_compressed_body_is_refused(server: ServedGateway) -> None:
    assert problem(post(server, content_encoding="gzip")) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:1"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"host": "localhost:8080"}, 200),
        ({"host": "[::1]:8080"}, 200),
        ({"host": "localhost:9", "origin": "http://localhost:9", "sec_fetch_site": "same-origin"}, 200),
    ],
)
def test_cross_origin_requests_are_refused(server: ServedGateway, headers: dict[str, str], status: int) -> None:
    answer = post(server, **headers)
    assert answer.status_code == status
    assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize("header", ["x_session_id", "x_tenant"])
def test_invalid_session_and_tenant_headers_are_refused(server: ServedGateway, header: str) -> None:
    assert problem(post(server, **{header: "a b"})) == (400, "invalid_header")
    assert problem(post(server, **{header: "x" * 300})) == (400, "invalid_header")


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer x", f"Basic {KEY}", f"Bearer {KEY}x", f"Bearer {hash_of(KEY)}"]
)
def test_with_keys_requests_without_a_key_are_refused(
    server: ServedGateway, gateway: ScriptedGateway, authorization: str | None
) -> None:
    gateway.limit(KEYS)
    headers = {} if authorization is None else {"authorization": authorization}
    answer = post(server, **headers)
    assert problem(answer) == (401, "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/v1/models", "/metrics", "/openapi.json"):
        assert server.http.get(path, headers=headers).status_code == 401
    assert server.http.get("/healthz").status_code == 200
    assert server.http.get("/readyz").json() == {"status": "ready"}
    assert gateway.asks == []


def test_the_tenant_comes_from_the_key_and_not_from_a_header(server: ServedGateway, gateway: ScriptedGateway) -> None:
    gateway.limit(KEYS)
    assert post(server, authorization=f"Bearer {KEY}", x_tenant="other").status_code == 200
    assert gateway.asks[0].tenant == "acme"
    assert gateway.asks[0].caller == "key one"
    assert server.http.get("/readyz", headers={"authorization": f"Bearer {KEY}"}).json()["release"] == "v1"


def test_removing_the_keys_does_not_open_a_reachable_server() -> None:
    gateway = ScriptedGateway()
    with served(gateway, host="0.0.0.0") as server:  # noqa: S104 - that is what is tested
        address = f"http://127.0.0.1:{server.port}"
        assert httpx.get(address + "/v1/models").status_code == 401
        gateway.limit(KEYS)
        assert httpx.get(address + "/v1/models", headers={"authorization": f"Bearer {KEY}"}).status_code == 200


def test_a_call_above_the_limit_gets_retry_after(server: ServedGateway, gateway: ScriptedGateway) -> None:
    gateway.limit(Serve(max_concurrency=1))
    go_on = threading.Event()

    async def wait() -> None:
        await asyncio.to_thread(go_on.wait, 30)

    gateway.wait = wait
    answers: list[int] = []
    first = threading.Thread(target=lambda: answers.append(post(server).status_code))
    first.start()
    assert gateway.begun.wait(20)
    second = post(server)
    assert problem(second) == (503, "overloaded")
    assert second.headers["retry-after"] == "1"
    assert server.http.get("/readyz").json()["in_flight_count"] == 1
    go_on.set()
    first.join(20)
    assert answers == [200]
    assert post(server).status_code == 200, "the place is free again"


@pytest.mark.parametrize("stream", [False, True])
def test_a_disconnected_client_cancels_its_call(
    server: ServedGateway, gateway: ScriptedGateway, *, stream: bool
) -> None:
    done = threading.Event()

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            done.set()

    if stream:
        gateway.wait_in_stream = wait
    else:
        gateway.wait = wait
    body = json.dumps(GOOD | {"stream": stream}).encode()
    with connected(server) as line:
        line.sendall(head(len(body)) + body)
        assert gateway.begun.wait(20)
        if stream:
            received = b""
            while b"world" not in received:
                received += line.recv(65536)
    assert done.wait(20)
    gateway.wait = gateway.wait_in_stream = None
    assert post(server).status_code == 200
    assert gateway.cancelled == 1
    assert 'outcome="Cancelled"' in server.http.get("/metrics").text


def test_a_client_that_does_not_read_is_disconnected(gateway: ScriptedGateway) -> None:
    gateway.pieces = [TextChunk(text="x" * 100_000)] * 1000
    with served(gateway, options=AppOptions(write_timeout_s=0.2)) as own, connected(own) as line:
        body = json.dumps(GOOD | {"stream": True}).encode()
        line.sendall(head(len(body)) + body)
        assert gateway.begun.wait(20)
        while own.http.get("/readyz").json()["in_flight_count"]:
            pass
        assert "[DONE]" not in until_closed(line).decode()


def test_unknown_paths_and_methods_get_error_objects(server: ServedGateway) -> None:
    assert problem(server.http.get("/nothing"))[0] == 404
    wrong = server.http.get(CHAT)
    assert problem(wrong)[0] == 405
    assert wrong.headers["allow"] == "POST"
    assert server.http.get("/v1/models/").status_code == 404
    assert server.http.head("/healthz").status_code == 200
    assert raw(server, b"BREW /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n").startswith(
        b"HTTP/1.1 405"
    )


def test_an_upgrade_is_not_followed(server: ServedGateway) -> None:
    lines = b"GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
    assert raw(server, lines).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"name": ""}, "name"),
        ({"passed": 1}, "passed"),
        ({"score": 1.5}, "score"),
        ({"score": True}, "score"),
        ({"call_id": ""}, "call_id"),
        ({"note": "x"}, "note"),
    ],
)
def test_invalid_scores_are_refused(
    server: ServedGateway, gateway: ScriptedGateway, change: dict[str, Any], param: str
) -> None:
    answer = server.http.post("/v1/score", json=SCORE | change)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert gateway.scored == []


def test_secrets_in_errors_are_redacted(server: ServedGateway, gateway: ScriptedGateway) -> None:
    from flowai.errors import ServerError

    planted = "sk-proj-abcdefghijklmnop1234567890abcdef"
    gateway.fail = ServerError(f"key {planted} was refused", provider="p", model="m")
    assert planted not in post(server).text
