"""README and docs: links lead somewhere, commands parse, examples are valid, decision notes have their form."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer  # noqa: TID251 - the docs are held against the real command line
import yaml
from typer.exceptions import TyperException  # noqa: TID251 - as above

from flowai.cli.app import app
from flowai.errors import ExitCode

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(DOCS.rglob("*.md"))
EXAMPLES = sorted((DOCS / "examples").glob("*.yml"))
NOTES = sorted((DOCS / "decisions").glob("[0-9]*.md"))

FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"^(?:\$ |- run: |- |)(?:[A-Z_]+=\S+ )*(?:\S*/)?flowai (.*)$")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _blocks(page: Path, *languages: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return [body for language, body in FENCE.findall(text) if language in languages]


def _anchors(page: Path) -> set[str]:
    """Give the anchors GitHub makes of a page's headings."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _command_lines(text: str) -> list[str]:
    matches = (COMMAND.match(line.strip()) for line in text.splitlines())
    return [match[1] for match in matches if match]


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in LINK.findall(prose):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target), link


COMMANDS = [
    (_name(page), line) for page in PAGES for block in _blocks(page, "sh", "console") for line in _command_lines(block)
] + [(_name(file), line) for file in EXAMPLES for line in _command_lines(file.read_text(encoding="utf-8"))]


def _parse(line: str) -> None:
    """Parse a command line, calling nothing; raises TyperException where it is wrong."""
    words = shlex.split(re.split(r"\|\||&&|[|;]", line)[0], comments=True)
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    context = command.make_context("flowai", words)
    if hasattr(command, "commands") and words and not words[0].startswith("-"):  # a group may be called by itself
        command.resolve_command(context, words)


@pytest.mark.parametrize(("file", "line"), COMMANDS)
def test_every_command_in_the_docs_parses(file: str, line: str) -> None:
    try:
        _parse(line)
    except TyperException as error:
        pytest.fail(f"{file}: `flowai {line}`: {error.format_message()}")


@pytest.mark.parametrize("line", ["eval --no-such-option", "smoke --release", "nothing at all"])
def test_a_wrong_command_would_be_noticed(line: str) -> None:
    with pytest.raises(TyperException):
        _parse(line)


def test_the_docs_show_commands_at_all() -> None:
    assert len(COMMANDS) > 20


@pytest.mark.parametrize("page", [page for page in PAGES if _blocks(page, "yaml")], ids=_name)
def test_every_yaml_example_parses(page: Path) -> None:
    for block in _blocks(page, "yaml"):
        assert yaml.safe_load(block) is not None


@pytest.mark.parametrize("file", EXAMPLES, ids=_name)
def test_example_pipelines_stand_in_the_how_to_word_for_word(file: Path) -> None:
    blocks = _blocks(DOCS / "how-to" / "block-a-deploy.md", "yaml")
    assert file.read_text(encoding="utf-8") in blocks


def test_example_pipelines_deploy_only_after_smoke_and_repeat_only_what_is_undecided() -> None:
    github, gitlab = (
        yaml.safe_load((DOCS / "examples" / name).read_text(encoding="utf-8"))
        for name in ("github-smoke.yml", "gitlab-smoke.yml")
    )
    assert github["jobs"]["deploy"]["needs"] == "smoke"
    assert gitlab["deploy"]["needs"] == ["smoke"]
    assert gitlab["smoke"]["retry"] == {"max": 1, "exit_codes": [ExitCode.INFRASTRUCTURE]}
    script = next(step["run"] for step in github["jobs"]["smoke"]["steps"] if step.get("name") == "flowai smoke")
    assert f'"$status" -eq {ExitCode.INFRASTRUCTURE.value}' in script
    assert gitlab["smoke"]["artifacts"]["reports"]["junit"] == "reports/smoke.xml"


@pytest.mark.parametrize("note", NOTES, ids=_name)
def test_a_decision_note_has_its_form_and_is_listed(note: Path) -> None:
    text = note.read_text(encoding="utf-8")
    number = note.name[:4]
    title = text.splitlines()[0]
    assert title.startswith(f"# {number}: ")
    places = [text.index(f"\n**{part}.** ") for part in ("Question", "Choice", "Given up")]
    assert places == sorted(places)
    index = (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
    assert f"| [{number}]({note.name}) | {title.removeprefix(f'# {number}: ')} |" in index


def test_no_two_decision_notes_share_a_number() -> None:
    numbers = [note.name[:4] for note in NOTES]
    assert len(numbers) == len(set(numbers))
