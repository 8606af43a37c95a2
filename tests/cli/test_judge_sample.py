"""`flowai judge sample`: logged answers are checked against their context, each once, whatever ends the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.judge_project import REGISTRY, WITH_CONTEXT, answer_of, verdicts
from support.scripted_provider import Reply

from flowai.evals.judge_runs.logged_answers import choose
from flowai.events import CallEvent, Content, EventLog
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.sample_project import Ran, SampleProject
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]

SOURCE = "Acme sold 1,200 bicycles in 2023. The plant is in Lyon."


def set_up(project: SampleProject, provider: ScriptedProvider, judge: str = "") -> None:
    project.write("registry.yaml", REGISTRY.format(url=provider.base_url, judge=judge))
    project.write("prompts/judge_v1.prompt", WITH_CONTEXT)


def log_calls(
    project: SampleProject,
    count: int,
    *,
    output: Callable[[int], str] = lambda number: f"Acme sold bicycles, says text {number % 20}.",
    has_content: bool = True,
    **changes: Any,
) -> None:
    events = project.root / ".flowai" / "events"
    with EventLog(events, f"serve-{len(list(events.rglob('*.jsonl')))}", Redactor(), lambda: datetime.now(UTC)) as log:
        for number in range(count):
            fields: dict[str, Any] = {"feature": "chat", "release": "v1", **changes}
            content = Content(messages=({"role": "user", "content": SOURCE},), output=output(number))
            log.append(
                CallEvent(
                    call_id=f"{fields['feature']}-{fields['release']}-{number}",
                    at=datetime.now(UTC) - timedelta(minutes=5),
                    origin="serve",
                    requested_model="m",
                    latency_ms=1.0,
                    content=content if has_content else None,
                    **fields,
                )
            )


def scores(project: SampleProject) -> list[dict[str, Any]]:
    files = (project.root / ".flowai" / "events").rglob("*.jsonl")
    lines = (json.loads(line) for path in files for line in path.read_text().splitlines() if line.endswith("}"))
    return [event for event in lines if event["kind"] == "score"]


def sample(flowai: Flowai, *options: str) -> tuple[Ran, dict[str, Any]]:
    ran = flowai("judge", "sample", "--json", *options)
    return ran, json.loads(ran.out) if ran.out else {}


def test_each_answer_is_scored_once_and_rules_cost_nothing(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    set_up(project, provider)
    log_calls(project, 30, output=lambda n: "Acme sold 1,300 bicycles." if n < 10 else f"Acme sells, {n % 20} says.")
    provider.answerer = verdicts(lambda text: "15" not in text)
    ran, result = sample(flowai)
    assert ran.code == 0, ran
    (stratum,) = result["strata"]
    assert (stratum["flagged_by_rule_count"], stratum["flagged_by_judge_count"], stratum["passed_count"]) == (10, 1, 19)
    assert stratum["rate"]["value"] == pytest.approx(11 / 30)
    assert provider.request_count == 20
    written = scores(project)
    assert Counter(event["passed"] for event in written) == {True: 19, False: 11}
    assert {(event["name"], event["origin"], event["judge_hash"]) for event in written} == {
        ("hallucination", "judge", result["judge_hash"])
    }
    ran, again = sample(flowai)
    assert (ran.code, again["waiting_count"], provider.request_count) == (0, 0, 20)
    assert len(scores(project)) == 30


def test_the_scores_reach_the_metrics(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    set_up(project, provider)
    log_calls(project, 40)
    provider.answerer = verdicts(lambda text: "text 1." not in text)
    assert sample(flowai)[0].code == 0
    time.sleep(1.1)  # the range of `metrics` ends at a whole second
    ran = flowai("metrics", "--json")
    assert ran.code == 0, ran
    assert json.loads(ran.out)["total"]["checked_count"] == 40
    assert json.loads(ran.out)["total"]["hallucinated_count"] == 2


def test_another_judge_judges_again(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    set_up(project, provider)
    log_calls(project, 5)
    provider.answerer = verdicts(lambda _: True)
    first = sample(flowai)[1]["judge_hash"]
    project.write("prompts/judge_v1.prompt", WITH_CONTEXT + "Be strict.\n")
    second = sample(flowai)[1]["judge_hash"]
    assert first != second
    assert Counter(event["judge_hash"] for event in scores(project)) == {first: 5, second: 5}


def test_the_measured_judge_is_the_one_that_samples(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    set_up(project, provider)
    log_calls(project, 3)
    provider.answerer = verdicts(lambda text: "good" in text)
    cases = [
        {
            "vars": {"input": f"q{i}", "context": SOURCE},
            "providerOutput": f"{'good' if i % 2 else 'bad'} {i % 20}",
            "metadata": {"label": "pass" if i % 2 else "fail"},
        }
        for i in range(44)
    ]
    project.write("evals/facts.yaml", json.dumps({"prompts": ["{{input}}"], "providers": ["echo"], "tests": cases}))
    checked = flowai("judge", "check", "evals/facts.yaml", "--name", "hallucination", "--json", "--repeats", "1")
    assert checked.code == 0, checked
    assert json.loads(checked.out)["judges"][0]["judge_hash"] == sample(flowai)[1]["judge_hash"]


def test_small_releases_are_not_left_out(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    set_up(project, provider)
    log_calls(project, 100)
    log_calls(project, 8, release="v2")
    log_calls(project, 30, feature="other", release="v1")
    provider.answerer = verdicts(lambda _: True)
    _, result = sample(flowai, "--n", "40")
    taken = {(one["feature"], one["release"]): one["sampled_count"] for one in result["strata"]}
    assert taken == {("chat", "v1"): 16, ("chat", "v2"): 8, ("other", "v1"): 16}
    assert sample(flowai, "--feature", "chat", "--dry-run")[1]["strata"][0]["scored_before_count"] == 16


def test_a_choice_is_fixed_and_fair() -> None:
    calls = {("f", "v1"): [f"a{i}" for i in range(1000)], ("f", "v2"): ["b1", "b2"], ("g", "v1"): ["c1"] * 3}
    chosen = choose(calls, 100)
    assert {stratum: len(ids) for stratum, ids in chosen.items()} == {("f", "v1"): 97, ("f", "v2"): 2, ("g", "v1"): 1}
    assert choose(calls, 100) == chosen
    assert set(choose(calls, 50)["f", "v1"]) < set(chosen["f", "v1"])


def test_dry_run_says_the_cost_and_calls_nothing(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    set_up(project, provider)
    log_calls(project, 10)
    ran, result = sample(flowai, "--dry-run")
    assert (ran.code, provider.request_count, scores(project)) == (0, 0, [])
    assert result["call_count"] == 10
    assert 0 < result["estimated_cost_usd"] < 0.02
    assert "10 answers to judge, 0 of them flagged by rules" in ran.err
    assert "10 need judge (a); cost about $" in ran.err


def test_max_cost_ends_the_run_and_a_second_one_continues(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    set_up(project, provider)
    log_calls(project, 10)
    provider.answerer = lambda _: Reply(text='{"pass": true}', usage=(250, 30))
    estimate = sample(flowai, "--dry-run")[1]["estimated_cost_usd"]
    ran, result = sample(flowai, "--max-cost", str(estimate / 2), "-j", "1")
    assert ran.code == 5
    assert "at --max-cost" in result["stopped"]
    done = len(scores(project))
    assert 0 < done < 10
    assert result["cost_usd"] <= estimate / 2
    assert sample(flowai)[0].code == 0
    assert Counter(event["call_id"] for event in scores(project)).most_common(1)[0][1] == 1
    assert len(scores(project)) == 10


def test_max_cost_needs_a_price(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    set_up(project, provider)
    registry = (project.root / "registry.yaml").read_text().replace("price: {input: 1, output: 1}, ", "")
    project.write("registry.yaml", registry)
    log_calls(project, 3)
    ran = flowai("judge", "sample", "--max-cost", "1")
    assert (ran.code, provider.request_count) == (2, 0)
    assert "--max-cost needs the price of the judge" in ran.err


def test_content_that_was_not_logged_is_named(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    set_up(project, provider)
    log_calls(project, 4, has_content=False)
    ran = flowai("judge", "sample")
    assert (ran.code, provider.request_count) == (5, 0)
    assert "the content of none of the 4 calls was logged: `chat`" in ran.err
    assert "log_content: redacted" in ran.err
    log_calls(project, 2, release="v2")
    provider.answerer = verdicts(lambda _: True)
    ran, result = sample(flowai)
    assert ran.code == 0
    assert [one["unlogged_count"] for one in result["strata"]] == [4, 0]
    assert "the content of 4 calls was not logged" in ran.err


def test_an_empty_log_is_inconclusive(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    set_up(project, provider)
    ran = flowai("judge", "sample")
    assert ran.code == 5
    assert "no answered call since 24h" in ran.err


def test_a_judge_that_is_down_ends_the_run_early(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    set_up(project, provider)
    log_calls(project, 60)
    provider.default = Reply(status=500)
    ran, result = sample(flowai, "-j", "2")
    assert ran.code == 4
    assert result["is_judge_down"]
    assert result["strata"][0]["unscored_count"] < 20
    assert scores(project) == []


def test_prose_is_no_verdict(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    set_up(project, provider)
    log_calls(project, 12)
    provider.default = Reply(text="Looks fine to me.")
    ran, result = sample(flowai)
    assert (ran.code, scores(project)) == (0, [])
    assert result["strata"][0]["unscored_count"] == 12
    assert result["strata"][0]["rate"]["value"] is None


def test_a_killed_run_loses_no_verdict_and_is_continued(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    set_up(project, provider)
    log_calls(project, 40)

    def slow(asked: Any) -> Reply:
        return Reply(text=json.dumps({"pass": bool(answer_of(asked.body))}), delay_s=0.05)

    provider.answerer = slow
    process = subprocess.Popen(
        [sys.executable, "-m", "flowai", "judge", "sample", "-j", "2"],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while len(scores(project)) < 8 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    asked_before, scored_before = provider.request_count, len(scores(project))
    assert 8 <= scored_before < 40
    assert asked_before - scored_before <= 2  # only the calls in flight are asked again
    assert sample(flowai)[0].code == 0
    assert Counter(event["call_id"] for event in scores(project)).most_common(1)[0][1] == 1
    assert len(scores(project)) == 40
    assert provider.request_count - asked_before == 40 - scored_before


def test_a_screen(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    set_up(project, provider, "jury: {models: [a, b, c], combine: cyclic}")
    log_calls(project, 30)
    provider.answerer = verdicts(lambda text: "text 3." not in text)
    ran = flowai("judge", "sample")
    assert ran.code == 0, ran
    assert provider.request_count <= 1.05 * 30
    assert "judge: judge (cyclic of a, b, c)" in ran.out
    assert "by rule" in ran.out
