"""Reads text, YAML and JSON with line numbers; atomic writes and file locks."""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from flowai.errors import FileWriteError, Place, ProjectError
from flowai.storage.own_files import PRIVATE_FILE_MODE, check_no_link, make_private_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import IO

    from yaml.nodes import Node

_LOCK_POLL_S = 0.02

_SURROGATE = re.compile("[\ud800-\udfff]")

_ESCAPED_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")

PathKeys = tuple[str | int, ...]  # map keys and list positions from a document's root to a value


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A parsed file with the line of each value."""

    value: Any
    file: str
    """Name for messages."""
    lines: Mapping[PathKeys, int]
    """Line (from 1) of each value by its path; contains the parents of every missing key."""

    def location(self, *keys: str | int) -> Place:
        """Return the place of a value, or of its nearest parent if it is missing."""
        path: PathKeys = keys
        while path and path not in self.lines:
            path = path[:-1]
        dotted = ".".join(str(key) for key in keys) or None
        return Place(file=self.file, line=self.lines.get(path), key=dotted)


def encoding_problem(text: str) -> str | None:
    """Return why UTF-8 cannot encode a text; None if it can.

    JSON escapes, command lines and file names may contain an unpaired surrogate.
    """
    match = _SURROGATE.search(text)
    if match is None:
        return None
    return f"found half of a surrogate pair, U+{ord(match[0]):04X}, expected text that UTF-8 can encode"


def check_encodable(value: object, *, place: Place, kind: type[ProjectError] = ProjectError) -> None:
    """Raise an error of class `kind` if a text in a JSON value has an unpaired surrogate."""
    problem = encoding_problem(json.dumps(value, ensure_ascii=False))
    if problem is not None:
        raise kind(problem, place=place, hint="write both halves of the pair, or remove the character")


def read_text(path: Path, *, name: str | None = None, kind: type[ProjectError] = ProjectError) -> str:
    """Read a UTF-8 file without a leading byte-order mark; line ends are kept.

    Raises `kind`, which calls the file `name`, if it is missing, unreadable, a directory, or not UTF-8.
    """
    shown = name or str(path)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise kind("no such file", place=Place(file=shown)) from None
    except IsADirectoryError:
        raise kind("is a directory; expected a file", place=Place(file=shown)) from None
    except OSError as error:
        raise kind(f"cannot be read: {error.strerror}", place=Place(file=shown)) from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problem = f"byte 0x{raw[error.start]:02x} is not UTF-8"
        raise kind(problem, place=Place(file=shown, line=line), hint="save the file as UTF-8") from None


def parse_yaml(text: str, *, name: str, kind: type[ProjectError] = ProjectError, is_core: bool = False) -> Document:
    """Parse one YAML document, called `name` in messages; an empty text has the value None.

    With `is_core`, scalars are read by YAML 1.2's core schema; see `yaml_core`.

    Raises `kind` for invalid syntax, a duplicate key, a tag that would build an object, an alias inside its own anchor,
    or a document that is too deep or too large; never another error, however hostile the text is.
    """
    import yaml  # some commands never read YAML

    from flowai.storage.yaml_core import core_loader
    from flowai.storage.yaml_faults import explain_yaml
    from flowai.storage.yaml_nodes import NodeChecker

    # the C parser is ten times faster; it is missing only if PyYAML was built without libyaml
    loader = (core_loader() if is_core else getattr(yaml, "CSafeLoader", yaml.SafeLoader))(text)
    checker = NodeChecker(name=name, kind=kind)
    try:
        node = loader.get_single_node()
        lines: dict[PathKeys, int] = {}
        if node is None:
            return Document(value=None, file=name, lines={(): 1})
        checker.check(node)
        _walk(node, (), lines, name, kind)
        return Document(value=loader.construct_document(node), file=name, lines=lines)
    except (ProjectError, MemoryError):
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        problem = " ".join(part for part in (error.context, error.problem) if part)
        fault = explain_yaml(problem, next(islice(text.split("\n"), mark.line, None), "") if mark else "")
        raise kind(f"not valid YAML: {fault.what}", place=Place(file=name, line=line), hint=fault.hint) from None
    except yaml.reader.ReaderError as error:  # its position counts bytes or characters
        line = text.encode()[: error.position].count(b"\n") + 1
        fault = explain_yaml(" ".join(str(error).splitlines()))
        raise kind(f"not valid YAML: {fault.what}", place=Place(file=name, line=line), hint=fault.hint) from None
    except Exception as error:  # PyYAML's constructors raise KeyError, IndexError ... for wrong scalars
        invalid = checker.find_invalid_scalar(loader.yaml_constructors, loader)
        if invalid is not None:
            raise invalid from None
        problem = (str(error) or type(error).__name__).splitlines()[0]
        raise kind(f"not valid YAML: {problem}", place=Place(file=name)) from error
    finally:
        loader.dispose()


def _walk(node: Node, path: PathKeys, lines: dict[PathKeys, int], name: str, kind: type[ProjectError]) -> None:
    """Collect the line of each value, and refuse duplicate keys, which YAML parsers silently drop."""
    from yaml.nodes import MappingNode, ScalarNode, SequenceNode

    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, MappingNode):
        seen: set[str] = set()
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, ScalarNode) else str(key_node.start_mark.line)
            key_line = key_node.start_mark.line + 1
            if key in seen and key != "<<":
                place = Place(file=name, line=key_line, key=".".join(map(str, (*path, key))))
                raise kind("duplicate key", place=place, hint="remove or rename one of the two")
            seen.add(key)
            lines[(*path, key)] = key_line
            if not isinstance(value_node, ScalarNode):
                _walk(value_node, (*path, key), lines, name, kind)
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, index), lines, name, kind)


def read_yaml(
    path: Path, *, name: str | None = None, kind: type[ProjectError] = ProjectError, is_core: bool = False
) -> Document:
    """Read and parse a YAML file; raises like `read_text` and `parse_yaml`."""
    text = read_text(path, name=name, kind=kind)
    return parse_yaml(text, name=name or str(path), kind=kind, is_core=is_core)


def read_json_document(path: Path, *, name: str, kind: type[ProjectError] = ProjectError) -> Document:
    """Read a JSON file with line numbers; raises like `read_json`. Of files that are no YAML too, lines are unknown."""
    value = read_json(path, name=name, kind=kind)
    text = _ESCAPED_PAIR.sub("??", read_text(path, name=name, kind=kind))  # which YAML has not
    try:
        lines = parse_yaml(text, name=name, kind=kind, is_core=True).lines
    except ProjectError as error:
        if error.what == "duplicate key":
            raise
        lines = {(): 1}
    return Document(value=value, file=name, lines=lines)


def read_json(path: Path, *, name: str | None = None, kind: type[ProjectError] = ProjectError) -> Any:  # noqa: ANN401 - JSON is anything
    """Read a JSON file; raises `kind` if it is missing, unreadable, not JSON, or has an unpaired surrogate."""
    text = read_text(path, name=name, kind=kind)
    shown = name or str(path)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        problem = f"not valid JSON: {error.msg} at column {error.colno}"
        raise kind(problem, place=Place(file=shown, line=error.lineno)) from None
    except (ValueError, RecursionError) as error:
        raise kind(unreadable_json(error), place=Place(file=shown)) from None
    check_encodable(value, place=Place(file=shown), kind=kind)
    return value


def unreadable_json(error: ValueError | RecursionError) -> str:
    """Return why Python cannot hold a JSON value whose syntax is right."""
    if isinstance(error, RecursionError):
        return "not readable JSON: too many levels of objects and arrays"
    return "not readable JSON: a number has too many digits"


class FileFingerprint(NamedTuple):
    """Parts of a file's status: while they are equal, the file was neither written nor replaced."""

    modified_ns: int
    size_bytes: int
    inode: int

    @classmethod
    def of(cls, path: str | Path) -> Self | None:
        """Read the fingerprint of a file or directory; None if it is missing or unreachable."""
        try:
            status = os.stat(path)  # noqa: PTH116 - polled for every prompt: building a Path would cost more
        except OSError:
            return None
        return cls(status.st_mtime_ns, status.st_size, status.st_ino)


