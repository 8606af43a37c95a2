"""A value being read, where it stands, and the questions every reader asks of it."""

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

FILE_MARK = "file://"


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteFile:
    """The file that is being read."""

    project: Project
    """The project it belongs to."""
    path: Path
    """The file, absolute."""
    name: str
    """How messages call it."""
    kind: type[ProjectError]
    """Class of its errors."""
    document: Document | None = None
    """Its lines, where the format has them for every value; None for tables."""
    is_table: bool = False
    """Whether its rows are data rather than configuration: `file://` in their variables is then plain text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class YamlNode:
    """One value's place in its file."""

    origin: SuiteFile
    """The file."""
    line: int
    """The line of the value, or of its row, from 1."""
    way: PathKeys = ()
    """Keys from the document's top to the value."""

    @property
    def mark(self) -> str:
        """`file:line`, as records keep it."""
        return f"{self.origin.name}:{self.line}"

    def at(self, *keys: str | int) -> YamlNode:
        """Step down to a part of the value."""
        way = (*self.way, *keys)
        document = self.origin.document
        line = self.line if document is None else document.location(*way).line or self.line
        return YamlNode(origin=self.origin, line=line, way=way)

    def error(self, what: str, *, hint: str | None = None) -> ProjectError:
        """Give the error to raise about this value."""
        key = ".".join(map(str, self.way)) or None
        return self.origin.kind(what, place=Place(file=self.origin.name, line=self.line, key=key), hint=hint)

    def suite_error(self, what: str, *, hint: str | None = None) -> SuiteError:
        """Give the error to raise about an assertion, which is the suite's wherever it stands."""
        return SuiteError(what, place=Place(file=self.origin.name, line=self.line), hint=hint)


def shown(value: object) -> str:
    """Give a found value for a message: its kind, and the value where it is short."""
    if value is None:
        return "nothing"
    if isinstance(value, str | bool | int | float):
        text = repr(value) if isinstance(value, str) else str(value).lower()
        return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - a message stays on one line
    return "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else type(value).__name__


def expect_text(value: object, spot: YamlNode) -> str:
    """Take a text that says something.

    Raises:
        ProjectError: it is no text, or blank.
    """
    if isinstance(value, str) and value.strip():
        return value
    hint = "put it in quotes" if isinstance(value, bool | int | float) else None
    raise spot.error(f"found {shown(value)}; expected a text", hint=hint)


def expect_mapping(value: object, spot: YamlNode) -> dict[str, Any]:
    """Take a mapping whose keys are texts.

    Raises:
        ProjectError: it is none.
    """
    if not isinstance(value, dict):
        raise spot.error(f"found {shown(value)}; expected a mapping")
    for key in value:
        if not isinstance(key, str):
            raise spot.error(f"key {shown(key)} is no text", hint="put it in quotes")
    return value


def expect_list(value: object, spot: YamlNode) -> list[Any]:
    """Take a list.

    Raises:
        ProjectError: it is none.
    """
    if not isinstance(value, list):
        raise spot.error(f"found {shown(value)}; expected a list")
    return value


def want_number(value: object, spot: YamlNode, *, most: float = math.inf) -> float:
    """Take a finite number from 0 to `most`.

    Raises:
        ProjectError: it is none, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most or value == math.inf:
        expected = "a number >= 0" if most == math.inf else f"a number from 0 to {most:g}"
        raise spot.error(f"found {shown(value)}; expected {expected}")
    return value


def want_plain(value: object, spot: YamlNode) -> None:
    """Make sure that a value is plain JSON: what can be cached, recorded and shown.

    Raises:
        ProjectError: YAML made something else of it (a date, a set), or a number is not finite.
    """
    if isinstance(value, dict):
        for key, part in expect_mapping(value, spot).items():
            want_plain(part, spot.at(key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            want_plain(part, spot.at(index))
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise spot.error(f"{value} is not a JSON number", hint="put it in quotes")
    elif value is not None and not isinstance(value, str | bool | int):
        raise spot.error(f"YAML reads this as a {type(value).__name__}; expected text", hint="put it in quotes")


def check_keys(
    found: Mapping[str, object], known: Iterable[str], spot: YamlNode, *, unsupported: Mapping[str, str]
) -> None:
    """Refuse keys that nobody reads.

    Args:
        found: the mapping.
        known: keys that are read.
        spot: where the mapping stands.
        unsupported: promptfoo's keys that flowai has not, each with what to do instead.

    Raises:
        ProjectError: a key is unknown; promptfoo's keys come with their own hint.
    """
    strange = found.keys() - known
    if not strange:
        return
    key = min(strange, key=list(found).index)
    if key in unsupported:
        raise spot.at(key).error(f"`{key}` is not supported", hint=unsupported[key])
    raise spot.at(key).error(f"unknown key `{key}`", hint=expected_one_of(known, found=key))


def inside(text: str, spot: YamlNode, *, base: Path | None = None) -> Path:
    """Resolve a path that a file names.

    Args:
        text: the path, with or without `file://`; relative ones start at `base`.
        spot: where it is named.
        base: default: the directory of the file that names it.

    Returns:
        The absolute path; it need not exist.

    Raises:
        ProjectError: it lies outside the project, or is hidden (`.env`, `.git`): such files are not data.
    """
    project = spot.origin.project
    try:
        path = project.inside(text.removeprefix(FILE_MARK), base=base or spot.origin.path.parent)
    except UsageError as error:
        raise spot.error(error.what, hint=error.hint) from None
    except (OSError, ValueError, RuntimeError):  # too long, a NUL in it, a loop of links
        raise spot.error(f"{shown(text)} is not a path") from None
    if any(part.startswith(".") for part in path.relative_to(project.root).parts):
        raise spot.error(f"`{text}` is a hidden file", hint="flowai reads no hidden files into suites")
    return path


def follow(text: str, spot: YamlNode) -> Any:  # noqa: ANN401 - a file holds any value
    """Read the file that a `file://` value names.

    Returns:
        Parsed JSON or YAML for such endings, else the text.

    Raises:
        ProjectError: outside the project, hidden, missing, or not what its ending says.
    """
    path = inside(text, spot)
    kind, name = spot.origin.kind, spot.origin.project.show(path)
    if not path.is_file():
        raise spot.error(f"names `{name}`, which is no file", hint="the path is relative to the file that names it")
    if path.suffix == ".json":
        return read_json(path, name=name, kind=kind)
    if path.suffix in {".yaml", ".yml"}:
        value = read_yaml(path, name=name, kind=kind).value
        origin = SuiteFile(project=spot.origin.project, path=path, name=name, kind=DatasetError)
        want_plain(value, YamlNode(origin=origin, line=1))
        return value
    if path.suffix not in {"", ".txt", ".md", ".html", ".xml", ".csv", ".log"}:
        raise spot.error(
            f"`{name}`: files that end in `{path.suffix}` cannot be a value",
            hint="text, JSON and YAML files can",
        )
    return read_text(path, name=name, kind=kind)
