"""Every command, option, file, variable and extra that a message, a help text or a page names is really there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer  # noqa: TID251 - messages are compared with the real command line
from support.source_code import MODULES, ROOT, parse_module

from flowai.cli.app import app
from flowai.evals.suites.datasets import SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").rglob("*.md")
)

GAP = "\x00"
"""Stands for what an f-string fills in."""
QUOTED = re.compile(r"`([^`\n]+)`")
COMMAND_LINE = re.compile(r"(?:^|[:;] |\brun |\$ )flowai ([^`\n]+)", re.MULTILINE)
"""Commands of printed lines, which stand without marks: `next: flowai release promote`."""
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
PROJECT_FILES = re.compile(
    r"(?:registry(?:\.[^/]+)?\.yaml|prompts\.lock|\.env|\.gitignore|quarantine\.jsonl|run\.jsonl|README\.md|manifest\.json"
    r"|(?:evals|datasets|prompts|reports|finetune|\.flowai|words)/.*)"
)
"""What a user's project has, or flowai writes into it."""


def strings(file: Path) -> Iterator[tuple[str, str, bool]]:
    """Yield place and text of every string of a module, and whether it is a docstring.

    An f-string has gaps where it is filled in.
    """
    name = file.relative_to(ROOT)
    passed_over: set[int] = set()
    docstrings: set[int] = set()
    for node in ast.walk(parse_module(file)):  # parents come before their children
        if isinstance(node, ast.Expr):
            docstrings.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            passed_over.update(id(part) for part in node.values)
            parts = (str(part.value) if isinstance(part, ast.Constant) else GAP for part in node.values)
            yield f"{name}:{node.lineno}", "".join(parts), id(node) in docstrings
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in passed_over:
            yield f"{name}:{node.lineno}", node.value, id(node) in docstrings


def pages() -> list[tuple[str, str]]:
    """Return (place, text) of every line of the docs."""
    return [
        (f"{page.relative_to(ROOT)}:{number}", line)
        for page in PAGES
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1)
    ]


@cache
def all_strings() -> list[tuple[str, str, bool]]:
    return [string for file in MODULES for string in strings(file)]


def messages() -> list[tuple[str, str]]:
    """Return (place, text) of the strings that are no docstrings."""
    return [(place, text) for place, text, is_docstring in all_strings() if not is_docstring]


def all_texts() -> list[tuple[str, str]]:
    """Return (place, text) of every string of the code and every line of the docs."""
    return [(place, text) for place, text, _ in all_strings()] + pages()


def commands() -> dict[str, Any]:
    """Return every command by its words; the command line itself is the empty one."""
    found: dict[str, Any] = {}

    def walk(words: tuple[str, ...], command: Any) -> None:
        found[" ".join(words)] = command
        for name in getattr(command, "commands", {}):
            walk((*words, name), command.commands[name])

    walk((), typer.main.get_command(app))
    return found


COMMANDS = commands()
OPTIONS = {
    name: {"--help", "--debug", *(flag for param in command.params for flag in (*param.opts, *param.secondary_opts))}
    for name, command in COMMANDS.items()
}


def command_lines(text: str) -> Iterator[tuple[str, bool]]:
    """Yield what follows `flowai` in a text, and whether marks or a line's begin say that it is a command."""
    for quoted in QUOTED.findall(text):
        if quoted.startswith("flowai "):
            yield quoted.removeprefix("flowai "), True
    for line in COMMAND_LINE.findall(QUOTED.sub("", text)):
        yield line, line.split()[0] in COMMANDS


def wrong_part(line: str) -> str | None:
    """Return the word of a command line that does not exist; None where all do."""
    words = re.sub(rf"(?<=[\w-]){GAP}+", "", line).split()
    name = ""
    while words and hasattr(COMMANDS[name], "commands"):
        if words[0].startswith(("-", "[", GAP, "...", "COMMAND")):
            break
        kinds = words.pop(0).strip(",.:;").split("|")
        longer = [f"{name} {kind}".strip() for kind in kinds]
        for one in longer:
            if one not in COMMANDS:
                return one
        name = longer[0]
        if len(longer) > 1:
            return None
    return next((option for word in words for option in OPTION.findall(word) if option not in OPTIONS[name]), None)


def test_every_command_that_is_named_exists() -> None:
    lines = [(place, line) for place, text in all_texts() for line, is_command in command_lines(text) if is_command]
    assert [
        f"{place}: flowai {line}: {wrong_part(line)}" for place, line in lines if wrong_part(line) is not None
    ] == []
    assert len(lines) > 200


@pytest.mark.parametrize("line", ["start", "release begin", "eval --no-such", "finetune check|chekc", "smoke x --by y"])
def test_a_command_that_is_none_would_be_noticed(line: str) -> None:
    assert wrong_part(line) is not None


def quoted(texts: list[tuple[str, str]], pattern: str) -> list[tuple[str, str]]:
    """Return (place, text) of what stands between marks and begins with a pattern."""
    return [(place, one) for place, text in texts for one in QUOTED.findall(text) if re.match(pattern, one)]


def test_every_option_that_a_message_names_exists() -> None:
    every = set.union(*OPTIONS.values())
    found = quoted(messages(), "--")
    assert [f"{place}: {text}" for place, text in found if not set(OPTION.findall(text)) <= every] == []
    assert len(found) > 20


def test_every_target_of_make_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    found = quoted(all_texts(), "make ")
    assert [f"{place}: {text}" for place, text in found if text.split()[1] not in targets] == []
    assert found


def is_there(name: str) -> bool:
    """Return whether a file is in the repository, a decision note by its number too, or one that a project has."""
    path = ROOT / name
    return bool(PROJECT_FILES.fullmatch(name)) or path.exists() or bool(list(path.parent.glob(f"{path.name}-*.md")))


def test_every_file_that_a_message_names_exists_or_is_a_projects() -> None:
    endings = "|".join(re.escape(ending) for ending in (*SUFFIXES, ".md", ".py", ".toml", ".lock", ".env", ".prompt"))
    found = quoted(messages(), rf"[\w./-]*[\w-](?:{endings})$")
    pages_of_docs = r"\bdocs/(?:how-to|reference|explanation|tutorial|decisions)[\w/.-]*\w"
    found += [(place, name) for place, text in all_texts() for name in re.findall(pages_of_docs, text)]
    assert [f"{place}: {name}" for place, name in found if not is_there(name)] == []
    assert len(found) > 10


def test_every_variable_that_is_named_is_read() -> None:
    read = {text for _, text in messages() if re.fullmatch(r"FLOWAI_[A-Z_]+", text)}
    named = {name: place for place, text in all_texts() for name in re.findall(r"\bFLOWAI_[A-Z_]+\b", text)}
    # test groups are switched on by variables of their own
    assert {name: place for name, place in named.items() if name not in read | {"FLOWAI_TEST_SERVICES"}} == {}


@pytest.mark.parametrize("program", [one for _, text in pages() for one in re.findall(r"python -c '([^']+)'", text)])
def test_every_program_of_the_docs_prints_a_file_that_is_there(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).is_file()


def test_every_extra_that_is_named_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {
        extra
        for _, text in all_texts()
        for extras in re.findall(r"flowai\[([a-z,]+)\]", text)
        for extra in extras.split(",")
    }
    assert named <= set(project["optional-dependencies"])
    assert named
