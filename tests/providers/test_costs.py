"""Costs computed from the price table equal LiteLLM's."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest

from flowai.providers.catalog import CUSTOM, ProviderCatalog
from flowai.providers.litellm.adapter import import_litellm
from flowai.providers.prices import PriceTable

PRICES = PriceTable()
PROVIDERS = sorted(name for name in ProviderCatalog().data.providers if not name.endswith(CUSTOM))
TOLERANCE = 1e-12
TIERS = (None, "auto", "default", "flex", "priority")
PROMPT_TOKENS = (0, 1, 100, 5_000, 128_000, 128_001, 200_000, 200_001, 272_000, 272_001, 1_000_000)
USAGES_PER_MODEL = 8
UNLISTED = ("xyz", "xyz-7b", "gpt-5.9-mini", "claude-opus-9", "GPT-4O", "ft:gpt-4o-2024-08-06:a::b", "llama-3-70b")


@pytest.fixture(scope="module")
def litellm() -> Any:
    return import_litellm()


def random_usage(choices: random.Random) -> dict[str, Any]:
    """Return counts that need not fit together: providers' do not always."""
    prompt, completion = choices.choice(PROMPT_TOKENS), choices.choice((0, 1, 50, 4_000))
    usage: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": completion}
    usage["total_tokens"] = prompt + completion + choices.choice((0, 0, 7))
    usage["prompt_tokens_details"] = {
        name: choices.choice((0, 0, 1, prompt // 3, prompt // 2, prompt, None))
        for name in (
            "cached_tokens",
            "audio_tokens",
            "image_tokens",
            "text_tokens",
            "cache_creation_tokens",
            "video_tokens",
        )
        if choices.random() < 0.4
    }
    usage["completion_tokens_details"] = {
        name: choices.choice((0, 1, completion // 3, completion, None))
        for name in ("reasoning_tokens", "audio_tokens", "image_tokens", "text_tokens", "accepted_prediction_tokens")
        if choices.random() < 0.4
    }
    if choices.random() < 0.1:
        usage["prompt_tokens_details"]["cached_tokens_details"] = {
            "audio_tokens": prompt // 5,
            "text_tokens": prompt // 5,
        }
    if choices.random() < 0.1:
        usage["prompt_cache_hit_tokens"] = prompt // 2
    if choices.random() < 0.1:
        usage["cost"] = choices.choice((0, 0.01, 3.5))
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        if choices.random() < 0.2:
            del usage[name]
    return usage


def litellms_cost_usd(litellm: Any, model: str, usage: dict[str, Any], tier: str | None) -> float | None:
    try:
        parts = litellm.cost_per_token(
            model=model,
            usage_object=litellm.Usage(**copy.deepcopy(usage)),
            service_tier=None if tier == "auto" else tier,
        )
    except litellm.exceptions.ModelNotMappedError:
        return None
    return float(sum(parts))


def listed(litellm: Any, provider: str) -> list[str]:
    return [
        key if key.startswith(f"{provider}/") else f"{provider}/{key}"
        for key, row in litellm.model_cost.items()
        if row.get("litellm_provider") == provider
    ]


@pytest.mark.slow
@pytest.mark.parametrize("provider", PROVIDERS)
def test_costs_equal_litellms(litellm: Any, provider: str) -> None:
    choices = random.Random(provider)  # noqa: S311 - the same usages each time
    failures = []
    for model in (*listed(litellm, provider), *(f"{provider}/{name}" for name in UNLISTED)):
        if not PRICES.can_compute_cost(model):
            continue
        for _ in range(USAGES_PER_MODEL):
            usage, tier = random_usage(choices), choices.choice(TIERS)
            expected = litellms_cost_usd(litellm, model, usage, tier)
            found = PRICES.cost_usd(model, usage, service_tier=tier)
            if found is None or expected is None:
                is_equal = found is expected
            else:
                is_equal = abs(found - expected) <= TOLERANCE * max(1.0, expected)
            if not is_equal:
                failures.append(f"{model} {tier} {json.dumps(usage)}: {found} != {expected}")
    assert not failures, "\n".join(failures[:5])


@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "groq/openai/gpt-oss-120b", "openai/text-embedding-3-small"])
def test_usual_models_have_a_cost(model: str) -> None:
    assert PRICES.can_compute_cost(model)
    cost = PRICES.cost_usd(model, {"prompt_tokens": 1_000, "completion_tokens": 10, "total_tokens": 1_010})
    assert cost is not None
    assert cost > 0


def test_an_unlisted_model_has_no_cost() -> None:
    assert PRICES.can_compute_cost("openai/xyz")
    assert PRICES.cost_usd("openai/xyz", {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}) is None


def test_a_model_that_litellm_prices_by_its_name_is_left_to_litellm() -> None:
    assert not PRICES.can_compute_cost("openai/GPT-4o-Mini")
    assert not PRICES.can_compute_cost("fireworks_ai/xyz-7b")
