"""The GitHub Action and the GitLab template: their steps run in a project, as the CI systems run them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.sample_project import SampleProject, case, make_project
from support.scripted_provider import Reply, ScriptedProvider

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
GITLAB = yaml.safe_load((ROOT / "docs/examples/ci/gitlab.yml").read_text(encoding="utf-8"))
EXPRESSION = re.compile(r"\$\{\{\s*([\w.-]+)\s*\}\}")
TOKEN = "token-0123456789abcdef"


class Forge:
    """The comments of one pull or merge request, behind the API of GitHub and GitLab."""

    def __init__(self) -> None:
        self.comments: list[dict[str, Any]] = []
        self.calls: Counter[str] = Counter()
        self.tokens: set[str | None] = set()
        self.status = 200
        forge = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = int(self.path.rpartition("page=")[2])
                self.answer(forge.comments[(page - 1) * 100 : page * 100])

            def do_POST(self) -> None:
                comment = {"id": len(forge.comments) + 1, "user": {"type": "Bot"}, **self.body()}
                if forge.status == 200:
                    forge.comments.append(comment)
                self.answer(comment)

            def do_PATCH(self) -> None:
                number = int(self.path.rpartition("/")[2])
                forge.comments[number - 1] |= self.body()
                self.answer(forge.comments[number - 1])

            def do_PUT(self) -> None:
                self.do_PATCH()

            def body(self) -> dict[str, Any]:
                loaded: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                return loaded

            def answer(self, document: object) -> None:
                forge.calls[self.command] += 1
                forge.tokens.add(self.headers["Authorization"] or self.headers["PRIVATE-TOKEN"])
                self.send_response(forge.status)
                self.end_headers()
                self.wfile.write(json.dumps(document).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def forge() -> Iterator[Forge]:
    made = Forge()
    thread = Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as scripted:
        yield scripted


@pytest.fixture
def project(tmp_path: Path, provider: ScriptedProvider) -> SampleProject:
    return make_project(tmp_path / "repository" / "project", provider.base_url)


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    """Return the variables of a runner where flowai is installed."""
    programs = tmp_path / "bin"
    programs.mkdir(exist_ok=True)
    for name, words in {"flowai": f"{sys.executable} -m flowai", "python": sys.executable}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
        (programs / name).chmod(0o755)
    kept = {name: os.environ[name] for name in ("PYTHONPATH", "HOME") if name in os.environ}
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "CI": "true", "SCRIPTED_KEY": "scripted-key-0123456789", **more}


# --- GitHub ---


def resolve(text: str, values: dict[str, str]) -> str:
    """Return a text with its expressions replaced, as the runner does in `env` and `working-directory`."""
    return EXPRESSION.sub(lambda match: values[match[1]], text)


def run_action(project: SampleProject, tmp_path: Path, forge: Forge, event: object, **inputs: str) -> tuple[int, str]:
    """Run the steps of the action as the runner does; return the job's exit status and its output."""
    values = {f"inputs.{name}": declared.get("default", "") for name, declared in ACTION["inputs"].items()}
    values |= {f"inputs.{name.replace('_', '-')}": value for name, value in inputs.items()}
    values = {name: TOKEN if value == "${{ github.token }}" else value for name, value in values.items()}
    output, event_path = tmp_path / "output", tmp_path / "event.json"
    event_path.write_text(json.dumps(event), encoding="utf-8")
    runner = environment(
        tmp_path,
        GITHUB_ACTIONS="true",
        GITHUB_WORKSPACE=str(project.root.parent),
        GITHUB_OUTPUT=str(output),
        GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"),
        GITHUB_EVENT_PATH=str(event_path),
        GITHUB_REPOSITORY="owner/name",
        GITHUB_API_URL=forge.url,
        RUNNER_TEMP=str(tmp_path),
    )
    shown = ""
    for step in ACTION["runs"]["steps"]:
        conditions = {
            "inputs.requirements != ''": values["inputs.requirements"] != "",
            "inputs.comment == 'true' && github.event.pull_request": values["inputs.comment"] == "true"
            and isinstance(event, dict)
            and "pull_request" in event,
        }
        if "if" in step and not conditions[step["if"]]:
            continue
        variables = {name: resolve(text, values) for name, text in step.get("env", {}).items()}
        folder = resolve(step.get("working-directory", "."), values)
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=project.root.parent / folder,
            env=runner | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        shown += done.stdout + done.stderr
        if done.returncode != 0:
            return done.returncode, shown
        if output.exists():
            lines = (line.partition("=") for line in output.read_text(encoding="utf-8").splitlines())
            values |= {f"steps.run.outputs.{name}": value for name, _, value in lines}
    return 0, shown


PULL_REQUEST = {"pull_request": {"number": 7}}


