"""Limits of a run, answers that are checked without calls, and suites of any size."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from support.sample_project import SUITE, case
from support.scripted_provider import Asked, Reply

from flowai.evals.runs import prepared
from flowai.evals.runs.answers import run_trials
from flowai.evals.suites import case_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.sample_project import Ran, SampleProject
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]

DEAD = "http://127.0.0.1:9/v1"


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_dead_endpoint_ends_the_run_at_once_and_it_can_be_resumed(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    project.cases(*(case(f"c{number}") for number in range(200)))
    registry = (project.root / "registry.yaml").read_text(encoding="utf-8")
    project.write("registry.yaml", registry.replace(provider.base_url, DEAD))
    ran = flowai("eval", "--no-cache")
    assert ran.code == 4
    assert "stopped after 16 calls in a row without a connection" in ran.err
    assert "16 of 200 trials were run" in ran.err
    again = flowai("eval", "--no-cache", "--resume")
    assert again.code == 4, "the run is not finished, and its errors are run again"
    assert "run 0001" not in again.err


@pytest.mark.parametrize(
    "target",
    [
        '{{id: "openai:chat:m", config: {{apiBaseUrl: "{address}/v1", apiKey: k}}}}',
        '{{id: "{address}", config: {{method: POST, body: {{a: "{{{{prompt}}}}"}}}}}}',
    ],
)
def test_an_address_that_drops_packets_ends_the_run_within_5_s_of_calls(
    flowai: Flowai, project: SampleProject, target: str
) -> None:
    cases = ", ".join(f"{{vars: {{n: {number}}}}}" for number in range(40))
    with ExitStack() as sockets:
        server = sockets.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):  # the queue is full: later packets get no answer
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        project.write("suite.yaml", SILENT_SUITE.format(target=target.format(address=address), cases=cases))
        ran = flowai("eval", "suite.yaml", "--no-cache")
    assert ran.code == 4
    assert "stopped after 8 calls in a row without a connection" in ran.err
    assert "no connection to 127.0.0.1 within 4.0 s" in ran.out
    assert project.report("0001")["elapsed_s"] < 4 + MARGIN_S


SILENT_SUITE = """\
prompts: ["say {{{{n}}}}"]
providers: [{target}]
tests: [{cases}]
"""
MARGIN_S = 4.0
"""For the start of the process on a busy machine."""


def test_a_suite_without_any_assertion_is_run_and_nothing_is_checked(flowai: Flowai, project: SampleProject) -> None:
    text = "prompts: ['say {{n}}']\nproviders: [echo]\ntests: [{vars: {n: 1}}]\n"
    project.write("suite.yaml", text)
    ran = flowai("eval", "suite.yaml")
    assert ran.code == 0, (ran.out, ran.err)
    assert "NOTHING CHECKED" in ran.out
    assert "say 1" in ran.out
    assert "suite.yaml: nothing was checked: no case has an assertion" in ran.err
    decision = project.report("0001")["decision"]
    assert decision == {
        "verdict": "pass",
        "checks": [],
        "sentence": "Nothing was checked: no case has an assertion.",
    }
    project.write("suite.yaml", text + "flowai: {gate: {pass_rate: 1}}\n")
    assert flowai("eval", "suite.yaml").code == 5, "a gate that has nothing to measure is undecided"


def test_graded_assertions_need_no_registry(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project.root.parent / "bare"
    folder.mkdir()
    monkeypatch.chdir(folder)
    grader = f"{{id: 'openai:chat:g', config: {{apiBaseUrl: '{provider.base_url}', apiKey: k}}}}"
    (folder / "suite.yaml").write_text(
        "prompts: ['say {{n}}']\nproviders: [echo]\n"
        f"tests: [{{vars: {{n: 1}}, assert: [{{type: llm-rubric, value: polite, provider: {grader}}}]}}]\n",
        encoding="utf-8",
    )
    provider.default = Reply(text='{"pass": true, "score": 1, "reason": "polite"}')
    ran = flowai("eval", "suite.yaml")
    assert ran.code == 0, (ran.out, ran.err)
    assert provider.request_count == 1


METRIC = """\
def half(values):
    return values["length"] / 2
def none(values):
    return None
