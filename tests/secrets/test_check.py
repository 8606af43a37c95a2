"""`flowai secrets check`: which keys features need, from where, how old, and whether a provider accepts them."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.sample_project import SampleProject, make_project
from support.scripted_provider import Asked, Reply, ScriptedProvider

from flowai.cli.app import run
from flowai.errors import InfrastructureError
from flowai.registry import load_registry
from flowai.secrets.check import KeyCheckOptions, check_keys, exit_code
from flowai.secrets.key_ages import KeyAges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flowai.secrets.records import KeyReport

    Check = Callable[..., tuple[int, dict[str, Any]]]

KEY, NEXT_KEY, FILE_KEY = "checked-key-4f8a2b6c0d", "second-key-9e1d3f5a7b", "third-key-7a6b5c4d3e"
TODAY = date(2026, 5, 2)
REGISTRY = """\
schema_version: 1
models:
  main: {{model: openai/first, api_base: "{url}", api_key: ["${{MAIN_KEY}}", "${{MAIN_KEY_NEXT}}"]}}
  spare: {{model: openai/second, api_base: "{url}", api_key: "file:keys/spare.txt"}}
  groq: {{model: groq/llama}}
  unused: {{model: openai/third, api_base: "{url}", api_key: "${{UNUSED_KEY}}"}}
features:
  chat: {{fallback: [spare]}}
  summary: {{degrade: {{to: groq}}}}
releases:
  v1:
    chat: {{prompt: prompts/echo_v1, model: main}}
    summary: {{prompt: prompts/echo_v1, model: main}}
