"""`flowai judge label`: a person labels answers on the page, labels are exchanged, and judges are measured by them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from httpx import Client
from support.judge_project import REGISTRY, WITH_CONTEXT, verdicts

from flowai.evals.reports.page.page_data import output_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.sample_project import Ran, SampleProject
    from support.scripted_provider import ScriptedProvider

    Flowai = Callable[..., Ran]

SUITE = "evals/answers.yaml"
LABELS = "evals/judges/labels.jsonl"


def set_up(project: SampleProject, provider: ScriptedProvider, count: int = 4) -> None:
    project.write("registry.yaml", REGISTRY.format(url=provider.base_url, judge=""))
    project.write("prompts/judge_v1.prompt", WITH_CONTEXT)
    tests = [
        {
            "description": f"c{i}",
            "vars": {"input": f"question {i}"},
            "assert": [{"type": "llm-rubric", "value": "is right"}],
        }
        for i in range(count)
    ]
    project.write(SUITE, json.dumps({"prompts": ["{{input}}"], "providers": ["echo"], "tests": tests}))
    provider.answerer = verdicts(lambda text: int(text.split()[-1]) % 2 == 0)


@contextmanager
def page(project: SampleProject, target: str, reviewer: str) -> Iterator[Client]:
    """Open the page of a reviewer in a process of its own; Ctrl-C ends it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flowai", "judge", "label", target, "--reviewer", reviewer, "--no-browser"],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        address = process.stdout.readline().split()[0]
        with Client(base_url=address.partition("/?")[0], follow_redirects=True) as client:
            assert client.get(address).status_code == 200
            yield client
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0


def decide(client: Client, position: int, action: str, note: str = "") -> dict[str, Any]:
    response = client.post(f"/api/pairs/{position}/decisions", json={"action": action, "note": note})
    found: dict[str, Any] = response.json()
    return found


def lines(project: SampleProject) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.root / LABELS).read_text().splitlines()]