def read_fingerprints(paths: Iterable[str | Path]) -> dict[str, FileFingerprint]:
    """Read the fingerprints of the existing files, by path."""
    return {str(path): read for path in paths if (read := FileFingerprint.of(path)) is not None}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Convert a failed write (full disk, read-only directory) to a FileWriteError that names the file."""
    try:
        yield
    except OSError as error:
        raise FileWriteError(
            f"cannot write: {error.strerror or error}",
            place=Place(file=str(path)),
            hint="free some space or choose another directory; earlier content is unchanged",
        ) from error


def write_atomic(path: Path, content: str | bytes | Iterable[bytes], *, is_private: bool = False) -> None:
    """Replace a file in one step: a reader sees the old content or the new, never half. Creates parent directories.

    Content in parts is written part by part.

    An existing file keeps its rights, a new one has those of the umask, or only its owner's if `is_private`. If it
    raises InfrastructureError, for example for a symbolic link, the old file is unchanged.
    """
    parts = (content.encode(),) if isinstance(content, str) else (content,) if isinstance(content, bytes) else content
    check_no_link(path)
    with writing(path):
        if is_private:
            make_private_directory(path.parent)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
        mode = PRIVATE_FILE_MODE if is_private else 0o666
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                if path.exists():
                    old_mode = path.stat().st_mode & 0o7777
                    os.fchmod(stream.fileno(), old_mode & PRIVATE_FILE_MODE if is_private else old_mode)
                stream.writelines(parts)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def open_directory(path: Path) -> Iterator[int]:
    """Open a directory for a lock or a sync; yields its descriptor."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def take_lock(file: int | IO[bytes], *, limit_s: float, clock_s: Callable[[], float]) -> bool:
    """Lock an open file or directory within `limit_s`; return whether the lock was free.

    The kernel frees it when the file is closed or its process dies. Raises OSError if the file system has no locks.
    """
    end_s = clock_s() + limit_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock_s() >= end_s:
                return False
            time.sleep(_LOCK_POLL_S)
        else:
            return True
