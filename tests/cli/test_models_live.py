"""`flowai models --live`: providers' lists over real sockets; and the model that follows a retired one."""

from __future__ import annotations

import json
import socket
import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.scripted_provider import Asked, Reply, ScriptedProvider

from flowai.providers import PriceTable
from flowai.providers.model_lists.answers import read_page
from flowai.providers.model_lists.families import guess_replacement

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran, SampleProject

    Flowai = Callable[..., Ran]

KEY = "scripted-key-0123456789"
OTHER_KEY = "other-key-9876543210"
SOON = (datetime.now(UTC).date() + timedelta(days=20)).isoformat()
REGISTRY = """\
schema_version: 1
models:
{models}
features:
  chat: {{}}
releases:
  v1: {{chat: {{prompt: prompts/echo_v1, model: a}}}}
current: v1
"""


def lists(*rows: dict[str, Any], single: dict[str, int] | None = None, **changes: Any) -> Callable[[Asked], Reply]:
    """Answer with a list of models, and about single ones with a status."""

    def answer(asked: Asked) -> Reply:
        if asked.path.endswith("/models") or "/models?" in asked.path:
            return Reply(body=json.dumps({"object": "list", "data": rows}).encode(), **changes)
        name = asked.path.rpartition("/")[2]
        status = (single or {}).get(name, 404)
        return Reply(status=status, body=json.dumps({"id": name} if status == 200 else {"error": {}}).encode())

    return answer


def write(project: SampleProject, **models: str) -> None:
    lines = "\n".join(f"  {name}: {{{text}}}" for name, text in models.items())
    project.write("registry.yaml", REGISTRY.format(models=lines))


def of(provider: ScriptedProvider, model: str, key: str = "${SCRIPTED_KEY}") -> str:
    return f'model: {model}, api_base: "{provider.base_url}", api_key: "{key}"'


def live(ran: Ran) -> dict[str, dict[str, Any]]:
    return {model["name"]: model for model in json.loads(ran.out)["models"]}


def test_each_model_is_listed_or_not_and_the_providers_word_counts(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    provider.on_get = lists(
        {"id": "first"},
        {"id": "ending", "deprecation": f"{SOON}T12:00:00Z", "deprecation_replacement_model": "next"},
        {"id": "big", "aliases": ["big-latest"], "active": False},
        single={"alias": 200},
    )
    names = {"a": "first", "b": "ending", "c": "gone", "d": "big-latest", "e": "alias"}
    write(project, **{name: of(provider, f"openai/{model}") for name, model in names.items()})
    ran = flowai("models", "--live", "--json")
    assert ran.code == 0, ran.err
    found = live(ran)
    assert {name: model["live"]["status"] for name, model in found.items()} == {
        "a": "listed", "b": "listed", "c": "not_listed", "d": "listed", "e": "listed",
    }  # fmt: skip
    assert (found["b"]["end_date"], found["b"]["days_left"]) == (SOON, 20)
    assert (found["b"]["replacement"], found["b"]["is_replacement_guess"]) == ("openai/next", False)
    assert found["d"]["live"]["is_deprecated"] is True
    screen = flowai("models", "--live").out
    assert "NOT LISTED" in screen
    assert f"{SOON} in 20 d" in screen


def test_a_dead_provider_does_not_stop_the_others_and_no_key_is_shown(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_KEY", OTHER_KEY)
    provider.on_get = lists({"id": "first"})
    with socket.create_server(("127.0.0.1", 0)) as silent, ScriptedProvider(on_get=lists(status=401)) as refusing:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        write(
            project,
            a=of(provider, "openai/first"),
            silent=f'model: openai/x, api_base: "{address}", api_key: "${{OTHER_KEY}}"',
            refused=of(refusing, "openai/y", "${OTHER_KEY}"),
            keyless=of(provider, "openai/z", "${NOT_SET_AT_ALL}"),
            unknown="model: bedrock/anthropic.claude-haiku",
            closed='model: openai/w, api_base: "http://127.0.0.1:9/v1"',
        )
        started = time.monotonic()
        ran = flowai("models", "--live", "--json")
        assert time.monotonic() - started < 9
        screen = flowai("models", "--live")
    assert ran.code == 0, ran.err
    found = {name: model["live"] for name, model in live(ran).items()}
    assert {name: model["status"] for name, model in found.items()} == {
        "a": "listed", "silent": "failed", "refused": "failed", "keyless": "failed", "unknown": "not_asked",
        "closed": "failed",
    }  # fmt: skip
    assert "no answer within 5 s" in found["silent"]["reason"]
    assert "the key is refused (401)" in found["refused"]["reason"]
    assert "NOT_SET_AT_ALL" in found["keyless"]["reason"]
    assert "`bedrock`" in found["unknown"]["reason"]
    assert "refused could not be asked: http://127.0.0.1:" in screen.out
    for text in (ran.out, ran.err, screen.out, screen.err):
        assert KEY not in text
        assert OTHER_KEY not in text


def test_no_provider_that_answers_is_exit_4_and_the_table_is_still_shown(
    flowai: Flowai, project: SampleProject
) -> None:
    write(project, a='model: openai/w, api_base: "http://127.0.0.1:9/v1"')
    ran = flowai("models", "--live")
    assert ran.code == 4
    assert ran.out.splitlines()[0].split()[:2] == ["model", "called"]
    assert "NOT ASKED" in ran.out


def test_models_without_a_list_are_no_failure(flowai: Flowai, project: SampleProject) -> None:
    write(project, a="model: bedrock/anthropic.claude-haiku")
    ran = flowai("models", "--live")
    assert ran.code == 0
    assert "a not asked: flowai does not know where `bedrock` lists its models" in ran.out


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"nonsense", "no list of models"), (b"{}", "no list of models"), (b'"\xff"', "no list of models")],
)
def test_an_answer_that_is_no_list_is_named(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider, body: bytes, words: str
) -> None:
    provider.on_get = lambda _: Reply(body=body)
    write(project, a=of(provider, "openai/first"))
    ran = flowai("models", "--live")
    assert ran.code == 4
    assert words in ran.out


