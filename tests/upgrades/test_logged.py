"""`flowai upgrade --from-log`: logged requests, answered by both models, checked by assertions and a judge."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.scripted_provider import Reply
from support.upgrade_project import BAD, GOOD, Planted, log_calls, make_upgrade_project

from flowai.calibration import JudgeCounts
from flowai.upgrades.log.preference import ORDERS, AnswerPair, JudgeReply, PreferenceJudge, build_preference
from flowai.upgrades.log.sample import stratified_sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran, SampleProject
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


def measure_judge(project: SampleProject, flowai: Flowai, count: int) -> Ran:
    """Measure the judge on labelled pairs of its own suite."""
    texts = (GOOD, BAD)
    cases = [
        {
            "description": f"p{label}{number}",
            "vars": {"input": f"pair {number}"},
            "providerOutput": dict(zip("AB", texts if label == "A" else texts[::-1], strict=True)),
            "metadata": {"label": label},
        }
        for label in "AB"
        for number in range(count)
    ]
    project.write("judging/pairs.yaml", json.dumps({"prompts": ["{{input}}"], "providers": ["echo"], "tests": cases}))
    return flowai("judge", "check", "judging/pairs.yaml", "--judge", "judge-model")


def preference(ran: Ran) -> tuple[dict[str, Any], dict[str, Any]]:
    item = json.loads(ran.out)["features"][0]
    return item, next(found for found in item["evidence"] if found["kind"] == "preference")


def test_the_preferences_of_a_calibrated_judge_decide(root: Path, provider: ScriptedProvider, flowai: Flowai) -> None:
    project = make_upgrade_project(root, provider.base_url, {"chat": 0}, more=", log_content: redacted")
    log_calls(project, "chat", TEXTS)
    provider.answerer = Planted(lost={"chat": 0.5})
    command = ("upgrade", "m", "n", "--from-log", "60", "--judge", "judge-model", "--json")
    item, shown = preference(flowai(*command))
    assert (shown["judged"], item["verdict"]) == (False, "undecided")
    assert "flowai judge check SUITE --name preference --judge judge-model" in shown["note"]

    assert measure_judge(project, flowai, 30).code == 0
    item, decides = preference(flowai(*command))
    assert (decides["judged"], decides["note"]) == (True, None)
    assert (decides["verdict"], item["verdict"]) == ("worse", "worse")
    assert decides["difference"] == pytest.approx(shown["difference"], abs=0.15)  # the judge errs never
    assert decides["low"] <= decides["difference"] <= decides["high"] < 0
    assert decides["low"] < shown["low"]  # the labels are few: the interval is wider


def test_a_judge_below_the_floor_or_of_another_model_is_shown_with_the_reason(
    root: Path, provider: ScriptedProvider, flowai: Flowai
) -> None:
    project = make_upgrade_project(root, provider.base_url, {"chat": 0}, more=", log_content: redacted")
    log_calls(project, "chat", TEXTS[:20])
    planted = Planted(lost={"chat": 0.5})
    provider.answerer = lambda asked: (
        Reply(text='{"better": "first"}') if "pair" in str(asked.body["messages"]) else planted(asked)
    )
    assert measure_judge(project, flowai, 20).code == 1
    _, found = preference(flowai("upgrade", "m", "n", "--from-log", "20", "--judge", "judge-model", "--json"))
    assert found["judged"] is False
    assert "true positive rate plus true negative rate minus 1 is 0.00, 0.50 required" in found["note"]
    _, found = preference(flowai("upgrade", "m", "n", "--from-log", "20", "--judge", "n", "--json"))
    assert "no calibration (prompt or model of the judge changed" in found["note"]


def test_a_calibration_translates_margin_and_difference() -> None:
    counts = JudgeCounts(true_positive_count=45, false_negative_count=5, true_negative_count=45, false_positive_count=5)
    judge = PreferenceJudge(model="j", counts=counts)
    pairs = [AnswerPair(call_id=f"c{i}", request="q", old="a", new="b", digest=f"d{i}") for i in range(200)]
    replies = [
        JudgeReply(call_id=pair.call_id, first=first, digest=pair.digest, better="old" if i % 4 == 0 else "equal")
        for i, pair in enumerate(pairs)
        for first in ORDERS
    ]
    found = build_preference(pairs, replies, judge=judge, margin=0.1, alpha=0.05)
    assert found.verdict == "worse"
    raw = build_preference(pairs, replies, judge=PreferenceJudge(model="j", problem="x"), margin=0.1, alpha=0.05)
    assert raw.note == "shown, not judged: x"
    assert found.difference is not None
    assert raw.difference is not None
    assert found.difference == pytest.approx(raw.difference / 0.8, rel=0.01)  # TPR + TNR - 1 is 0.8
    assert found.margin == 0.1
    same = [msgspec.structs.replace(reply, better="equal") for reply in replies]
    equal = build_preference(pairs, same, judge=judge, margin=0.1, alpha=0.05)
    assert (equal.verdict, equal.judged) == ("equal", True)
