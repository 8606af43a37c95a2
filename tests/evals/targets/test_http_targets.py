"""`http:` targets: requests and answers as promptfoo builds and reads them, against a real server."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.target_calls import Targets
from support.target_server import TargetCall, TargetReply, TargetServer

from flowai.errors import (
    AuthError,
    CallError,
    InvalidRequestError,
    MalformedAnswerError,
    RateLimitedError,
    ServerError,
    TimedOutError,
    UnreachableError,
)

if TYPE_CHECKING:
    from pathlib import Path

NASTY = 'a "quoted"\nline \\ {{not}} é😀'


@pytest.fixture
def targets(tmp_path: Path) -> Targets:
    return Targets(tmp_path, secrets=frozenset({"planted-secret-1234"}))


def _echo(call: TargetCall) -> TargetReply:
    return TargetReply(json.dumps({"answer": call.body, "method": call.method}))


def test_a_body_is_a_template_of_json(targets: Targets) -> None:
    body = {"q": "{{prompt}}", "user": {"name": "{{name}}", "n": 3}, "list": ["{{context.vars.name}}"], "j": "{{obj}}"}
    with TargetServer() as server:
        provider = targets.provider(server.url, {"method": "POST", "body": body, "headers": {"X-A": "{{name}}"}})
        targets.ask(provider, NASTY, variables={"name": "Ann", "obj": '{"deep": [1]}'})
    (call,) = server.calls
    assert call.method == "POST"
    assert call.headers["content-type"] == "application/json"
    assert call.headers["x-a"] == "Ann"
    assert call.json == {"q": NASTY, "user": {"name": "Ann", "n": 3}, "list": ["Ann"], "j": {"deep": [1]}}


def test_json_that_is_written_as_a_text_is_escaped(targets: Targets) -> None:
    config = {
        "method": "POST", "headers": {"Content-Type": "application/json"}, "body": '{"q": "{{prompt}}", "n": {{n}}}',
    }  # fmt: skip
    with TargetServer() as server:
        targets.ask(targets.provider(server.url, config), 'say "hi"\nnow', variables={"n": 5})
    assert server.calls[0].json == {"q": 'say "hi"\nnow', "n": 5}


def test_a_text_is_sent_as_a_form(targets: Targets) -> None:
    with TargetServer() as server:
        targets.ask(targets.provider(server.url, {"method": "PUT", "body": "q={{prompt}}"}), "x")
    call = server.calls[0]
    assert (call.method, call.headers["content-type"], call.body) == ("PUT", "application/x-www-form-urlencoded", "q=x")


def test_a_get_has_its_values_in_address_and_query(targets: Targets) -> None:
    config = {"url": "{{env.BASE}}/v/{{name}}", "method": "GET", "queryParams": {"q": "{{prompt}}", "k": "1"}}
    with TargetServer() as server:
        targets.ask(targets.provider("https", config), "a b&c", variables={"name": "n"}, env={"BASE": server.url})
    call = server.calls[0]
    assert (call.method, call.target, call.body) == ("GET", "/v/n?q=a+b%26c&k=1", "")


def test_a_raw_request_is_sent_as_written(targets: Targets, tmp_path: Path) -> None:
    head = "POST /chat?x=1 HTTP/1.1\nHost: {{host}}\nContent-Type: application/json\nX-B: b\n\n"
    text = head + '{"q": "{{prompt}}", "t": "{% raw"}\n'
    (tmp_path / "request.txt").write_text(text)
    with TargetServer() as server:
        for request in (text, "file://request.txt"):
            provider = targets.provider("http", {"request": request, "url": "http://ignored"})
            targets.ask(provider, 'a "b"\n', variables={"host": server.url.removeprefix("http://")})
    for call in server.calls:
        assert (call.method, call.target, call.headers["x-b"]) == ("POST", "/chat?x=1", "b")
        assert call.json == {"q": 'a "b"\n', "t": "{% raw"}


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ({"type": "bearer", "token": "{{env.T}}"}, ("authorization", "Bearer tok")),
        ({"type": "basic", "username": "u", "password": "{{env.T}}"}, ("authorization", "Basic dTp0b2s=")),
        ({"type": "api_key", "placement": "header", "keyName": "X-Key", "value": "{{env.T}}"}, ("x-key", "tok")),
    ],
)
def test_a_target_authenticates(targets: Targets, auth: dict[str, str], header: tuple[str, str]) -> None:
    with TargetServer() as server:
        targets.ask(targets.provider(server.url, {"method": "GET", "auth": auth}), env={"T": "tok"})
    assert server.calls[0].headers[header[0]] == header[1]


@pytest.mark.parametrize(
    ("transform", "text", "output"),
    [
        (None, '{"answer": {"text": "hi"}, "n": 1}', {"answer": {"text": "hi"}, "n": 1}),
        ("json.answer.text", "hi", None),
        ("(json, text) => json.answer.text + text.length", "hi34", None),
        ("({ output: 'hi', metadata: { n: json.n }, tokenUsage: { prompt: 1, completion: 2 } })", "hi", None),
        ("context.response.status", "200", 200),
        ("{ output: json.n + 1 }", "2", 2),
        ("file://parse.js", "hi!", None),
        ("file://parse.js:named", "hi?", None),
    ],
)  # fmt: skip
def test_an_answer_is_transformed(targets: Targets, transform: str | None, text: str, output: Any) -> None:
    script = (
        "module.exports = (json) => json.answer.text + '!'; module.exports.named = (json) => json.answer.text + '?'"
    )
    (targets.folder / "parse.js").write_text(script)
    with TargetServer(lambda _: TargetReply('{"answer": {"text": "hi"}, "n": 1}')) as server:
        provider = targets.provider(server.url, {"method": "GET", "transformResponse": transform})
        answer = targets.ask(provider)
    assert (answer.text, answer.output) == (text, output)
    if transform and "tokenUsage" in transform:
        assert (answer.input_tokens, answer.output_tokens, answer.metadata["n"]) == (1, 2, 1)
    assert answer.metadata["http"]["status"] == 200


def test_text_that_is_no_json_is_the_answer(targets: Targets) -> None:
    reply = TargetReply("caf\xe9".encode("latin-1"), headers=(("content-type", "text/plain; charset=latin-1"),))
    with TargetServer(lambda _: reply) as server:
        assert targets.ask(targets.provider(server.url, {"method": "GET"})).text == "café"


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        ("({ q: prompt.toUpperCase(), ...vars })", {"q": "HELLO", "a": 1, "fixed": True}),
        ("return { q: context.vars.a }", {"q": 1, "fixed": True}),
    ],
)
def test_a_request_is_transformed(targets: Targets, transform: str, expected: dict[str, Any]) -> None:
    with TargetServer() as server:
        config = {"method": "POST", "body": {"fixed": True}, "transformRequest": transform}
        targets.ask(targets.provider(server.url, config), variables={"a": 1})
    assert server.calls[0].json == expected


def test_a_session_is_kept_in_the_metadata(targets: Targets) -> None:
    with TargetServer(lambda _: TargetReply('{"id": "s1"}', headers=(("X-Session", "abc"),))) as server:
        for parser, session in (("data.headers['x-session']", "abc"), ("data.body.id", "s1")):
            answer = targets.ask(targets.provider(server.url, {"method": "GET", "sessionParser": parser}))
            assert answer.metadata["sessionId"] == session


@pytest.mark.parametrize(
    ("status", "kind"), [(500, ServerError), (429, RateLimitedError), (401, AuthError), (404, CallError)]
)
def test_an_error_status_is_an_error_of_the_infrastructure(
    targets: Targets, status: int, kind: type[CallError]
) -> None:
    with TargetServer(lambda _: TargetReply('{"error": "planted-secret-1234 failed"}', status)) as server:
        with pytest.raises(kind) as caught:
            targets.ask(targets.provider(server.url, {"method": "GET"}))
        assert str(status) in str(caught.value)
        assert "planted" not in str(caught.value)
        accepting = {"method": "GET", "validateStatus": f"status < 300 || status === {status}"}
        assert "failed" in targets.ask(targets.provider(server.url, accepting)).text


def test_a_refused_status_is_an_error(targets: Targets) -> None:
    with TargetServer() as server, pytest.raises(CallError, match="200"):
        targets.ask(targets.provider(server.url, {"method": "GET", "validateStatus": "(status) => status === 201"}))


def test_keys_of_a_target_are_not_in_its_errors(targets: Targets) -> None:
    def reply(call: TargetCall) -> TargetReply:
        return TargetReply(f"bad key: {call.headers['authorization']}", 401)

    config = {"method": "GET", "headers": {"Authorization": "Bearer my-own-token-77"}}
    with TargetServer(reply) as server, pytest.raises(AuthError) as caught:
        targets.ask(targets.provider(server.url, config))
    assert "my-own-token-77" not in str(caught.value)


def test_a_slow_answer_and_a_dead_address_are_named(targets: Targets) -> None:
    def slow(_: TargetCall) -> TargetReply:
        time.sleep(2)
        return TargetReply("late")

    with TargetServer(slow) as server:
        with pytest.raises(TimedOutError, match=r"no complete answer within 0\.3 s"):
            targets.ask(targets.provider(server.url, {"method": "GET"}), timeout_s=0.3)
        url = server.url
    with pytest.raises(UnreachableError):
        targets.ask(targets.provider(url, {"method": "GET"}))


def test_an_answer_of_eleven_megabytes_is_refused(targets: Targets) -> None:
    too_long = pytest.raises(MalformedAnswerError, match="longer than 10,000,000 bytes")
    with TargetServer(lambda _: TargetReply(b"x" * 11_000_000)) as server, too_long:
        targets.ask(targets.provider(server.url, {"method": "GET"}))


def test_redirects_are_followed_without_end_for_get_only(targets: Targets) -> None:
    def reply(call: TargetCall) -> TargetReply:
        if call.target == "/end":
            return TargetReply('"arrived"')
        return TargetReply("", 302, (("location", "/end" if call.target == "/once" else "/loop"),))

    with TargetServer(reply) as server:
        assert targets.ask(targets.provider(f"{server.url}/once", {"method": "GET"})).text == "arrived"
        with pytest.raises(MalformedAnswerError, match="redirects more than"):
            targets.ask(targets.provider(f"{server.url}/loop", {"method": "GET"}))
        with pytest.raises(MalformedAnswerError, match="drops the body"):
            targets.ask(targets.provider(f"{server.url}/once", {"method": "POST", "body": {"a": 1}}))


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"url": "{{nothing}}", "method": "GET"}, "is not an http:// or https:// address"),
        ({"url": "file:///etc/passwd", "method": "GET"}, "is not an http:// or https:// address"),
        ({"url": "http://127.0.0.1:1", "body": {"a": 1}, "method": "POST", "headers": {"content-type": "text/plain"}},
         "the content type is not JSON"),
        ({"request": "nonsense"}, "expected `METHOD /path HTTP/1.1`"),
        ({"request": "GET /x HTTP/1.1\nX-A: 1"}, "no `Host` header"),
        ({"request": "file://gone.txt"}, "cannot be read"),
        ({"url": "http://127.0.0.1:1", "method": "GET", "transformRequest": "nothing.at.all"}, "`transformRequest`"),
        ({"url": "http://127.0.0.1:1", "method": "GET", "headers": {"X-A": "a\nb: c"}}, "has a line break"),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_built_is_named(targets: Targets, config: dict[str, Any], what: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        targets.ask(targets.provider("http", config))
    assert what in str(caught.value)


def test_a_transform_that_fails_names_itself(targets: Targets) -> None:
    with TargetServer() as server, pytest.raises(MalformedAnswerError, match="`transformResponse`: TypeError"):
        targets.ask(targets.provider(server.url, {"method": "GET", "transformResponse": "json.a.b.c"}))


def test_a_webhook_gets_prompt_and_config(targets: Targets) -> None:
    with TargetServer(lambda _: TargetReply('{"output": "done"}')) as server:
        assert targets.ask(targets.provider(f"webhook:{server.url}/hook", {"a": 1})).text == "done"
    assert server.calls[0].json == {"prompt": "Hello", "config": {"a": 1}}
