"""`flowai runs list`, `show` and `diff` on runs that `flowai eval` made, and on logs that are torn, old or in use."""

from __future__ import annotations

import fcntl
import json
from typing import TYPE_CHECKING, Any

import pytest
from support.sample_project import PROMPT, case
from support.scripted_provider import Asked, Reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran, SampleProject
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]


def log_file(project: SampleProject, run_id: str) -> Path:
    return project.root / ".flowai" / "runs" / run_id / "run.jsonl"


@pytest.fixture
def two_runs(flowai: Flowai, project: SampleProject) -> SampleProject:
    """Build run 0001 (one passes, two fails) and run 0002 (one fails, two passes, three is new)."""
    project.cases(case("one"), case("two", want="bye"))
    flowai("eval")
    project.cases(case("one", want="bye"), case("two"), case("three"))
    flowai("eval", "prompts/echo_v1")
    return project


def test_the_list_names_when_target_cases_rate_and_state(flowai: Flowai, two_runs: SampleProject) -> None:
    ran = flowai("runs", "list")
    assert ran.code == 0
    head, second, first, last = ran.out.splitlines()
    assert " ".join(head.split()) == "run started (UTC) target cases passed pass rate errors cost state"
    assert second.split()[0] == "0002"
    assert "prompts/echo_v1" in second
    assert second.split()[4:9] == ["3", "2/3", "66.7", "%", "0"]
    assert first.split()[-1] == "finished"
    assert last == "2 runs   details: flowai runs show 0002"
    found = json.loads(flowai("runs", "list", "--json", "--target", "prompts/echo_v1").out)
    assert [(one["run_id"], one["case_count"], one["state"]) for one in found] == [("0002", 3, "finished")]
    assert len(json.loads(flowai("runs", "list", "--json", "-n", "1").out)) == 1
    assert two_runs.root.is_dir()


def test_without_runs_the_list_says_how_to_start_one(flowai: Flowai) -> None:
    assert flowai("runs", "list").out == "no runs; `flowai eval` starts one\n"
    ran = flowai("runs", "show", "last")
    assert (ran.code, ran.err) == (2, "error: there is no run yet\nhint: `flowai eval` starts one\n")


def test_show_prints_the_screen_of_the_run(flowai: Flowai, project: SampleProject) -> None:
    project.cases(case("one"), case("two", want="bye"))
    made = flowai("eval")
    shown = flowai("runs", "show", "1")
    assert shown.code == 0
    lines, expected = shown.out.splitlines(), made.out.splitlines()
    assert lines[:-1] == expected[:-1]
    assert lines[-1] == "GATE NOT MET  pass_rate 0.5 < 1  run 0001"
    assert json.loads(flowai("runs", "show", "0001", "--json").out) == project.report("0001")


def test_show_writes_any_report_again(flowai: Flowai, two_runs: SampleProject) -> None:
    root = two_runs.root
    ran = flowai("runs", "show", "last", *["-o", "again.json", "-o", "again.html", "-o", "again.md", "-o", "again.xml"])
    assert ran.code == 0, ran.err
    assert (root / "again.json").read_bytes() == (root / "reports/0002/report.json").read_bytes()
    assert (root / "again.xml").read_bytes() == (root / "reports/0002/junit.xml").read_bytes()
    assert "since run" not in flowai("runs", "show", "1").out
    assert flowai("runs", "show", "last", "-o", "x.pdf").code == 2


def test_show_of_one_case_has_input_answer_and_reasons(flowai: Flowai, two_runs: SampleProject) -> None:
    ran = flowai("runs", "show", "0002", "--case", "one")
    assert ran.code == 0
    assert "--- text ---" in ran.out
    assert 'FAIL  contains "bye"' in ran.out
    assert "--- answer ---\nhello world\n" in ran.out
    found = json.loads(flowai("runs", "show", "0002", "--case", "one", "--json").out)
    assert [trial["case"] for trial in found] == ["one"]
    unknown = flowai("runs", "show", "--case", "thre")
    assert (unknown.code, unknown.err) == (
        2,
        "error: case `thre`: found no such case in this run\nhint: did you mean `three`?\n",
    )
    assert two_runs.root.is_dir()


def test_diff_names_what_turned_and_why(flowai: Flowai, two_runs: SampleProject) -> None:
    ran = flowai("runs", "diff", "1")
    assert ran.code == 0
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert "pass rate 50.0 % 66.7 % +16.7 points" in lines
    assert "passed in run 0001 0 1" in lines
    assert "failed in run 0001 1 0" in lines
    assert "1 case only in run 0002" in lines
    assert "WORSE one" in lines
    assert any(line.startswith('contains "bye"') for line in lines)
    assert any(line.startswith('was: contains "bye"') for line in lines)
    # Source: two discordant pairs, one each way: every split is as likely or likelier, so p is 1
    assert lines[-1] == "1 turned worse, 1 better, 0 noise of 2 cases p 1 (McNemar, exact)"
    found = json.loads(flowai("runs", "diff", "1", "2", "--json").out)
    assert [(turned["case"], turned["turn"]) for turned in found["turned"]] == [("one", "worse"), ("two", "better")]
    page = two_runs.root / "compare.html"
    flowai("runs", "diff", "1", "2", "-o", "compare.html")
    assert "Compared with run 0001: 1 turned worse, 1 turned better." in page.read_text(encoding="utf-8")


