"""`flowai upgrade --from-log`: logged requests, answered by both models, checked by assertions and a judge."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from support.upgrade_project import BAD, Planted, log_calls, make_upgrade_project

from flowai.upgrades.log.sample import stratified_sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]

TEXTS = [f"chat logged {number}" for number in range(60)]


@pytest.fixture
def logged(root: Path, provider: ScriptedProvider) -> Planted:
    project = make_upgrade_project(root, provider.base_url, {"chat": 60}, more=", log_content: redacted")
    log_calls(project, "chat", TEXTS)
    planted = Planted(lost={"chat": 0.2})
    provider.answerer = planted
    return planted


def test_logged_requests_are_answered_and_compared_in_both_orders(
    logged: Planted, provider: ScriptedProvider, flowai: Flowai
) -> None:
    ran = flowai("upgrade", "m", "n", "--from-log", "40", "--judge", "judge-model", "--json")

    item = json.loads(ran.out)["features"][0]
    evidence: dict[str, Any] = {found["kind"]: found for found in item["evidence"]}
    lost = sum(logged.difference(text) < 0 for text in TEXTS)
    assert set(evidence) == {"suites", "logged_checks", "preference"}
    assert evidence["logged_checks"]["planned_count"] == 40
    assert evidence["preference"]["judged"] is False
    assert "no calibration" in evidence["preference"]["note"]
    assert 0 < evidence["preference"]["worse_count"] <= lost
    assert evidence["preference"]["worst"][0]["new_output"] == BAD
    asked = Counter(asked.body["model"] for asked in provider.asked if "logged" in str(asked.body["messages"]))
    assert asked["new-1"] == 40
    assert asked["old-1"] == 0  # its logged answers are used
    assert asked["judge-1"] == 2 * evidence["preference"]["worse_count"]  # equal answers need no judge
    message = next(item for item in provider.asked if "logged" in str(item.body["messages"])).body["messages"]
    assert message[0] == {"role": "system", "content": "Feature chat."}
    before = provider.request_count
    flowai("upgrade", "m", "n", "--from-log", "40", "--judge", "judge-model", "--json")
    assert provider.request_count - before <= 2 + 8  # only the probes


def test_requests_that_another_model_answered_are_asked_again(
    root: Path, provider: ScriptedProvider, flowai: Flowai
) -> None:
    project = make_upgrade_project(root, provider.base_url, {"chat": 0}, more=", log_content: redacted")
    log_calls(project, "chat", TEXTS[:10], model="n")
    provider.answerer = Planted()

    ran = flowai("upgrade", "m", "n", "--from-log", "10", "--json")

    item = json.loads(ran.out)["features"][0]
    asked = Counter(asked.body["model"] for asked in provider.asked)
    assert ran.code == 5
    assert item["verdict"] == "undecided"
    assert asked == {"old-1": 11, "new-1": 11}
    assert any("no judge" in text for text in item["findings"])


def test_a_sample_takes_from_every_stratum() -> None:
    strata = {f"{name}{number}": (name,) for name, count in (("a", 90), ("b", 9), ("c", 1)) for number in range(count)}

    chosen = stratified_sample(strata, 20)

    counts = Counter(call_id[0] for call_id in chosen)
    assert sum(counts.values()) == 20
    assert counts["c"] == 1
    assert counts["b"] in {1, 2}
    assert chosen == stratified_sample(dict(reversed(strata.items())), 20)
    assert len(stratified_sample(strata, 1_000)) == 100
    assert len(stratified_sample(strata, 2)) == 2
    assert stratified_sample({}, 5) == ()
