"""Prices of the registry: cost of calls, daily limits, and the refusal of a limit that cannot be measured."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from support.gateway_projects import HELLO, Sample, gathered, sample
from support.scripted_replies import Reply

from flowai.errors import BudgetError, RegistryError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INPUT_TOKENS, OUTPUT_TOKENS = 1_000, 500
PRICE = {"input": 2.0, "output": 8.0}
COST_USD = 0.002 + 0.004


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Sample]:
    """A feature on one model that LiteLLM lists no price for."""
    with sample(tmp_path) as made:
        made.providers["small"].default = Reply(usage=(INPUT_TOKENS, OUTPUT_TOKENS))
        made.registry["features"]["chat"].update(fallback=[], degrade=None)
        made.registry["releases"]["v1"]["chat"]["model"] = "small"
        yield made


def priced(project: Sample, price: Any, **budget: Any) -> None:
    project.registry["models"]["small"]["price"] = price
    project.feature(budget={"completion_tokens": OUTPUT_TOKENS, **budget})


def test_the_cost_of_answer_and_event_is_by_the_registrys_price(project: Sample) -> None:
    priced(project, PRICE)
    assert project.ask().cost_usd == pytest.approx(COST_USD)
    assert project.ask(None, None, model="small", messages=[{"role": "user", "content": "hello"}]).cost_usd == (
        pytest.approx(COST_USD)
    )

    async def streamed() -> float | None:
        async with project.gateway() as gateway:
            _, _, answer = await gathered(gateway.stream("chat", HELLO))
            return answer.cost_usd

    assert asyncio.run(streamed()) == pytest.approx(COST_USD)
    assert [event.cost_usd for event in project.calls] == [pytest.approx(COST_USD)] * 3


def test_a_price_of_the_registry_wins_over_the_listed_one(project: Sample) -> None:
    project.registry["models"]["main"]["price"] = PRICE
    project.registry["releases"]["v1"]["chat"]["model"] = "main"
    project.providers["main"].default = Reply(usage=(INPUT_TOKENS, OUTPUT_TOKENS))
    project.write()
    assert project.ask().cost_usd == pytest.approx(COST_USD)


def test_a_price_applies_to_the_daily_limit(project: Sample) -> None:
    priced(project, PRICE, usd_per_day=1.5 * COST_USD)
    project.ask()
    with pytest.raises(BudgetError):
        project.ask()
    assert project.requests == {"small": 1}


def test_an_unknown_price_may_be_free(project: Sample) -> None:
    project.write()
    assert project.ask().cost_usd is None
    priced(project, "unknown_is_free", usd_per_day=0.001)
    assert project.ask().cost_usd == 0.0


def test_a_listed_price_is_not_free(project: Sample) -> None:
    project.registry["models"]["main"]["price"] = "unknown_is_free"
    project.registry["releases"]["v1"]["chat"]["model"] = "main"
    project.write()
    assert (project.ask().cost_usd or 0) > 0


def test_unreported_tokens_have_no_cost(project: Sample) -> None:
    project.providers["small"].default = Reply(usage=None)
    priced(project, PRICE)
    assert project.ask().cost_usd is None
    priced(project, {"input": 0, "output": 0})
    assert project.ask().cost_usd == 0.0


@pytest.mark.parametrize("where", ["release", "fallback", "degrade", "arm", "tier"])
def test_a_daily_limit_without_a_price_is_refused_at_load(project: Sample, where: str) -> None:
    feature, binding = project.registry["features"]["chat"], project.registry["releases"]["v1"]["chat"]
    feature["budget"] = {"usd_per_day": 1}
    if where != "release":
        binding["model"] = "main"
    if where == "fallback":
        feature["fallback"] = ["small"]
    elif where == "tier":
        project.registry["tiers"] = {"bulk": ["main", "small"]}
        binding["model"] = "bulk"
    elif where == "degrade":
        feature["degrade"] = {"to": "small"}
    elif where == "arm":
        arms = {"a": {}, "b": {"model": "small"}}
        project.registry["experiments"] = {"try": {"feature": "chat", "arms": arms, "goal": "save_rate"}}
    project.write()
    with pytest.raises(RegistryError, match="price of its model `openai/small-1` is not known") as refused:
        project.ask()
    assert str(refused.value.place) == "registry.yaml:1: models.small.price"
    assert "price: unknown_is_free" in (refused.value.hint or "")
    assert project.requests == {}


def test_a_local_model_is_free(project: Sample) -> None:
    local = {"model": "local/tiny", "api_base": project.registry["models"]["small"]["api_base"]}
    project.registry["models"]["small"] = local
    priced_nothing: dict[str, Any] = {"usd_per_day": 1}
    project.feature(budget=priced_nothing)

    async def status() -> str | None:
        async with project.gateway() as gateway:
            return (await gateway.status()).release

    assert asyncio.run(status()) == "v1"


def test_models_behind_one_address_are_warned_about(project: Sample) -> None:
    address = project.registry["models"]["main"]["api_base"]
    for name in ("main", "other", "small"):
        project.registry["models"][name].update(api_base=address)
        del project.registry["models"][name]["provider"]
    project.registry["models"]["other"]["provider"] = "elsewhere"

    async def warnings() -> tuple[str, ...]:
        async with project.gateway() as gateway:
            return (await gateway.status()).warnings

    project.feature(fallback=["other"], degrade={"to": "main"})
    assert asyncio.run(warnings()) == (), "another provider stands in"
    project.feature(fallback=[])
    (warning,) = asyncio.run(warnings())
    host = address.removeprefix("http://").removesuffix("/v1")
    assert warning == (
        f"the models of `chat` are behind one address (`{host}`) and count as one provider, so none is called when "
        "another fails: set `provider:` of `small`, `main` if they fail independently"
    )
    project.feature(degrade=None)
    assert asyncio.run(warnings()) == (), "a single model has no spare anyway"
    project.registry["models"]["small"]["api_base"] = "${NOT_SET}"
    project.feature(degrade={"to": "main"})
    assert asyncio.run(warnings()) == (), "an unknown address is no single address"
