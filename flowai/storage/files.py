"""Files in and out: text, YAML and JSON with line numbers, atomic writes, locks."""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from flowai.errors import InfrastructureError, Place, ProjectError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import IO

    from yaml.nodes import Node

_MAX_VALUES = 1_000_000  # far above any real file; stops alias bombs, whose values grow exponentially

_LOCK_POLL_S = 0.02

_SURROGATE = re.compile("[\ud800-\udfff]")

PathKeys = tuple[str | int, ...]  # the way from a document's top to a value: map keys and list positions


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A parsed file and where each of its values stands."""

    value: Any
    """The parsed content: dict, list, str, int, float, bool, None."""
    file: str
    """Name for messages."""
    lines: Mapping[PathKeys, int]
    """Line (from 1) of each value, by its way from the top; parents of a missing key are always there."""

    def location(self, *keys: str | int) -> Place:
        """Give the place of a value, or of its nearest parent where it is missing."""
        way: PathKeys = keys
        while way and way not in self.lines:
            way = way[:-1]
        dotted = ".".join(str(key) for key in keys) or None
        return Place(file=self.file, line=self.lines.get(way), key=dotted)


def encoding_problem(text: str) -> str | None:
    """Return why UTF-8 cannot encode a text; None where it can.

    JSON's escapes, command lines and file names may hold half of a surrogate pair; no file of ours can.
    """
    found = _SURROGATE.search(text)
    if found is None:
        return None
    return f"found half of a surrogate pair, U+{ord(found[0]):04X}, expected text that UTF-8 can encode"


def check_encodable(value: object, *, place: Place, kind: type[ProjectError] = ProjectError) -> None:
    """Refuse a JSON value with text in it that UTF-8 cannot encode.

    Raises:
        ProjectError: (or `kind`) it holds half of a surrogate pair.
    """
    problem = encoding_problem(json.dumps(value, ensure_ascii=False))
    if problem is not None:
        raise kind(problem, place=place, hint="write both halves of the pair, or leave the character out")


def read_text(path: Path, *, name: str | None = None, kind: type[ProjectError] = ProjectError) -> str:
    """Read a UTF-8 file, byte for byte but for a leading byte-order mark.

    Args:
        path: the file.
        name: how messages call it; default the path.
        kind: class of the error, so that a caller's file is named by what it is.

    Returns:
        The text, with its line ends as they are.

    Raises:
        ProjectError: (or `kind`) missing, not readable, a directory, or not UTF-8; the line of the bad byte is named.
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
        found = f"byte 0x{raw[error.start]:02x} is not UTF-8"
        raise kind(found, place=Place(file=shown, line=line), hint="save the file as UTF-8") from None


def parse_yaml(text: str, *, name: str, kind: type[ProjectError] = ProjectError) -> Document:
    """Parse one YAML document and remember the line of every value.

    Args:
        text: the YAML.
        name: how messages call it.
        kind: class of the error.

    Returns:
        The document; an empty text has the value None.

    Raises:
        ProjectError: (or `kind`) bad syntax, a duplicate key, or a tag that would build an object.
    """
    import yaml  # some commands never read YAML

    # the C parser is ten times faster; it is missing only where PyYAML was built without libyaml
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        node = loader.get_single_node()
        lines: dict[PathKeys, int] = {}
        if node is None:
            return Document(value=None, file=name, lines={(): 1})
        _walk(node, (), lines, name, kind)
        return Document(value=loader.construct_document(node), file=name, lines=lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise kind(f"not valid YAML: {problem}", place=Place(file=name, line=line)) from None
    except (yaml.YAMLError, ValueError) as error:
        problem = str(error).splitlines()[0]
        raise kind(f"not valid YAML: {problem}", place=Place(file=name)) from None
    finally:
        loader.dispose()


def _walk(node: Node, way: PathKeys, lines: dict[PathKeys, int], name: str, kind: type[ProjectError]) -> None:
    """Note the line of each value; refuse duplicate keys, which YAML parsers silently drop."""
    from yaml.nodes import MappingNode, ScalarNode, SequenceNode

    lines.setdefault(way, node.start_mark.line + 1)
    if len(lines) > _MAX_VALUES:
        raise kind("too many values; aliases may not multiply without end", place=Place(file=name))
    if isinstance(node, MappingNode):
        seen: set[str] = set()
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, ScalarNode) else str(key_node.start_mark.line)
            key_line = key_node.start_mark.line + 1
            if key in seen and key != "<<":
                place = Place(file=name, line=key_line, key=".".join(map(str, (*way, key))))
                raise kind("duplicate key", place=place, hint="remove or rename one of the two")
            seen.add(key)
            lines[(*way, key)] = key_line
            if not isinstance(value_node, ScalarNode):
                _walk(value_node, (*way, key), lines, name, kind)
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*way, index), lines, name, kind)


