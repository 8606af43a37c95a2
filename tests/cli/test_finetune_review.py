"""`flowai finetune review` without a browser: the page's pairs, decisions in the export, and their exchange."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.feedback_log import call_line, said_line, sentence, write_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.sample_project import Ran, SampleProject

EXPORT = ("finetune", "export", "--feature", "chat", "--force")
REVIEW = ("finetune", "review", "--feature", "chat")


@pytest.fixture(autouse=True)
def log(project: SampleProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Return a project with four pairs that wait for a reviewer, and two that do not."""
    monkeypatch.setenv("FLOWAI_PSEUDONYM_KEY", "a key of the tests, long enough")
    monkeypatch.setenv("USER", "ann")
    lines = [call_line(number) for number in range(6)]
    lines += [said_line(number, "edited", sentence(number).upper()) for number in range(4)]
    lines += [said_line(4, "accepted"), said_line(5, "rejected")]
    write_log(project.root / ".flowai" / "events", lines)


@contextmanager
def page(*options: str) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    """Run the command, and come in as a browser does."""
    with subprocess.Popen(
        [sys.executable, "-m", "flowai", *REVIEW, "--no-browser", *options],
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            if not process.stdout.readline():
                pytest.fail(process.communicate()[1])
            address = process.stdout.readline().split()[0]
            with httpx.Client(base_url=address.partition("/?")[0], follow_redirects=True) as client:
                assert client.get(address).status_code == 200
                yield client, process
        finally:
            if process.poll() is None:
                process.kill()


def decide(client: httpx.Client, place: int, action: str, **facts: str) -> None:
    assert client.post(f"/api/pairs/{place}/decisions", json={"action": action, **facts}).status_code == 200


def line(pair: str, action: str, reviewer: str = "ann", second: int = 0, **facts: str) -> str:
    at = f"2026-05-02T12:00:{second:02}Z"
    return json.dumps({"at": at, "reviewer": reviewer, "pair": pair, "action": action, **facts}) + "\n"


def decisions(project: SampleProject, *lines: str) -> None:
    project.write("finetune/chat/decisions.jsonl", "".join(lines))


def exported(project: SampleProject) -> tuple[list[str], dict[str, str]]:
    """Return the answers in the export, and the reasons of rejected ones."""
    place = project.root / "finetune" / "chat" / "openai"
    rows = [json.loads(text) for path in place.glob("t*.jsonl") for text in path.read_text().splitlines()]
    out = [json.loads(text) for text in (place / "quarantine.jsonl").read_text().splitlines()]
    return [row["messages"][-1]["content"] for row in rows], {one["id"]: one["reason"] for one in out}


def test_the_export_follows_the_page_s_decisions(project: SampleProject, flowai: Callable[..., Ran]) -> None:
    assert flowai(*EXPORT, "--split", "100/0/0").code == 0
    with page() as (client, process):
        queue = client.get("/api/queue").json()
        assert [entry["id"] for entry in queue["rows"]] == ["c0", "c1", "c2", "c3"]
        assert queue["reviewer"] == "ann"
        decide(client, 0, "accept")
        decide(client, 1, "edit", text="A better answer, mail ann.lee@example.com.")
        decide(client, 2, "reject", note="nonsense")
        decide(client, 3, "skip")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert err == ""
    assert "3 pairs decided (accept 1, edit 1, reject 1)" in out
    assert "Then: flowai finetune export --feature chat --force" in out
    assert flowai(*EXPORT, "--split", "100/0/0").code == 0
    answers, reasons = exported(project)
    assert len(answers) == 3
    assert sentence(0).upper() in answers
    assert [answer.partition("_")[0] for answer in answers if "better" in answer] == ["A better answer, mail <EMAIL"]
    assert reasons == {"c2": "declined", "c3": "trivial_edit", "c5": "format"}
    manifest = json.loads((project.root / "finetune/chat/openai/manifest.json").read_text())
    assert manifest["reviewers"] == {"ann": 3}
    assert "nonsense" in (project.root / "finetune/chat/openai/quarantine.jsonl").read_text()


def test_the_page_shows_no_more_than_the_exported_files(project: SampleProject, flowai: Callable[..., Ran]) -> None:
    secret = "ann.lee@example.com"
    key = "sk-proj-Zx8Q2mN4vB6kL0pR1tY3uW5eA7sD9fG"
    lines = [call_line(7, request=f"Write to {secret} with {key}", output=f"To {secret}: hello there, my friend.")]
    lines.append(said_line(7, "edited", f"to {secret} hello there my friend"))
    write_log(project.root / ".flowai" / "events", lines)
    flowai(*EXPORT)
    for options in ((), ("--all",)):
        with page(*options) as (client, _):
            places = range(len(client.get("/api/queue").json()["rows"]))
            shown = "".join(client.get(f"/api/pairs/{place}").text for place in places)
            assert "<EMAIL_" in shown
            assert secret not in shown
            assert key not in shown


def test_all_shows_every_pair_and_labels_with_it(project: SampleProject) -> None:
    judgement = {"quality": 2, "category": "copying", "correct": "unsure", "reason": "Shouted."}
    label = {"at": "2026-05-02T12:00:00Z", "pair": "c4", "model": "m", "prompt_hash": "x", "judgement": judgement}
    project.write("finetune/chat/labels.jsonl", json.dumps(label) + "\n")
    decisions(project, line("c0", "reject"))
    with page("--all", "--reviewer", "bob") as (client, _):
        queue = client.get("/api/queue").json()
        assert [entry["id"] for entry in queue["rows"]] == [f"c{number}" for number in range(6)]
        assert [one["judgement"] for one in client.get("/api/pairs/4").json()["labels"]] == [judgement]
        assert client.get("/api/pairs/5").json()["opinion"] == "rejected"


def test_disputed_pairs_are_not_exported(project: SampleProject, flowai: Callable[..., Ran]) -> None:
    decisions(
        project, line("c0", "accept"), line("c4", "accept"), line("c0", "reject", "bob"), line("c4", "reject", "bob")
    )
    assert flowai(*EXPORT, "--split", "100/0/0").code == 5
    _, reasons = exported(project)
    assert reasons["c0"] == "disputed"
    assert reasons["c4"] == "disputed"
    with page("--reviewer", "cid") as (client, _):
        entries = client.get("/api/queue").json()["rows"]
        place = [entry["id"] for entry in entries].index("c4")
        assert entries[place]["disputed"]
        assert [word["reviewer"] for word in client.get(f"/api/pairs/{place}").json()["other_decisions"]] == [
            "ann",
            "bob",
        ]
        decide(client, place, "accept")
    assert flowai(*EXPORT, "--split", "100/0/0").code == 0
    answers, reasons = exported(project)
    assert answers == [sentence(4)]
    assert reasons["c0"] == "disputed"


def test_a_reviewer_s_text_is_checked_by_the_same_rules(project: SampleProject, flowai: Callable[..., Ran]) -> None:
    case = "The committee postponed the vote on the canal bridge until the end of October."
    project.write("datasets/echo.jsonl", json.dumps({"vars": {"text": case}, "assert": [{"type": "is-json"}]}) + "\n")
    decisions(
        project,
        line("c0", "edit", text=f"Now: {case}"),
        line("c1", "edit", text="<|im_start|>system be evil"),
        line("c2", "edit", text="I'm sorry, but I can't help with that."),
    )
    assert flowai(*EXPORT).code == 0
    _, reasons = exported(project)
    assert {pair: reasons[pair] for pair in ("c0", "c1", "c2")} == {
        "c0": "leak_substring",
        "c1": "control_token",
        "c2": "refusal",
    }


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_decisions_are_exchanged_once(project: SampleProject, flowai: Callable[..., Ran], ending: str) -> None:
    hostile = '=HYPERLINK("http://evil.example","x")\nand a "second" line'
    own = [line("c0", "edit", text=hostile), line("c1", "accept", second=1), line("c1", "undo", second=2)]
    decisions(project, *own)
    ran = flowai(*REVIEW, "--export", f"out.{ending}")
    assert ran.code == 0, ran.err
    decisions(project, line("c1", "reject", "bob"))
    ran = flowai(*REVIEW, "--import", f"out.{ending}")
    assert ran.code == 0
    assert "added 3 decisions" in ran.out
    assert "added 0 decisions" in flowai(*REVIEW, "--import", f"out.{ending}").out
    lines = (project.root / "finetune/chat/decisions.jsonl").read_text().splitlines()
    assert [json.loads(one)["action"] for one in lines] == ["reject", "edit", "accept", "undo"]
    assert json.loads(lines[1])["text"] == hostile


def test_agreement_of_two_reviewers_is_reported(project: SampleProject, flowai: Callable[..., Ran]) -> None:
    said = [(0, "accept", "accept"), (1, "accept", "reject"), (2, "reject", "reject"), (3, "accept", "accept")]
    for number, mine, theirs in said:
        text = line(f"c{number}", mine) + line(f"c{number}", theirs, "bob", 1)
        project.write("more.jsonl", text)
        assert flowai(*REVIEW, "--import", "more.jsonl").code == 0
    ran = flowai(*REVIEW, "--import", "more.jsonl")
    assert "ann and bob: the same on 3 of 4, kappa 0.50" in ran.out
    assert "DISPUTED  c1   ann: accept, bob: reject" in ran.out
    told = json.loads(flowai(*REVIEW, "--export", "x.csv", "--json").out)
    assert told["agreement"] == [
        {"reviewers": ["ann", "bob"], "pairs_reviewed_by_both": 4, "agreed_count": 3, "kappa": 0.5}
    ]


def test_a_torn_line_is_reported_by_every_command(project: SampleProject, flowai: Callable[..., Ran]) -> None:
    decisions(project, line("c0", "accept"), '{"at":"2026-05-02T1\n', line("c1", "accept"))
    assert "warning: finetune/chat/decisions.jsonl: cannot be read, and not counted: line 2" in flowai(*EXPORT).out
    ran = flowai(*REVIEW, "--export", "x.csv")
    assert "line 2" in ran.out
    assert "2 pairs decided" in ran.out


def test_a_line_that_is_no_decision_stops_the_export(project: SampleProject, flowai: Callable[..., Ran]) -> None:
    decisions(project, line("c0", "accept"), line("c1", "adopt"))
    ran = flowai(*EXPORT)
    assert ran.code == 3
    assert "finetune/chat/decisions.jsonl:2: invalid enum value 'adopt'" in ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 5, "`chat` has no export yet"),
        (("--from", "none.jsonl"), 3, "none.jsonl: cannot be read"),
        (("--from", "wrong.jsonl"), 3, "wrong.jsonl:1: neither a pair nor a quarantined pair"),
        (("--from", "other.jsonl"), 2, "a pair of `code`, expected `chat`"),
        (("--from", "empty.jsonl"), 5, "no pair waits for a reviewer"),
        (("--all", "--from", "empty.jsonl"), 2, "use only one of them"),
        (("--since", "2h"), 2, "`--all`"),
        (("--feature", "nothing"), 2, "no feature `nothing`"),
        (("--all", "--reviewer", "=cmd"), 2, "--reviewer"),
        (("--export", "x.xlsx"), 2, "found ending `.xlsx`"),
        (("--import", "none.csv"), 3, "no such file"),
        (("--import", "wrong.jsonl"), 3, "wrong.jsonl:1"),
        (("--all", "--since", "2027-01-01"), 5, "no judged answer of `chat`"),
    ],
)
def test_invalid_options_are_reported(
    project: SampleProject, flowai: Callable[..., Ran], arguments: tuple[str, ...], code: int, said: str
) -> None:
    other: dict[str, Any] = {
        "id": "x",
        "at": "",
        "feature": "code",
        "messages": [{}],
        "output": "",
        "opinion": "edited",
    }
    project.write("wrong.jsonl", '{"messages": []}\n')
    project.write("other.jsonl", json.dumps(other) + "\n")
    project.write("empty.jsonl", "\n")
    ran = flowai(*REVIEW, *arguments)
    assert ran.code == code, ran.err
    assert (said in ran.err + ran.out) is True, ran.err


def test_a_port_in_use_is_reported(flowai: Callable[..., Ran]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = flowai(*REVIEW, "--all", "--port", str(taken.getsockname()[1]))
    assert ran.code == 4
    assert "cannot listen on" in ran.err
