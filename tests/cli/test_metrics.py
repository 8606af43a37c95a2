"""`flowai metrics`: the table, its JSON and Markdown, and logs that are not whole."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.rollout_log import BEGIN, Scenario, Side, write_log

from flowai.analytics.usage import UsageReport
from flowai.analytics.usage_report import MetricsOptions, run_metrics, watch_metrics
from flowai.calibration import Calibration, JudgeCounts, write_calibration
from flowai.cli.commands.run.metrics import _MetricsScreen, lines
from flowai.errors import FlowaiError, RegistryError
from flowai.events import EventLog, FeedbackEvent, ScoreEvent
from flowai.redaction import Redactor
from flowai.workspace.workspace import CommandContext

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.sample_project import Ran, SampleProject

    from flowai.events import Event, FeedbackVerdict

    Flowai = Callable[..., Ran]

STRETCH = ("--since", "2026-05-04T08:00", "--until", "2026-05-04T12:00")


@pytest.fixture
def logged(project: SampleProject) -> SampleProject:
    directory = project.root / ".flowai" / "events"
    side = Side(error_rate=0.05)
    write_log(directory, Scenario(calls_count=1000, canary=side, control=side))
    hits = {"feature": "search", "cache": "exact", "cost_usd": 0.0, "ttft_ms": None, "degraded": True}
    write_log(directory, Scenario(calls_count=100, seed=8, feedback_rate=0.0, changes=hits), process="web-2")
    return project


def figures(flowai: Flowai, *arguments: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(flowai("metrics", *STRETCH, "--json", *arguments).out)
    return loaded


def test_the_table_has_a_row_per_feature_and_a_total(flowai: Flowai, logged: SampleProject) -> None:
    ran = flowai("metrics", *STRETCH)
    lines = ran.out.splitlines()
    assert ran.code == 0
    assert lines[0] == "1,100 calls   2026-05-04T08:00:00Z to 2026-05-04T12:00:00Z"
    heads = [line.split()[0] if line else "" for line in lines[1:]]
    assert heads == ["", "feature", "chat", "search", "all"] * 2
    assert max(map(len, lines)) <= 120
    assert logged.root.is_dir()


def test_the_figures_are_those_of_the_log(flowai: Flowai, logged: SampleProject) -> None:
    chat, search = figures(flowai)["rows"]
    calls = [
        line
        for path in (logged.root / ".flowai/events").rglob("*.jsonl")
        for line in map(json.loads, path.read_text().splitlines())
        if line["kind"] == "call" and line["feature"] == "chat"
    ]
    answered = sorted(call["latency_ms"] for call in calls if call["error_class"] is None)
    assert chat["failed_count"] == sum(call["error_class"] is not None for call in calls) > 0
    assert chat["bad_json_count"] == sum(call["json_valid"] is False for call in calls)
    assert chat["latency"][1] == pytest.approx(answered[-(-len(answered) * 95 // 100) - 1], rel=0.005)
    assert chat["cost_usd"] == pytest.approx(1.0)
    assert 0.5 < chat["accepted_count"] / chat["judged_count"] < 0.75
    assert search["hit_count"] == 100
    assert search["degraded_count"] == 100
    assert search["latency"] == [None, None, None]
    assert search["judged_count"] == 0


def test_figures_are_grouped_by_the_given_fields(flowai: Flowai, logged: SampleProject) -> None:
    rows = figures(flowai, "--by", "release,variant")["rows"]
    assert {(row["group"]["release"], row["group"]["variant"]) for row in rows} == {
        ("v1", "stable"),
        ("v1", "control"),
        ("v2", "canary"),
    }
    ran = flowai("metrics", "--by", "featur")
    assert ran.code == 2
    assert ("did you mean `feature`" in ran.err) is True
    assert logged.root.is_dir()


def test_duplicate_lines_count_once_and_damaged_ones_are_reported(flowai: Flowai, logged: SampleProject) -> None:
    path = next((logged.root / ".flowai/events").rglob("web-1*.jsonl"))
    (path.parent / "copy.jsonl").write_text(path.read_text() + '{"kind":"call"')
    found = figures(flowai)
    problems = {one["kind"]: one["count"] for one in found["problems"]}
    assert found["total"]["call_count"] == 1100
    assert problems == {"duplicated": 1000, "unreadable": 1}


def test_no_calls_exit_with_not_enough_data(flowai: Flowai, project: SampleProject) -> None:
    ran = flowai("metrics")
    assert ran.code == 5
    assert ran.out.splitlines()[0].startswith("0 calls") is True
    assert flowai("metrics", "--since", "1h", "--until", "2h").code == 2
    assert BEGIN.year == 2026
    assert project.root.is_dir()


def test_names_are_escaped_in_markdown(flowai: Flowai, project: SampleProject) -> None:
    hostile = {"feature": "<b>|`x`"}
    write_log(project.root / ".flowai" / "events", Scenario(calls_count=50, changes=hostile))
    assert flowai("metrics", *STRETCH, "-o", "metrics.md", "-o", "metrics.json").code == 0
    text = (project.root / "metrics.md").read_text()
    assert "&lt;b>\\|\\`x\\`" in text
    assert flowai("metrics", "-o", "metrics.html").code == 2


# --- what users and judges say ---


def say(project: SampleProject, *events: Event) -> None:
    with EventLog(project.root / ".flowai/events", "judge-1", Redactor(), lambda: BEGIN) as log:
        for event in events:
            log.append(event)


def thumb(call: int, verdict: FeedbackVerdict, after_s: float = 1.0) -> FeedbackEvent:
    at = BEGIN + timedelta(hours=2, seconds=after_s)
    return FeedbackEvent(call_id=f"call-7-{call:07d}", at=at, origin="library", verdict=verdict)


def score(call: int, *, passed: bool, after_s: float = 1.0, name: str = "hallucination") -> ScoreEvent:
    at = BEGIN + timedelta(hours=2, seconds=after_s)
    return ScoreEvent(call_id=f"call-7-{call:07d}", at=at, origin="judge", name=name, passed=passed)


def test_the_last_feedback_and_the_last_score_of_a_call_count(flowai: Flowai, project: SampleProject) -> None:
    write_log(
        project.root / ".flowai" / "events", Scenario(calls_count=100, feedback_rate=0.0, canary=Side(error_rate=0))
    )
    say(
        project,
        thumb(1, "thumbs_up"),
        thumb(2, "thumbs_up"),
        thumb(2, "thumbs_down", 2.0),
        thumb(3, "thumbs_down"),
        thumb(3, "saved", 2.0),
        thumb(4, "accepted"),
        thumb(5, "thumbs_up"),
        thumb(5, "thumbs_down"),  # at one moment the stronger word counts
        score(1, passed=True),
        score(2, passed=True),
        score(2, passed=False, after_s=2.0),
        score(3, passed=False),
        score(3, passed=True, after_s=2.0),
        score(4, passed=False, name="tone"),
        score(6, passed=True),
        score(6, passed=False),
        score(999, passed=False),  # a call that nobody logged
    )
    total = figures(flowai)["total"]
    assert total["thumbs_count"] == 4
    assert total["thumbs_up_count"] == 2
    assert total["checked_count"] == 4
    assert total["hallucinated_count"] == 2
    assert total["judged_count"] == 5
    assert total["accepted_count"] == 4
    row = [line for line in flowai("metrics", *STRETCH).out.splitlines() if line.startswith("chat")][1]
    assert re.split(r" {2,}", row)[2:6] == ["80.0 %", "50.0 %", "1.0 %", "50.0 %"]


def test_the_share_of_a_judge_is_corrected_while_its_calibration_is_fresh(
    flowai: Flowai, project: SampleProject
) -> None:
    write_log(
        project.root / ".flowai" / "events", Scenario(calls_count=400, feedback_rate=0.0, canary=Side(error_rate=0))
    )
    say(
        project,
        *(msgspec.structs.replace(score(call, passed=call % 4 > 0), judge_hash="5f2e91c0") for call in range(400)),
    )
    found = figures(flowai)
    assert found["judged"]["problem"] == "judge 5f2e91c0 is not calibrated"
    assert "hallucinated: as the judge flags, not corrected: judge 5f2e91c0 is" in flowai("metrics", *STRETCH).out
    counts = JudgeCounts(
        true_positive_count=160, false_negative_count=40, true_negative_count=180, false_positive_count=20
    )
    write_calibration(
        project.root,
        Calibration(
            name="hallucination", judge="judge", judge_hash="5f2e91c0", at=datetime.now(UTC), source="s", counts=counts
        ),
    )
    found = figures(flowai)
    corrected = found["judged"]["corrected"]
    assert found["total"]["hallucinated_count"] / found["total"]["checked_count"] == pytest.approx(0.25, abs=0.01)
    assert corrected["estimate"] == pytest.approx((0.25 - 0.1) / 0.7, abs=0.02)
    assert 0.1 < corrected["low"] < corrected["estimate"] < corrected["high"] < 0.33
    assert "corrected by its calibration of" in flowai("metrics", *STRETCH).out


def test_impossible_figures_are_omitted(flowai: Flowai, project: SampleProject) -> None:
    absurd = {"cost_usd": 1e300, "latency_ms": 1e300, "ttft_ms": 0.0, "input_tokens": 2**62}
    write_log(project.root / ".flowai" / "events", Scenario(calls_count=20, canary=Side(error_rate=0), changes=absurd))
    total = figures(flowai)["total"]
    assert total["call_count"] == 20
    assert total["cost_usd"] == 0.0
    assert total["unpriced_count"] == 20 - total["failed_count"]


def test_the_tables_are_laid_out_as_expected(project: SampleProject) -> None:
    directory = project.root / ".flowai" / "events"
    write_log(directory, Scenario(calls_count=40, hours=4, canary=Side(error_rate=0), control=Side(error_rate=0.2)))
    context = CommandContext(directory=project.root, now=lambda: BEGIN + timedelta(hours=4))
    report = run_metrics(context, MetricsOptions(since="4h"))
    assert "\n".join(lines(report)) == SCREEN


SCREEN = """\
40 calls   2026-05-04T08:00:00Z to 2026-05-04T12:00:00Z

