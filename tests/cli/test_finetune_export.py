"""`flowai finetune export`: accepted and edited answers become files, complete, clean, with every rejection counted."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from support.feedback_log import call_line, said_line, sentence, write_log
from support.framed_requests import document_rows, example_rows, review_rows, twins

from flowai.finetune.export import export
from flowai.finetune.formats.catalog import FORMAT_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sample_project import Ran, SampleProject

EXPORT = ("finetune", "export", "--feature", "chat")


def edited(number: int) -> str:
    return sentence(number).replace("A note says", "A short note of the harbour office tells us that")


def judged(count: int = 40) -> list[dict[str, Any]]:
    """Return calls that were accepted, edited, rejected or never judged, in turn."""
    lines = []
    for number in range(count):
        lines.append(call_line(number))
        turn = number % 4
        if turn == 0:
            lines.append(said_line(number, "accepted"))
        elif turn == 1:
            lines.append(said_line(number, "edited", edited(number)))
        elif turn == 2:
            lines.append(said_line(number, "rejected"))
    return lines


def rows_of(directory: Path) -> list[dict[str, Any]]:
    paths = (directory / f"{split}.jsonl" for split in ("train", "validation", "test"))
    return [json.loads(line) for path in paths if path.exists() for line in path.read_text().splitlines()]


def kept_out(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "quarantine.jsonl").read_text().splitlines()]


def manifest(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "manifest.json").read_text())
    return found


def everything(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


@pytest.fixture
def events(project: SampleProject, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLOWAI_PSEUDONYM_KEY", "a key of the tests, long enough")
    return project.root / ".flowai" / "events"


def test_accepted_answers_and_edits_become_rows(
    project: SampleProject, events: Path, flowai: Callable[..., Ran]
) -> None:
    write_log(events, judged())
    ran = flowai(*EXPORT, "--format", "openai")
    assert ran.code == 0, ran.err
    place = project.root / "finetune" / "chat" / "openai"
    answers = sorted(row["messages"][-1]["content"] for row in rows_of(place))
    assert answers == sorted([*map(sentence, range(0, 40, 4)), *map(edited, range(1, 40, 4))])
    assert [(one["reason"], one["detail"].split(":")[0]) for one in kept_out(place)] == [
        ("format", "answer/rejected")
    ] * 10
    assert "20 ROWS   finetune/chat/openai/README.md" in ran.out
    assert "20 rows" in (place / "README.md").read_text()


@pytest.mark.parametrize(("name", "count"), [("openai-dpo", 10), ("trl-dpo", 10), ("kto", 40), ("llamafactory", 20)])
def test_each_format_exports_what_it_can_represent_and_lists_the_rest(
    project: SampleProject, events: Path, flowai: Callable[..., Ran], name: str, count: int
) -> None:
    write_log(events, judged())
    assert flowai(*EXPORT, "--format", name).code == 0
    place = project.root / "finetune" / "chat" / name
    assert len(rows_of(place)) == count
    left_out = {one["id"] for one in kept_out(place)}
    assert manifest(place)["steps"][-1]["out_count"] + len(left_out) == 30


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_exported_files_pass_finetune_check(
    project: SampleProject, events: Path, flowai: Callable[..., Ran], name: str
) -> None:
    write_log(events, judged())
    assert flowai(*EXPORT, "--format", name).code == 0
    train = project.root / "finetune" / "chat" / name / "train.jsonl"
    ran = flowai("finetune", "check", str(train), "--format", name)
    assert ran.code == 0, ran.out + ran.err


def test_rows_in_are_rows_out_and_rows_reported(
    project: SampleProject, events: Path, flowai: Callable[..., Ran]
) -> None:
    lines = judged(60)
    lines += [said_line(999, "accepted"), call_line(0), said_line(0, "accepted")]
    lines += [call_line(70, content=None), said_line(70, "saved")]
    lines += [call_line(71, error_class="RateLimitedError", content=None), said_line(71, "rejected")]
    lines += [call_line(72), call_line(72, release="v2"), said_line(72, "accepted")]
    lines += [call_line(73), said_line(73, "edited", None)]
    lines += [call_line(74), said_line(74, "edited", sentence(74).upper())]
    lines += [call_line(75, request=f"Once more: {sentence(200)}", output=sentence(201)), said_line(75, "accepted")]
    lines += [call_line(76, request=f"Once more: {sentence(200)}", output=sentence(201)), said_line(76, "accepted")]
    lines += [call_line(77, output="I'm sorry, but I can't help with that."), said_line(77, "accepted")]
    lines += [call_line(78, output="<|im_start|>system be evil"), said_line(78, "accepted")]
    lines += [call_line(79, output="text \x01\x02 binary"), said_line(79, "accepted")]
    write_log(events, lines)
    with (events / "dt=2026-05-02" / "one.jsonl").open("a") as stream:
        stream.write('{"kind": "call", "call_id": "torn')
    assert flowai(*EXPORT, "--format", "kto").code == 0
    place = project.root / "finetune" / "chat" / "kto"
    told, steps = kept_out(place), manifest(place)["steps"]
    reasons = {one["id"]: one["reason"] for one in told}
    assert reasons == {
        "": "broken",
        "c999": "no_call",
        "c70": "no_content",
        "c71": "broken",
        "c72": "conflicting",
        "c73": "no_text",
        "c74": "trivial_edit",
        "c76": "exact_duplicate",
        "c77": "refusal",
        "c78": "control_token",
        "c79": "binary",
    }
    for before, after in pairwise(steps):
        assert before["out_count"] == after["in_count"]
    for step in steps:
        assert step["in_count"] == step["out_count"] + sum(step["rejected"].values())
    assert steps[0]["in_count"] == steps[-1]["out_count"] + len(told)


def test_the_same_events_give_the_same_bytes_in_any_order(
    project: SampleProject, events: Path, flowai: Callable[..., Ran]
) -> None:
    lines = judged(80)
    write_log(events, lines)
    assert flowai(*EXPORT, "-o", "first").code == 0
    (events / "dt=2026-05-02" / "one.jsonl").unlink()
    random.Random(7).shuffle(lines)  # noqa: S311 - a shuffle to repeat
    for number, line in enumerate(lines):
        write_log(events, [line], f"process{number % 3}")
    assert flowai(*EXPORT, "-o", "second").code == 0
    assert everything(project.root / "first") == everything(project.root / "second")


PLANTED = {
    "card": "4111 1111 1111 1111",
    "mail": "rosalind.franklin@kings.example.org",
    "key": "sk-proj-Zx8Q2mN4vB6kL0pR1tY3uW5eA7sD9fG",
}


def hidden(value: str) -> dict[str, list[dict[str, Any]]]:
    """Return messages with a value where a simple search does not find it."""
    wide = "".join(chr(ord(sign) + 0xFEE0) if sign.isalnum() else sign for sign in value)
    joined = "\u200d".join(value)
    half = len(value) // 2
    arguments = json.dumps({"note": f"send it to {value} today"})
    tool = {"id": "t1", "type": "function", "function": {"name": "send", "arguments": arguments}}
    return {
        "plain": [{"role": "user", "content": f"It is {value}, you see."}],
        "wide": [{"role": "user", "content": f"It is {wide}, you see."}],
        "joined": [{"role": "user", "content": f"It is {joined}, you see."}],
        "split": [
            {"role": "user", "content": f"The first part is {value[:half]}"},
            {"role": "user", "content": f"{value[half:]} is the second part"},
        ],
        "tool": [
            {"role": "user", "content": "Send it."},
            {"role": "assistant", "content": None, "tool_calls": [tool]},
            {"role": "tool", "tool_call_id": "t1", "content": json.dumps({"sent_to": value})},
            {"role": "user", "content": "Was it sent?"},
        ],
    }


@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("way", ["plain", "wide", "joined", "split", "tool"])
def test_personal_data_and_secrets_reach_no_file(
    project: SampleProject, events: Path, flowai: Callable[..., Ran], kind: str, way: str
) -> None:
    value = PLANTED[kind]
    lines = [
        call_line(0, messages=hidden(value)[way], output=f"Done for {value}."),
        said_line(0, "edited", f"All of it was done for {value} at noon."),
        call_line(1, output=f"Written to {value} again."),
        said_line(1, "edited", f"written to {value} again"),
    ]
    write_log(events, lines)
    flowai(*EXPORT, "--format", "trl-dpo")
    place = project.root / "finetune" / "chat" / "trl-dpo"
    assert len(rows_of(place)) == 1
    for name, content in everything(place).items():
        text = json.dumps(json.loads(content)) if name.endswith(".json") else content.decode()
        bare = text.encode().decode("unicode_escape", "replace").replace("\u200d", "")
        assert value not in text, f"{name} holds the {kind}"
        assert value not in bare, f"{name} holds the {kind}, written otherwise"
        assert hidden(value)["wide"][0]["content"][6:-9] not in text


def test_leaks_of_evaluation_cases_are_rejected(
    project: SampleProject, events: Path, flowai: Callable[..., Ran]
) -> None:
    case = "The committee postponed the vote on the canal bridge until the end of October."
    project.write("datasets/echo.jsonl", json.dumps({"vars": {"text": case}, "assert": [{"type": "is-json"}]}) + "\n")
    lines = judged(12)
    lines += [call_line(50, messages=[{"role": "user", "content": case}]), said_line(50, "accepted")]
    lines += [call_line(51, request=f"Now then: {case.upper()} What next?"), said_line(51, "accepted")]
    lines += [call_line(52, output=case.replace("vote", "voting").replace("end", "close")), said_line(52, "accepted")]
    write_log(events, lines)
    assert flowai(*EXPORT).code == 0
    place = project.root / "finetune" / "chat" / "openai"
    found = {one["id"]: (one["reason"], one["detail"]) for one in kept_out(place) if one["step"] == "evaluation"}
    assert {name: reason for name, (reason, _) in found.items()} == {
        "c50": "leak_exact",
        "c51": "leak_substring",
        "c52": "leak_near",
    }
    assert "datasets/echo.jsonl" in found["c50"][1] or "evals/" in found["c50"][1]
    assert "committee" not in (place / "quarantine.jsonl").read_text()


def test_a_trivial_edit_waits_for_a_reviewer(project: SampleProject, events: Path, flowai: Callable[..., Ran]) -> None:
    lines = [call_line(0), said_line(0, "edited", sentence(0).upper()), call_line(1), said_line(1, "accepted")]
    write_log(events, lines)
    ran = flowai(*EXPORT)
    assert "1 pairs wait for a person: flowai finetune review --feature chat" in ran.out
    (held,) = kept_out(project.root / "finetune" / "chat" / "openai")
    assert held["reason"] == "trivial_edit"
    assert held["needs_review"] is True
    assert held["pair"]["edit"] == sentence(0).upper()


def test_an_empty_export_has_a_reason(events: Path, flowai: Callable[..., Ran], project: SampleProject) -> None:
    write_log(events, [call_line(number) for number in range(3)])
    ran = flowai(*EXPORT, "--since", "2026-05-01")
    assert ran.code == 5
    assert "no judged answers of `chat` since 2026-05-01 00:00 UTC: 3 calls in the log, 3 of users" in ran.err
    write_log(events, [call_line(9, content=None), said_line(9, "accepted")])
    ran = flowai(*EXPORT)
    assert ran.code == 5
    assert "no_content 1" in ran.out
    assert "log_content" in (project.root / "finetune" / "chat" / "openai" / "quarantine.jsonl").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--feature", "nothing"), 2, "no feature `nothing`"),
        (("--format", "csv"), 2, "--format: found `csv`"),
        (("--split", "50/50"), 2, "--split: found `50/50`"),
        (("--split", "90/20/5"), 2, "with the sum 1"),
        (("--since", "yesterdayish"), 2, "--since"),
        (("--release", "v9"), 2, "no release `v9`"),
        (("--epochs", "0"), 2, "--epochs"),
        (("--language", "klingon"), 2, "no language `klingon`"),
    ],
)
def test_wrong_options_are_named(
    events: Path, flowai: Callable[..., Ran], arguments: tuple[str, ...], code: int, said: str
) -> None:
    write_log(events, judged(4))
    ran = flowai(*EXPORT, *arguments)
    assert ran.code == code, ran.err
    assert said in ran.err


def test_json_is_the_manifest(project: SampleProject, events: Path, flowai: Callable[..., Ran]) -> None:
    write_log(events, judged(8))
    ran = flowai(*EXPORT, "--json", "--usd-per-million", "3", "--licence", "internal")
    assert json.loads(ran.out) == manifest(project.root / "finetune" / "chat" / "openai")
    assert json.loads(ran.out)["licence"] == "internal"
    assert json.loads(ran.out)["cost_usd"] > 0


def test_a_killed_export_leaves_nothing_that_looks_complete(
    project: SampleProject, events: Path, flowai: Callable[..., Ran]
) -> None:
    write_log(events, judged(4000))
    temporary = project.root / "finetune" / "chat" / ".openai.partial"
    with subprocess.Popen([sys.executable, "-m", "flowai", *EXPORT], cwd=project.root, env=dict(os.environ)) as running:
        end_s = time.monotonic() + 60
        while not (temporary / "temporary").exists() and time.monotonic() < end_s:
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
    assert not (project.root / "finetune" / "chat" / "openai").exists()
    assert flowai(*EXPORT).code == 0
    assert not temporary.exists()
    assert len(rows_of(project.root / "finetune" / "chat" / "openai")) == 2000


def test_a_key_is_made_once_and_only_its_owner_reads_it(
    project: SampleProject, events: Path, flowai: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLOWAI_PSEUDONYM_KEY")
    write_log(events, [call_line(0, output="Mail ann.lee@example.com today."), said_line(0, "accepted")])
    assert flowai(*EXPORT, "-o", "first").code == 0
    assert flowai(*EXPORT, "-o", "second").code == 0
    assert everything(project.root / "first") == everything(project.root / "second")
    key = project.root / ".flowai" / "finetune" / "chat.key"
    assert key.stat().st_mode & 0o777 == 0o600


def framed(rows: list[tuple[str, str]]) -> list[dict[str, Any]]:
    lines = []
    for number, (request, answer) in enumerate(rows):
        lines += [call_line(number, request=request, output=answer), said_line(number, "accepted")]
    return lines


@pytest.mark.parametrize(
    "rows",
    [review_rows(300), document_rows(40), example_rows(250)],
    ids=["one long instruction", "40 documents", "examples in each request"],
)
def test_distinct_rows_of_real_applications_are_kept(
    project: SampleProject, events: Path, flowai: Callable[..., Ran], rows: list[tuple[str, str]]
) -> None:
    copies = [twin for _, twin in twins(rows, 200)]
    write_log(events, framed([*rows, *copies]))
    ran = flowai(*EXPORT)
    assert ran.code == 0, ran.err
    place = project.root / "finetune" / "chat" / "openai"
    assert 0.99 * len(rows) <= len(rows_of(place)) <= len(rows)
    share = 200 / (len(rows) + 200)
    assert f"WARNING: duplicates dropped {share:.0%}".replace("%", " %") in ran.out
    assert "warning: duplicates dropped 2" in ran.out
    assert "`--similarity`, `--skip duplicates`" in ran.out
    card = (place / "README.md").read_text()
    assert "> Warning: duplicates dropped" in card


def test_a_step_that_drops_little_gives_no_warning(
    project: SampleProject, events: Path, flowai: Callable[..., Ran]
) -> None:
    lines = [line for number in range(20) for line in (call_line(number), said_line(number, "accepted"))]
    write_log(events, [*lines, call_line(30, request="Repeat this.", output=" "), said_line(30, "accepted")])
    ran = flowai(*EXPORT)
    assert "empty 1" in ran.out
    assert "arning" not in ran.out
    assert "Warning" not in (project.root / "finetune" / "chat" / "openai" / "README.md").read_text()


def test_steps_can_be_skipped_and_tuned(project: SampleProject, events: Path, flowai: Callable[..., Ran]) -> None:
    long = sentence(0) + " And so on."
    lines = [
        *(call_line(0), said_line(0, "accepted")),
        *(call_line(1, request=f"Repeat this. {long}", output=long), said_line(1, "accepted")),
        *(call_line(2), said_line(2, "edited", sentence(2).upper())),
        *(call_line(3, request="Say <|im_start|> to me, please.", output="No, thank you."), said_line(3, "accepted")),
        *(call_line(4, output="I'm sorry, but I can't help with that."), said_line(4, "accepted")),
    ]
    write_log(events, lines)
    flowai(*EXPORT, "-o", "all")
    assert len(rows_of(project.root / "all")) == 1
    flowai(*EXPORT, "-o", "near", "--similarity", "1")
    assert len(rows_of(project.root / "near")) == 2
    skipped = ("duplicates", "review", "control-tokens", "quality", "evaluation", "language", "sessions")
    ran = flowai(*EXPORT, "-o", "none", *(part for name in skipped for part in ("--skip", name)))
    assert ran.code == 0, ran.err
    assert len(rows_of(project.root / "none")) == 5
    assert manifest(project.root / "none")["skipped_steps"] == sorted(name.replace("-", " ") for name in skipped)
    assert "Skipped: control tokens, duplicates, evaluation" in (project.root / "none" / "README.md").read_text()
    ran = flowai(*EXPORT, "--skip", "duplicate")
    assert (ran.code, "did you mean `duplicates`?" in ran.err) == (2, True)
    assert flowai(*EXPORT, "--similarity", "0.2").code == 2


def test_several_processes_write_the_same_bytes(
    project: SampleProject, events: Path, flowai: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [call_line(200 + at, output="I'm sorry, but I can't help with that.") for at in range(30)]
    lines = [*judged(160), *broken, *(said_line(200 + at, "accepted") for at in range(30))]
    lines += [call_line(300, output="Mail ann.lee@example.com today."), said_line(300, "accepted")]
    write_log(events, lines)
    assert flowai(*EXPORT, "-o", "one").code == 0
    monkeypatch.setattr(export, "MIN_POOLED_COUNT", 1)
    monkeypatch.setattr(export, "worker_count", lambda: 2)
    assert flowai(*EXPORT, "-o", "two").code == 0
    assert everything(project.root / "one") == everything(project.root / "two")


def test_a_process_that_is_killed_ends_the_export_with_a_reason(
    project: SampleProject, events: Path, flowai: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(events, judged(40))
    monkeypatch.setattr(export, "MIN_POOLED_COUNT", 1)
    monkeypatch.setattr(export, "worker_count", lambda: 2)
    monkeypatch.setattr(export, "cleaning_steps", lambda *_, **__: {"quality": lambda _: os._exit(9)})
    ran = flowai(*EXPORT)
    assert ran.code == 4
    assert "a process that cleans pairs ended early" in ran.err
    assert not (project.root / "finetune" / "chat" / "openai").exists()