def test_diff_pairs_two_prompts_by_case(flowai: Flowai, project: SampleProject, provider: ScriptedProvider) -> None:
    project.write("prompts/echo_v2.prompt", PROMPT.replace("Repeat", "Say"))

    def answer(asked: Asked) -> Reply:
        return Reply(text="bye" if "Say" in asked.body["messages"][0]["content"] else "hello")

    provider.answerer = answer
    suite = (project.root / "evals/echo.yaml").read_text(encoding="utf-8")
    project.write("evals/echo.yaml", suite.replace("echo_v1]", "echo_v1, prompts/echo_v2]"))
    flowai("eval", "prompts/echo_v1")
    flowai("eval", "prompts/echo_v2")
    ran = flowai("runs", "diff", "1", "2")
    assert "2 turned worse, 0 better" in ran.out
    assert "prompts/echo_v1  prompts/echo_v2" in ran.out


def test_diff_of_runs_without_a_common_case_is_inconclusive(flowai: Flowai, project: SampleProject) -> None:
    flowai("eval")
    project.cases(case("other"))
    flowai("eval")
    ran = flowai("runs", "diff", "1", "2")
    assert ran.code == 5
    assert "runs 0001 and 0002 have no case in common" in ran.err


@pytest.mark.parametrize("name", ["99", "0", "abc", "../0001", "-1", "1.5", "\u0661", "9" * 30, "", "replay-zzzzzzzz"])
def test_an_unknown_run_is_named(flowai: Flowai, two_runs: SampleProject, name: str) -> None:
    ran = flowai("runs", "show", "--", name)
    assert ran.code == 2
    assert f"run `{name}`: found no such run, expected 1 to 2 or `last`" in ran.err
    assert "hint: `flowai runs list` lists the runs" in ran.err
    assert two_runs.root.is_dir()


def test_a_torn_line_and_a_run_that_did_not_finish_are_named(flowai: Flowai, two_runs: SampleProject) -> None:
    file = log_file(two_runs, "0002")
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-2]) + lines[-2][:40])
    ran = flowai("runs", "show", "2")
    assert ran.code == 0
    assert "warning: run 0002 did not finish: 2 trials so far" in ran.err
    assert "warning: 1 line of the log cannot be read" in ran.err
    assert "pass 1  fail 1" in ran.out
    assert "stopped, 1 torn line" in flowai("runs", "list").out


def test_a_run_in_progress_is_named(flowai: Flowai, two_runs: SampleProject) -> None:
    file = log_file(two_runs, "0002")
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert flowai("runs", "list").out.splitlines()[1].split()[-1] == "running"
        ran = flowai("runs", "show", "2")
    assert "warning: run 0002 is in progress: 3 trials so far" in ran.err


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\n", b"[]\n", b"{" * 100_000, b'{"type":"started"}\n'])
def test_a_log_that_cannot_be_read_is_named(flowai: Flowai, two_runs: SampleProject, content: bytes) -> None:
    log_file(two_runs, "0002").write_bytes(content)
    assert "unreadable" in flowai("runs", "list").out.splitlines()[1]
    shown = flowai("runs", "show", "2")
    assert shown.code == 0, "its report is there"
    (two_runs.root / "reports/0002/report.json").unlink()
    ran = flowai("runs", "show", "2")
    assert ran.code == 3
    assert "run 0002 cannot be read: its log has no readable first line, and it has no report.json" in ran.err


def test_a_run_without_its_report_is_read_from_its_log(flowai: Flowai, two_runs: SampleProject) -> None:
    (two_runs.root / "reports/0002/report.json").write_text("{}")
    ran = flowai("runs", "show", "2")
    assert ran.code == 0
    assert "warning: read from the run's log, which has no gate: every case is expected to pass" in ran.err
    assert "pass 2  fail 1" in ran.out
    assert "WORSE  one" in flowai("runs", "diff", "1", "2").out


def test_a_log_of_an_earlier_version_is_shown(flowai: Flowai, two_runs: SampleProject) -> None:
    """Fields that trials did not have at first are missing: the screens work without them."""
    file = log_file(two_runs, "0001")
    new_fields = ("description", "vars", "prompt_text", "expected", "metadata", "tags", "is_critical")
    lines: list[Any] = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        for name in new_fields:
            line.get("trial", {}).pop(name, None)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (two_runs.root / "reports/0001/report.json").unlink()
    assert "pass 1  fail 1" in flowai("runs", "show", "1").out
    assert "--- answer ---" in flowai("runs", "show", "1", "--case", "two").out
    assert "1 turned worse, 1 better" in flowai("runs", "diff", "1", "2").out


def test_html_is_short_for_an_output_file(flowai: Flowai, project: SampleProject) -> None:
    assert flowai("eval", "--html", "a.html", "-o", "b.html").code == 0
    assert (project.root / "a.html").read_bytes() == (project.root / "b.html").read_bytes()
    ran = flowai("eval", "--html", "a.txt")
    assert ran.code == 2
    assert "--html: found `a.txt`, expected a name that ends with `.html`" in ran.err


def test_runs_without_a_registry_are_found(
    flowai: Flowai, project: SampleProject, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("bare")
    monkeypatch.chdir(folder)
    ran = flowai("runs", "list")
    assert (ran.code, ran.err.splitlines()[0]) == (3, f"error: no `registry.yaml` in `{folder.resolve()}` or above it")
    suite = folder / "suite.yaml"
    suite.write_text(
        "prompts: ['Say {{word}}']\nproviders: [echo]\n"
        "tests: [{vars: {word: hi}, assert: [{type: contains, value: hi}]}]\n"
    )
    assert flowai("eval", "suite.yaml").code == 0
    assert flowai("eval", "suite.yaml").code == 0
    assert [run["run_id"] for run in json.loads(flowai("runs", "list", "--json").out)] == ["0002", "0001"]
    assert "contains" in flowai("runs", "show", "last", "--case", "case-1").out
    assert flowai("runs", "diff", "0001").code == 0
    assert flowai("cache", "stats").code == 0
    assert flowai("cache", "clear").code == 0
    assert not (project.root / ".flowai" / "runs").exists()
