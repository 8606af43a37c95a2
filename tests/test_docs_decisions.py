"""Decision notes: title with topic and answer, status, package; the index lists every note once and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DECISIONS = Path(__file__).resolve().parent.parent / "docs" / "decisions"
NOTES = {note.name: note.read_text(encoding="utf-8") for note in sorted(DECISIONS.glob("[0-9]*.md"))}
NUMBERS = {name[:4] for name in NOTES}

HEAD = re.compile(
    r"# (?P<number>\d{4}): (?P<topic>[^:\n]+): (?P<answer>[^:\n]+)\n\n"
    r"Status: (?P<status>accepted|(?:accepted, amended|superseded) by (?P<later>\d{4}))\n\n"
    r"Package: (?P<package>[a-z]+)\n\n"
)


@pytest.mark.parametrize("name", NOTES)
def test_a_note_begins_with_topic_answer_status_and_package(name: str) -> None:
    head = HEAD.match(NOTES[name])
    assert head is not None
    assert head["number"] == name[:4]


@pytest.mark.parametrize("name", NOTES)
def test_the_later_note_of_a_status_exists_and_is_linked(name: str) -> None:
    head = HEAD.match(NOTES[name])
    assert head is not None
    if head["later"]:
        assert head["later"] in NUMBERS
        assert head["later"] != head["number"]
        assert f"[{head['later']}]({head['later']}-" in NOTES[name]


def test_the_index_lists_every_note_once_under_its_package() -> None:
    listed: dict[str, str] = {}
    package = ""
    for line in (DECISIONS / "README.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            package = line.removeprefix("## ")
        for name in re.findall(r"\]\((\d{4}-[^)]+)\)", line):
            assert name not in listed
            listed[name] = package
    assert listed == {name: re.findall(r"^Package: (.+)$", text, re.MULTILINE)[0] for name, text in NOTES.items()}
