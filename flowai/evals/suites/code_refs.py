"""Reads the code that a suite names: inline, or a function of a file (`file://checks.py:is_short`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from flowai.evals.suites.records import CodeRef
from flowai.evals.suites.yaml_reader import FILE_PREFIX, check_size, resolve_path

if TYPE_CHECKING:
    from flowai.evals.suites.yaml_reader import YamlNode

_SUFFIXES: dict[str, Literal["python", "javascript"]] = {
    ".py": "python",
    **dict.fromkeys((".js", ".mjs", ".cjs", ".ts", ".mts", ".cts"), "javascript"),
}
_CODE_FILE = re.compile(r"(.*?\.(?:py|[cm]?[jt]s))(?::([^:/\\]+))?", re.DOTALL)
_OTHER_LANGUAGES = re.compile(r".*\.(?:rb|go|sh|pl|php)(?::\w+)?\Z", re.DOTALL)
_PREFIXES: dict[str, Literal["python", "javascript"]] = {"python:": "python", "javascript:": "javascript"}


def is_code_file(text: str) -> bool:
    """Return whether a text names a file of code, with or without a function."""
    return _CODE_FILE.fullmatch(text.removeprefix(FILE_PREFIX)) is not None


def code_file(text: str, node: YamlNode) -> CodeRef:
    """Read `file://NAME.py:function`; the file must exist."""
    named = text.removeprefix(FILE_PREFIX)
    match = _CODE_FILE.fullmatch(named)
    if match is None:
        other = _OTHER_LANGUAGES.fullmatch(named)
        found = "code in a language that flowai does not run" if other else "not a file of code"
        raise node.error(f"`{text[:80]}` is {found}", hint="use Python (`.py`) or JavaScript (`.js`, `.mjs`, `.cjs`)")
    path = resolve_path(match[1], node)
    check_size(path, node)
    return CodeRef(language=_SUFFIXES[path.suffix.lower()], file=str(path), function=match[2], place=node.location)


def code(text: str, node: YamlNode, *, language: Literal["python", "javascript"] = "javascript") -> CodeRef:
    """Read code: `file://...`, `python:...`, `javascript:...`, else inline code of `language`."""
    if text.startswith(FILE_PREFIX):
        return code_file(text, node)
    for prefix, named in _PREFIXES.items():
        if text.startswith(prefix):
            return code(text.removeprefix(prefix).strip(), node, language=named)
    return CodeRef(language=language, source=text, place=node.location)
