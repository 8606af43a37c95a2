"""Help of every command: groups, uncut lines, metavars, and examples that the real command line parses."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.command_line import ROOT, parse_command

from flowai.cli.app import run
from flowai.cli.command_group import COMMAND_GROUPS
from flowai.cli.commands.evaluate.eval import OPTION_GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS_DIRECTORY = Path(__file__).resolve().parents[2] / "flowai" / "cli" / "commands"
MIN_EXAMPLES = 2


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, (*path, name))


COMMANDS = dict(walk(ROOT))
EXAMPLES = [(path, line) for path, command in COMMANDS.items() for line in (command.epilog or "").splitlines()]


@pytest.fixture(params=COMMANDS, ids=lambda path: " ".join(("flowai", *path)))
def path(request: pytest.FixtureRequest) -> tuple[str, ...]:
    path: tuple[str, ...] = request.param
    return path


@pytest.fixture
def page(path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    assert run([*path, "--help"]) == 0
    return capsys.readouterr().out


def test_every_command_is_in_one_group() -> None:
    grouped = [name for names in COMMAND_GROUPS.values() for name in names]
    modules = {path.stem.rstrip("_").replace("_", "-") for path in COMMANDS_DIRECTORY.glob("*/[a-z]*.py")}
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == modules


def test_help_shows_the_groups_in_order(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run(["--help"])
    headings = re.findall(r"^(\w+):$", capsys.readouterr().out, re.MULTILINE)
    assert [heading for heading in headings if heading in COMMAND_GROUPS] == list(COMMAND_GROUPS)


def test_no_line_is_cut_or_wider_than_the_terminal(page: str) -> None:
    assert [
        line for line in page.splitlines() if len(line) > 80 or "..." in re.sub(r"[\[{][A-Z]+[\]}]\.\.\.", "", line)
    ] == []
    assert "…" not in page


def test_each_command_of_a_group_has_one_line(path: tuple[str, ...], page: str) -> None:
    for name, command in getattr(COMMANDS[path], "commands", {}).items():
        summary = command.help.strip().splitlines()[0]
        assert re.search(rf"^  {name} +{re.escape(summary)}$", page, re.MULTILINE)


def test_metavars_are_words(page: str) -> None:
    assert re.findall(r"<[^>]*>", page) == []


def test_sentences_are_whole(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    texts = [command.help, *(param.help for param in command.params if param.help)]
    assert [text for text in texts if not (text[0].isupper() or text[0] in "`.") or text.rstrip()[-1] not in ".`"] == []


def test_help_ends_with_examples(path: tuple[str, ...], page: str) -> None:
    lines = COMMANDS[path].epilog.splitlines()
    assert len(lines) >= MIN_EXAMPLES
    section = "Examples:\n" + "".join(f"  {line}\n" for line in lines)
    assert (section if path else f"{section}\nExit codes:\n") in page
    assert page.endswith(section) or not path


@pytest.mark.parametrize(("path", "line"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_examples_parse(path: tuple[str, ...], line: str) -> None:
    program, *arguments = shlex.split(line)
    assert program == "flowai"
    assert tuple(arguments[: len(path)]) == path
    parse_command(line)


def test_an_unknown_option_in_an_example_would_be_found() -> None:
    from typer.exceptions import TyperException  # noqa: TID251 - as above

    with pytest.raises(TyperException):
        test_examples_parse(("eval",), "flowai eval --modle gpt-4o-mini")


def test_every_option_of_eval_is_in_one_section(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["eval", "--help"]) == 0
    page = capsys.readouterr().out
    grouped = [option for options in OPTION_GROUPS.values() for option in options]
    assert len(grouped) == len(set(grouped))
    assert {*grouped} == {"--help", *(param.opts[0] for param in COMMANDS["eval",].params if param.opts[0][0] == "-")}
    headings = re.findall(r"^(\w[\w ]*):$", page, re.MULTILINE)
    assert headings == ["Arguments", *OPTION_GROUPS, "Examples"]
    assert list(re.findall(r"^  (?:-\w, )?(--[\w-]+)", page, re.MULTILINE)) == grouped
