"""`flowai doctor`: a sabotage per row is found through the real command, and no row hides another."""

from __future__ import annotations

import json
import platform
import re
import shutil
import socket
import subprocess
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
from support.redis_server import RedisServer
from support.release_project import ReleaseProject
from support.rollout_log import Scenario, write_log
from support.sample_project import PROMPT
from support.scripted_provider import Asked, Reply

from flowai.diagnosis import CHECK_NAMES
from flowai.providers import PriceTable
from flowai.providers.model_facts import model_facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.sample_project import Ran
    from support.scripted_provider import ScriptedProvider

    Command = Callable[..., Ran]
    Sabotage = Callable[["Sample"], None]

KEY = "planted-key-0123456789"
REGISTRY = """\
# yaml-language-server: $schema=.flowai/schema/registry.schema.json
schema_version: 1
models:
  a: {{model: openai/one, api_base: "{url}", api_key: "${{FIRST_KEY}}", provider: alpha, price: {price}}}
  b: {{model: openai/two, api_base: "{url}", api_key: "${{SECOND_KEY}}", provider: beta, price: {price}}}
features:
  chat: {{fallback: [b], budget: {{usd_per_day: 5, prompt_tokens: 1000}}}}
releases:
  v1: {{chat: {{prompt: prompts/echo_v1, model: a}}}}
  v2: {{extends: v1, chat: {{params: {{temperature: 0}}}}}}
current: v1
history: [v1]
"""
SUITE = "tests: [{id: one, metadata: {feature: chat}, vars: {text: hi}, assert: [{type: contains, value: hi}]}]\n"


class Sample(ReleaseProject):
    """A project without a fault."""

    def change(self, name: str, old: str, new: str) -> None:
        """Replace a text of a file."""
        path = self.root / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def add(self, text: str) -> None:
        """Add lines to the registry."""
        self.write("registry.yaml", (self.root / "registry.yaml").read_text(encoding="utf-8") + text)


@pytest.fixture
def sample(place: Path, command: Command, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch) -> Sample:
    monkeypatch.setenv("FIRST_KEY", KEY)
    monkeypatch.setenv("SECOND_KEY", KEY + "-2")
    provider.on_get = lists("one", "two")
    made = Sample(root=place)
    made.write("registry.yaml", REGISTRY.format(url=provider.base_url, price="{input: 1, output: 2}"))
    made.write("prompts/echo_v1.prompt", PROMPT)
    made.write("evals/smoke.yaml", SUITE)
    assert command("init").code == 0
    return made


def lists(*names: str) -> Callable[[Asked], Reply]:
    def answer(asked: Asked) -> Reply:
        if not asked.path.endswith("/models"):
            return Reply(status=404)
        return Reply(body=json.dumps({"object": "list", "data": [{"id": name} for name in names]}).encode())

    return answer


