"""`flowai serve` as processes: shared limits and retries, keys that are added and revoked, and the audit log."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import jsonschema
import msgspec
import pytest
import yaml
from support.redis_server import RedisServer
from support.sample_project import SampleProject, make_project
from support.scripted_provider import Reply, ScriptedProvider

from flowai.audit import AuditLog, AuditRecord
from flowai.audit.schema import SCHEMA_FILE, audit_schema
from flowai.cli.app import run
from flowai.registry import ServeKey
from flowai.server.api_keys import hash_of
from flowai.server.auth import RefusedKeyError
from flowai.server.errors import error_response
from flowai.server.key_audit import MAX_REFUSED_AT_ONCE, REFUSED_PER_MINUTE, KeyAudit

if TYPE_CHECKING:
    from collections.abc import Iterator

HELLO = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
SERVE = """
serve:
  keys:
    web: {{tenant: acme, sha256: {web}}}
    other: {{tenant: other, sha256: {other}}}
  tenants:
    acme: {{requests_per_minute: 12}}
"""


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as scripted:
        yield scripted


@pytest.fixture
def project(tmp_path: Path, provider: ScriptedProvider) -> SampleProject:
    made = make_project(tmp_path / "project", provider.base_url)
    registry = made.root / "registry.yaml"
    made.write("registry.yaml", registry.read_text() + SERVE.format(web=hash_of("web-key"), other=hash_of("other-key")))
    return made


@contextmanager
def serving(project: SampleProject) -> Iterator[httpx.Client]:
    arguments = [sys.executable, "-m", "flowai", "serve", "--port", "0", "--json"]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])}
    environ |= {"SCRIPTED_KEY": "scripted-key-0123456789", "HOME": str(project.root)}
    process = subprocess.Popen(
        arguments, cwd=project.root, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            pytest.fail(process.communicate()[1])
        with httpx.Client(base_url=json.loads(line)["address"], trust_env=False, timeout=60) as client:
            yield client
    finally:
        process.terminate()
        assert process.communicate(timeout=30)[1].startswith("shutting down"), "and no error"


def ask(client: httpx.Client, key: str = "web-key", **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    return client.post("/v1/chat/completions", json=HELLO, headers={"authorization": f"Bearer {key}", **sent})


@pytest.mark.parametrize("kind", ["file", pytest.param("redis", marks=pytest.mark.service)])
def test_two_processes_share_limits_and_retries(project: SampleProject, provider: ScriptedProvider, kind: str) -> None:
    with ExitStack() as stack:
        if kind == "redis":
            redis = stack.enter_context(RedisServer())
            registry = project.root / "registry.yaml"
            registry.write_text(f'{registry.read_text()}state: "{redis.url}"\n')
        servers = [stack.enter_context(serving(project)) for _ in range(2)]
        first = ask(servers[0], idempotency_key="retry-1")
        second = ask(servers[1], idempotency_key="retry-1")
        assert (first.status_code, second.status_code) == (200, 200)
        assert second.headers["x-flowai-idempotent-replay"] == "true"
        assert second.content == first.content
        assert provider.request_count == 1
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda nth: ask(servers[nth % 2]), range(24)))
        admitted = sum(answer.status_code == 200 for answer in answers)
        assert {answer.status_code for answer in answers} == {200, 429}
        assert 11 <= admitted <= 13, "twelve a minute, of which one was the first; two more may drain meanwhile"
        assert ask(servers[0], "other-key").status_code == 200
        if kind == "file":
            path = project.root / ".flowai" / "requests.sqlite3"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def records(project: SampleProject) -> list[AuditRecord]:
    paths = sorted((project.root / ".flowai" / "audit").glob("*.jsonl"))
    return [msgspec.json.decode(line, type=AuditRecord) for path in paths for line in path.read_bytes().splitlines()]


def test_the_audit_log_has_refused_and_changed_keys_and_never_a_key(project: SampleProject) -> None:
    registry = project.root / "registry.yaml"
    text = registry.read_text()
    with serving(project) as client:
        assert ask(client, "wrong-key-of-a-stranger").status_code == 401
        assert ask(client).status_code == 200
        changed = text.replace("web: {tenant: acme,", "web: {tenant: acme, expires: 2020-02-01,")
        added = f"  keys:\n    new: {{tenant: third, sha256: {hash_of('new-key')}}}\n"
        without_other = re.sub(r"    other: .*\n", "", changed)
        registry.write_text(without_other.replace("  keys:\n", added))
        deadline_s = time.monotonic() + 30
        while (expired := ask(client)).status_code != 401:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        assert expired.json()["error"]["message"] == "this key expired on 2020-02-01"
        assert ask(client, "other-key").status_code == 401
        assert ask(client, "new-key").status_code == 200
        while len(records(project)) < 6:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
    found = {(one.action, one.key, one.reason, one.changed) for one in records(project)}
    assert found == {
        ("key_refused", None, "unknown", ()),
        ("key_refused", "web", "expired", ()),
        ("key_added", "new", None, ()),
        ("key_removed", "other", None, ()),
        ("key_changed", "web", None, ("expires",)),
    }
    refused = records(project)[0]
    assert (refused.actor, refused.hash_prefix) == ("127.0.0.1", hash_of("wrong-key-of-a-stranger")[:8])
    written = b"".join(path.read_bytes() for path in (project.root / ".flowai" / "audit").iterdir())
    for key in ("wrong-key-of-a-stranger", "web-key", "other-key", "new-key"):
        assert key.encode() not in written
        assert hash_of(key).encode() not in written
    for path in (project.root / ".flowai" / "audit").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    schema = json.loads(SCHEMA_FILE.read_text())
    assert SCHEMA_FILE.read_text() == audit_schema(), "run `python docs/generate.py`"
    for line in written.splitlines():
        jsonschema.validate(json.loads(line), schema)


def test_refused_keys_cannot_fill_the_disk(tmp_path: Path) -> None:
    now = [AT]
    errors: list[BaseException] = []
    audit = KeyAudit(AuditLog(tmp_path), now=lambda: now[0], on_error=errors.append)
    refusal = RefusedKeyError(error_response(401, "no"), reason="unknown", sent_key="guess")

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for path in tmp_path.iterdir() for line in path.read_bytes().splitlines()]

    for _ in range(5000):
        audit.key_refused(refusal, "192.0.2.1")
    now[0] += timedelta(minutes=1)
    for _ in range(5000):
        audit.key_refused(refusal, "192.0.2.1")
    audit.close()
    assert len(lines()) == MAX_REFUSED_AT_ONCE + REFUSED_PER_MINUTE
    assert sum(line["suppressed_count"] for line in lines()) == 5000 - MAX_REFUSED_AT_ONCE
    assert errors == []


def test_an_audit_log_that_cannot_be_written_is_reported_once(tmp_path: Path) -> None:
    (tmp_path / "2026-03.jsonl").symlink_to(tmp_path / "elsewhere")
    errors: list[BaseException] = []
    audit = KeyAudit(AuditLog(tmp_path), now=lambda: AT, on_error=errors.append)
    keys = {"web": ServeKey(tenant="acme", sha256=hash_of("k"))}
    audit.check_keys({})
    audit.check_keys(keys)
    audit.check_keys({})
    audit.close()
    assert len(errors) == 1
    assert not (tmp_path / "elsewhere").exists()


def test_a_torn_line_of_the_audit_log_ends_before_the_next(tmp_path: Path) -> None:
    file = tmp_path / "2026-03.jsonl"
    file.write_bytes(b'{"torn": ')
    AuditLog(tmp_path).append(AuditRecord(at=AT, action="publish", actor="ann@here", result="done"))
    assert [line.startswith(b'{"schema_version":1') for line in file.read_bytes().splitlines()] == [False, True]


def test_a_new_key_has_its_expiry_and_names(
    project: SampleProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.root)
    options = ["--expires", "2990-01-31", "--features", "chat", "--models", "m, n", "--json"]
    assert run(["serve", "--new-key", "acme", *options]) == 0
    made = json.loads(capsys.readouterr().out)
    (key,) = yaml.safe_load(made["registry"])["serve"]["keys"].values()
    assert msgspec.convert(key, ServeKey) == ServeKey(
        tenant="acme",
        sha256=hash_of(made["key"]),
        expires=datetime(2990, 1, 31, tzinfo=UTC).date(),
        features=("chat",),
        models=("m", "n"),
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--new-key", "acme", "--expires", "soon"], "--expires: found `soon`, expected a day such as `2027-01-31`"),
        (["--new-key", "acme", "--expires", "2020-01-31"], "`2020-01-31` is over"),
        (["--new-key", "acme", "--features", "a,,b"], "`` cannot name a feature"),
        (["--new-key", "acme", "--models", "a b"], "`a b` cannot name a model"),
        (["--expires", "2990-01-31"], "--expires needs --new-key"),
        (["--features", "chat"], "--features needs --new-key"),
    ],
)
def test_wrong_options_of_a_new_key_are_errors(
    project: SampleProject,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(project.root)
    assert run(["serve", *options]) == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_a_retry_after_a_disconnect_is_not_paid_twice(project: SampleProject, provider: ScriptedProvider) -> None:
    provider.answerer = lambda _: Reply(text="x", delay_s=1.0)
    sent = {"authorization": "Bearer web-key", "idempotency-key": "k"}
    with serving(project) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/chat/completions", json=HELLO, headers=sent, timeout=0.4)
        deadline_s = time.monotonic() + 60
        while (answer := ask(client, idempotency_key="k")).status_code == 409:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        assert answer.status_code == 200
        assert answer.headers["x-flowai-idempotent-replay"] == "true"
        assert provider.request_count == 1
