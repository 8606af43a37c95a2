"""Verdicts on pairs, and what the provider data says about parameters."""

from __future__ import annotations

import random

import pytest

from flowai.providers import Endpoint, PriceTable
from flowai.statistics.paired_trials import PairedTrials
from flowai.upgrades.parameters import known_changes, refused_parameter
from flowai.upgrades.verdict import judge_pairs, overall

SAME = PairedTrials(before=(1.0,), after=(1.0,))
LOST = PairedTrials(before=(1.0,), after=(0.0,))
GAINED = PairedTrials(before=(0.0,), after=(1.0,))


def drawn(lost: float, gained: float, count: int, seed: int) -> list[PairedTrials]:
    rng = random.Random(seed)  # noqa: S311 - a simulation
    shares = [rng.random() for _ in range(count)]
    return [LOST if share < lost else GAINED if share < lost + gained else SAME for share in shares]


@pytest.mark.parametrize(
    ("lost", "gained", "right"),
    [
        (0.0, 0.0, {"equal"}),
        (0.02, 0.02, {"equal", "better"}),
        (0.15, 0.02, {"worse"}),
        (0.02, 0.15, {"better", "equal"}),
    ],
)
def test_planted_differences(lost: float, gained: float, right: set[str]) -> None:
    found = [judge_pairs(drawn(lost, gained, 600, seed), margin=0.05) for seed in range(60)]

    assert sum(item.verdict in right for item in found) >= 57
    assert sum(item.stopped_early for item in found) >= 50


def test_a_loss_at_the_margin_is_rarely_called_equal() -> None:
    found = [judge_pairs(drawn(0.08, 0.03, 400, seed), margin=0.05).verdict for seed in range(200)]

    assert found.count("equal") <= 16  # alpha is 0.05
    assert found.count("better") == 0


def test_few_pairs_are_undecided_with_a_number_that_would_decide() -> None:
    found = judge_pairs([SAME] * 10, margin=0.05)

    assert found.verdict == "undecided"
    assert found.needed_count is not None
    assert 10 < found.needed_count < 300


def test_an_incomplete_run_is_decided_by_early_evidence_only() -> None:
    pairs = [SAME] * 60

    assert judge_pairs(pairs, margin=0.05, is_complete=False).verdict == "undecided"
    assert judge_pairs([], margin=0.05).verdict == "undecided"
    assert judge_pairs([LOST] * 30, margin=0.05, is_complete=False).verdict == "worse"


def test_the_worst_feature_decides() -> None:
    assert overall(["equal", "better"]) == "better"
    assert overall(["equal", "undecided"]) == "undecided"
    assert overall(["undecided", "worse", "better"]) == "worse"
    assert overall([]) == "undecided"


@pytest.mark.parametrize(
    ("message", "params", "name"),
    [
        ("Unsupported parameter: 'temperature' is not supported", {"temperature": 0, "top_p": 1}, "temperature"),
        ("top_p and temperature exclude each other", {"temperature": 0, "top_p": 1}, "top_p"),
        ("max_tokens_total is wrong", {"max_tokens": 5}, None),
        ("no such model", {"temperature": 0}, None),
    ],
)
def test_the_refused_parameter_is_the_first_that_the_message_names(
    message: str, params: dict[str, object], name: str | None
) -> None:
    assert refused_parameter(message, params) == name


def test_renamed_parameters_come_from_the_provider_data() -> None:
    endpoint = Endpoint(name="n", model="mistral/mistral-small-latest", provider="mistral")

    found = known_changes(endpoint, {"max_completion_tokens": 50, "temperature": 0, "seed": 1}, PriceTable())

    assert {item.name: item.sent_as for item in found if item.effect == "renamed"} == {
        "max_completion_tokens": "max_tokens",
        "seed": "random_seed",
    }


def test_a_model_without_sampling_parameters_loses_them() -> None:
    table = PriceTable()
    names = (name for name in table.names() if (table.row(name) or {}).get("supports_sampling_params") is False)
    model = next((name for name in names if (table.row(name) or {}).get("litellm_provider") == "anthropic"), None)
    if model is None:
        pytest.skip("the price table lists no such model")
    endpoint = Endpoint(name="n", model=f"anthropic/{model.removeprefix('anthropic/')}", provider="anthropic")

    found = known_changes(endpoint, {"temperature": 0, "max_tokens": 5}, table)

    assert [(item.name, item.effect) for item in found] == [("temperature", "removed")]