"""


def test_derived_metrics_may_be_code_and_the_gate_limits_them(flowai: Flowai, project: SampleProject) -> None:
    project.write("metric.py", METRIC)
    project.write(
        "suite.yaml",
        "prompts: ['say {{n}}']\nproviders: [echo]\n"
        "derivedMetrics:\n"
        "  - {name: half, value: 'file://metric.py:half'}\n"
        "  - {name: more, value: 'half + 0.25'}\n"
        "  - {name: none, value: 'file://metric.py:none'}\n"
        "tests: [{vars: {n: 1}, assert: [{type: contains, value: say, metric: length}]}]\n"
        "flowai: {gate: {metrics: {more: 0.75}}}\n",
    )
    ran = flowai("eval", "suite.yaml")
    assert ran.code == 0, (ran.out, ran.err)
    assert "derived metric `none`: returned no number" in ran.err
    metrics = project.report("0001")["totals"]["metrics"]
    assert (metrics["half"], metrics["more"]) == (0.5, 0.75)
    assert "none" not in metrics
    ran = flowai("eval", "suite.yaml", "--no-code")
    assert ran.code == 5
    assert "derived metric `half` is left out: it is code, and no code may run" in ran.err


def test_calls_that_are_answered_by_429_are_made_again_with_fewer_at_a_time(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    project.cases(*(case(f"c{number}") for number in range(30)))
    seen: list[float] = []

    def answer(_: Asked) -> Reply:
        seen.append(time.monotonic())
        return Reply(status=429, retry_after="1", error={"message": "slow down"}) if len(seen) <= 8 else Reply()

    provider.answerer = answer
    ran = flowai("eval", "-j", "8", "--no-cache")
    assert ran.code == 0, ran.out
    assert len(seen) == 38
    assert seen[8] - seen[0] >= 0.9, "Retry-After is waited for"
    assert sum(at - seen[8] < 0.0005 for at in seen[8:]) <= 4, "half of the calls at a time"


def test_a_run_stops_before_it_costs_more_than_allowed(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    project.cases(*(case(f"c{number}") for number in range(50)))
    registry = (project.root / "registry.yaml").read_text(encoding="utf-8")
    priced = registry.replace("{model: openai/gpt", "{price: {input: 0, output: 2000}, model: openai/gpt")
    project.write("registry.yaml", priced)
    ran = flowai("eval", "--max-cost", "0.15", "-j", "4", "--no-cache")
    assert ran.code == 5, ran.out
    assert "stopped by --max-cost $0.15" in ran.err
    totals = project.report("0001")["totals"]
    assert 0.1 < totals["cost_usd"] <= 0.15 + 4 * 0.004, "at most the calls in flight beyond it"
    assert totals["trial_count"] == provider.request_count < 50
    assert flowai("eval", "--resume", "--no-cache").code == 0
    assert provider.request_count == 50


def test_a_cost_limit_needs_every_price(flowai: Flowai) -> None:
    ran = flowai("eval", "-m", "n", "--max-cost", "1")
    assert ran.code == 2
    assert "--max-cost needs the price of every model: that of `n` is not known" in ran.err


def test_time_limits_of_a_case_and_of_the_run(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    project.cases(case("slow"), *(case(f"c{number}") for number in range(3)))

    def answer(asked: Asked) -> Reply:
        return Reply(delay_s=60.0) if "slow" in asked.body["messages"][-1]["content"] else Reply()

    provider.answerer = answer
    ran = flowai("eval", "--case-timeout", "300ms", "--no-cache")
    assert ran.code == 4
    assert "the case was not finished within its limit of 0.30 s" in ran.out
    stopped = flowai("eval", "--max-duration", "500ms", "--no-cache")
    assert stopped.code == 5
    assert "stopped by --max-duration 0.50 s: 3 of 4 trials were run" in stopped.err
    wrong = flowai("eval", "--max-duration", "soon")
    assert wrong.code == 2
    assert "--max-duration: found `soon`, expected a duration" in wrong.err


def test_an_earlier_run_is_checked_by_todays_assertions(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    project.cases(case("one"), case("two"), case("gone"))
    assert flowai("eval").code == 0
    count = provider.request_count
    project.cases(case("one"), case("two", want="bye"), case("new"))
    ran = flowai("eval", "--rescore", "0001")
    assert ran.code == 1
    assert provider.request_count == count
    assert 'contains "bye"' in ran.out
    assert "1 case has no recorded answer: `new`" in ran.err
    assert "1 recorded answer belongs to no case: `gone`" in ran.err
    assert not (project.root / ".flowai" / "runs" / "0002").exists(), "a check of recorded answers is no run"
    assert flowai("eval", "--rescore", "last", "--filter-pattern", "one").code == 0
    unknown = flowai("eval", "--rescore", "0009")
    assert unknown.code == 2
    assert "no run `0009` with trials" in unknown.err


def test_errors_of_an_earlier_run_stay_errors(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    project.cases(case("one"), case("down"))
    provider.answerer = lambda asked: Reply(status=503) if "down" in asked.body["messages"][-1]["content"] else Reply()
    assert flowai("eval").code == 4
    ran = flowai("eval", "--rescore", "last")
    assert ran.code == 4
    assert "ERROR down" in ran.out


def test_answers_of_a_file_are_checked_without_prompt_and_model(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    project.write("evals/bare.yaml", "tests:\n  - file://../datasets/echo.jsonl\nprompts: [prompts/echo_v1]\n")
    project.write("good.jsonl", lines({"id": "one", "output": "hello"}, {"id": "two", "output": {"say": "hello"}}))
    ran = flowai("eval", "evals/bare.yaml", "--from-outputs", "good.jsonl")
    assert ran.code == 0, ran.err
    (directory,) = (project.root / "reports").glob("outputs-*")
    report = json.loads((directory / "report.json").read_bytes())
    assert [trial["output"] for trial in report["trials"]] == ["hello", '{"say":"hello"}']
    assert [trial["model"] for trial in report["trials"]] == ["good", "good"]
    repeated = [{"id": "one", "output": text, "model": "a", "latency_ms": 5, "cost_usd": 1} for text in ("hello", "no")]
    project.write("few.jsonl", lines(*repeated, {"id": "other", "output": "x"}))
    few = flowai("eval", "evals/bare.yaml", "--from-outputs", "few.jsonl")
    assert few.code == 1
    assert "1 case has no recorded answer: `two`" in few.err
    assert "1 recorded answer belongs to no case: `other`" in few.err
    assert "$2" in few.out
    assert provider.request_count == 0


def test_missing_answers_leave_the_gate_undecided(flowai: Flowai, project: SampleProject) -> None:
    project.write("few.jsonl", lines({"id": "one", "output": "hello"}))
    ran = flowai("eval", "evals/echo.yaml", "--from-outputs", "few.jsonl")
    assert ran.code == 5
    assert "INCONCLUSIVE  some cases have no result" in ran.out


@pytest.mark.parametrize(
    ("text", "code", "reason"),
    [
        ("", 3, "no answers"),
        ('{"output": "x"}\n', 3, "bad.jsonl:1: not a recorded answer: Object missing required field `id`"),
        ('{"id": "one", "output": null}\n', 3, "bad.jsonl:1: not a recorded answer: `output` is null"),
        ("{\n", 3, "bad.jsonl:1: not valid JSON"),
        ('{"id": "other", "output": "x"}\n', 5, "no recorded answer belongs to a case"),
    ],
)
def test_a_wrong_file_of_answers_is_one_error(
    flowai: Flowai, project: SampleProject, text: str, code: int, reason: str
) -> None:
    project.write("bad.jsonl", text)
    ran = flowai("eval", "evals/echo.yaml", "--from-outputs", "bad.jsonl")
    assert ran.code == code
    assert reason in ran.err


def test_sources_of_answers_exclude_each_other(flowai: Flowai) -> None:
    both = flowai("eval", "--rescore", "last", "--replay", "x.jsonl")
    assert both.code == 2
    assert "--replay and --rescore exclude each other" in both.err
    no_suite = flowai("eval", "--from-outputs", "x.jsonl")
    assert no_suite.code == 2
    assert "checks the cases of one suite" in no_suite.err


def test_a_large_suite_gives_the_report_of_a_small_one(
    flowai: Flowai, project: SampleProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = {"type": "word-count", "value": {"max": 50}}
    project.write("evals/echo.yaml", SUITE + "defaultTest: {assert: [" + json.dumps(shared) + "]}\n")
    project.cases(*(case(f"c{number}", want="bye" if number % 3 else "hello") for number in range(40)))
    assert flowai("eval", "--record", "rec.jsonl").code == 1
    small = flowai("eval", "--replay", "rec.jsonl")
    (directory,) = (project.root / "reports").glob("replay-*")
    names = ("report.json", "report.md", "junit.xml")
    before = {name: (directory / name).read_text(encoding="utf-8") for name in names}
    monkeypatch.setattr(case_store, "MAX_HELD_COUNT", 10)
    monkeypatch.setattr(case_store, "_BLOCK_BYTES", 1000)
    monkeypatch.setattr(prepared, "MAX_HELD_TRIALS", 5)
    monkeypatch.setattr(run_trials, "MAX_HELD_TRIALS", 5)
    large = flowai("eval", "--replay", "rec.jsonl")
    assert large.code == small.code == 1
    after = {name: (directory / name).read_text(encoding="utf-8") for name in names}
    assert undated(after["report.json"]) == undated(before["report.json"])
    assert untimed(after["report.md"]) == untimed(before["report.md"])
    assert after["junit.xml"].splitlines()[2:] == before["junit.xml"].splitlines()[2:]


def untimed(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith(("| elapsed", "| started"))]


def undated(text: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(text)
    return {key: value for key, value in report.items() if key not in {"elapsed_s", "started_at"}}


def test_a_suite_declares_what_happens_around_its_answers(flowai: Flowai, project: SampleProject) -> None:
    project.write("hooks.py", HOOKS)
    project.write("suite.yaml", OWN_SUITE)
    ran = flowai("eval", "suite.yaml")
    report = project.report("0001")
    trials = {trial["case"]: trial for trial in report["trials"]}
    assert ran.code == 0, (ran.out, ran.err)
    assert trials["first"]["output"] == "ECHO HI"
    assert trials["second"]["output"] == "echo then ECHO HI"
    assert trials["third"]["output"] == "recorded"
    assert trials["third"]["cache"] == "replay"
    assert report["totals"]["metrics"]["twice"] == pytest.approx(2 * 7)
    assert report["totals"]["metrics"]["seen"] == 1
    assert (project.root / "all.txt").read_text(encoding="utf-8") == "beforeAll afterAll 3"


HOOKS = """\
from pathlib import Path