current: v1
alerts: {{webhook: "${{HOOK_URL}}"}}
"""


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as scripted:
        scripted.on_get = accepts(KEY, NEXT_KEY, FILE_KEY)
        yield scripted


def accepts(*keys: str) -> Callable[[Asked], Reply]:
    def answer(asked: Asked) -> Reply:
        if asked.headers.get("authorization", "").removeprefix("bearer ") in keys:
            return Reply(body=b'{"object": "list", "data": [{"id": "first"}]}')
        return Reply(status=401, body=b'{"error": {"message": "bad key"}}')

    return answer


@pytest.fixture
def project(tmp_path: Path, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch) -> SampleProject:
    names = ("FLOWAI_ENV", "FLOWAI_REGISTRY", "AI_MODEL_VERSION", "GROQ_API_KEY", "FLOWAI_KEY_FILES")
    for name in (*names, "MAIN_KEY", "MAIN_KEY_NEXT", "UNUSED_KEY", "HOOK_URL"):
        monkeypatch.delenv(name, raising=False)
    made = make_project(tmp_path / "project", provider.base_url)
    made.write("registry.yaml", REGISTRY.format(url=provider.base_url))
    made.write(".env", f"MAIN_KEY={KEY}\nHOOK_URL=https://hooks.test/abc-123-def\n")
    made.write("keys/spare.txt", f"{FILE_KEY}\n")
    monkeypatch.chdir(made.root)
    monkeypatch.setenv("GROQ_API_KEY", "groq-key-of-the-environment")
    return made


@pytest.fixture
def check(project: SampleProject, capsys: pytest.CaptureFixture[str]) -> Check:  # noqa: ARG001 - stands in it
    def call(*arguments: str) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = run(["secrets", "check", "--json", *arguments])
        out, err = capsys.readouterr()
        for key in (KEY, NEXT_KEY, FILE_KEY, "groq-key-of-the-environment"):
            assert key not in out + err
        report = json.loads(out)
        return code, {key["name"]: key for key in report["keys"]} | {"": report}

    return call


def on(project: SampleProject, day: date, **changes: Any) -> KeyReport:
    from flowai.project import find_project

    found = find_project(project.root, {})
    environ = {"GROQ_API_KEY": "groq-key-of-the-environment"}
    registry = load_registry(found, env=None, environ=environ)
    facts: dict[str, Any] = {"environ": environ, "redact": str, **changes}
    return check_keys(KeyCheckOptions(project=found, registry=registry, release="v1", today=day, **facts))


def test_each_key_has_its_source_and_its_users(check: Check) -> None:
    code, keys = check()
    assert code == 0
    assert {name: (key["source"], key["users"], key["status"]) for name, key in keys.items() if name} == {
        "GROQ_API_KEY": ("environment", ["summary"], "ok"),
        "HOOK_URL": (".env", ["alerts.webhook"], "ok"),
        "MAIN_KEY": (".env", ["chat", "summary"], "ok"),
        "MAIN_KEY_NEXT": (None, ["chat", "summary"], "absent"),
        "UNUSED_KEY": (None, [], "absent"),
        "file:keys/spare.txt": ("key file", ["chat"], "ok"),
    }
    assert keys["MAIN_KEY"]["models"] == ["main"]
    assert keys["MAIN_KEY"]["age_days"] == 0
    assert keys["MAIN_KEY"]["live"] is None


def test_the_environment_wins_and_mounted_files_come_last(
    check: Check, project: SampleProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("mounted/MAIN_KEY", "hidden-key-1234567890")
    project.write("mounted/MAIN_KEY_NEXT", NEXT_KEY)
    monkeypatch.setenv("FLOWAI_KEY_FILES", "mounted")
    monkeypatch.setenv("MAIN_KEY", KEY)
    _, keys = check()
    assert (keys["MAIN_KEY"]["source"], keys["MAIN_KEY_NEXT"]["source"]) == ("environment", "mounted")


def test_a_missing_key_of_a_feature_fails(check: Check, project: SampleProject) -> None:
    project.write(".env", "HOOK_URL=https://hooks.test/abc-123-def\n")
    project.write("keys/spare.txt", "")
    code, keys = check()
    assert code == 1
    missing = sorted(name for name, key in keys.items() if name and key["status"] == "missing")
    assert missing == ["MAIN_KEY", "MAIN_KEY_NEXT", "file:keys/spare.txt"]


def test_the_provider_says_whether_each_key_works(
    check: Check, project: SampleProject, provider: ScriptedProvider
) -> None:
    project.write(".env", f"MAIN_KEY={KEY}\nMAIN_KEY_NEXT={NEXT_KEY}\nHOOK_URL=https://hooks.test/abc-123-def\n")
    provider.on_get = accepts(KEY, FILE_KEY)
    registry = REGISTRY.replace("{{model: groq/llama}}", '{{model: local/groq, api_base: "{url}"}}')
    project.write("registry.yaml", registry.format(url=provider.base_url))
    code, keys = check("--live")
    assert code == 1
    assert {name: key["live"] for name, key in keys.items() if name} == {
        "HOOK_URL": None,
        "MAIN_KEY": "works",
        "MAIN_KEY_NEXT": "refused",
        "UNUSED_KEY": None,
        "file:keys/spare.txt": "works",
    }
    assert keys["MAIN_KEY_NEXT"]["reason"].endswith("/models: the key is refused (401)")
    assert provider.request_count == 0, "no call that costs"


def test_a_list_for_everyone_proves_no_key_and_a_dead_provider_exits_with_4(
    check: Check, project: SampleProject, provider: ScriptedProvider
) -> None:
    text = REGISTRY.replace("  groq: {{model: groq/llama}}\n", "").replace("{{degrade: {{to: groq}}}}", "{{}}")
    project.write("registry.yaml", text.format(url=provider.base_url))
    provider.on_get = lambda _: Reply(body=b'{"data": [{"id": "first"}]}')
    code, keys = check("--live")
    assert (code, keys["MAIN_KEY"]["status"]) == (0, "unproven")
    project.write("registry.yaml", text.format(url="http://127.0.0.1:9/v1"))
    code, keys = check("--live")
    assert (code, keys["MAIN_KEY"]["status"]) == (4, "unreachable")


def test_a_key_is_too_old_after_90_days_and_a_new_one_begins_again(project: SampleProject) -> None:
    assert {key.age_days for key in on(project, TODAY).keys if key.source} == {0}
    later = on(project, TODAY + timedelta(days=90))
    assert exit_code(later) == 0
    old = on(project, TODAY + timedelta(days=91))
    assert exit_code(old) == 1
    assert {key.status for key in old.keys if key.source} == {"too_old"}
    assert next(key for key in old.keys if key.name == "MAIN_KEY").first_seen == TODAY
    project.write(".env", f"MAIN_KEY={NEXT_KEY}\nHOOK_URL=https://hooks.test/abc-123-def\n")
    renewed = {key.name: key.status for key in on(project, TODAY + timedelta(days=91)).keys}
    assert (renewed["MAIN_KEY"], renewed["file:keys/spare.txt"]) == ("ok", "too_old")
    assert exit_code(on(project, TODAY + timedelta(days=91), max_age_days=120)) == 0


def test_a_key_keeps_its_age_when_it_moves_to_another_source(project: SampleProject) -> None:
    on(project, TODAY)
    project.write(".env", f"HOOK_URL=https://hooks.test/abc-123-def\nMAIN_KEY={FILE_KEY}\n")
    moved = next(key for key in on(project, TODAY + timedelta(days=5)).keys if key.name == "MAIN_KEY")
    assert moved.age_days == 5


def test_the_stored_fingerprints_do_not_lead_to_a_key(project: SampleProject, tmp_path: Path) -> None:
    import hashlib

    on(project, TODAY)
    file = project.root / ".flowai" / "key_ages.json"
    text = file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    for key in (KEY, FILE_KEY):
        assert key not in text
        assert not any(getattr(hashlib, name)(key.encode()).hexdigest() in text for name in ("sha1", "sha256", "md5"))
    other = KeyAges(tmp_path / "elsewhere" / "key_ages.json", today=TODAY)
    other.first_seen([KEY])
    stored = json.loads(text)["first_seen"]
    assert not set(stored) & set(json.loads((tmp_path / "elsewhere" / "key_ages.json").read_text())["first_seen"])


@pytest.mark.parametrize("content", ["", "[]", '{"schema_version": 1, "salt": "no hex", "first_seen": {}}'])
def test_ages_that_cannot_be_read_are_named_and_fail_nothing(content: str, project: SampleProject) -> None:
    project.write(".flowai/key_ages.json", content)
    with pytest.raises(InfrastructureError, match="no record of keys' ages"):
        KeyAges(project.root / ".flowai" / "key_ages.json", today=TODAY)
    report = on(project, TODAY)
    assert exit_code(report) == 0
    assert "delete it" in report.warnings[0]
    assert {key.age_days for key in report.keys} == {None}
    assert (project.root / ".flowai" / "key_ages.json").read_text() == content


def test_the_screen_fits_80_columns_and_names_what_to_do(
    project: SampleProject, capsys: pytest.CaptureFixture[str]
) -> None:
    from flowai.cli.commands.project.secrets import check_lines

    on(project, datetime.now(UTC).date() - timedelta(days=100))
    project.write(".env", f"MAIN_KEY={KEY}\n")
    assert run(["secrets", "check"]) == 1
    out = capsys.readouterr().out
    assert "HOOK_URL             -                   -  MISSING  alerts.webhook" in out
    assert ">= 100 d  TOO OLD" in out
    assert "hint: set `HOOK_URL` in the environment, or write `HOOK_URL=...` into `.env`" in out
    lines = list(check_lines(on(project, TODAY, is_live=True), 80))
    assert max(map(len, lines)) <= 80
