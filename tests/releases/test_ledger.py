"""The ledger: whatever stands in a line, it is read or it is named, and never stops a command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.release_project import release_project

from flowai.releases.ledger import read_ledger

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = {
    "schema_version": 1,
    "id": "a",
    "at": "2026-05-02T09:30:00Z",
    "actor": "ann",
    "action": "publish",
    "release": "v2",
}


def line(**changes: Any) -> bytes:
    return json.dumps({**WHOLE, **changes}).encode()


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"torn":',
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b"\x00\x00\x00",
        b"\xff\xfe",
        line(schema_version=2),
        line(action="dance"),
        line(at="2026-05-02T09:30:00"),
        line(at="soon"),
        line(to_stage={}),
        line(release=None),
        line(evidence=[]),
        line(rolled_back="v2"),
    ],
    ids=lambda raw: raw.decode("latin-1")[-30:],
)
def test_unreadable_lines_are_reported_and_the_others_count(tmp_path: Path, damaged: bytes) -> None:
    project = release_project(tmp_path).project
    (project.ledger).mkdir(parents=True)
    (project.ledger / "default.jsonl").write_bytes(b"\n".join((line(), damaged, b"", line(id="b", action="promote"))))
    ledger = read_ledger(project, None)
    assert [entry.id for entry in ledger.entries] == ["a", "b"]
    assert ledger.damaged == (2,)
    assert ledger.warnings == (".flowai/ledger/default.jsonl:2: not a line of the ledger; it is skipped",)


def test_a_duplicate_step_counts_once(tmp_path: Path) -> None:
    project = release_project(tmp_path).project
    (project.ledger).mkdir(parents=True)
    (project.ledger / "prod.jsonl").write_bytes(b"\n".join((line(), line(who="bob"), line(id="b", new_field=1))))
    ledger = read_ledger(project, "prod")
    assert [(entry.id, entry.actor) for entry in ledger.entries] == [("a", "ann"), ("b", "ann")]
    assert ledger.damaged == ()


def test_only_done_steps_count_and_later_ones_hide_what_was_started(tmp_path: Path) -> None:
    project = release_project(tmp_path).project
    (project.ledger).mkdir(parents=True)
    lines = (
        line(id="a", progress="started"),
        line(id="a"),
        line(id="a", progress="started"),
        line(id="b", progress="started"),
        line(id="c", progress="started"),
        line(id="c", progress="withdrawn"),
        line(id="d", progress="started", experiment="tone", action="stop"),
    )
    (project.ledger / "default.jsonl").write_bytes(b"\n".join(lines))
    ledger = read_ledger(project, None)
    assert [entry.id for entry in ledger.entries] == ["a"]
    assert [entry.id for entry in ledger.unfinished] == ["b", "d"]
    assert ledger.unfinished_step is not None
    assert ledger.unfinished_step.id == "b"
    with (project.ledger / "default.jsonl").open("ab") as stream:
        stream.write(b"\n" + line(id="e"))
    ledger = read_ledger(project, None)
    assert [entry.id for entry in ledger.entries] == ["a", "e"]
    assert [entry.id for entry in ledger.unfinished] == ["d"]
