"""`flowai metrics`: the table, its JSON and Markdown, and logs that are not whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from rollout_log import BEGIN, Scenario, Side, write_log

if TYPE_CHECKING:
    from collections.abc import Callable

    from sample_project import Ran, SampleProject

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


def test_it_shows_a_row_for_each_feature_and_one_for_all(flowai: Flowai, logged: SampleProject) -> None:
    ran = flowai("metrics", *STRETCH)
    lines = ran.out.splitlines()
    assert ran.code == 0
    assert lines[0] == "1,100 calls   2026-05-04T08:00:00Z to 2026-05-04T12:00:00Z"
    assert [line.split()[0] for line in lines[1:]] == ["feature", "chat", "search", "all"]
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
    assert (search["hit_count"], search["degraded_count"], search["latency"]) == (100, 100, [None, None, None])
    assert search["judged_count"] == 0


def test_it_groups_by_whatever_was_asked(flowai: Flowai, logged: SampleProject) -> None:
    rows = figures(flowai, "--by", "release,variant")["rows"]
    assert {(row["group"]["release"], row["group"]["variant"]) for row in rows} == {
        ("v1", "stable"),
        ("v1", "control"),
        ("v2", "canary"),
    }
    ran = flowai("metrics", "--by", "featur")
    assert (ran.code, "did you mean `feature`" in ran.err) == (2, True)
    assert logged.root.is_dir()


def test_lines_told_twice_count_once_and_damaged_ones_are_named(flowai: Flowai, logged: SampleProject) -> None:
    path = next((logged.root / ".flowai/events").rglob("web-1*.jsonl"))
    (path.parent / "copy.jsonl").write_text(path.read_text() + '{"kind":"call"')
    found = figures(flowai)
    problems = {one["kind"]: one["count"] for one in found["problems"]}
    assert found["total"]["call_count"] == 1100
    assert problems == {"duplicated": 1000, "unreadable": 1}


def test_no_calls_are_undecided(flowai: Flowai, project: SampleProject) -> None:
    ran = flowai("metrics")
    assert (ran.code, ran.out.splitlines()[0].startswith("0 calls")) == (5, True)
    assert flowai("metrics", "--since", "1h", "--until", "2h").code == 2
    assert BEGIN.year == 2026
    assert project.root.is_dir()


def test_it_writes_markdown_in_which_names_are_only_names(flowai: Flowai, project: SampleProject) -> None:
    hostile = {"feature": "<b>|`x`"}
    write_log(project.root / ".flowai" / "events", Scenario(calls_count=50, changes=hostile))
    assert flowai("metrics", *STRETCH, "-o", "metrics.md", "-o", "metrics.json").code == 0
    text = (project.root / "metrics.md").read_text()
    assert "&lt;b&gt;\\|\\`x\\`" in text
    assert flowai("metrics", "-o", "metrics.html").code == 2
