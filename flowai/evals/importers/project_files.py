"""Builds the text of suites, datasets and prompts, so that they mean what the export meant."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.evals.importers.records import ImportedFile
from flowai.rendering.markdown import one_line
from flowai.storage.strict_json import strings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from yaml.nodes import ScalarNode

MAX_NAME_CHARS = 60
LITERALS = {"{": "open_brace", "\\": "backslash"}
"""Variables of an imported prompt for characters that a template cannot have right before a variable."""

_REFERENCE = re.compile(r"\{\{\s*([^\W\d][\w.-]*)\s*\}\}")
_NUMBER_LIKE = re.compile(r"[-+.\d]")
_MAX_ID_CHARS = 120

HISTORY = "history"
"""Role of the place where the caller's messages are inserted."""

Row = dict[str, Any]


def slug(text: str, fallback: str = "imported") -> str:
    """Return a file name made of a name: lower-case ASCII letters, digits and `_`; no path can be in it."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain)[:MAX_NAME_CHARS].strip("_") or fallback


def variable_name(text: str) -> str:
    """Return a name that templates can use."""
    name = re.sub(r"\W+", "_", text).strip("_") or "value"
    return f"_{name}" if name[0].isdigit() else name


def unique_ids(ids: Iterable[object], prefix: str) -> list[str]:
    """Return valid and distinct case ids; one that is missing or invalid becomes `prefix-3`."""
    seen: set[str] = set()
    result = []
    for number, given in enumerate(ids, start=1):
        text = str(given).strip() if isinstance(given, str | int) and not isinstance(given, bool) else ""
        if not text or len(text) > _MAX_ID_CHARS or "::" in text or not text.isprintable():
            text = f"{prefix}-{number}"
        chosen, count = text, 2
        while chosen in seen:
            chosen, count = f"{text[: _MAX_ID_CHARS - 8]}-{count}", count + 1
        seen.add(chosen)
        result.append(chosen)
    return result


def dataset_file(name: str, rows: Iterable[Row], *, suffix: str = "") -> ImportedFile:
    """Return `datasets/NAME.jsonl`, or `datasets/NAME.outputs.jsonl`."""
    text = "".join(msgspec.json.encode(row).decode() + "\n" for row in rows)
    return ImportedFile(path=f"datasets/{name}{suffix}.jsonl", text=text)


def suite_file(  # noqa: PLR0913 - the keys of a suite
    name: str,
    *,
    description: str,
    source: str,
    prompts: Iterable[str] = (),
    providers: Iterable[str] = (),
    assertions: Iterable[Row] = (),
    rows: Iterable[Row] = (),
    repeats: int = 1,
) -> ImportedFile:
    """Return `evals/NAME.yaml`; lists in variables stay lists, and texts that look like templates stay texts.

    Args:
        name: file name without ending.
        description: of the export.
        source: format and name of the export, for the comment on top.
        prompts: prompt files, from the folder that holds `evals/`.
        providers: models.
        assertions: for every case.
        rows: the cases, which are in `datasets/NAME.jsonl`.
        repeats: trials per case.
    """
    rows = list(rows)
    default: Row = {"assert": list(assertions)} if assertions else {}
    if any(isinstance(value, list) for row in rows for value in row["vars"].values()):
        default["options"] = {"disableVarExpansion": True}
    suite: Row = {"description": description} if description.strip() else {}
    suite |= {"prompts": [f"file://../{path}" for path in prompts]} if prompts else {}
    suite |= {"providers": list(providers)} if providers else {}
    suite |= {"defaultTest": default} if default else {}
    suite |= {"tests": [f"file://../datasets/{name}.jsonl"]}
    settings: Row = {"repeats": repeats} if repeats > 1 else {}
    settings |= {"render_variables": False} if any(map(_has_template, (row["vars"] for row in rows))) else {}
    suite |= {"flowai": settings} if settings else {}
    return ImportedFile(path=f"evals/{name}.yaml", text=f"# Imported from {one_line(source)}.\n{to_yaml(suite)}")


def _has_template(variables: Row) -> bool:
    """Return whether a text of a case would be rendered as a template, while it is plain text in the export."""
    return any(mark in text for text in strings_of(variables) for mark in ("{{", "{%", "{#"))


def to_yaml(value: object) -> str:
    """Return a value as YAML that readers of YAML 1.1 and 1.2 understand alike."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes texts that one of the versions reads as a number in quotes."""

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401, ARG002 - PyYAML's signature
            return True

    def represent(dumper: yaml.SafeDumper, text: str) -> ScalarNode:
        lines = text.split("\n")
        style = "|" if len(lines) > 1 and all(line.isprintable() and line == line.rstrip() for line in lines) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if _NUMBER_LIKE.match(text) else style)

    Dumper.add_representer(str, represent)
    dumped: str = yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110)
    return dumped


def to_template(text: str, rename: Callable[[str], str]) -> str:
    """Return a text with `{{name}}` references as a template: every other brace is a literal.

    Args:
        text: the other tool's template.
        rename: returns the variable of a reference.
    """
    parts: list[str] = []
    position = 0
    for match in _REFERENCE.finditer(text):
        parts += [_literal(text[position : match.start()]), f"{{{{{rename(match[1])}}}}}"]
        position = match.end()
    return "".join([*parts, _literal(text[position:], is_last=True)])


def _literal(text: str, *, is_last: bool = False) -> str:
    escaped = text.replace("{{", "\\{{")
    if not is_last and escaped[-1:] in LITERALS and not escaped.endswith("\\{{"):
        return f"{escaped[:-1]}{{{{{LITERALS[escaped[-1]]}}}}}"
    return escaped


def prompt_file(
    prompt_id: str, messages: Iterable[tuple[str, str]], *, model: str | None = None, config: Mapping[str, Any] = {}
) -> ImportedFile:
    """Return `prompts/NAME_vN.prompt`.

    Args:
        prompt_id: `prompts/NAME_vN`.
        messages: role and template of each message.
        model: for runs that name no other.
        config: sampling parameters by LiteLLM's names.
    """
    messages = list(messages)
    front: Row = {"model": model} if model else {}
    front |= {"config": dict(config)} if config else {}
    used = {name: char for char, name in LITERALS.items() if any(f"{{{{{name}}}}}" in text for _, text in messages)}
    front |= {"input": {"default": used}} if used else {}
    roles = {"assistant": "model", "developer": "system"}
    if len(messages) == 1 and messages[0][0] == "user":
        body = messages[0][1]
    else:
        body = "".join(
            text if role == HISTORY else f'{{{{role "{roles.get(role, role)}"}}}}{text}' for role, text in messages
        )
    head = f"---\n{to_yaml(front)}---\n" if front else "---\n{}\n---\n"
    return ImportedFile(path=f"{prompt_id}.prompt", text=f"{head}{body}\n")