def test_labels_of_a_run_are_stored_at_once_and_can_be_undone(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    set_up(project, provider)
    flowai("eval", SUITE)
    with page(project, "last", "ann") as client:
        overview = client.get("/api/queue").json()
        assert (overview["kind"], len(overview["rows"])) == ("labels", 4)
        item = client.get("/api/pairs/0").json()
        assert item["messages"][0]["content"] == item["output"] == "question 0"
        decide(client, 0, "accept")
        decide(client, 1, "reject", "made up")
        assert [line["label"] for line in lines(project)] == ["pass", "fail"]  # on disk before the page goes on
        assert client.post("/api/undo", json={}).json()["position"] == 1
        assert "error" in decide(client, 1, "edit")
        decide(client, 1, "reject", "wrong")
    first, *_, last = lines(project)
    assert (first["output_hash"], first["suite"], first["case"]) == (output_hash("question 0"), SUITE, "c0")
    assert (last["label"], last["note"], last["reviewer"]) == ("fail", "wrong", "ann")


def test_two_reviewers_are_independent_until_they_disagree(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    set_up(project, provider)
    flowai("eval", SUITE)
    with page(project, "last", "ann") as client:
        for position, action in enumerate(("accept", "reject", "accept", "reject")):
            decide(client, position, action)
    with page(project, "last", "bob") as client:
        assert client.get("/api/pairs/0").json()["other_decisions"] == []
        for position, action in enumerate(("accept", "reject", "accept")):
            decide(client, position, action)
        assert client.get("/api/pairs/3").json()["other_decisions"] == []
        decide(client, 3, "accept", "fine")
        others = client.get("/api/pairs/3").json()["other_decisions"]
        assert [one["reviewer"] for one in others] == ["ann"]
    ran = flowai("judge", "label", "--export", "labels.jsonl", "--json")
    assert ran.code == 0, ran
    report = json.loads(ran.out)
    assert (report["pass_count"], report["fail_count"], report["disputed_count"]) == (2, 1, 1)
    assert report["reviewers"] == {"ann": 4, "bob": 4}
    (agreement,) = report["agreement"]
    assert (agreement["agreed_count"], agreement["pairs_reviewed_by_both"]) == (3, 4)
    assert agreement["kappa"] == pytest.approx(0.5)


def test_labels_of_the_compare_page_are_imported_once(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    set_up(project, provider)
    flowai("eval", SUITE)
    saved = {
        "schema_version": 1,
        "run_id": "0001",
        "suite": SUITE,
        "case": "c1",
        "prompt": "p",
        "model": "echo",
        "output_hash": output_hash("question 1"),
        "label": "fail",
        "note": "no",
    }
    project.write("labels-0001.jsonl", json.dumps(saved) + "\n")
    for added in (1, 0):
        ran = flowai("judge", "label", "--import", "labels-0001.jsonl", "--reviewer", "cy")
        assert (ran.code, f"added {added} labels" in ran.out) == (0, True)
    assert [line["reviewer"] for line in lines(project)] == ["cy"]
    with page(project, "labels-0001.jsonl", "dan") as client:
        assert [row["id"] for row in client.get("/api/queue").json()["rows"]] == [output_hash("question 1")]


def test_a_judge_is_measured_by_labels_of_logged_calls(
    flowai: Flowai, project: SampleProject, provider: ScriptedProvider
) -> None:
    from cli.test_judge_sample import log_calls

    set_up(project, provider)
    log_calls(project, 44, output=lambda number: f"Acme sold bicycles {'well' * (number % 2)} {'a' * number}.")
    provider.answerer = verdicts(lambda text: "well" in text)
    with page(project, "chat", "ann") as client:
        rows = client.get("/api/queue").json()["rows"]
        assert len(rows) == 44
        for position in range(44):
            output = client.get(f"/api/pairs/{position}").json()["output"]
            decide(client, position, "accept" if "well" in output else "reject")
    ran = flowai("judge", "check", "chat", "--json", "--repeats", "1")
    assert ran.code == 0, ran
    (judge,) = json.loads(ran.out)["judges"]
    assert (judge["name"], judge["youden"]["value"]) == ("hallucination", 1.0)
    assert judge["labels"]["fail_count"] == 22
    assert judge["fault_rate"] is None
    # calls that nobody labels: the judge scores them, and the labels say how far to trust it
    log_calls(
        project, 80, release="v2", output=lambda number: f"Acme sold bikes {'well' * (number % 4 > 0)} {'b' * number}."
    )
    assert flowai("judge", "sample", "-n", "500").code == 0
    (judge,) = json.loads(flowai("judge", "check", "chat", "--json", "--repeats", "1").out)["judges"]
    rate = judge["fault_rate"]
    assert (rate["total_count"], rate["value"]) == (124, pytest.approx((22 + 20) / 124, abs=0.05))
    assert rate["low"] < rate["value"] < rate["high"]
    assert "faults among all scored" in flowai("judge", "check", "chat", "--repeats", "1").out


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        ((), 2, "missing TARGET"),
        (("nothing",), 2, "expected a run, a file of labels (.jsonl) or a feature"),
        (("last",), 2, "run"),
        (("none.jsonl",), 2, "no file `none.jsonl`"),
        (("chat",), 5, "`chat` has no answer to label"),
        (("--export", "labels.csv"), 2, "expected `.jsonl`"),
        (("--import", "bad.jsonl"), 3, "bad.jsonl:1"),
        (("last", "--reviewer", "../x"), 2, "--reviewer"),
    ],
)
def test_wrong_arguments_are_named(
    flowai: Flowai,
    project: SampleProject,
    provider: ScriptedProvider,
    arguments: tuple[str, ...],
    code: int,
    expected: str,
) -> None:
    set_up(project, provider)
    project.write("bad.jsonl", '{"output_hash": "", "label": "pass"}\n')
    ran = flowai("judge", "label", *arguments)
    assert ran.code == code, ran
    assert expected in ran.err
    assert not (project.root / LABELS).exists()
