"""`flowai events`: the lake from the command line, and the commands that read it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.lake_log import NOON, a_log, call, lines_of, read, write
from support.object_store import SECRET, S3Server, running_store
from support.rollout_log import BEGIN, Scenario, Side, write_log

from flowai.errors import RegistryError
from flowai.registry import events_directory, load_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.sample_project import Ran, SampleProject

    Flowai = Callable[..., Ran]

RELEASES = """\
releases:
  v1: {chat: {prompt: prompts/echo_v1, model: m, params: {temperature: 0}}}
  v2: {extends: v1, chat: {params: {temperature: 0.5}}}
policies: {canary: {guardrails: [error_rate, json_valid, slow_calls, acceptance]}}
"""
ROLLOUT = f"rollout: {{candidate: v2, stage: 50, started_at: {BEGIN.isoformat().replace('+00:00', 'Z')}}}\n"
TIME_RANGE = ("--since", "2026-05-04T08:00", "--until", "2026-05-05T08:00")


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with running_store() as running:
        yield running


@pytest.fixture
def events(project: SampleProject) -> Path:
    return project.root / ".flowai" / "events"


def name_store(project: SampleProject, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    address = f"s3://{server.new_bucket()}/events"
    text = (project.root / "registry.yaml").read_text()
    project.write("registry.yaml", f"{text}events: {address}\n")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    return address


def figures(flowai: Flowai, *arguments: str) -> dict[str, Any]:
    ran = flowai(*arguments, "--json")
    assert ran.code in {0, 1, 5}, ran.err
    loaded: dict[str, Any] = json.loads(ran.out)
    return loaded


def test_screens(flowai: Flowai, events: Path) -> None:
    a_log(events)
    ran = flowai("events", "compact")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0].startswith("dt=2026-05-02  28 events of 2 files: ")
    assert lines[1] == "warn  3 lines kept as lines: torn 1, unknown version 1, unreadable 1"
    assert lines[2].startswith("dt=2026-05-03  5 events of 1 file: ")
    assert lines[3] == "3 JSONL files removed"
    again = flowai("events", "compact").out
    assert again.startswith("nothing to do: no closed lines before 20")
    found = flowai("events", "validate")
    assert found.code == 1
    assert found.out.splitlines()[0].startswith(
        ".flowai/events  5 files: alert 1, call 28, feedback 1, release 2, score 1"
    )
    assert "FAILED  unreadable: 2" in found.out


def test_json(flowai: Flowai, events: Path, tmp_path: Path) -> None:
    a_log(events)
    assert figures(flowai, "events", "compact")["removed_count"] == 3
    assert figures(flowai, "events", "sync", str(tmp_path / "copy"))["copied_count"] == 7
    assert figures(flowai, "events", "validate")["problems"] == {"unknown_version": 1, "unreadable": 2}
    assert figures(flowai, "events", "validate", str(tmp_path / "copy"))["kinds"]["call"] == 28


def test_wrong_usage(flowai: Flowai, events: Path) -> None:
    write(events, lines_of([call()]))
    for arguments, expected in (
        (("compact", "--before", "soon"), "expected a date"),
        (("compact", "--before", "2999-01-01"), "only past days can be compacted"),
        (("sync",), "names no object store"),
        (("sync", "ftp://x/y"), "`s3://`"),
        (("sync", ".flowai/events"), "the event log itself"),
        (("validate", "nowhere"), "no file and no directory"),
    ):
        ran = flowai("events", *arguments)
        assert ran.code == 2, arguments
        assert expected in ran.err
    assert len(read(events)[0]) == 1


def test_metrics_and_canary_report_agree_on_lines_parquet_and_s3(
    flowai: Flowai, project: SampleProject, events: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, _, rest = (project.root / "registry.yaml").read_text().partition("releases:\n")
    project.write("registry.yaml", f"{head}{RELEASES}current:{rest.partition('current:')[2]}{ROLLOUT}")
    write_log(events, Scenario(calls_count=3000, hours=12.0, percent=50, canary=Side(error_rate=0.05)))

    def all_figures() -> list[dict[str, Any]]:
        report = figures(flowai, "canary-report", "--until", "2026-05-04T20:00:00Z")
        return [
            figures(flowai, "metrics", *TIME_RANGE),
            {name: report[name] for name in ("verdict", "metrics", "digest")},
        ]

    expected = all_figures()
    assert expected[0]["total"]["call_count"] > 1000
    assert flowai("events", "compact").code == 0
    assert not list(events.glob("dt=*/*.jsonl"))
    assert all_figures() == expected

    address = name_store(project, server, monkeypatch)
    ran = flowai("events", "sync")
    assert ran.code == 0, ran.err
    assert ran.out.strip().endswith(f"events at {address}")
    assert SECRET not in ran.out + ran.err
    for path in events.rglob("*.*"):
        if path.is_file():
            path.unlink()
    assert all_figures() == expected
    assert flowai("events", "validate", address).code == 0


def test_an_unreachable_store_is_exit_4(
    flowai: Flowai, project: SampleProject, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowai.events.lake import object_store

    name_store(project, server, monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(object_store, "MAX_RETRIES", 0)
    for command in (("metrics", *TIME_RANGE), ("events", "sync", "s3://lake/x"), ("events", "validate", "s3://lake/x")):
        if command[:2] == ("events", "sync"):
            write(project.root / ".flowai" / "events", lines_of([call()]))
            flowai("events", "compact")
        ran = flowai(*command)
        assert ran.code == 4, ran.out + ran.err
        assert "does not answer" in ran.err
        assert SECRET not in ran.err


def test_gateways_write_in_the_project_if_the_registry_names_a_store(
    project: SampleProject, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_store(project, server, monkeypatch)
    from flowai.project import find_project

    found = find_project(project.root, {})
    assert (
        events_directory(load_registry(found, env=None, environ={"SCRIPTED_KEY": "x"}), found)
        == found.root / ".flowai/events"
    )
    text = (project.root / "registry.yaml").read_text().replace("s3://", "ftp://")
    project.write("registry.yaml", text)
    with pytest.raises(RegistryError, match="ftp"):
        events_directory(load_registry(found, env=None, environ={"SCRIPTED_KEY": "x"}), found)


def test_a_compaction_killed_by_the_kernel_is_finished_by_the_next(
    flowai: Flowai, project: SampleProject, events: Path
) -> None:
    for day in range(1, 9):
        write(
            events,
            lines_of(call(f"{day}-{n}", at=NOON.replace(day=day), feature=f"f{n % 3}") for n in range(400)),
            day=f"dt=2026-05-0{day}",
        )
    expected, _ = read(events)
    with subprocess.Popen(
        [sys.executable, "-m", "flowai", "events", "compact"], cwd=project.root, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("dt=2026-05-01")
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert read(events)[0] == expected
    assert flowai("events", "compact").code == 0
    assert read(events)[0] == expected
    assert not list(events.glob("dt=*/*.jsonl"))


def test_validate_reports_a_missing_log(project: SampleProject, flowai: Callable[..., Ran]) -> None:
    ran = flowai("events", "validate")
    assert ran.code == 5
    assert ("there is no event log at `.flowai/events` yet" in ran.err) is True
    assert flowai("events", "compact").code == 0
    assert not (project.root / ".flowai" / "events").exists()
