"""`flowai serve` as a process: the line it prints, SIGTERM in the middle of calls, keys, wrong addresses."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.sample_project import SampleProject, make_project
from support.scripted_provider import Asked, Reply, ScriptedProvider

from flowai.cli.app import run
from flowai.gateway.call_event import caller_hash
from flowai.server.api_keys import hash_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import openai

REPOSITORY = str(Path(__file__).parents[2])
"""Where processes find flowai, so that a working tree tests itself."""
KEY = "scripted-key-0123456789"
HELLO: list[Any] = [{"role": "user", "content": "hi"}]


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as scripted:
        yield scripted


@pytest.fixture
def project(tmp_path: Path, provider: ScriptedProvider) -> SampleProject:
    return make_project(tmp_path / "project", provider.base_url)


@contextmanager
def serving(project: SampleProject, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command on a free port; give the process and its address."""
    arguments = [sys.executable, "-m", "flowai", "serve", "--port", "0", "--json", *options]
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": REPOSITORY, "SCRIPTED_KEY": KEY, "HOME": str(project.root)}
    process = subprocess.Popen(
        arguments, cwd=project.root, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            pytest.fail(process.communicate()[1])
        yield process, json.loads(line)["address"]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def client_of(address: str, key: str = "unused") -> openai.OpenAI:
    import openai

    return openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0, timeout=60)


def test_the_server_drains_and_exits_with_0(project: SampleProject, provider: ScriptedProvider) -> None:
    def answer(asked: Asked) -> Reply:
        slow = "slow" in json.dumps(asked.body)
        return Reply(text="one two three four", delay_s=1.0 if slow else 0.0, chunk_delay_s=0.3 if slow else 0.0)

    provider.answerer = answer
    answers: list[Any] = []
    with serving(project) as (process, address), client_of(address) as client, httpx.Client() as idle:
        first = client.chat.completions.create(
            model="chat", messages=[], extra_body={"prompt_variables": {"text": "x"}}
        )
        assert first.choices[0].message.content == "one two three four"
        assert idle.get(address + "/readyz").json()["release"] == "v1"

        def slow_stream() -> None:
            stream = client.chat.completions.create(
                model="chat", messages=[{"role": "user", "content": "slow"}], stream=True
            )
            answers.append("".join(chunk.choices[0].delta.content or "" for chunk in stream))

        asking = threading.Thread(target=slow_stream)
        before = provider.request_count
        asking.start()
        while provider.request_count == before:
            asking.join(0.005)
        assert idle.get(address + "/readyz").status_code == 200  # on a connection that has not been idle for too long
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        assert process.stderr.readline() == "shutting down; 1 call under way\n"
        assert idle.get(address + "/readyz").status_code == 503, "a connection that is open learns that it ends"
        refused = idle.post(address + "/v1/chat/completions", json={"model": "chat", "messages": HELLO})
        assert refused.json()["error"]["code"] == "shutting_down"
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=5).close()
        asking.join(30)
        assert answers == ["one two three four"], "what was under way is whole"
        assert process.wait(20) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize("how", ["drain is over", "second signal"])
def test_calls_beyond_the_drain_time_are_cut_with_an_error(
    project: SampleProject, provider: ScriptedProvider, how: str
) -> None:
    provider.answerer = lambda _: Reply(fault="stall")
    seen: list[str] = []
    options = ("--drain", "0.2s") if how == "drain is over" else ()
    with serving(project, *options) as (process, address):
        body = {"model": "chat", "messages": HELLO, "stream": True}
        with (
            httpx.Client(timeout=60) as client,
            client.stream("POST", address + "/v1/chat/completions", json=body) as answer,
        ):
            lines = answer.iter_lines()
            while "hello" not in (line := next(lines)):
                seen.append(line)
            process.send_signal(signal.SIGTERM)
            assert process.stderr is not None
            process.stderr.readline()
            if how == "second signal":
                process.send_signal(signal.SIGTERM)
            seen += [line for line in lines if line]
        assert process.wait(20) == 0
        assert "cut 1 call" in process.stderr.read()
    assert '"code":"shutting_down"' in seen[-1]
    assert "data: [DONE]" not in seen


