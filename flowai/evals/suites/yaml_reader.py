"""A value's location in its file, and the checks that all readers of suites share.

The `expect_...` functions return the value, or raise the file's error class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowai.errors import Place, ProjectError, SuiteError, UsageError, expected_one_of
from flowai.storage.files import read_json_document, read_text, read_yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from flowai.evals.suites.records import CodeRef
    from flowai.project import Project
    from flowai.storage.files import Document, PathKeys

FILE_PREFIX = "file://"
MAX_FILE_BYTES = 10_000_000
"""Limit of every file that a suite names, except tables."""

_IGNORED = "it has no meaning here"
_TEXT_SUFFIXES = frozenset((
    "", ".txt", ".md", ".html", ".htm", ".xml", ".csv", ".tsv", ".log", ".jsonl", ".j2", ".sql", ".toml", ".ini",
    ".css", ".rst", ".tex", ".diff", ".patch", ".prompt",
))  # fmt: skip


@dataclass(kw_only=True, slots=True)
class LoadContext:
    """State that all files of one suite share while it is loaded."""

    environ: Mapping[str, str] = field(default_factory=dict)
    """Variables for `{{env.NAME}}`; the suite's own `env` is added."""
    allows_network: bool = False
    run_code: Callable[[CodeRef, Sequence[Any]], Any] | None = None
    """Runs code that makes tests; None if no code may be run."""
    replaces_models: bool = False
    """Whether other models are called than the suite's providers; those that cannot be called are then no error."""
    has_own_prompts: bool = False
    """Whether the suite brings its prompts along; its values are then read as promptfoo reads them."""
    folder: Path | None = None
    """Folder of the suite; paths in its other files start there if there is nothing beside them."""
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteFile:
    """A file of a suite or dataset."""

    project: Project
    path: Path
    name: str
    kind: type[ProjectError]
    document: Document | None = None
    """Line numbers of its values; None for tables."""
    is_table: bool = False
    """Whether its rows are data rather than configuration: `file://` in their variables is then plain text."""
    context: LoadContext = field(default_factory=LoadContext)

    def beside(
        self, path: Path, *, document: Document | None = None, kind: type[ProjectError] | None = None
    ) -> SuiteFile:
        """Return another file of the same suite."""
        return SuiteFile(
            project=self.project,
            path=path,
            name=self.project.show(path),
            kind=kind or self.kind,
            document=document,
            context=self.context,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class YamlNode:
    """Location of one value in its file."""

    file: SuiteFile
    line: int
    """Line of the value, or of its row, from 1."""
    keys: PathKeys = ()

    @property
    def location(self) -> str:
        """`file:line`, for records."""
        return f"{self.file.name}:{self.line}"

    def at(self, *keys: str | int) -> YamlNode:
        """Return the location of a part of the value."""
        all_keys = (*self.keys, *keys)
        document = self.file.document
        line = self.line if document is None else document.location(*all_keys).line or self.line
        return YamlNode(file=self.file, line=line, keys=all_keys)

    def error(self, what: str, *, hint: str | None = None) -> ProjectError:
        """Return an error about this value."""
        key = ".".join(map(str, self.keys)) or None
        return self.file.kind(what, place=Place(file=self.file.name, line=self.line, key=key), hint=hint)

    def warn(self, what: str) -> None:
        """Add a warning about this value to the suite's."""
        key = ".".join(map(str, self.keys)) or None
        text = f"{Place(file=self.file.name, line=self.line, key=key)}: {what}"
        if text not in self.file.context.warnings:
            self.file.context.warnings.append(text)

    def suite_error(self, what: str, *, hint: str | None = None) -> SuiteError:
        """Return an error about an assertion; it is a SuiteError in tables too."""
        return SuiteError(what, place=Place(file=self.file.name, line=self.line), hint=hint)


def describe(value: object) -> str:
    """Describe a value for an error: its type, or the value if it is short."""
    if value is None:
        return "nothing"
    if isinstance(value, str | bool | int | float):
        text = repr(value) if isinstance(value, str) else str(value).lower()
        return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - a message stays on one line
    return "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else type(value).__name__


def expect_text(value: object, node: YamlNode) -> str:
    """Return the value if it is a text that is not blank."""
    if isinstance(value, str) and value.strip():
        return value
    hint = "put it in quotes" if isinstance(value, bool | int | float) else None
    raise node.error(f"found {describe(value)}; expected a text", hint=hint)


def expect_mapping(value: object, node: YamlNode) -> dict[str, Any]:
    """Return the value if it is a mapping with text keys."""
    if not isinstance(value, dict):
        raise node.error(f"found {describe(value)}; expected a mapping")
    for key in value:
        if not isinstance(key, str):
            raise node.error(f"key {describe(key)} is not a text", hint="put it in quotes")
    return value


def expect_list(value: object, node: YamlNode) -> list[Any]:
    """Return the value if it is a list."""
    if not isinstance(value, list):
        raise node.error(f"found {describe(value)}; expected a list")
    return value


def expect_number(value: object, node: YamlNode, *, max_value: float = math.inf) -> float:
    """Return the value if it is a finite number from 0 to `max_value`."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value <= max_value
        or value == math.inf
    ):
        expected = "a number >= 0" if max_value == math.inf else f"a number from 0 to {max_value:g}"
        raise node.error(f"found {describe(value)}; expected {expected}")
    return value


def expect_json_value(value: object, node: YamlNode) -> None:
    """Check that a value is plain JSON (no date, set, NaN), so that it can be cached, recorded and shown."""
    if isinstance(value, dict):
        for key, part in expect_mapping(value, node).items():
            expect_json_value(part, node.at(key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            expect_json_value(part, node.at(index))
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise node.error(f"{value} is not a JSON number", hint="put it in quotes")
    elif value is not None and not isinstance(value, str | bool | int):
        raise node.error(f"YAML reads this as a {type(value).__name__}; expected text", hint="put it in quotes")


def warn_ignored(found: dict[str, Any], ignored: Mapping[str, str], node: YamlNode) -> dict[str, Any]:
    """Return a mapping without the keys that are ignored, each with a warning; `ignored` has the reasons."""
    for key in found.keys() & ignored.keys():
        node.at(key).warn(f"`{key}` is ignored: {ignored[key] or _IGNORED}")
    return {key: value for key, value in found.items() if key not in ignored}


def check_keys(
    found: Mapping[str, object], known: Iterable[str], node: YamlNode, *, unsupported: Mapping[str, str]
) -> None:
    """Raise an error for an unknown key; `unsupported` names an alternative for each of promptfoo's other keys."""
    unknown = found.keys() - known
    if not unknown:
        return
    key = min(unknown, key=list(found).index)
    if key in unsupported:
        raise node.at(key).error(f"`{key}` is not supported", hint=unsupported[key])
    raise node.at(key).error(f"unknown key `{key}`", hint=expected_one_of(known, found=key))


def resolve_path(text: str, node: YamlNode, *, base: Path | None = None) -> Path:
    """Resolve a path in a suite or dataset; the result need not exist. Outside the project or hidden, it is an error.

    A relative path starts at `base`, by default the directory of the file that names it, and if there is nothing, the
    directory of the suite.
    """
    project, folder = node.file.project, node.file.context.folder
    try:
        path = project.inside(text.removeprefix(FILE_PREFIX), base=base or node.file.path.parent)
        if base is None and folder not in {None, node.file.path.parent} and not path.exists():
            beside_suite = project.inside(text.removeprefix(FILE_PREFIX), base=folder)
            path = beside_suite if beside_suite.exists() else path
    except UsageError as error:
        raise node.error(error.what, hint=error.hint) from None
    except (OSError, ValueError, RuntimeError):  # too long, a NUL character, a loop of links
        raise node.error(f"{describe(text)} is not a path") from None
    if project.is_private(path):
        raise node.error(f"`{text}` is a hidden file", hint="suites cannot read hidden files")
    return path


def read_document(path: Path, node: YamlNode, *, kind: type[ProjectError] | None = None) -> SuiteFile:
    """Read a YAML or JSON file that a suite names, as a file of the same suite with its parsed document."""
    check_size(path, node)
    kind = kind or node.file.kind
    name = node.file.project.show(path)
    if path.suffix.lower() == ".json":
        document = read_json_document(path, name=name, kind=kind)
    else:
        document = read_yaml(path, name=name, kind=kind, is_core=True)
    file = node.file.beside(path, document=document, kind=kind)
    expect_json_value(document.value, YamlNode(file=file, line=1))
    return file


def check_size(path: Path, node: YamlNode) -> None:
    """Raise an error if a path is no file, or one that is larger than any suite needs."""
    name = node.file.project.show(path)
    if not path.is_file():
        raise node.error(f"`{name}` is not a file", hint="the path is relative to the file that names it")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise node.error(
            f"`{name}` has {size:,} bytes; at most {MAX_FILE_BYTES:,} are read", hint="name a smaller file"
        )


def read_file_text(path: Path, node: YamlNode) -> str:
    """Read a text file that a suite names."""
    check_size(path, node)
    return read_text(path, name=node.file.project.show(path), kind=node.file.kind)


def read_reference(text: str, node: YamlNode) -> Any:  # noqa: ANN401 - a file holds any value
    """Read the file that a `file://` value names: JSON or YAML by its suffix, else the text."""
    path = resolve_path(text, node)
    name = node.file.project.show(path)
    check_size(path, node)
    if path.suffix in {".json", ".yaml", ".yml"}:
        document = read_document(path, node).document
        return None if document is None else document.value
    if path.suffix not in _TEXT_SUFFIXES:
        raise node.error(
            f"`{name}`: files with the suffix `{path.suffix}` cannot be a value", hint="use a text, JSON or YAML file"
        )
    return read_file_text(path, node)