def test_the_action_blocks_and_keeps_one_comment(
    project: SampleProject, provider: ScriptedProvider, forge: Forge, tmp_path: Path
) -> None:
    forge.comments = [
        {"id": n + 1, "user": {"type": "User"}, "body": "<!-- flowai:eval:evals/echo.yaml -->"} for n in range(120)
    ]
    provider.default = Reply(text="no")
    inputs = {
        "requirements": "",
        "working_directory": "project",
        "target": "evals/echo.yaml",
        "arguments": "--repeat\n2\n",
    }
    code, shown = run_action(project, tmp_path, forge, PULL_REQUEST, **inputs)
    assert code == 1, shown
    assert "::error file=project/datasets/echo.jsonl,line=1" in shown
    assert len(forge.comments) == 121
    assert "GATE NOT MET" in forge.comments[-1]["body"]
    assert provider.request_count == 4
    assert forge.tokens == {f"Bearer {TOKEN}"}
    provider.default = Reply(text="hello")
    code, shown = run_action(project, tmp_path, forge, PULL_REQUEST, **inputs)
    assert code == 0, shown
    assert len(forge.comments) == 121, "the comment is changed"
    assert "GATE MET" in forge.comments[-1]["body"]
    assert "comment changed" in shown
    assert (tmp_path / "summary.md").read_text(encoding="utf-8").count("# eval") == 2


def test_the_action_replays_in_a_fork_without_rights(
    project: SampleProject, provider: ScriptedProvider, forge: Forge, tmp_path: Path
) -> None:
    provider.default = Reply(text="hello")
    recording = [sys.executable, "-m", "flowai", "eval", "--record", "evals/recordings/echo.jsonl"]
    subprocess.run(recording, cwd=project.root, env=environment(tmp_path), check=True, capture_output=True)
    asked = provider.request_count
    forge.status = 403
    code, shown = run_action(
        project, tmp_path, forge, PULL_REQUEST,
        requirements="", working_directory="project", replay="evals/recordings/echo.jsonl",
    )  # fmt: skip
    assert code == 0, shown
    assert "comment not posted: HTTP Error 403" in shown
    assert provider.request_count == asked


def test_the_action_runs_smoke_outside_a_pull_request(
    project: SampleProject, provider: ScriptedProvider, forge: Forge, tmp_path: Path
) -> None:
    project.write("evals/smoke.yaml", "tests: [{id: a, vars: {text: x}, metadata: {feature: chat}}]\n")
    provider.default = Reply(status=500)
    inputs = {"requirements": "", "working_directory": "project", "command": "smoke"}
    code, shown = run_action(project, tmp_path, forge, {}, **inputs)
    assert code == 4, shown
    assert forge.calls == Counter()


@pytest.mark.parametrize("name", ["target", "replay", "arguments", "command"])
def test_an_input_is_never_part_of_a_shell_s_text(
    project: SampleProject, provider: ScriptedProvider, forge: Forge, tmp_path: Path, name: str
) -> None:
    hostile = "$(touch pwned); `touch pwned` \"; touch pwned; '"
    inputs = {"requirements": "", "working_directory": "project", name: hostile}
    code, _ = run_action(project, tmp_path, forge, {}, **inputs)
    assert code not in {0, 1}
    assert not list(tmp_path.rglob("pwned"))
    assert provider.request_count == 0


def test_no_step_has_an_expression_in_its_text() -> None:
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"


# --- GitLab ---


def run_gitlab(project: SampleProject, tmp_path: Path, **variables: str) -> tuple[int, str]:
    """Run the template's script as GitLab's runner does: all lines in one shell that stops at the first failure."""
    job = GITLAB[".flowai-eval"]
    script = "\n".join([*job["before_script"], *job["script"]])
    declared = {name: value for name, value in job["variables"].items() if "$" not in value}
    done = subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=project.root,
        env=environment(tmp_path, GITLAB_CI="true", **(declared | {"EVAL_REQUIREMENTS": ""} | variables)),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_template_blocks_and_keeps_one_note(
    project: SampleProject, provider: ScriptedProvider, forge: Forge, tmp_path: Path
) -> None:
    merge_request = {
        "CI_API_V4_URL": forge.url,
        "CI_PROJECT_ID": "42",
        "CI_MERGE_REQUEST_IID": "7",
        "FLOWAI_COMMENT_TOKEN": TOKEN,
        "EVAL_TARGET": "evals/echo.yaml",
    }
    for text, code in (("no", 1), ("hello", 0)):
        provider.default = Reply(text=text)
        found, shown = run_gitlab(project, tmp_path, **merge_request)
        assert found == code, shown
    assert len(forge.comments) == 1
    assert "GATE MET" in forge.comments[0]["body"]
    assert forge.tokens == {TOKEN}
    assert (project.root / "reports/eval.xml").is_file()


def test_the_template_needs_no_token(project: SampleProject, provider: ScriptedProvider, tmp_path: Path) -> None:
    project.cases(case("one"))
    provider.default = Reply(text="hello")
    code, shown = run_gitlab(project, tmp_path)
    assert code == 0, shown
    assert "comment not posted: FLOWAI_COMMENT_TOKEN is not set" in shown
    hostile = "$(touch pwned); `touch pwned` \"; touch pwned; '"
    code, shown = run_gitlab(project, tmp_path, EVAL_TARGET=hostile)
    assert code == 2, shown
    assert not (project.root / "pwned").exists()
