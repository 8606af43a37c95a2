"""Output for CI systems from the run that decides: comment, annotations, summary; and results without any output."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from markdown_it import MarkdownIt
from support.sample_project import case
from support.scripted_provider import Reply

from flowai.evals.reports.comment import MAX_COMMENT_CHARS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran, SampleProject
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]

SMOKE = """\
tests:
  - id: words
    vars: {text: one}
    assert: [{type: icontains, value: hello}]
    metadata: {feature: chat}
"""
HOSTILE = (
    "@octocat #1 GH-1 https://evil.example www.evil.example a@evil.example ![x](https://evil.example/x.png) "
    "[x](https://evil.example) <img src=x> <script>alert(1)</script> <!-- --> :tada: $`x`$ | ` `` ```\n```\n@octocat\n"
    "~~~\n<details>\n# title\n\n[ref]: https://evil.example\n"
)


@pytest.fixture(autouse=True)
def no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "GITHUB_WORKSPACE", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


def comment_of(project: SampleProject) -> str:
    return (project.root / "comment.md").read_text(encoding="utf-8")


def text_outside_code(markdown: str) -> tuple[str, str]:
    """Return the HTML of a comment without its code, as a viewer with links, tables and raw HTML renders it."""
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)
    return html, re.sub(r"<code[^>]*>.*?</code>", "", html, flags=re.DOTALL)


def test_exit_status_and_comment_are_of_one_run(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    project.cases(case("one"), case("two", want="nope"))
    provider.default = Reply(text="hello")
    ran = flowai("eval", "evals/echo.yaml", "--no-cache", "--comment", "comment.md")
    assert ran.code == 1
    assert provider.request_count == 2
    lines = comment_of(project).splitlines()
    assert lines[0] == "<!-- flowai:eval:evals/echo.yaml -->"
    assert lines[1] == "### flowai eval `evals/echo.yaml`: GATE NOT MET"
    assert "1 of 2 passed (50.0 %)" in lines[3]
    assert "**FAIL** `two` · `prompts/echo_v1` · `m`" in lines
    assert '- `contains "nope"` in `datasets/echo.jsonl:2`' in lines


def test_a_replay_comments_without_a_model_or_a_key(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.default = Reply(text="hello")
    flowai("eval", "--record", "evals/recordings/echo.jsonl")
    asked = provider.request_count
    monkeypatch.delenv("SCRIPTED_KEY")
    ran = flowai("eval", "--replay", "evals/recordings/echo.jsonl", "--comment", "comment.md")
    assert ran.code == 0, ran.err
    assert provider.request_count == asked
    assert "GATE MET" in comment_of(project)


def test_a_comment_is_cut_with_the_worst_first(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    project.cases(*(case(f"c{number:03}", want="yes") for number in range(200)))
    provider.default = Reply(text="yes")
    assert flowai("eval", "--no-cache").code == 0
    provider.answerer = lambda asked: Reply(
        text="\U0001f600" * 500 + ("" if "c1" in str(asked.body["messages"]) else "yes")
    )
    project.cases(
        *(case(f"c{number:03}", want="yes") for number in range(200)), *(case(f"new{n}", want="no") for n in range(99))
    )
    ran = flowai("eval", "--no-cache", "--comment", "comment.md")
    assert ran.code == 1
    comment = comment_of(project)
    assert len(comment.encode("utf-16-le")) // 2 <= MAX_COMMENT_CHARS
    shown = re.findall(r"\*\*FAIL\*\* `(\w+)`", comment)
    assert shown[0] == "c100", "what turned worse comes before what is new"
    assert all(name.startswith("c1") for name in shown)
    assert re.search(r"\.\.\. and \d+ more that did not pass, in the report\.\n\Z", comment)
    assert "100 turned worse" in comment


def test_hostile_texts_are_inert_in_a_comment(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    project.cases(
        case("@octocat ![x](https://evil.example) `` | <b>", want=f"{HOSTILE}!", text="a"),
        case("two", want="https://evil.example/other"),
    )
    provider.default = Reply(text=HOSTILE)
    assert flowai("eval", "--no-cache", "--comment", "comment.md").code == 1
    html, outside = text_outside_code(comment_of(project))
    assert "@octocat" in html, "the answer is shown"
    for sign in ("@", "http", "www.", "<img", "<a ", "<script", "<details", "GH-1", "#1", ":tada:", "evil"):
        assert sign not in outside, outside
    assert outside.count("<!--") == 1, "only the marker"


def test_a_comment_of_an_odd_target_has_a_marker_that_ends(flowai: Flowai, project: SampleProject) -> None:
    project.write("evals/a --> b.yaml", (project.root / "evals/echo.yaml").read_text(encoding="utf-8"))
    flowai("eval", "evals/a --> b.yaml", "--comment", "comment.md")
    assert comment_of(project).splitlines()[0] == "<!-- flowai:eval:evals/a___b.yaml -->"


# --- GitHub Actions ---


def commands_in(ran: Ran) -> list[str]:
    return [line for line in ran.out.splitlines() if line.startswith("::")]


@pytest.mark.parametrize("name", ["eval", "smoke"])
@pytest.mark.parametrize("way", ["variable", "git", "none"])
def test_annotations_are_relative_to_the_repository(
    flowai: Flowai,
    project: SampleProject,
    provider: ScriptedProvider,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    way: str,
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    if way == "variable":
        monkeypatch.setenv("GITHUB_WORKSPACE", str(project.root.parent))
    elif way == "git":
        (project.root.parent / ".git").mkdir()
    project.write("evals/smoke.yaml", SMOKE)
    provider.default = Reply(text="no")
    ran = flowai(name)
    file = {"eval": "datasets/echo.jsonl", "smoke": "evals/smoke.yaml"}[name]
    prefix = "" if way == "none" else f"{project.root.name}/"
    assert commands_in(ran)[0].startswith(f"::error file={prefix}{file},line="), ran.out
    assert commands_in(flowai(name, "--json")) == []


def test_an_answer_is_no_command_of_the_runner(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    project.write("evals/smoke.yaml", SMOKE)
    for answer in ("::add-mask::a", "x ##[error]owned", "##[stop-commands]t", "a\n::error::owned"):
        provider.default = Reply(text=answer)
        for ran in (flowai("eval", "--no-cache"), flowai("smoke"), flowai("eval", "--json", "--no-cache")):
            for line in (*ran.out.splitlines(), *ran.err.splitlines()):
                is_ours = line.startswith(("::error file=evals/", "::error file=datasets/"))
                assert is_ours or not line.lstrip().startswith("::"), line
                assert is_ours or "##[" not in line, line
    assert json.loads(ran.out)["trials"][0]["output"] == "a\n::error::owned"


def test_equal_results_of_a_case_are_one_annotation(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    project.cases(case("one"), case("two"))
    provider.default = Reply(text="no")
    shown = commands_in(flowai("eval", "--no-cache", "--repeat", "6"))
    assert [line.partition("title=")[2][:20] for line in shown] == ["eval fail%3A one::co", "eval fail%3A two::co"]
    assert all(line.endswith(" (6 results)") for line in shown)


def test_ten_annotations_at_most(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    project.cases(*(case(f"c{number}") for number in range(30)))
    provider.default = Reply(text="no")
    assert len(commands_in(flowai("eval", "--no-cache"))) == 10


def test_the_summary_gets_every_report_and_stays_below_github_s_limit(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    flowai("eval")
    assert summary.read_text(encoding="utf-8").startswith("# eval all suites: ")
    summary.write_text("x" * 999_000, encoding="utf-8")
    project.cases(*(case(f"c{number}") for number in range(30)))
    provider.default = Reply(text="no " * 600)
    flowai("eval", "--no-cache")
    assert summary.stat().st_size < 1 << 20
    assert "### flowai eval all suites: GATE NOT MET" in summary.read_text(encoding="utf-8")


# --- a result without its files ---


@pytest.mark.parametrize("name", ["eval", "smoke"])
def test_a_result_stands_when_its_files_cannot_be_written(
    flowai: Flowai,
    project: SampleProject,
    provider: ScriptedProvider,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    tmp_path: Path,
) -> None:
    project.write("evals/smoke.yaml", SMOKE)
    project.write("reports", "a file")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    for text, code in (("hello", 0), ("no", 1)):
        provider.default = Reply(text=text)
        ran = flowai(name, *(["--no-cache"] if name == "eval" else []))
        assert ran.code == code, ran.err
        (warning,) = [line for line in ran.err.splitlines() if line.startswith("warning: ")]
        assert "reports" in warning
        assert warning.count("cannot write") >= 2, "the summary too"
        assert warning.endswith("; the result is unchanged")


def test_a_full_disk_does_not_change_what_smoke_says(project: SampleProject, provider: ScriptedProvider) -> None:
    project.write("evals/smoke.yaml", SMOKE)
    provider.default = Reply(text="hello")
    done = shell(project, "ulimit -f 0; trap '' XFSZ; {flowai} smoke")
    assert done.returncode == 0, done.stderr
    assert "READY TO DEPLOY" in done.stdout
    assert done.stderr.count("warning: ") == 1
    assert "smoke.xml: cannot write" in done.stderr


@pytest.mark.parametrize("option", ["-o", "--comment"])
@pytest.mark.parametrize("path", ["registry.yaml/x.md", "evals", "x.md/"])
def test_a_file_that_cannot_be_written_is_named_before_anything_is_paid(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider, option: str, path: str
) -> None:
    project.write("x.md/keep", "")
    ran = flowai("eval", option, path if option == "--comment" or path != "evals" else "x.md")
    assert ran.code == 4
    assert "cannot write" in ran.err
    assert provider.request_count == 0


# --- a result without its screen ---


def shell(project: SampleProject, line: str) -> subprocess.CompletedProcess[str]:
    text = line.replace("{flowai}", f"{sys.executable} -m flowai")
    return subprocess.run(
        ["/bin/bash", "-c", text], cwd=project.root, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize(
    "line",
    [
        "{flowai} eval >&-",
        "{flowai} eval 2>&-",
        "{flowai} eval >&- 2>&- <&-",
        "{flowai} eval >/dev/full",
        "{flowai} eval 2>/dev/full",
        "{flowai} eval | head -c1 >/dev/null; exit ${PIPESTATUS[0]}",
        "{flowai} eval --json | head -c1 >/dev/null; exit ${PIPESTATUS[0]}",
        "{flowai} eval --json >/dev/full",
        "{flowai} smoke 2>&1 | true; exit ${PIPESTATUS[0]}",
        "{flowai} smoke >/dev/full 2>/dev/full",
    ],
)
def test_a_lost_screen_does_not_change_a_failure(project: SampleProject, provider: ScriptedProvider, line: str) -> None:
    project.write("evals/smoke.yaml", SMOKE)
    provider.default = Reply(text="no")
    done = shell(project, line)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "line",
    ["{flowai} smoke >&- 2>&-", "{flowai} smoke --json >/dev/full", "{flowai} eval 2>&1 | true; exit ${PIPESTATUS[0]}"],
)
def test_a_lost_screen_does_not_change_a_success(project: SampleProject, provider: ScriptedProvider, line: str) -> None:
    project.write("evals/smoke.yaml", SMOKE)
    provider.default = Reply(text="hello")
    done = shell(project, line)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Traceback") == 0


def test_files_keep_their_content_when_standard_streams_are_closed(
    project: SampleProject, provider: ScriptedProvider
) -> None:
    provider.default = Reply(text="hello")
    done = shell(project, "{flowai} eval --no-cache -o out.json >&- 2>&- <&-")
    assert done.returncode == 0
    assert json.loads((project.root / "out.json").read_bytes())["totals"]["pass_count"] == 2
    for line in (project.root / ".flowai/runs/0001/run.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line)


def test_a_list_that_is_lost_is_an_error(project: SampleProject) -> None:
    done = shell(project, "{flowai} calls --json >/dev/full")
    assert done.returncode == 4
    assert "stdout cannot be written" in done.stderr


# --- paths ---


def test_targets_and_outputs_start_at_the_current_folder(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.default = Reply(text="hello")
    project.write("evals/smoke.yaml", SMOKE)
    monkeypatch.chdir(project.root / "evals")
    assert flowai("eval", "echo.yaml", "-o", "out.json", "--record", "recorded.jsonl").code == 0
    assert (project.root / "evals/out.json").is_file()
    assert (project.root / "evals/recorded.jsonl").is_file()
    ran = flowai("eval", "evals/echo.yaml", "--replay", "recorded.jsonl")
    assert ran.code == 0, "paths from the root work everywhere"
    assert flowai("smoke", "-o", "smoke.json", "--comment", "smoke.md").code == 0
    assert {path.name for path in (project.root / "evals").glob("smoke.*")} == {"smoke.json", "smoke.md", "smoke.yaml"}
    monkeypatch.chdir(project.root / "prompts")
    for target in ("echo_v1", "echo_v1.prompt", "prompts/echo_v1", "../prompts/echo_v1", "../evals/echo.yaml"):
        ran = flowai("eval", target)
        assert ran.code == 0, ran.err
    flowai("metrics", "-o", "m.json")
    assert (project.root / "prompts/m.json").is_file()


def test_one_target_has_one_history_from_every_folder(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.default = Reply(text="hello")
    flowai("eval", "evals/echo.yaml")
    monkeypatch.chdir(project.root / "evals")
    assert "since run 0001: 0 broke, 0 fixed" in flowai("eval", "echo.yaml").out
