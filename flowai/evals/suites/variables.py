"""Reads `vars` of a test: values, files, pictures and code, and expands lists to cases."""

from __future__ import annotations

import base64
import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowai.evals.suites.code_refs import code_file, is_code_file
from flowai.evals.suites.references import GLOB, expand
from flowai.evals.suites.yaml_reader import (
    FILE_PREFIX,
    check_size,
    expect_json_value,
    expect_mapping,
    expect_text,
    read_document,
    read_file_text,
    read_reference,
    resolve_path,
)
from flowai.evals.templates import to_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from flowai.evals.suites.records import CodeRef
    from flowai.evals.suites.yaml_reader import YamlNode

MAX_COMBINATIONS = 10_000
"""Limit of cases that one test may expand to; more is taken for a mistake."""

_PICTURES = {
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".gif": "image/gif", ".bmp": "image/bmp",
    ".webp": "image/webp", ".svg": "image/svg+xml", ".tif": "image/tiff", ".tiff": "image/tiff",
    ".ico": "image/x-icon", ".avif": "image/avif", ".heic": "image/heic", ".heif": "image/heif",
}  # fmt: skip
_FIRST_BYTES = (
    (b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG", "image/png"), (b"GIF8", "image/gif"), (b"RIFF", "image/webp"),
    (b"BM", "image/bmp"), (b"II*\x00", "image/tiff"), (b"MM\x00*", "image/tiff"), (b"\x00\x00\x01\x00", "image/x-icon"),
)  # fmt: skip
_RECORDINGS = frozenset((
    ".mp3", ".wav", ".ogg", ".m4a", ".flac", ".aac", ".opus", ".mp4", ".webm", ".mov", ".avi", ".mkv", ".m4v", ".wmv",
))  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Variables:
    """The variables of a test."""

    values: dict[str, Any] = field(default_factory=dict)
    dynamic: dict[str, CodeRef] = field(default_factory=dict)
    """Code that computes a variable when the case is run."""

    def over(self, defaults: Variables) -> Variables:
        """Return these variables over the defaults."""
        kept = {name: ref for name, ref in defaults.dynamic.items() if name not in self.values}
        return Variables(values=defaults.values | self.values, dynamic=kept | self.dynamic)


def read_variables(test: Mapping[str, Any], node: YamlNode) -> Variables:
    """Read `vars`, a mapping or the name of one or several files with one."""
    if test.get("vars") is None:
        return Variables()
    child, value = node.at("vars"), test["vars"]
    if not child.file.is_table and isinstance(value, str | list):
        value = _merged_files(value, child)
    variables = expect_mapping(value, child)
    if child.file.is_table:
        _warn_of_files(variables, child)
        return Variables(values=variables)
    expect_json_value(variables, child)
    values: dict[str, Any] = {}
    dynamic: dict[str, CodeRef] = {}
    for name, part in variables.items():
        if isinstance(part, str) and is_code_file(part) and part.startswith(FILE_PREFIX):
            dynamic[name] = code_file(part, child.at(name))
            values[name] = part
        else:
            values[name] = _variable(part, child.at(name))
    return Variables(values=values, dynamic=dynamic)


def _warn_of_files(variables: dict[str, Any], node: YamlNode) -> None:
    if not node.file.context.has_own_prompts:
        return
    for name, value in variables.items():
        if isinstance(value, str) and value.startswith(FILE_PREFIX):
            node.warn(f"`{name}` is kept as a text: tables cannot name files")


def _merged_files(value: str | list[Any], node: YamlNode) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for index, part in enumerate([value] if isinstance(value, str) else value):
        text = expect_text(part, node if isinstance(value, str) else node.at(index))
        path = resolve_path(text, node)
        for match in expand(path, node.file.project) if GLOB.search(text) else [path]:
            document = read_document(match, node).document
            merged |= expect_mapping(document.value if document else None, node)
    return merged


def _variable(value: Any, node: YamlNode) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        values = _read(value, node)
        return values[0] if len(values) == 1 else values
    if isinstance(value, list) and any(isinstance(part, str) and part.startswith(FILE_PREFIX) for part in value):
        return [
            read
            for index, part in enumerate(value)
            for read in (_read(part, node.at(index)) if isinstance(part, str) else [part])
        ]
    return value


def _read(text: str, node: YamlNode) -> list[Any]:
    """Return a text, or the content of the files that it names."""
    if not text.startswith(FILE_PREFIX):
        return [text]
    if not GLOB.search(text):
        return [_content(text, resolve_path(text, node), node)]
    matches = [match for match in expand(resolve_path(text, node), node.file.project) if match.is_file()]
    if not matches:
        raise node.error(f"nothing matches `{text}`", hint="the path is relative to the file that names it")
    return [_content(f"{FILE_PREFIX}{match}", match, node) for match in matches]


def _content(text: str, path: Path, node: YamlNode) -> Any:  # noqa: ANN401 - a file holds any value
    suffix = path.suffix.lower()
    if suffix in _PICTURES or suffix in _RECORDINGS:
        return _encoded(path, node)
    if suffix == ".pdf":
        raise node.error(f"`{node.file.project.show(path)}`: PDF files are not read", hint="save its text as a file")
    if not node.file.context.has_own_prompts:
        return read_reference(text, node)
    if suffix in {".yaml", ".yml"}:
        document = read_document(path, node).document
        return to_json(document.value if document else None)
    return read_file_text(path, node).strip()


def _encoded(path: Path, node: YamlNode) -> str:
    """Return a picture as a data URL, and sound or a film in base 64."""
    check_size(path, node)
    data = path.read_bytes()
    encoded = base64.b64encode(data).decode("ascii")
    kind = _PICTURES.get(path.suffix.lower())
    if kind is None:
        return encoded
    found = next((name for start, name in _FIRST_BYTES if data.startswith(start)), kind)
    return f"data:{found};base64,{encoded}"


def combinations(variables: dict[str, Any], node: YamlNode) -> list[dict[str, Any]]:
    """Expand the lists of a test to every combination, the last variable changing fastest.

    In a suite with prompts of its own only lists whose first element is a text expand, as in promptfoo.
    """
    is_own = node.file.context.has_own_prompts
    lists = {
        name: value
        for name, value in variables.items()
        if isinstance(value, list) and (not is_own or (value and isinstance(value[0], str)))
    }
    if not lists:
        return [variables]
    count = math.prod(len(values) for values in lists.values())
    hint = "set `options: {disableVarExpansion: true}` if the prompt expects a list"
    if count == 0:
        empty = next(name for name, values in lists.items() if not values)
        raise node.at("vars", empty).error("an empty list expands to no case", hint=hint)
    if count > MAX_COMBINATIONS:
        raise node.at("vars").error(
            f"the lists expand to {count:,} cases; at most {MAX_COMBINATIONS:,} are allowed", hint=hint
        )
    return [variables | dict(zip(lists, chosen, strict=True)) for chosen in itertools.product(*lists.values())]