def on(name, context):
    if name == "beforeAll":
        Path("all.txt").write_text("beforeAll")
    if name == "afterAll":
        Path("all.txt").write_text(f"beforeAll afterAll {len(context['results'])}")
    if name == "beforeEach":
        context["test"]["vars"]["greeting"] = context["test"]["vars"].get("greeting", "").strip()
        return context
    if name == "afterEach":
        context["result"]["namedScores"]["seen"] = 1
        return context
"""
OWN_SUITE = """\
prompts: ['echo {{greeting}} {{reply}}']
providers: [echo]
extensions: ['file://hooks.py:on']
derivedMetrics: [{name: twice, value: 'length * 2'}]
tests:
  - id: first
    vars: {greeting: ' hi '}
    options: {transform: 'output.trim().toUpperCase()', storeOutputAs: stored}
    assert:
      - {type: equals, value: ECHO HI}
      - {type: python, value: "{'pass': True, 'score': 1, 'reason': '', 'namedScores': {'length': len(output)}}"}
  - id: second
    vars: {greeting: 'then ', reply: '{{stored}}'}
    assert: [{type: equals, value: 'echo then {{stored}}'}]
  - id: third
    vars: {greeting: x}
    providerOutput: recorded
    assert: [{type: equals, value: recorded}]
