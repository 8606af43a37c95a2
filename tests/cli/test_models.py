"""`flowai models`, and models that are retired soon: `smoke` and `release publish` warn, then fail."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from flowai.errors import RegistryError
from flowai.project import find_project
from flowai.providers import PriceTable
from flowai.providers.model_facts import model_facts
from flowai.registry import check_retirements, load_registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran, SampleProject

    Flowai = Callable[..., Ran]

TODAY = date(2026, 3, 1)
REGISTRY = """\
schema_version: 1
models:
  first: {model: openai/first}
  spare: {model: openai/spare}
  unused: {model: openai/unused}
  proxied: {model: openai/first, api_base: "http://127.0.0.1:9/v1"}
features:
  chat: {fallback: [spare]}
releases:
  v1: {chat: {prompt: prompts/echo_v1, model: first}}
  v2: {chat: {prompt: prompts/echo_v1, model: proxied}}
current: v1
"""


def table(tmp_path: Path, **end_dates: str | None) -> PriceTable:
    file = tmp_path / "prices.json"
    rows = {
        name: {"litellm_provider": "openai", "input_cost_per_token": 1e-6, "output_cost_per_token": 4e-6}
        | ({} if end is None else {"deprecation_date": end})
        for name, end in end_dates.items()
    }
    file.write_text(json.dumps(rows))
    return PriceTable(file)


def check(project: SampleProject, prices: PriceTable, release: str = "v1", policy: str = "") -> tuple[str, ...]:
    project.write("registry.yaml", REGISTRY + policy)
    registry = load_registry(find_project(project.root, {}), env=None, environ={})
    return check_retirements(registry, (release,), today=TODAY, prices=prices)


def day(days: int) -> str:
    return (TODAY + timedelta(days=days)).isoformat()


@pytest.mark.parametrize(("days", "warns"), [(61, False), (60, True), (15, True)])
def test_a_release_is_warned_about_two_months_before(
    project: SampleProject, tmp_path: Path, days: int, warns: bool
) -> None:
    warnings = check(project, table(tmp_path, first=day(days), spare=None, unused=day(0)))
    assert bool(warnings) is warns
    if warns:
        (text,) = warnings
        assert text == (f"model `first` (openai/first) is retired on {day(days)}, in {days} days; used by chat")


@pytest.mark.parametrize(("days", "says"), [(14, "in 14 days"), (0, "today"), (-3, "already")])
def test_a_model_of_the_fallback_chain_that_is_retired_within_two_weeks_is_an_error(
    project: SampleProject, tmp_path: Path, days: int, says: str
) -> None:
    with pytest.raises(RegistryError, match=says) as caught:
        check(project, table(tmp_path, first=None, spare=day(days)))
    assert str(caught.value.place) == "registry.yaml:4: models.spare"


def test_the_policy_moves_both_limits(project: SampleProject, tmp_path: Path) -> None:
    prices = table(tmp_path, first=day(3), spare=None)
    assert len(check(project, prices, policy="policies: {retirement: {warn: 10d, fail: 2d}}\n")) == 1
    assert check(project, prices, policy="policies: {retirement: {warn: 2d, fail: 1d}}\n") == ()


def test_a_model_behind_another_address_has_no_end_date(project: SampleProject, tmp_path: Path) -> None:
    assert check(project, table(tmp_path, first=day(-100), spare=None), release="v2") == ()


OTHER_USERS = [
    ("{jury: {models: [first, spare, unused]}}", ""),
    ("{degrade: {to: unused, disclaimer: d}}", ""),
    ("{}", "experiments: {e: {feature: chat, goal: save_rate, arms: {a: {model: first}, b: {model: unused}}}}\n"),
]


@pytest.mark.parametrize(("feature", "more"), OTHER_USERS)
def test_a_juror_a_last_resort_and_an_arm_count_too(
    project: SampleProject, tmp_path: Path, flowai: Flowai, feature: str, more: str
) -> None:
    text = REGISTRY.replace("{fallback: [spare]}", feature) + more
    project.write("registry.yaml", text)
    registry = load_registry(find_project(project.root, {}), env=None, environ={})
    prices = table(tmp_path, first=None, spare=None, unused=day(30))
    (warning,) = check_retirements(registry, ("v1",), today=TODAY, prices=prices)
    assert "`unused`" in warning
    assert warning.endswith("used by chat")
    with pytest.raises(RegistryError, match="in 3 days"):
        check_retirements(registry, ("v1",), today=TODAY + timedelta(days=27), prices=prices)
    assert listed(flowai)["unused"]["features"] == ["chat"]


def test_smoke_fails_if_a_juror_is_retired(project: SampleProject, flowai: Flowai) -> None:
    jury = "{jury: {models: [first, spare, unused]}}"
    text = REGISTRY.replace("{fallback: [spare]}", jury).replace("openai/unused", f"openai/{retired_model()}")
    project.write("registry.yaml", text)
    project.write("evals/smoke.yaml", "tests: [{id: a, vars: {text: x}, metadata: {feature: chat}}]\n")
    ran = flowai("smoke")
    assert ran.code == 3, ran
    assert "model `unused`" in ran.err
    assert "is retired on" in ran.err


def test_every_end_date_of_the_installed_table_is_a_date() -> None:
    prices = PriceTable()
    assert prices.row("openai/gpt-5-mini") is not None
    names = [name for name in (prices.names()) if name != "sample_spec"]
    with_date = [name for name in names if "deprecation_date" in (prices.row(name) or {})]
    assert len(with_date) > 500
    wrong = [name for name in with_date if (facts := model_facts(name, prices)) is None or facts.end_date is None]
    assert wrong == []


def listed(flowai: Flowai) -> dict[str, dict[str, Any]]:
    ran = flowai("models", "--json")
    assert ran.code == 0, ran.err
    return {model["name"]: model for model in json.loads(ran.out)["models"]}


def test_models_are_listed_with_price_limits_and_features(project: SampleProject, flowai: Flowai) -> None:
    project.write("registry.yaml", REGISTRY.replace("openai/first", "openai/gpt-4o-mini"))
    models = listed(flowai)
    assert list(models) == ["first", "spare", "unused", "proxied"]
    first = models["first"]
    assert (first["input_usd_per_million_tokens"], first["output_usd_per_million_tokens"]) == (0.15, 0.6)
    assert first["max_input_tokens"] == 128_000
    assert "tools" in first["capabilities"]
    assert (first["features"], models["unused"]["features"]) == (["chat"], [])
    assert models["spare"]["input_usd_per_million_tokens"] is None
    assert models["proxied"]["end_date"] is None


def test_the_table_fits_and_names_its_source(project: SampleProject, flowai: Flowai) -> None:
    project.write("registry.yaml", REGISTRY.replace("openai/first", "openai/gpt-4o-mini"))
    ran = flowai("models")
    lines = ran.out.splitlines()
    assert lines[0].split()[:2] == ["model", "called"]
    assert any(line.startswith("first ") and "0.15 / 0.60" in line for line in lines)
    assert lines[-1].startswith("prices, limits and end dates: litellm 1.")


def retired_model() -> str:
    """Return a model of the installed table whose end date is past."""
    prices = PriceTable()
    today = datetime.now(UTC).date()
    return next(
        name
        for name in prices.names()
        if name.startswith("gpt-")
        and (facts := model_facts(name, prices))
        and facts.end_date
        and facts.end_date < today
    )


def test_smoke_fails_before_any_call_if_a_model_is_retired(project: SampleProject, flowai: Flowai) -> None:
    project.write("registry.yaml", REGISTRY.replace("openai/first", f"openai/{retired_model()}"))
    project.write("evals/smoke.yaml", "tests: [{id: a, vars: {text: x}, metadata: {feature: chat}}]\n")
    ran = flowai("smoke")
    assert ran.code == 3, ran.out
    assert "is retired on" in ran.err
    assert "registry.yaml:3: models.first" in ran.err
