"""A value's location in its file, and the checks that all readers of suites share.

The `expect_...` functions return the value, or raise the file's error class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowai.errors import DatasetError, Place, ProjectError, SuiteError, UsageError, expected_one_of
from flowai.storage.files import read_json, read_text, read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from flowai.project import Project
    from flowai.storage.files import Document, PathKeys

FILE_PREFIX = "file://"


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

    A relative path starts at `base`, by default the directory of the file that names it.
    """
    project = node.file.project
    try:
        path = project.inside(text.removeprefix(FILE_PREFIX), base=base or node.file.path.parent)
    except UsageError as error:
        raise node.error(error.what, hint=error.hint) from None
    except (OSError, ValueError, RuntimeError):  # too long, a NUL character, a loop of links
        raise node.error(f"{describe(text)} is not a path") from None
    if any(part.startswith(".") for part in path.relative_to(project.root).parts):
        raise node.error(f"`{text}` is a hidden file", hint="suites cannot read hidden files")
    return path


def read_reference(text: str, node: YamlNode) -> Any:  # noqa: ANN401 - a file holds any value
    """Read the file that a `file://` value names: JSON or YAML by its suffix, else the text."""
    path = resolve_path(text, node)
    kind, name = node.file.kind, node.file.project.show(path)
    if not path.is_file():
        raise node.error(f"`{name}` is not a file", hint="the path is relative to the file that names it")
    if path.suffix == ".json":
        return read_json(path, name=name, kind=kind)
    if path.suffix in {".yaml", ".yml"}:
        value = read_yaml(path, name=name, kind=kind).value
        file = SuiteFile(project=node.file.project, path=path, name=name, kind=DatasetError)
        expect_json_value(value, YamlNode(file=file, line=1))
        return value
    if path.suffix not in {"", ".txt", ".md", ".html", ".xml", ".csv", ".log"}:
        raise node.error(
            f"`{name}`: files with the suffix `{path.suffix}` cannot be a value", hint="use a text, JSON or YAML file"
        )
    return read_text(path, name=name, kind=kind)