def read_yaml(path: Path, *, name: str | None = None, kind: type[ProjectError] = ProjectError) -> Document:
    """Read and parse a YAML file; see `read_text` and `parse_yaml` for what it raises."""
    return parse_yaml(read_text(path, name=name, kind=kind), name=name or str(path), kind=kind)


def read_json(path: Path, *, name: str | None = None, kind: type[ProjectError] = ProjectError) -> Any:  # noqa: ANN401 - JSON is anything
    """Read a JSON file.

    Raises:
        ProjectError: (or `kind`) missing, unreadable, or not JSON; line and column are named. Or half of a surrogate
            pair.
    """
    text = read_text(path, name=name, kind=kind)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        found = f"not valid JSON: {error.msg} at column {error.colno}"
        raise kind(found, place=Place(file=name or str(path), line=error.lineno)) from None
    check_encodable(value, place=Place(file=name or str(path)), kind=kind)
    return value


class FileFingerprint(NamedTuple):
    """Three facts of a file's status: while they are equal, the file was neither written nor replaced."""

    modified_ns: int
    size_bytes: int
    inode: int

    @classmethod
    def of(cls, path: str | Path) -> Self | None:
        """Read the fingerprint of a file or directory; None when it is missing or cannot be reached."""
        try:
            status = os.stat(path)  # noqa: PTH116 - polled for every prompt: building a Path would cost more
        except OSError:
            return None
        return cls(status.st_mtime_ns, status.st_size, status.st_ino)


def read_fingerprints(paths: Iterable[str | Path]) -> dict[str, FileFingerprint]:
    """Read the fingerprints of those files that exist, by path."""
    return {str(path): found for path in paths if (found := FileFingerprint.of(path)) is not None}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failed write (full disk, read-only place) into our error that names the file.

    Raises:
        InfrastructureError: the operating system refused; says why and that nothing written before is lost.
    """
    try:
        yield
    except OSError as error:
        raise InfrastructureError(
            f"cannot write: {error.strerror or error}",
            place=Place(file=str(path)),
            hint="free some space or choose another place; what was written before is kept",
        ) from error


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace a file in one step: a reader sees the old bytes or the new ones, never half.

    Args:
        path: the file; its parent directories are made.
        content: text is written as UTF-8.

    Raises:
        InfrastructureError: the disk is full or the place cannot be written; the old file is untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = path.stat().st_mode & 0o7777 if path.exists() else 0o644
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(temporary, mode)  # noqa: PTH101 - mkstemp gives a name, not a Path
            os.replace(temporary, path)  # noqa: PTH105 - as above
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)  # noqa: PTH108 - as above
            raise


def take_lock(file: int | IO[bytes], *, limit_s: float, clock_s: Callable[[], float]) -> bool:
    """Wait for the lock of an open file or directory; the kernel frees it when the file is closed or its process dies.

    Args:
        file: what is open.
        limit_s: longest wait, >= 0.
        clock_s: a clock that never goes back, seconds.

    Returns:
        Whether it was taken within the limit.

    Raises:
        OSError: the file system has no locks.
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