"""


def test_reports_are_written_where_the_suite_asks(flowai: Flowai, project: SampleProject) -> None:
    project.write("hooks.py", HOOKS)
    project.write("suite.yaml", OWN_SUITE + "outputPath: [out/a.json, b.csv, ../c.json, .d.json]\n")
    ran = flowai("eval", "suite.yaml")
    assert ran.code == 0, ran.err
    assert json.loads((project.root / "out" / "a.json").read_bytes())["totals"]["pass_count"] == 3
    assert not (project.root.parent / "c.json").exists()
    report = project.report("0001")
    assert [line for line in report["warnings"] if "outputPath" in line] == [
        "suite.yaml: outputPath `b.csv` is not written: expected one of `.json`, `.md`, `.xml`, `.html`",
        "suite.yaml: outputPath `../c.json` is not written: it is outside the project",
        "suite.yaml: outputPath `.d.json` is not written: it is outside the project",
    ]


def test_keys_written_into_a_suite_are_in_no_file(flowai: Flowai, project: SampleProject) -> None:
    prompts = "prompts: ['x {{env.MY_TOKEN}}']\nenv: {MY_TOKEN: plain-words-9f3}\n"
    project.write("suite.yaml", prompts + "providers: [echo]\ntests: [{vars: {a: b}}]\n")
    ran = flowai("eval", "suite.yaml", "--record", "rec.jsonl")
    (project.root / "suite.yaml").unlink()
    assert ran.code == 0, "there is nothing to check"
    assert b"plain-words-9f3" not in project.everything_written()