feature  calls     over time  errors     over time     p50     p95     p99  TTFT p50     p95     p99
chat        40  █▆▆█▆▆█▆▆█▆▆  10.0 %  █      █ ██   0.63 s  1.43 s  1.86 s    0.17 s  0.31 s  0.34 s

feature    JSON  accepted  CSAT  saved  hallucinated   hits  degraded  tokens in     out   cost
chat     97.2 %    86.7 %     -  0.0 %             -  0.0 %     0.0 %      4.8 k  1.44 k  $0.04"""


# --- again and again ---


class Steps:
    """A clock and a sleep that end the watch after so many looks."""

    def __init__(self, looks: int) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []
        self._looks = looks

    def clock_s(self) -> float:
        self.now_s += 0.25  # what looking takes
        return self.now_s

    def sleep(self, wait_s: float) -> None:
        self.slept.append(wait_s)
        self.now_s += wait_s
        if len(self.slept) == self._looks:
            raise KeyboardInterrupt


def test_watch_repeats_the_query_and_survives_a_failed_one(project: SampleProject) -> None:
    directory = project.root / ".flowai" / "events"
    steps, seen = Steps(3), list[UsageReport | FlowaiError]()

    def on_report(found: UsageReport | FlowaiError) -> None:
        seen.append(found)
        if len(seen) == 1:
            project.write("registry.yaml", (project.root / "registry.yaml").read_text() + "models: [")
            write_log(directory, Scenario(calls_count=10))
        else:
            text = (project.root / "registry.yaml").read_text()
            project.write("registry.yaml", text.removesuffix("models: ["))

    context = CommandContext(directory=project.root, now=lambda: BEGIN + timedelta(hours=4), clock_s=steps.clock_s)
    with pytest.raises(KeyboardInterrupt):
        watch_metrics(context, MetricsOptions(), every_s=5.0, on_report=on_report, sleep=steps.sleep)
    assert [type(one).__name__ for one in seen] == ["UsageReport", "RegistryError", "UsageReport"]
    assert [one.total.call_count for one in seen if isinstance(one, UsageReport)] == [0, 10]
    assert steps.slept == [4.75] * 3


def test_a_first_query_that_fails_is_an_error(flowai: Flowai, project: SampleProject) -> None:
    project.write("registry.yaml", "models: [")
    assert flowai("metrics", "--watch").code == 3
    assert flowai("metrics", "--watch", "--until", "1h").code == 2
    assert flowai("metrics", "--watch", "--interval", "0s").code == 2


@pytest.mark.parametrize("form", ["blocks", "json"])
def test_in_a_pipe_watch_prints_each_report_until_stopped(logged: SampleProject, form: str) -> None:
    command = [sys.executable, "-m", "flowai", "metrics", "--watch", "--interval", "0.1s", "--since", "2026-05-04"]
    command += ["--json"] if form == "json" else []
    with subprocess.Popen(command, cwd=logged.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        blocks = list[str]()
        while len(blocks) < 2:
            line = watch.stdout.readline()
            assert "\x1b" not in line
            if form == "json":
                assert json.loads(line)["total"]["call_count"] == 1100
            if form == "json" or line.startswith("1,100 calls"):
                blocks.append(line)
        watch.send_signal(signal.SIGINT)
        watch.stdout.read()
    assert watch.returncode == 130


def test_on_a_terminal_watch_redraws_in_place(capsys: pytest.CaptureFixture[str], logged: SampleProject) -> None:
    context = CommandContext(directory=logged.root, now=lambda: BEGIN + timedelta(hours=4))
    report = run_metrics(context, MetricsOptions())
    screen = _MetricsScreen("5s", size=lambda: os.terminal_size((60, 8)))
    screen.look(report)
    screen.look(RegistryError("half-way through an edit"))
    first, second = capsys.readouterr().out.split("\x1b[H")[1:]
    for drawn, foot in ((first, "every 5s; Ctrl-C ends it"), (second, "error: half-way through an edit")):
        shown = drawn.removesuffix("\x1b[J\n").split("\n")
        assert [line[-3:] for line in shown] == ["\x1b[K"] * 7
        assert max(len(line) for line in shown) <= 60 + 3
        assert shown[0].startswith("1,100 calls")
        assert shown[-1] == f"{foot}\x1b[K"