def test_a_provider_is_asked_once_for_all_its_models_and_with_its_key(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    asked: list[Asked] = []
    answer = lists({"id": "x"}, {"id": "y"})

    def on_get(one: Asked) -> Reply:
        asked.append(one)
        return answer(one)

    provider.on_get = on_get
    write(project, a=of(provider, "openai/x"), b=of(provider, "openai/y"))
    assert flowai("models", "--live").code == 0
    assert [(one.path, one.headers["authorization"]) for one in asked] == [("/v1/models", f"bearer {KEY}")]


def test_anthropics_list_has_pages(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", OTHER_KEY)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", provider.base_url.removesuffix("/v1"))
    asked: list[Asked] = []

    def on_get(one: Asked) -> Reply:
        asked.append(one)
        is_first = "after_id" not in one.path
        rows = [{"id": "claude-one" if is_first else "claude-two", "type": "model"}]
        return Reply(body=json.dumps({"data": rows, "has_more": is_first, "last_id": "claude-one"}).encode())

    provider.on_get = on_get
    write(project, a="model: anthropic/claude-one", b="model: anthropic/claude-two")
    found = live(flowai("models", "--live", "--json"))
    assert [found[name]["live"]["status"] for name in "ab"] == ["listed", "listed"]
    assert [one.path for one in asked] == ["/v1/models?limit=1000", "/v1/models?limit=1000&after_id=claude-one"]
    assert {one.headers["x-api-key"] for one in asked} == {OTHER_KEY}


def test_offline_no_provider_is_asked(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    asked: list[Asked] = []

    def answer(one: Asked) -> Reply:
        asked.append(one)
        return Reply()

    provider.on_get = answer
    write(project, a=of(provider, "openai/first"))
    ran = flowai("models")
    assert ran.code == 0
    assert "live" not in ran.out.splitlines()[0].split()
    assert asked == []


def prices(tmp_path: Path, **end_dates: str | None) -> PriceTable:
    file = tmp_path / "prices.json"
    rows = {
        name.replace("__", ".").replace("_", "-"): {"litellm_provider": "openai", "mode": "chat"}
        | ({} if end is None else {"deprecation_date": end})
        for name, end in end_dates.items()
    }
    file.write_text(json.dumps(rows))
    return PriceTable(file)


def test_the_newest_living_model_of_the_family_follows(tmp_path: Path) -> None:
    table = prices(
        tmp_path,
        gpt_4o_mini="2026-12-11",
        gpt_5_mini="2027-06-01",
        gpt_5__4_mini=None,
        gpt_5__4_mini_2026_03_17=None,
        gpt_5__6_mini="2026-10-01",
        gpt_6_mini_preview=None,
        gpt_7=None,
    )
    today = date(2026, 11, 30)
    assert guess_replacement("openai/gpt-4o-mini", table, today=today) == "openai/gpt-5.4-mini"
    assert guess_replacement("gpt-5-mini", table, today=today) == "gpt-5.4-mini"
    assert guess_replacement("openai/gpt-5.4-mini", table, today=today) is None
    assert guess_replacement("openai/gpt-7", table, today=today) is None
    assert guess_replacement("openai/unheard-of", table, today=today) is None


@pytest.mark.parametrize(
    ("row", "end_date"),
    [
        ({"deprecation": None}, None),
        ({"deprecation": "soon"}, None),
        ({"expiration_date": "2027-02-03"}, date(2027, 2, 3)),
        ({"deprecated_at": 1_800_000_000}, date(2027, 1, 15)),
        ({"deprecated_at": 1e300}, None),
        ({"deprecated_at": True}, None),
    ],
)
def test_end_dates_in_lists_have_several_forms(row: dict[str, Any], end_date: date | None) -> None:
    page = read_page(json.dumps({"data": [{"id": "x"} | row, "no row", {"id": 7}]}).encode())
    assert page is not None
    assert page.models["x"].end_date == end_date
    assert list(page.models) == ["x"]