def test_without_keys_only_this_machine_is_served(
    project: SampleProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("SCRIPTED_KEY", KEY)
    assert run(["serve", "--host", "0.0.0.0", "--port", "0"]) == 2  # noqa: S104 - that is what is refused
    error = capsys.readouterr().err
    assert "the registry has no keys" in error
    assert "--new-key" in error


def test_a_new_key_opens_the_server_to_its_tenant(
    project: SampleProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import openai

    monkeypatch.chdir(project.root)
    assert run(["serve", "--new-key", "acme", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert run(["serve", "--new-key", "acme"]) == 0
    shown = capsys.readouterr().out
    key = re.search(r"sk-flowai-[0-9a-f]{64}", shown)
    assert key is not None
    assert key[0] != made["key"], "each key is a new one"
    assert hash_of(key[0]) in shown

    registry = (project.root / "registry.yaml").read_text(encoding="utf-8")
    project.write("registry.yaml", registry + made["registry"] + "\n")
    with serving(project, "--host", "0.0.0.0") as (_, address):  # noqa: S104 - with keys it may
        here = address.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - as above
        with client_of(here, made["key"]) as client:
            assert client.chat.completions.create(model="chat", messages=HELLO).choices[0].finish_reason == "stop"
        with client_of(here, key[0]) as client, pytest.raises(openai.AuthenticationError):
            client.models.list()
    events = b"".join(path.read_bytes() for path in (project.root / ".flowai" / "events").rglob("*.jsonl"))
    assert b'"tenant":"acme"' in events
    assert b'"caller_hash":null' not in events
    assert made["key"].encode() not in project.everything_written()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--host", "192.0.2.1"], 2, "no keys"),
        (["--host", "no.such.host.invalid"], 2, "no keys"),
        (["--drain", "soon"], 2, "expected a duration"),
        (["--new-key", "a b"], 2, "cannot name a tenant"),
        (["--env", "nowhere"], 2, "no environment"),
    ],
)
def test_invalid_options_are_errors_before_serving(
    project: SampleProject,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(project.root)
    assert run(["serve", *options]) == code
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_an_unavailable_address_is_an_error_before_serving(
    project: SampleProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    monkeypatch.chdir(project.root)
    registry = (project.root / "registry.yaml").read_text(encoding="utf-8")
    key = f"{{tenant: acme, sha256: {hash_of('k')}}}"
    project.write("registry.yaml", f"{registry}serve: {{keys: {{one: {key}}}}}\n")
    assert run(["serve", "--host", host]) == 2
    assert "this machine" in capsys.readouterr().err


def test_a_port_in_use_is_an_infrastructure_error(
    project: SampleProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.root)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert run(["serve", "--port", str(taken.getsockname()[1])]) == 4
    assert "cannot listen" in capsys.readouterr().err


def test_the_port_is_open_before_litellm_is_imported(project: SampleProject) -> None:
    script = (
        "import sys\n"
        "from flowai.server.run import ServeCallbacks, ServeOptions, run_serve\n"
        "import os, signal\n"
        "from pathlib import Path\n"
        "def ready(serving):\n"
        "    print('litellm' in sys.modules)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "callbacks = ServeCallbacks(on_ready=ready, on_drain=lambda _: None, on_error=print)\n"
        "run_serve(ServeOptions(start=Path.cwd(), port=0), callbacks)\n"
    )
    environ = {**os.environ, "PYTHONPATH": REPOSITORY, "SCRIPTED_KEY": KEY}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=project.root, env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_provider_errors_are_logged_without_secrets(project: SampleProject, provider: ScriptedProvider) -> None:
    body = {"model": "chat", "messages": HELLO}
    with serving(project) as (_, address), httpx.Client(base_url=address, timeout=60) as http:
        planted = {"message": f"wrong key {KEY}", "type": "auth"}
        for reply in (Reply(status=401, error=planted), Reply(fault="error_chunk", error=planted)):
            for stream in (False, True):
                provider.answerer = lambda _, reply=reply: reply
                answer = http.post("/v1/chat/completions", json=body | {"stream": stream})
                assert KEY not in answer.text
                assert '"error":{' in answer.text
                assert "[DONE]" not in answer.text
                assert answer.status_code == 502 or (stream and reply.fault is not None)

        provider.answerer = lambda _: Reply()
        project.write("registry.yaml", "models: [nonsense\n")
        degraded: dict[str, str] = {}
        while "registry_invalid" not in degraded:
            ready = http.get("/readyz")
            assert ready.status_code == 200
            degraded = ready.json()["degraded"]
        assert "registry.yaml" in degraded["registry_invalid"]
        assert http.post("/v1/chat/completions", json=body).status_code == 200, "the last good registry serves"
        assert 'flowai_degraded{kind="registry_invalid"} 1.0' in http.get("/metrics").text


def test_all_protocols_reach_one_provider(project: SampleProject, provider: ScriptedProvider) -> None:
    import anthropic

    provider.answerer = lambda _: Reply(text="one two")
    with (
        serving(project) as (_, address),
        client_of(address) as openai_client,
        anthropic.Anthropic(base_url=address, api_key="unused", max_retries=0) as anthropic_client,
        httpx.Client(base_url=address, timeout=60) as http,
    ):
        chat = openai_client.chat.completions.create(model="chat", messages=HELLO, metadata={"k": "v"})
        assert chat.choices[0].message.content == "one two"
        response = openai_client.responses.create(model="chat", input="hi", instructions="be brief")
        assert response.output_text == "one two"
        with openai_client.responses.stream(model="chat", input="hi") as stream:
            streamed = stream.get_final_response()
        assert streamed.output_text == "one two"
        message = anthropic_client.messages.create(model="chat", max_tokens=99, system="be brief", messages=HELLO)
        assert message.to_dict()["content"][0]["text"] == "one two"  # type: ignore[index]
        with anthropic_client.messages.stream(model="chat", max_tokens=9, messages=HELLO) as anthropic_stream:
            assert "".join(anthropic_stream.text_stream) == "one two"

        ids = [chat.id, response.id, streamed.id, message.id]
        for answer_id in ids:
            feedback = http.post("/v1/feedback", json={"call_id": answer_id, "verdict": "accepted"})
            score = http.post("/v1/score", json={"call_id": answer_id, "name": "tone", "passed": True, "score": 0.5})
            assert (feedback.status_code, score.status_code) == (200, 200), feedback.text + score.text
        for path, body in (("feedback", {"verdict": "saved"}), ("score", {"name": "tone", "passed": True})):
            unknown = http.post(f"/v1/{path}", json={"call_id": "resp_of_another_year", **body})
            assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "call_not_found")
    events = [
        json.loads(line)
        for path in (project.root / ".flowai" / "events").rglob("*.jsonl")
        for line in path.read_bytes().splitlines()
    ]
    calls = [event for event in events if event["kind"] == "call"]
    assert len(calls) == 5
    assert {event["caller_hash"] for event in calls} == {caller_hash("address 127.0.0.1")}
    assert sorted(event["call_id"] for event in events if event["kind"] == "score") == sorted(
        answer_id.partition("-")[2] or answer_id.partition("_")[2] for answer_id in ids
    )


def test_the_access_log_names_the_request_and_nothing_secret(
    project: SampleProject, provider: ScriptedProvider
) -> None:
    provider.answerer = lambda _: Reply()
    secret = {"authorization": "Bearer sk-secret-of-a-caller-0123456789"}
    with serving(project, "--access-log") as (process, address), httpx.Client(base_url=address, timeout=60) as http:
        http.post("/v1/chat/completions?key=secret", json={"model": "chat", "messages": HELLO}, headers=secret)
        http.get("/made-up/secret?key=secret")
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert [(line["method"], line["route"], line["status"], line["model"]) for line in lines] == [
        ("POST", "/v1/chat/completions", 200, "chat"),
        ("GET", "other", 404, None),
    ]
    assert all(line.keys() == {"at", "method", "route", "status", "ms", "model"} for line in lines)
    assert "secret" not in json.dumps(lines)


def test_a_closed_access_log_fails_no_call(project: SampleProject, provider: ScriptedProvider) -> None:
    provider.answerer = lambda _: Reply()
    with serving(project, "--access-log") as (process, address), httpx.Client(base_url=address, timeout=60) as http:
        assert process.stdout is not None
        process.stdout.close()
        for _ in range(3):
            assert http.post("/v1/chat/completions", json={"model": "chat", "messages": HELLO}).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_a_failing_part_is_printed_when_it_fails_and_when_it_recovers(
    project: SampleProject, provider: ScriptedProvider
) -> None:
    provider.answerer = lambda _: Reply(status=401, error={"message": f"wrong key {KEY}", "type": "auth"})
    registry = (project.root / "registry.yaml").read_text(encoding="utf-8")
    with serving(project) as (process, address), httpx.Client(base_url=address, timeout=60) as http:
        assert process.stderr is not None
        body = {"model": "chat", "messages": HELLO}
        for _ in range(2):
            assert http.post("/v1/chat/completions", json=body).status_code == 502
        lines = [process.stderr.readline()]
        project.write("registry.yaml", "models: [nonsense\n")
        lines.append(process.stderr.readline())
        project.write("registry.yaml", registry)
        lines.append(process.stderr.readline())
    assert "degraded: provider `127.0.0.1:" in lines[0]
    assert "refuses the key of model `m`" in lines[0]
    assert KEY not in lines[0]
    assert "degraded: the new version of the registry is invalid" in lines[1], "the refused key is reported once"
    assert "registry.yaml" in lines[1]
    assert re.search(r"recovered after \d+ s: the new version of the registry is invalid", lines[2])


def test_a_disconnected_client_closes_the_provider_s_connection(
    project: SampleProject, provider: ScriptedProvider
) -> None:
    import openai

    provider.answerer = lambda _: Reply(fault="silent")
    with serving(project) as (_, address), httpx.Client(base_url=address) as http, client_of(address) as client:
        while not http.get("/readyz", timeout=60).json()["warm"]:
            pass
        with pytest.raises(openai.APITimeoutError):
            client.chat.completions.create(model="chat", messages=HELLO, timeout=0.5)
        assert provider.request_count == 1
        while http.get("/readyz").json()["in_flight_count"] or provider.open_connections:
            pass


@pytest.mark.parametrize(("number", "notice"), [(signal.SIGTERM, "2s"), (signal.SIGINT, "10m")])
def test_readiness_fails_before_the_port_closes_but_not_at_ctrl_c(
    project: SampleProject, number: signal.Signals, notice: str
) -> None:
    registry = (project.root / "registry.yaml").read_text(encoding="utf-8")
    project.write("registry.yaml", f"{registry}serve: {{drain: {{notice: {notice}}}}}\n")
    with serving(project) as (process, address):
        began_s = time.monotonic()
        process.send_signal(number)
        assert process.stderr is not None
        assert process.stderr.readline() == "shutting down; 0 calls under way\n"
        if number == signal.SIGTERM:
            ready = httpx.get(address + "/readyz")
            assert (ready.status_code, ready.json()["status"]) == (503, "draining")
            body = {"model": "chat", "messages": HELLO}
            assert httpx.post(address + "/v1/chat/completions", json=body, timeout=20).status_code == 200
        assert process.wait(20) == 0
        assert time.monotonic() - began_s >= 2 or number == signal.SIGINT
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=5).close()


def test_a_second_signal_ends_the_notice(project: SampleProject) -> None:
    registry = (project.root / "registry.yaml").read_text(encoding="utf-8")
    project.write("registry.yaml", registry + "serve: {drain: {notice: 10m}}\n")
    with serving(project) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_sighup_reloads_registry_prompts_and_keys(project: SampleProject, provider: ScriptedProvider) -> None:
    registry = (project.root / "registry.yaml").read_text(encoding="utf-8")
    bodies: list[Any] = []

    def answer(asked: Asked) -> Reply:
        bodies.append(asked.body)
        return Reply()

    provider.answerer = answer
    with serving(project) as (process, address), httpx.Client(base_url=address, timeout=60) as http:
        assert process.stderr is not None
        assert http.get("/v1/models").status_code == 200
        prompt = (project.root / "prompts" / "echo_v1.prompt").read_text(encoding="utf-8")
        project.write("prompts/echo_v1.prompt", prompt.replace("Repeat the text.", "Repeat it."))
        project.write(
            "registry.yaml", f"{registry}serve: {{keys: {{one: {{tenant: acme, sha256: {hash_of('key-1')}}}}}}}\n"
        )
        process.send_signal(signal.SIGHUP)
        assert process.stderr.readline().endswith(" reloaded\n")
        assert http.get("/v1/models").status_code == 401, "the new keys count, on the same connection"
        body = {"model": "chat", "messages": [], "prompt_variables": {"text": "x"}}
        headers = {"authorization": "Bearer key-1"}
        assert http.post("/v1/chat/completions", json=body, headers=headers).status_code == 200
        assert "Repeat it." in json.dumps(bodies[-1])
        project.write("registry.yaml", "models: [nonsense\n")
        process.send_signal(signal.SIGHUP)
        lines = [process.stderr.readline(), process.stderr.readline()]
        assert any("not reloaded, the previous version serves: " in line for line in lines)
        assert http.post("/v1/chat/completions", json=body, headers=headers).status_code == 200
        assert process.poll() is None


def test_another_tenants_call_is_as_unknown_as_a_wrong_id(project: SampleProject) -> None:
    registry = (project.root / "registry.yaml").read_text(encoding="utf-8")
    keys = ", ".join(f"{name}: {{tenant: {name}, sha256: {hash_of(name)}}}" for name in ("acme", "other"))
    project.write("registry.yaml", f"{registry}serve: {{keys: {{{keys}}}}}\n")
    body = {"model": "chat", "messages": HELLO}
    with (
        serving(project) as (_, first),
        serving(project) as (_, second),
        httpx.Client(timeout=60, headers={"authorization": "Bearer acme"}) as acme,
        httpx.Client(timeout=60, headers={"authorization": "Bearer other"}) as other,
    ):
        call_id = acme.post(first + "/v1/chat/completions", json=body).headers["x-flowai-call-id"]
        judgements: list[tuple[str, dict[str, Any]]] = [
            ("/v1/feedback", {"verdict": "saved"}),
            ("/v1/score", {"name": "tone", "passed": True}),
        ]
        for address in (first, second):
            for path, judgement in judgements:
                asked = {"call_id": call_id, **judgement}
                assert acme.post(address + path, json=asked).status_code == 200
                refused = other.post(address + path, json=asked)
                unknown = other.post(address + path, json={**asked, "call_id": "0" * 32})
                assert (refused.status_code, refused.json()["error"]["code"]) == (404, "call_not_found")
                assert refused.text == unknown.text.replace("0" * 32, call_id)
                assert acme.post(address + path, json={**asked, "call_id": "0" * 32}).status_code == 404
