"""`flowai eval` from the command line to a provider and back: real LiteLLM, real sockets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.sample_project import PROMPT, SUITE, case
from support.scripted_provider import Asked, Reply

from flowai.events import read_events

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.sample_project import Ran, SampleProject
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]


def events_of(project: SampleProject) -> list[Any]:
    return list(read_events(project.root / ".flowai" / "events", on_unreadable=lambda line: pytest.fail(str(line))))


def test_a_run_that_passes(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    ran = flowai("eval", "prompts/echo_v1")
    assert ran.code == 0, ran.err
    assert "GATE MET  reports/0001/report.json" in ran.out
    assert "2 calls to m: about " in ran.err
    assert {path.name for path in (project.root / "reports/0001").iterdir()} == {
        "report.json",
        "report.md",
        "junit.xml",
    }
    report = project.report("0001")
    assert report["totals"]["pass_count"] == 2
    assert report["totals"]["cost_usd"] > 0
    assert report["totals"]["ttft"]["count"] == 2
    events = events_of(project)
    assert [(event.origin, event.feature, event.requested_model) for event in events] == [("eval", "chat", "m")] * 2
    assert {event.call_id for event in events} == {trial["call_id"] for trial in report["trials"]}
    asked = provider.asked[0]
    assert [message["role"] for message in asked.body["messages"]] == ["system", "user"]
    assert asked.body["temperature"] == 0
    assert asked.body["max_tokens"] == 50


def test_the_second_run_is_cached_and_calls_no_model(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    flowai("eval")
    before = project.report("0001")["trials"]
    ran = flowai("eval")
    assert ran.code == 0
    assert len(provider.asked) == 2
    assert "2 cached, 0 fresh" in ran.out
    after = project.report("0002")["trials"]
    changed = {"cache", "call_id"}
    assert [{k: v for k, v in trial.items() if k not in changed} for trial in after] == [
        {k: v for k, v in trial.items() if k not in changed} for trial in before
    ]
    assert len(events_of(project)) == 2


def test_no_cache_calls_the_model_again(flowai: Flowai, provider: ScriptedProvider) -> None:
    flowai("eval")
    flowai("eval", "--no-cache")
    assert len(provider.asked) == 4


def test_each_repeat_has_its_own_answer(flowai: Flowai, provider: ScriptedProvider) -> None:
    flowai("eval", "--repeat", "2")
    assert len(provider.asked) == 4
    assert "6 cached" not in flowai("eval", "--repeat", "3").out
    assert len(provider.asked) == 6


def test_a_failing_case_shows_location_reason_and_output(flowai: Flowai, project: SampleProject) -> None:
    project.cases(case("good"), case("bad", want="bye"))
    ran = flowai("eval", "prompts/echo_v1.prompt")
    assert ran.code == 1
    assert "FAIL  bad " in ran.out
    assert 'datasets/echo.jsonl:2  contains "bye"' in ran.out
    assert "      hello world" in ran.out
    assert "GATE NOT MET  pass_rate 0.5 < 1" in ran.out


def test_errors_outrank_failures_and_can_be_retried(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    project.cases(case("bad", want="bye"), case("down"))

    def answer(asked: Asked) -> Reply:
        down = "down" in asked.body["messages"][-1]["content"]
        return Reply(status=503, error={"message": "overloaded"}) if down else Reply()

    provider.answerer = answer
    ran = flowai("eval", "-n", "2", "--filter-pattern", "bad|down")
    assert ran.code == 4
    assert "ERROR down" in ran.out
    assert "again: flowai eval -n 2 --filter-pattern 'bad|down' --retry-errors" in ran.out
    provider.answerer = None
    count = len(provider.asked)
    again = flowai("eval", "-n", "2", "--filter-pattern", "bad|down", "--retry-errors")
    assert again.code == 1, "the failure was kept, only the error asked again"
    assert len(provider.asked) - count == 1, "the failure was kept, only the error asked again"
    assert project.report("0001")["totals"]["error_count"] == 0
    nothing = flowai("eval", "--retry-errors")
    assert nothing.code == 5
    assert ("has no errors" in nothing.err) is True


def test_an_answer_without_a_judgement_is_inconclusive(flowai: Flowai, project: SampleProject) -> None:
    project.cases({"id": "a", "vars": {"text": "x"}})
    ran = flowai("eval")
    assert ran.code == 5
    assert ("unscored 1" in ran.out) is True


def test_a_text_longer_than_the_context_fails_with_the_reason(flowai: Flowai, provider: ScriptedProvider) -> None:
    error = {"message": "maximum context length is 8 tokens", "code": "context_length_exceeded"}
    provider.answerer = lambda _: Reply(status=400, error=error)
    ran = flowai("eval", "-n", "1")
    assert ran.code == 1
    assert "context" in ran.out


def test_fail_fast_stops_and_is_reported(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    project.cases(*(case(str(number), want="bye") for number in range(20)))
    ran = flowai("eval", "--fail-fast", "-j", "1")
    assert ran.code == 1
    assert len(provider.asked) == 1
    assert "stopped at the first failure: 1 of 20 trials were run" in ran.err


def test_filters_choose_cases(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    project.cases(case("ab-1"), case("ab-2", want="bye"), case("c", description="about ab"), case("d"))
    flowai("eval", "--filter-pattern", "^ab|about", "-n", "2")
    assert len(provider.asked) == 2
    flowai("eval")
    assert len(provider.asked) == 4
    ran = flowai("eval", "--filter-failing")
    assert "1 case" in ran.out
    assert "ab-2" in ran.out
    nothing = flowai("eval", "--filter-pattern", "zzz")
    assert nothing.code == 5
    assert ("no case matched" in nothing.err) is True


def test_models_can_be_named_on_the_command_line(flowai: Flowai, provider: ScriptedProvider) -> None:
    ran = flowai("eval", "-m", "m", "-m", "n")
    assert ran.code == 0
    assert sorted({asked.body["model"] for asked in provider.asked}) == ["gpt-4o-mini", "other"]
    assert "unpriced" in ran.out


def test_regressions_and_fixes_are_named(flowai: Flowai, project: SampleProject) -> None:
    project.cases(case("one"), case("two", want="bye"))
    flowai("eval")
    project.cases(case("one", want="bye"), case("two"))
    assert "since run 0001: 1 broke (one), 1 fixed (two)" in flowai("eval").out


def test_a_baseline_prompt_is_compared_with(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    project.write("prompts/echo_v2.prompt", PROMPT.replace("Repeat", "Say"))
    project.write("evals/echo.yaml", SUITE.replace("echo_v1]", "echo_v1, prompts/echo_v2]").replace(
        "feature: chat", "feature: chat, baseline: prompts/echo_v1"
    ))  # fmt: skip
    provider.answerer = lambda asked: Reply(text="bye" if "Say" in asked.body["messages"][0]["content"] else "hello")
    never = flowai("eval", "prompts/echo_v2")
    assert "warning: the baseline `prompts/echo_v1` was never run" in never.err
    flowai("eval", "prompts/echo_v1")
    assert "against prompts/echo_v1: 2 broke (one, two), 0 fixed" in flowai("eval", "prompts/echo_v2").out


def test_reports_and_events_use_the_registrys_price(flowai: Flowai, project: SampleProject) -> None:
    registry = (project.root / "registry.yaml").read_text(encoding="utf-8")
    project.write(
        "registry.yaml", registry.replace("{model: openai/", "{price: {input: 1000, output: 5000}, model: openai/")
    )
    ran = flowai("eval", "evals/echo.yaml", "--json")
    totals = json.loads(ran.out)["totals"]
    assert totals["cost_usd"] == pytest.approx((totals["input_tokens"] * 1000 + totals["output_tokens"] * 5000) / 1e6)
    assert sum(event.cost_usd for event in events_of(project)) == pytest.approx(totals["cost_usd"])


def test_json_is_one_document_on_stdout(flowai: Flowai) -> None:
    ran = flowai("eval", "--json")
    assert json.loads(ran.out)["kind"] == "eval"


def test_output_files_are_written_where_asked(flowai: Flowai, project: SampleProject) -> None:
    flowai("eval", "-o", "a.json", "--output", "deep/b.md", "-o", "c.xml")
    assert all((project.root / name).stat().st_size for name in ("a.json", "deep/b.md", "c.xml"))


def test_record_then_replay_gives_the_same_bytes_without_a_provider(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert flowai("eval", "--record", "rec.jsonl").code == 0
    monkeypatch.delenv("SCRIPTED_KEY")
    count = len(provider.asked)
    reports = []
    for _ in range(2):
        ran = flowai("eval", "--replay", "rec.jsonl")
        assert ran.code == 0, ran.err
        (directory,) = (project.root / "reports").glob("replay-*")
        report = json.loads((directory / "report.json").read_bytes())
        assert report.pop("elapsed_s") >= 0
        assert report.pop("started_at")
        report.pop("concurrency_achieved")
        reports.append(json.dumps(report))
    assert reports[0] == reports[1]
    assert len(provider.asked) == count
    assert not list((project.root / ".flowai" / "runs").glob("000[2-9]")), "a replay is no run"


def test_a_missing_recording_is_an_error_with_a_hint(flowai: Flowai, project: SampleProject) -> None:
    flowai("eval", "--record", "rec.jsonl")
    project.write("prompts/echo_v1.prompt", PROMPT.replace("Repeat", "Say"))
    ran = flowai("eval", "--replay", "rec.jsonl")
    assert ran.code == 3
    assert "rec.jsonl: a request to `openai/gpt-4o-mini` was never recorded" in ran.err
    assert "--on-miss call" in ran.err
    before = len(events_of(project))
    assert flowai("eval", "--replay", "rec.jsonl", "--on-miss", "call").code == 0
    assert len(events_of(project)) == before + 2, (
        "what a replay lacked was asked of a model, and each call has its event"
    )
    assert flowai("eval", "--replay", "rec.jsonl").code == 0


def test_gates_decide(flowai: Flowai, project: SampleProject) -> None:
    project.cases(case("one"), case("two", want="bye"))
    project.write("evals/echo.yaml", SUITE.replace("chat}", "chat, gate: {pass_rate: 0.5, latency_p95: 1m}}"))
    assert flowai("eval").code == 0
    project.write("evals/echo.yaml", SUITE.replace("chat}", "chat, gate: {pass_rate: 0.5, latency_p95: 1ms}}"))
    ran = flowai("eval")
    assert ran.code == 1
    assert ("latency_p95_ms" in ran.out) is True


def test_changed_bytes_of_a_released_prompt_are_warned_about(flowai: Flowai, project: SampleProject) -> None:
    from flowai.project import Project
    from flowai.prompts import LockedRelease, PromptLibrary, PromptLock

    found = Project(root=project.root, registry=project.root / "registry.yaml")
    digest = PromptLibrary(found).load("prompts/echo_v1").hash
    PromptLock().with_release("v1", LockedRelease(prompts={"prompts/echo_v1": digest})).write(found.prompts_lock)
    assert "(released)" in flowai("eval").out
    project.write("prompts/echo_v1.prompt", PROMPT.replace("Repeat", "Say"))
    ran = flowai("eval")
    assert ran.code == 0
    assert "warning: `prompts/echo_v1` differs from the bytes released in `v1`" in ran.err
    assert "(changed)" in ran.out


def test_secrets_are_in_no_file_and_on_no_screen(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    shaped = "sk-proj-" + "Ab3" * 20
    project.cases(case("answer", want="nothing"), case("error"))

    def answer(asked: Asked) -> Reply:
        key = asked.headers["authorization"].removeprefix("Bearer ")
        if "answer" in asked.body["messages"][-1]["content"]:
            return Reply(text=f"hello {key} and {shaped}")
        return Reply(status=401, error={"message": f"wrong key {key} or {shaped}"})

    provider.answerer = answer
    ran = flowai("eval", "--record", "rec.jsonl")
    again = flowai("eval")
    assert ran.code == again.code == 4
    shown = f"{ran.out}{ran.err}{again.out}{again.err}".encode()
    for planted in (shaped.encode(), b"scripted-key-0123456789"):
        assert planted not in shown
        assert planted not in project.everything_written()


def test_a_directory_of_recordings_is_replayed_as_one(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    flowai("eval", "-n", "1", "--record", "recs/a.jsonl")
    flowai("eval", "--filter-pattern", "two", "--record", "recs/b.jsonl")
    count = provider.request_count
    assert flowai("eval", "--replay", "recs").code == 0
    assert provider.request_count == count
    added = flowai("eval", "--replay", "recs", "--on-miss", "call")
    assert added.code == 2
    assert ("name its file" in added.err) is True
    (project.root / "empty").mkdir()
    assert flowai("eval", "--replay", "empty").code == 2
    again = flowai("eval", "--record", "rec.jsonl", "--resume")
    assert again.code == 2
    assert ("a recording is always complete" in again.err) is True


def test_events_are_written_where_the_registry_configures(flowai: Flowai, project: SampleProject) -> None:
    registry = (project.root / "registry.yaml").read_text()
    project.write("registry.yaml", registry + "events: logs/events\n")
    assert flowai("eval").code == 0
    assert len(list((project.root / "logs" / "events").rglob("*.jsonl"))) == 1
    project.write("registry.yaml", registry + "events: s3://bucket/prefix\n")
    assert flowai("eval", "--no-cache").code == 0
    here = list((project.root / ".flowai" / "events").rglob("*.jsonl"))
    assert len(here) == 1, "what goes to an object store is written here first; `events sync` ships it"


def test_content_is_logged_only_with_log_content(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    flowai("eval", "-n", "1")
    assert [event.content for event in events_of(project)] == [None]
    provider.default = Reply(text="hello sk-proj-" + "Ab3" * 20)
    registry = (project.root / "registry.yaml").read_text()
    project.write("registry.yaml", registry.replace("chat: {timeout", "chat: {log_content: redacted, timeout"))
    flowai("eval", "-n", "1", "--no-cache")
    logged = [event.content for event in events_of(project) if event.content is not None]
    assert [(content.messages[1]["content"], content.output) for content in logged] == [
        ("text of one", "hello [REDACTED:openai]")
    ]
