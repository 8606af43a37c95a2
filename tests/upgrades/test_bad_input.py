"""Bad input of `flowai upgrade`: each is named, nothing is spent without saying, nothing is half-published."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from support.scripted_provider import Reply
from support.upgrade_project import Planted, log_calls, make_upgrade_project

from flowai.providers import PriceTable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _project(root: Path, provider: ScriptedProvider) -> None:
    provider.answerer = Planted()
    make_upgrade_project(root, provider.base_url, {"chat": 20})


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("gpt-5", "n"), 2, "no model `gpt-5`"),
        (("n", "m"), 2, "no feature of the serving release `v1` uses `n`"),
        (("m", "m"), 2, "`m` and `m` are the same model"),
        (("m", "openai/old-1"), 2, "the same model"),
        (("m", "gpt-5"), 2, "no model `gpt-5` in the registry"),
        (("m", "n", "--feature", "talk"), 2, "no feature `talk`"),
        (("m", "anthropic/claude-haiku-5-5"), 3, "ANTHROPIC_API_KEY"),
        (("m", "n", "--from-log", "5"), 2, "none of `chat` logs requests"),
        (("m", "n", "--margin", "0"), 2, "--margin"),
        (("m", "n", "--force"), 2, "--force needs --publish"),
        (("m", "n", "--baseline", "nothing"), 2, "nothing"),
        (("m", "n", "-o", "a.xml"), 2, "a.xml"),
        (("m", "n", "--release", "v1"), 2, "there is a release `v1` with other content"),
    ],
)
def test_wrong_names_and_options_cost_nothing(
    arguments: tuple[str, ...], code: int, says: str, provider: ScriptedProvider, flowai: Flowai
) -> None:
    ran = flowai("upgrade", *arguments)

    assert (ran.code, says in ran.err) == (code, True), ran.err
    assert provider.request_count == 0


def test_the_same_address_under_another_name_is_the_same_model(root: Path, flowai: Flowai) -> None:
    text = (root / "registry.yaml").read_text(encoding="utf-8")
    (root / "registry.yaml").write_text(text.replace("openai/new-1", "openai/old-1"), encoding="utf-8")

    assert flowai("upgrade", "m", "n").code == 2


def _is_openai(table: PriceTable, name: str) -> bool:
    return "/" not in name and (table.row(name) or {}).get("litellm_provider") == "openai"


def test_a_retired_model_is_refused(
    flowai: Flowai, monkeypatch: pytest.MonkeyPatch, provider: ScriptedProvider
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    table = PriceTable()
    rows = [(name, table.row(name) or {}) for name in table.names()]
    ends = {name: str(row["deprecation_date"]) for name, row in rows if row.get("deprecation_date")}
    end, retired = min((end, name) for name, end in ends.items() if _is_openai(table, name))
    assert end < datetime.now(UTC).date().isoformat()

    ran = flowai("upgrade", "m", f"openai/{retired}")

    assert ran.code == 2
    assert "was retired on" in ran.err
    assert provider.request_count == 0


@pytest.mark.parametrize("dead", ["m", "n"])
def test_an_unreachable_model_is_exit_4_before_the_suites(
    dead: str, root: Path, provider: ScriptedProvider, flowai: Flowai
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = {"m": "old-1", "n": "new-1"}[dead]
    lines = (root / "registry.yaml").read_text(encoding="utf-8").splitlines()
    changed = [
        line.replace(provider.base_url, f"http://127.0.0.1:{port}/v1") if f"openai/{model}" in line else line
        for line in lines
    ]
    (root / "registry.yaml").write_text("\n".join(changed) + "\n", encoding="utf-8")

    ran = flowai("upgrade", "m", "n")

    assert ran.code == 4
    assert f"`{dead}`" in ran.err
    assert provider.request_count <= 1


def test_a_refusal_without_a_parameter_is_exit_4(provider: ScriptedProvider, flowai: Flowai) -> None:
    def answer(asked: object) -> Reply:  # noqa: ARG001 - the provider's signature
        return Reply(status=400, error={"message": "this model is not enabled", "type": "invalid_request_error"})

    provider.answerer = answer

    ran = flowai("upgrade", "m", "n")

    assert ran.code == 4
    assert "this model is not enabled" in ran.err


def test_logged_content_that_is_off_is_named(root: Path, provider: ScriptedProvider, flowai: Flowai) -> None:
    project = make_upgrade_project(root, provider.base_url, {"chat": 20}, more=", log_content: redacted")
    log_calls(project, "chat", ["a", "b"], content=False)

    ran = flowai("upgrade", "m", "n", "--from-log", "5", "--json")

    assert "no logged request with content" in " ".join(json.loads(ran.out)["features"][0]["findings"])


def test_a_smaller_context_than_logged_requests_need_is_worse_without_a_call(
    root: Path, provider: ScriptedProvider, flowai: Flowai
) -> None:
    project = make_upgrade_project(root, provider.base_url, {"chat": 20}, more=", log_content: redacted")
    text = (root / "registry.yaml").read_text(encoding="utf-8")
    (root / "registry.yaml").write_text(text.replace("openai/new-1", "openai/gpt-4o-mini"), encoding="utf-8")
    log_calls(project, "chat", ["a", "b"], input_tokens=500_000)

    ran = flowai("upgrade", "m", "n", "--from-log", "5", "--json")

    item = json.loads(ran.out)["features"][0]
    assert ran.code == 1
    assert "need up to 500,000 tokens, and the context of `n` is 128,000" in item["reason"]
    assert item["call_count"] == 0