def rows(ran: Ran) -> dict[str, list[dict[str, Any]]]:
    """Return the findings of a run with `--json`, by check."""
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in json.loads(ran.out)["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    return found


def faults(ran: Ran) -> dict[str, str]:
    """Return the worst status of each check that found something."""
    found = rows(ran)
    return {
        name: "error" if any(one["status"] == "error" for one in many) else "warning"
        for name, many in found.items()
        if any(one["status"] in {"error", "warning"} for one in many)
    }


def test_a_project_without_a_fault(sample: Sample, command: Command) -> None:  # noqa: ARG001 - stands in it
    ran = command("doctor", "--live", "--json")
    assert ran.code == 0, ran.out
    found = rows(ran)
    assert tuple(found) == CHECK_NAMES
    assert {one["status"] for many in found.values() for one in many} == {"ok"}, found
    assert found["keys"][0]["text"] == "`FIRST_KEY` from the environment (a); `SECOND_KEY` from the environment (b)"
    assert found["providers"][0]["text"] == "listed: a, b"
    screen = command("doctor")
    assert screen.code == 0
    assert screen.out.splitlines()[-1] == "OK  nothing is wrong"
    assert "flowai doctor --live" in screen.out


def test_nothing_is_changed_and_no_key_is_shown(sample: Sample, command: Command) -> None:
    before = {path: path.read_bytes() for path in sample.root.rglob("*") if path.is_file()}
    sample.write("key", KEY)
    sample.change("registry.yaml", "${FIRST_KEY}", "file:key")
    sample.write(".env", f"OTHER={KEY}\n")
    for words in ((), ("--json",), ("--live",)):
        ran = command("doctor", *words)
        assert KEY not in ran.out + ran.err
    after = {path: path.read_bytes() for path in sample.root.rglob("*") if path.is_file()}
    assert after.keys() - before.keys() == {sample.root / "key", sample.root / ".env"}


def old_schema(sample: Sample) -> None:
    sample.write(".flowai/schema/registry.schema.json", "{}")


def missing_schema(sample: Sample) -> None:
    (sample.root / ".flowai/schema/registry.schema.json").unlink()


def broken_environment(sample: Sample) -> None:
    sample.write("registry.prod.yaml", "extends: registry.yaml\nladders: {}\n")


def bad_current(sample: Sample) -> None:
    sample.change("registry.yaml", "current: v1", "bad: [v2]\ncurrent: v2")


def missing_weights(sample: Sample) -> None:
    sample.change("registry.yaml", "model: a}", "model: c}")
    sample.change(
        "registry.yaml", "features:", "  c: {model: local/c, file: package:no_such_package/c.gguf}\nfeatures:"
    )


def damaged_weights(sample: Sample) -> None:
    sample.write("c.gguf", "<html>")
    sample.change("registry.yaml", "model: a}", "model: c}")
    sample.change("registry.yaml", "features:", "  c: {model: local/c, file: c.gguf}\nfeatures:")


def half_written_env(sample: Sample) -> None:
    sample.write(".env", "A=1\nB C\n")
    (sample.root / ".env").chmod(0o600)


def open_env(sample: Sample) -> None:
    sample.write(".env", "A=1\n")
    (sample.root / ".env").chmod(0o644)


def tracked_env(sample: Sample) -> None:
    sample.write(".env", "A=1\n")
    commit(sample, ".env")


def commit(sample: Sample, path: str) -> None:
    subprocess.run(["git", "init", "-q", "."], cwd=sample.root, check=True)
    subprocess.run(["git", "add", "-f", path], cwd=sample.root, check=True)


def broken_prompt(sample: Sample) -> None:
    sample.write("prompts/echo_v1.prompt", "---\ninput: {schema: {text: string}}\n---\n{{#if text}}")


def unused_broken_prompt(sample: Sample) -> None:
    sample.write("prompts/other_v1.prompt", "---\n: [\n---\n")


def changed_after_publication(sample: Sample) -> None:
    sample.lock("v1")
    sample.change("prompts/echo_v1.prompt", "Repeat", "Do not repeat")


def damaged_lock(sample: Sample) -> None:
    sample.write("prompts.lock", "{")


def broken_suite(sample: Sample) -> None:
    sample.write("evals/other.yaml", "tests: file://../datasets/missing.jsonl\nprompts: [prompts/echo_v1]\n")


def no_smoke(sample: Sample) -> None:
    (sample.root / "evals/smoke.yaml").unlink()


def no_key(sample: Sample) -> None:
    sample.change("registry.yaml", "${FIRST_KEY}", "${NOT_SET_AT_ALL}")


def key_in_the_registry(sample: Sample) -> None:
    sample.change("registry.yaml", "${FIRST_KEY}", KEY)


def old_pin(sample: Sample) -> None:
    sample.write(".env", "AI_MODEL_VERSION=v2\n")
    (sample.root / ".env").chmod(0o600)


def no_key_file(sample: Sample) -> None:
    sample.change("registry.yaml", "${FIRST_KEY}", "file:no/key")


def retired_name() -> str:
    """Return a model of OpenAI whose end date is past."""
    prices, today = PriceTable(), datetime.now(UTC).date()
    for name in prices.names():
        facts = model_facts(f"openai/{name}", prices) if name.startswith("gpt-") else None
        if facts is not None and facts.end_date is not None and facts.end_date < today:
            return name
    pytest.fail("no model of the price table is past its end date")


def retired_model(sample: Sample) -> None:
    name = retired_name()
    sample.change(
        "registry.yaml", "features:", f'  old: {{model: openai/{name}, api_key: "${{FIRST_KEY}}"}}\nfeatures:'
    )
    sample.change("registry.yaml", "model: a}", "model: old}")
    sample.change("registry.yaml", "usd_per_day: 5, ", "")


def one_provider(sample: Sample) -> None:
    sample.change("registry.yaml", "provider: beta", "provider: alpha")


def keyless_spare(sample: Sample) -> None:
    sample.change("registry.yaml", "${SECOND_KEY}", "${NOT_SET_AT_ALL}")


def damaged_spare(sample: Sample) -> None:
    sample.write("c.gguf", "<html>")
    sample.change("registry.yaml", "features:", "  c: {model: local/c, file: c.gguf}\nfeatures:")
    sample.change("registry.yaml", "fallback: [b]", "fallback: [b], degrade: {to: c}")


def small_spare(sample: Sample) -> None:
    sample.change("registry.yaml", "features:", '  s: {model: openai/gpt-4o-mini, api_key: "${FIRST_KEY}"}\nfeatures:')
    sample.change("registry.yaml", "fallback: [b]", "fallback: [b, s]")
    sample.change("registry.yaml", "prompt_tokens: 1000", "prompt_tokens: 5000000")


def unknown_price(sample: Sample) -> None:
    sample.change("registry.yaml", "provider: beta, price: {input: 1, output: 2}", "provider: beta")


def damaged_state(sample: Sample) -> None:
    sample.write(".flowai/state.sqlite3", "no database" * 1000)


def unreachable_redis(sample: Sample) -> None:
    sample.add("state: redis://:secret-password@127.0.0.1:9/0\n")


def state_of_one_process(sample: Sample) -> None:
    sample.add("state: 'memory:'\n")


def file_for_a_folder(sample: Sample) -> None:
    shutil.rmtree(sample.root / ".flowai")
    sample.write(".flowai", "")


def open_folder(sample: Sample) -> None:
    (sample.root / ".flowai").chmod(0o777)


def tracked_folder(sample: Sample) -> None:
    sample.write(".flowai/events/dt=2026-01-01/x.jsonl", "")
    commit(sample, ".flowai")


def damaged_events(sample: Sample) -> None:
    write_log(sample.root / ".flowai/events", Scenario(calls_count=3, candidate="v2"))
    (file,) = (sample.root / ".flowai/events").rglob("*.jsonl")
    file.write_bytes(file.read_bytes() + b'{"kind": "call"\n')


def events_of_tomorrow(sample: Sample) -> None:
    begin = datetime.now(UTC) + timedelta(days=1)
    write_log(sample.root / ".flowai/events", Scenario(calls_count=3, begin=begin))


def stuck_rollout(sample: Sample) -> None:
    sample.add("rollout: {candidate: v2, stage: 5, started_at: 2026-01-02T00:00:00Z}\n")


def old_process(sample: Sample) -> None:
    sample.beat(release="v2")


def lock_without_release(sample: Sample) -> None:
    sample.lock("v2")
    sample.change("registry.yaml", "  v2: {extends: v1, chat: {params: {temperature: 0}}}\n", "")


def flag_that_nobody_sends(sample: Sample) -> None:
    started = datetime.now(UTC).isoformat()
    sample.add(f"rollout: {{candidate: v2, stage: dogfood, started_at: {started}}}\n")
    write_log(sample.root / ".flowai/events", Scenario(calls_count=20, changes={"variant": "stable"}))


@pytest.mark.parametrize(
    ("sabotage", "check", "status", "text", "code"),
    [
        (bad_current, "registry", "warning", "current names `v2`, which is marked bad", 0),
        (broken_environment, "registry", "error", "ladders", 3),
        (old_schema, "schema", "warning", "another version", 0),
        (missing_schema, "schema", "warning", "is missing", 0),
        (missing_weights, "extras", "error", "no_such_package", 3),
        (damaged_weights, "extras", "error", "not a GGUF file", 3),
        (half_written_env, ".env", "error", ".env:2", 3),
        (open_env, ".env", "warning", "other users can read", 0),
        (tracked_env, ".env", "error", "git tracks", 3),
        (broken_prompt, "prompts", "error", "prompts/echo_v1.prompt", 3),
        (unused_broken_prompt, "prompts", "warning", "prompts/other_v1.prompt", 0),
        (changed_after_publication, "lock", "error", "prompt `prompts/echo_v1`", 3),
        (damaged_lock, "lock", "error", "not a lock file", 3),
        (broken_suite, "suites", "error", "missing.jsonl", 3),
        (no_smoke, "suites", "warning", "no `evals/smoke.yaml`", 0),
        (no_key, "keys", "error", "`NOT_SET_AT_ALL` is not set; needed by `a`", 3),
        (key_in_the_registry, "keys", "warning", "the registry holds a key of `a`", 0),
        (no_key_file, "keys", "error", "cannot be read", 3),
        (retired_model, "end dates", "error", "is retired on", 3),
        (one_provider, "fallbacks", "warning", "of one provider, `alpha`", 0),
        (keyless_spare, "spare models", "warning", "without a key", 0),
        (damaged_spare, "spare models", "warning", "not a GGUF file", 0),
        (small_spare, "spare models", "warning", "reads 128,000 tokens", 0),
        (unknown_price, "budgets", "error", "price of its model", 3),
        (damaged_state, "state", "error", "state.sqlite3", 4),
        (unreachable_redis, "state", "error", "is unreachable", 4),
        (state_of_one_process, "state", "warning", "is not shared", 0),
        (file_for_a_folder, "disk", "error", "expected a directory", 3),
        (open_folder, "disk", "warning", "others can write", 0),
        (tracked_folder, "disk", "error", "git tracks", 3),
        (damaged_events, "events", "warning", "the first at `dt=", 0),
        (events_of_tomorrow, "events", "warning", "future: ", 0),
        (stuck_rollout, "releases", "warning", "the rollout of `v2` is at 5 since", 0),
        (old_pin, "releases", "warning", "pins `v2`, while `current` is `v1`", 0),
        (old_process, "releases", "warning", "serves `v2`, not `v1`", 0),
        (lock_without_release, "releases", "warning", "has `v2`, which the registry has not", 0),
        (flag_that_nobody_sends, "flags", "warning", "recent calls sent `X-Feature-Flag: ai-beta`", 0),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_sabotage_is_found_and_hides_no_other_row(
    sample: Sample, command: Command, sabotage: Sabotage, check: str, status: str, text: str, code: int
) -> None:
    sabotage(sample)
    ran = command("doctor", "--json")
    found = rows(ran)
    assert found.keys() == set(CHECK_NAMES)
    assert faults(ran).get(check) == status, found[check]
    worst = next(one for one in found[check] if one["status"] == status)
    assert text in worst["text"]
    assert worst["hint"]
    assert ran.code == code, faults(ran)
    assert "secret-password" not in ran.out
    assert KEY not in ran.out
    screen = command("doctor")
    assert screen.code == code
    assert re.search(rf"^{status} +{re.escape(check)} ", screen.out, re.MULTILINE)


def test_a_broken_registry_still_shows_the_other_rows(sample: Sample, command: Command) -> None:
    sample.change("registry.yaml", "current: v1", "current: v9")
    ran = command("doctor", "--json")
    assert ran.code == 3
    found = rows(ran)
    assert faults(ran) == {"registry": "error"}
    assert "v9" in found["registry"][0]["text"]
    by_status = {name: many[0]["status"] for name, many in found.items()}
    assert {name for name, status in by_status.items() if status == "ok"} == {
        "python", "schema", "extras", ".env", "suites", "disk",
    }  # fmt: skip
    assert found["keys"][0]["text"] == "not checked: the registry cannot be read"


def test_without_a_project_the_machine_is_checked(place: Path, command: Command) -> None:  # noqa: ARG001 - stands in it
    ran = command("doctor", "--json")
    assert ran.code == 3
    found = rows(ran)
    assert "flowai init" in found["registry"][0]["hint"]
    assert {found["python"][0]["status"], found["extras"][0]["status"]} == {"ok"}
    assert found["keys"][0]["text"] == "there is no project"


@pytest.mark.parametrize(("version", "status", "code"), [("3.10.2", "error", 3), ("3.99.0", "warning", 0)])
def test_another_python_is_found(
    sample: Sample,  # noqa: ARG001 - stands in it
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    status: str,
    code: int,
) -> None:
    monkeypatch.setattr(platform, "python_version", lambda: version)
    ran = command("doctor", "--json")
    assert faults(ran) == {"python": status}
    assert ran.code == code


@pytest.mark.skipif(find_spec("sentence_transformers") is not None, reason="the extra `semantic` is installed")
def test_a_missing_extra_is_named_with_its_command(sample: Sample, command: Command) -> None:
    sample.change("registry.yaml", "fallback: [b]", "fallback: [b], cache: {kind: semantic}")
    ran = command("doctor", "--json")
    assert faults(ran) == {"extras": "warning"}
    assert rows(ran)["extras"][0]["hint"] == "pip install 'flowai[semantic]'"


def test_a_full_disk_is_infrastructure_and_what_breaks_a_check_is_a_finding(
    sample: Sample,  # noqa: ARG001 - stands in it
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    ran = command("doctor", "--json")
    assert (ran.code, faults(ran)) == (4, {"disk": "error"})

    def fail(_: object) -> None:
        raise TypeError("broken")

    monkeypatch.setattr(shutil, "disk_usage", fail)
    ran = command("doctor", "--json")
    assert (ran.code, faults(ran)) == (0, {"disk": "warning"})
    assert "could not be checked: unexpected TypeError" in rows(ran)["disk"][0]["text"]


def test_an_unknown_environment_is_wrong_usage(sample: Sample, command: Command) -> None:  # noqa: ARG001 - stands in it
    ran = command("doctor", "--env", "prod")
    assert ran.code == 2
    assert "no environment `prod`" in ran.err


def test_a_state_that_cannot_be_read_is_one_finding(sample: Sample, command: Command) -> None:
    for address in ("${NO_REDIS_URL}", "redis://127.0.0.1:9/0", "http://127.0.0.1"):
        sample.change("registry.yaml", "schema_version: 1\n", f'schema_version: 1\nstate: "{address}"\n')
        ran = command("doctor", "--json")
        assert faults(ran) == {"state": "error"}
        assert ran.code == (4 if address.startswith("redis:") else 3)
        sample.change("registry.yaml", f'state: "{address}"\n', "")


def test_wrong_files_outrank_a_service_that_is_away(sample: Sample, command: Command) -> None:
    unreachable_redis(sample)
    no_key(sample)
    assert command("doctor").code == 3


def test_a_key_of_env_is_named_by_its_place(sample: Sample, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIRST_KEY")
    sample.write(".env", f"FIRST_KEY={KEY}\n")
    (sample.root / ".env").chmod(0o600)
    ran = command("doctor", "--json")
    assert ran.code == 0
    assert "`FIRST_KEY` from `.env` (a)" in rows(ran)["keys"][0]["text"]
    assert KEY not in ran.out


def test_a_key_of_a_mounted_directory_is_named_by_its_place(
    sample: Sample, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FIRST_KEY")
    monkeypatch.setenv("FLOWAI_KEY_FILES", "keys")
    sample.write("keys/FIRST_KEY", f"{KEY}\n")
    ran = command("doctor", "--json")
    assert "`FIRST_KEY` from `keys` (a)" in rows(ran)["keys"][0]["text"]
    assert KEY not in ran.out


def test_providers_are_asked_only_with_live(sample: Sample, command: Command, provider: ScriptedProvider) -> None:
    asked: list[str] = []

    def count(request: Asked) -> Reply:
        asked.append(request.path)
        return lists("two")(request)

    provider.on_get = count
    command("doctor")
    assert asked == []
    ran = command("doctor", "--live", "--json")
    assert asked
    assert (ran.code, faults(ran)) == (0, {"providers": "warning"})
    sample.change(
        "registry.yaml",
        f'model: openai/one, api_base: "{provider.base_url}"',
        'model: openai/one, api_base: "http://127.0.0.1:9/v1"',
    )
    ran = command("doctor", "--live", "--json")
    assert (ran.code, faults(ran)) == (4, {"providers": "error"})
    assert KEY not in ran.out


def test_the_screen_fits_its_width(sample: Sample, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from flowai.cli import console

    no_key(sample)
    one_provider(sample)
    monkeypatch.setattr(console, "terminal_width", lambda: 80)
    lines = command("doctor").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("error    keys ") for line in lines)
    assert lines[-1] == "1 error, 1 warning"


def pump(source: socket.socket, sink: socket.socket, change: Callable[[bytes], bytes]) -> None:
    """Copy what comes from a socket until either side closes."""
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(change(data))
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextmanager
def wrong_clock(server: RedisServer, offset_s: int) -> Iterator[str]:
    """Stand before a real Redis and change the seconds in its answers to TIME; yields the address."""

    def shifted(data: bytes) -> bytes:
        return re.sub(rb"\*2\r\n\$10\r\n(\d{10})\r\n", lambda m: b"*2\r\n$10\r\n%d\r\n" % (int(m[1]) + offset_s), data)

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                upstream = socket.create_connection(("127.0.0.1", server.port))
                sockets.extend((client, upstream))
                for pair in ((client, upstream, bytes), (upstream, client, shifted)):
                    threads.append(threading.Thread(target=pump, args=pair))
                    threads[-1].start()

    sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []
    listener = socket.create_server(("127.0.0.1", 0))
    accepting = threading.Thread(target=serve)
    accepting.start()
    try:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        listener.close()
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        for each in sockets:
            each.close()


@pytest.mark.service
def test_a_real_redis_is_named_with_its_version_and_settings(sample: Sample, command: Command) -> None:
    with RedisServer(settings=("--maxmemory-policy", "allkeys-lru")) as server:
        sample.add(f"state: {server.url}\n")
        ran = command("doctor", "--json")
    found = rows(ran)
    assert (ran.code, faults(ran)) == (0, {"state": "warning"})
    assert "allkeys-lru" in found["state"][0]["text"]
    assert re.match(r"Redis \d+\.\d+", found["state"][1]["text"])
    assert found["clock"][0]["status"] == "ok"


@pytest.mark.service
def test_a_rotated_password_of_redis_is_found(sample: Sample, command: Command) -> None:
    with RedisServer(password="new-password") as server:
        sample.add(f"state: redis://:old-password@127.0.0.1:{server.port}/0\n")
        ran = command("doctor", "--json")
    assert ran.code == 4
    assert faults(ran)["state"] == "error"
    assert "old-password" not in ran.out


@pytest.mark.service
@pytest.mark.parametrize(("offset_s", "status", "code"), [(-3600, "error", 4), (3600, "error", 4), (20, "warning", 0)])
def test_a_clock_that_differs_is_found(sample: Sample, command: Command, offset_s: int, status: str, code: int) -> None:
    with RedisServer() as server, wrong_clock(server, offset_s) as address:
        sample.add(f"state: {address}\n")
        ran = command("doctor", "--json")
    assert (ran.code, faults(ran)) == (code, {"clock": status})
    assert ("behind" if offset_s > 0 else "ahead of") in rows(ran)["clock"][0]["text"]
