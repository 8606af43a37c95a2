"""Reads `prompts`: texts and chats in the suite or in files beside it, functions, and prompts of the library."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowai.evals.suites.files.code_refs import code_file, is_code_file
from flowai.evals.suites.files.references import GLOB, PROMPT_SUFFIX, expand, library_prompts, looks_like_library
from flowai.evals.suites.records import SuitePrompt
from flowai.evals.suites.yaml_reader import (
    FILE_PREFIX,
    check_keys,
    describe,
    expect_mapping,
    expect_text,
    read_document,
    read_file_text,
    resolve_path,
    warn_ignored,
)
from flowai.evals.templates import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flowai.evals.suites.yaml_reader import YamlNode

DEFAULT_TEMPLATE = "{{prompt}}"
"""Prompt of a suite that names none."""
SEPARATOR = "---"
"""Line between the prompts of a text file."""
MAX_LABEL_CHARS = 60

_PROMPT_KEYS = frozenset({"id", "label", "raw", "messages", "config", "prompt", "file"})
_IGNORED_KEYS = {"display": "use `label`", "template": "it is the result of a run", "function": "name a file"}
_SUFFIXES = (".txt", ".md", ".json", ".jsonl", ".yaml", ".yml", ".csv", ".j2", ".jinja", ".jinja2")
_STORES = ("portkey://", "langfuse://", "helicone://")
_SCRIPTS = frozenset((".sh", ".bash", ".exe", ".bat", ".cmd", ".ps1", ".rb", ".pl", ".go"))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Options:
    """Settings of one entry of `prompts`."""

    id: str | None = None
    label: str | None = None
    config: dict[str, Any] = field(default_factory=dict)


def read_prompts(value: object, node: YamlNode) -> tuple[SuitePrompt, ...]:
    """Read all prompts of a suite, in order; each has an id of its own."""
    found: list[SuitePrompt] = []
    entries: set[str] = set()
    library: set[str] = set()
    for part, child in _entries(value, node):
        if isinstance(part, str):
            if part in entries:
                continue
            entries.add(part)
        found += [prompt for prompt in _read_entry(part, child) if prompt.kind != "library" or prompt.id not in library]
        library.update(prompt.id for prompt in found if prompt.kind == "library")
    return _with_unique_ids(found)


def default_prompt(node: YamlNode) -> SuitePrompt:
    """Return the prompt of a suite that names none: the variable `prompt`."""
    return SuitePrompt(id="prompt", label=DEFAULT_TEMPLATE, kind="text", template=DEFAULT_TEMPLATE, place=node.location)


def _entries(value: object, node: YamlNode) -> Iterator[tuple[object, YamlNode]]:
    if value in ([], {}, None, ""):
        found = "an empty list" if value == [] else describe(value)
        raise node.error(f"found {found}; expected at least one")
    if isinstance(value, list):
        yield from ((part, node.at(index)) for index, part in enumerate(value))
    elif isinstance(value, dict) and not value.keys() & {"raw", "id", "label", "messages"}:
        yield from (({"raw": raw, "label": label}, node.at(raw)) for raw, label in expect_mapping(value, node).items())
    else:
        yield value, node


def _read_entry(value: object, node: YamlNode) -> list[SuitePrompt]:
    if not isinstance(value, dict):
        return _read_source(expect_text(value, node), node, _Options())
    entry = warn_ignored(expect_mapping(value, node), _IGNORED_KEYS, node)
    check_keys(entry, _PROMPT_KEYS, node, unsupported={})
    key = next((name for name in ("raw", "messages", "prompt", "file", "id", "label") if name in entry), None)
    if key is None:
        raise node.error("a prompt without `raw`", hint="write its text as `raw`, or its file as `id: file://...`")
    options = _Options(
        id=expect_text(entry["id"], node.at("id")) if "id" in entry and key != "id" else None,
        label=expect_text(str(entry["label"]), node.at("label")) if entry.get("label") is not None else None,
        config=expect_mapping(entry["config"], node.at("config")) if entry.get("config") is not None else {},
    )
    source = entry[key]
    if isinstance(source, list | dict):  # a chat written as YAML
        return [_prompt(to_json(_with_files(source, node.at(key))), node.at(key), options, kind="chat")]
    text = expect_text(source, node.at(key))
    return _read_source(f"{FILE_PREFIX}{text}" if key == "file" else text, node.at(key), options)


def _read_source(text: str, node: YamlNode, options: _Options) -> list[SuitePrompt]:
    """Read a text that is a prompt, or the name of one or several."""
    stripped = text.strip()
    if stripped.startswith(_STORES) or stripped.startswith("exec:"):
        raise node.error(f"`{stripped[:60]}` is not supported", hint="save the prompt as a file beside the suite")
    if not _is_name(stripped):
        return [_prompt(text, node, options)]
    if looks_like_library(stripped, node):
        return [
            SuitePrompt(
                id=name, label=options.label or name, kind="library", config=options.config, place=node.location
            )
            for name in library_prompts(stripped, node)
        ]
    files = _files(stripped, node)
    if files is None:
        return [_prompt(text, node, options)]
    return [prompt for path, function in files for prompt in _read_file(path, function, node, options)]


def _is_name(text: str) -> bool:
    """Return whether a text may be the name of a prompt or a file, rather than a prompt."""
    if "\n" in text or "{{" in text or "{%" in text:
        return text.startswith(FILE_PREFIX) and "\n" not in text
    if text.startswith(FILE_PREFIX) or is_code_file(text) or text.endswith((*_SUFFIXES, PROMPT_SUFFIX)):
        return True
    return " " not in text and ("/" in text or GLOB.search(text) is not None)


def _files(text: str, node: YamlNode) -> list[tuple[Path, str | None]] | None:
    """Return the files that a text names, each with its function; None if the text is a prompt after all."""
    name, function = text, None
    if is_code_file(text):
        match = re.fullmatch(r"(.*?\.(?:py|[cm]?[jt]s|\*))(?::([^:/\\]+))?", text, re.DOTALL)
        name, function = (match[1], match[2]) if match else (text, None)
    path = resolve_path(name, node)
    if GLOB.search(name):
        matches = [match for match in expand(path, node.file.project) if match.is_file()]
        if matches:
            return [(match, function) for match in matches]
        raise node.error(f"nothing matches `{text}`", hint="the path is relative to the file that names it")
    if path.is_file():
        return [(path, function)]
    if " " in name and not name.startswith(FILE_PREFIX):
        return None
    found = "is a directory" if path.is_dir() else "no such file"
    raise node.error(f"`{text[:80]}` is not a prompt: {found}", hint="the path is relative to the file that names it")


def _read_file(path: Path, function: str | None, node: YamlNode, options: _Options) -> list[SuitePrompt]:
    name, suffix = node.file.project.show(path), path.suffix.lower()
    if suffix == PROMPT_SUFFIX:
        return [
            SuitePrompt(
                id=names, label=options.label or names, kind="library", config=options.config, place=node.location
            )
            for names in library_prompts(str(path), node)
        ]
    if is_code_file(path.name):
        code = code_file(f"{FILE_PREFIX}{path}:{function}" if function else f"{FILE_PREFIX}{path}", node)
        label = f"{name}:{function}" if function else name
        return [_prompt("", node, options, kind="function", name=label, file=name, code=code)]
    reader = _READERS.get(suffix)
    if reader is None:
        hint = "use a text, Markdown, JSON, YAML, CSV, Jinja, Python or JavaScript file"
        raise node.error(f"`{name}`: prompts with the suffix `{suffix}` are not supported", hint=hint)
    parts = reader(path, node)
    if not parts:
        raise node.error(f"`{name}` has no prompt")
    return [
        _prompt(
            text,
            node,
            options if label is None else _Options(id=options.id, label=label, config=options.config),
            name=name if len(parts) == 1 else f"{name}#{number}",
            file=name,
        )
        for number, (text, label) in enumerate(parts, start=1)
    ]


def _read_text_file(path: Path, node: YamlNode) -> list[tuple[str, str | None]]:
    """Split a text file at lines of `---`."""
    parts: list[list[str]] = [[]]
    for line in read_file_text(path, node).replace("\r\n", "\n").split("\n"):
        if line.strip() == SEPARATOR:
            parts.append([])
        else:
            parts[-1].append(line)
    texts = ["\n".join(lines).strip() for lines in parts]
    return [(text, None) for text in texts if text]


def _read_whole(path: Path, node: YamlNode) -> list[tuple[str, str | None]]:
    return [(read_file_text(path, node), None)]


def _read_lines(path: Path, node: YamlNode) -> list[tuple[str, str | None]]:
    return [(line, None) for line in read_file_text(path, node).splitlines() if line]


def _read_json(path: Path, node: YamlNode) -> list[tuple[str, str | None]]:
    """Read a chat; a file that is no JSON is a template of one."""
    text = read_file_text(path, node)
    try:
        document = read_document(path, node).document
    except node.file.kind:
        return [(text, None)]
    return [(to_json(_with_files(document.value if document else None, node)), None)]


def _read_yaml(path: Path, node: YamlNode) -> list[tuple[str, str | None]]:
    return _read_json(path, node)


def _with_files(value: object, node: YamlNode) -> object:
    """Replace `file://` values inside a chat by the content of the files."""
    if isinstance(value, str) and value.startswith(FILE_PREFIX) and "{{" not in value:
        if is_code_file(value):
            raise node.error(f"`{value[:60]}` inside a chat is code", hint="make the whole prompt a function")
        named = resolve_path(value, node, base=node.file.path.parent)
        if named.suffix.lower() in {".json", ".yaml", ".yml"}:
            document = read_document(named, node).document
            return document.value if document else None
        return read_file_text(named, node)
    if isinstance(value, dict):
        return {key: _with_files(part, node) for key, part in value.items()}
    return [_with_files(part, node) for part in value] if isinstance(value, list) else value


def _read_csv(path: Path, node: YamlNode) -> list[tuple[str, str | None]]:
    """Read the columns `prompt` and `label`; a file without commas has a prompt per line."""
    text = read_file_text(path, node)
    if "," not in text:
        lines = [line for line in text.splitlines() if line.strip()]
        has_header = int(bool(lines) and lines[0].strip().lower() == "prompt")
        return [(line, None) for line in lines[has_header:]]
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True))
    except csv.Error as error:
        raise node.error(f"`{node.file.project.show(path)}` is not valid CSV: {error}") from None
    return [(row["prompt"].strip(), (row.get("label") or "").strip() or None) for row in rows if row.get("prompt")]


_READERS: dict[str, Callable[[Path, YamlNode], list[tuple[str, str | None]]]] = {
    ".txt": _read_text_file,
    ".md": _read_whole,
    ".j2": _read_whole,
    ".jinja": _read_whole,
    ".jinja2": _read_whole,
    ".json": _read_json,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".jsonl": _read_lines,
    ".csv": _read_csv,
}


def _prompt(
    text: str,
    node: YamlNode,
    options: _Options,
    *,
    kind: Any = None,  # noqa: ANN401 - a literal of the record
    name: str | None = None,
    file: str | None = None,
    code: Any = None,  # noqa: ANN401 - a CodeRef
) -> SuitePrompt:
    label = options.label or name or _clip(text)
    return SuitePrompt(
        id=options.id or options.label or name or "",
        label=label,
        kind=kind or ("chat" if text.lstrip().startswith(("[", "- role:")) else "text"),
        template=text,
        code=code,
        config=options.config,
        file=file,
        place=node.location,
    )


def _clip(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_LABEL_CHARS else f"{line[: MAX_LABEL_CHARS - 3]}..."


def _with_unique_ids(prompts: list[SuitePrompt]) -> tuple[SuitePrompt, ...]:
    """Name prompts without an id by their position, and number equal ids."""
    import msgspec

    named: dict[str, SuitePrompt] = {}
    for position, prompt in enumerate(prompts, start=1):
        chosen = prompt.id or f"prompt-{position}"
        name, number = chosen, 1
        while name in named:
            number += 1
            name = f"{chosen} ({number})"
        named[name] = msgspec.structs.replace(prompt, id=name)
    return tuple(named.values())
