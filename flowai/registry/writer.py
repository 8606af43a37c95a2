"""The only writer of registry files: changes flowai's own keys, or an entry, and leaves all other bytes unchanged."""

from __future__ import annotations

import math
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import FlowaiError, InfrastructureError, Place, ProjectError, RegistryError
from flowai.registry.loader import ENVIRONMENT_VARIABLE, environment_file, load_registry
from flowai.registry.records import Rollout
from flowai.registry.yaml_edit import add_entry, remove_entry, replace_value
from flowai.storage.files import parse_yaml, read_text, take_lock, write_atomic, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from flowai.project import Project
    from flowai.registry.records import Registry

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LOCK_LIMIT_S = 3.0
"""An edit takes milliseconds: a process with the lock for longer is suspended, or not flowai."""


class ManagedKeys(msgspec.Struct, frozen=True, kw_only=True):
    """Keys of the registry that flowai writes; see `RegistryFile`."""

    current: str | None = None
    history: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()
    rollout: Rollout | None = None


def edit_registry(
    project: Project,
    change: Callable[[ManagedKeys], ManagedKeys],
    *,
    env: str | None,
    environ: Mapping[str, str],
    clock_s: Callable[[], float] = time.monotonic,
) -> Registry:
    """Change flowai's own keys, in the environment's file if there is one, and return the new registry.

    The file is read, changed and replaced under a lock that all processes on this machine share, so no change is lost.
    Comments, order, quotes and line ends stay; only lines of changed keys are written. After an error the file is
    unchanged.

    Args:
        project: the project.
        change: receives the current keys and returns the new ones. Called once.
        env: the environment, as for `load_registry`.
        environ: the variables, as for `load_registry`.
        clock_s: monotonic clock.

    Raises:
        RegistryError: the registry is wrong before the change, or would be after it.
        UsageError: there is no such environment, or the change names a release that does not exist.
        InfrastructureError: the file cannot be written, or another process keeps the lock.
    """
    with _locked(project.root, clock_s):
        before = load_registry(project, env=env, environ=environ)
        own = ManagedKeys(current=before.current, history=before.history, bad=before.bad, rollout=before.rollout)
        changed_keys = change(own)
        _check_names(before, changed_keys)
        path = environment_file(project, before.environment)
        _rewrite(path.resolve(), project.show(path), _differences(own, changed_keys))
        return load_registry(project, env=env, environ=environ)


@dataclass(frozen=True, kw_only=True, slots=True)
class EntryEdit:
    """An entry to add to a map of the registry, or to remove from it."""

    key: str
    """The map: `releases`, `experiments`."""
    name: str
    value: Mapping[str, object] | None = None
    """The new entry's value; None to remove the entry."""
    same_file_as: str = ""
    """An existing entry of the map; the new one is added to the same file."""


def edit_entries(
    project: Project,
    change: Callable[[Registry], Sequence[EntryEdit]],
    *,
    env: str | None,
    environ: Mapping[str, str],
    clock_s: Callable[[], float] = time.monotonic,
) -> tuple[str, ...]:
    """Add entries to a registry or remove some, with the guarantees of `edit_registry`.

    Args:
        project: the project.
        change: receives the current registry and returns the edits. Called once, under the lock.
        env: the environment, as for `load_registry`.
        environ: the variables, as for `load_registry`.
        clock_s: monotonic clock.

    Returns:
        The changed files, as the user types them.

    Raises:
        RegistryError: the registry is wrong before the change, or would be after it.
        InfrastructureError: a file cannot be written, or another process keeps the lock.
    """
    with _locked(project.root, clock_s):
        edits = change(load_registry(project, env=env, environ=environ))
        before = {path: path.read_bytes() for path in _files(project, env or environ.get(ENVIRONMENT_VARIABLE) or None)}
        changed: list[Path] = []
        try:
            for path in before:
                if _apply(path, project.show(path), edits):
                    changed.append(path)  # noqa: PERF401 - known one by one, so that an error can restore them
            load_registry(project, env=env, environ=environ)
        except FlowaiError:
            for path in changed:
                write_atomic(path.resolve(), before[path])
            raise
        return tuple(project.show(path) for path in changed)


@dataclass(frozen=True, kw_only=True, slots=True)
class FilePreview:
    """A file of a registry before and after edits that are not written."""

    name: str
    """As the user types it."""
    before: str
    after: str


def preview_entries(
    project: Project, edits: Sequence[EntryEdit], *, env: str | None, environ: Mapping[str, str]
) -> tuple[FilePreview, ...]:
    """Return the files that edits would change; nothing is written.

    Raises:
        RegistryError: an edit would change other text too.
    """
    previews = []
    for path in _files(project, env or environ.get(ENVIRONMENT_VARIABLE) or None):
        name = project.show(path)
        before = read_text(path, name=name, kind=RegistryError)
        after = _edited(before, name, edits)
        if after != before:
            previews.append(FilePreview(name=name, before=before, after=after))
    return tuple(previews)


def _files(project: Project, env: str | None) -> tuple[Path, ...]:
    """Return the files of a registry, the base first."""
    path = environment_file(project, env)
    base = parse_yaml(read_text(path), name=project.show(path), kind=RegistryError).value.get("extends")
    return (path,) if base is None else (path.with_name(base), path)


def _apply(path: Path, name: str, edits: Sequence[EntryEdit]) -> bool:
    """Write the edits of a file; return whether there were any."""
    before = read_text(path, name=name, kind=RegistryError)
    text = _edited(before, name, edits)
    if text == before:
        return False
    if not path.stat().st_mode & 0o222:
        raise InfrastructureError("the file is read-only", place=Place(file=name))
    mark = BYTE_ORDER_MARK if path.read_bytes().startswith(BYTE_ORDER_MARK) else b""
    write_atomic(path.resolve(), mark + text.encode())
    return True


def _edited(before: str, name: str, edits: Sequence[EntryEdit]) -> str:
    """Return a file's text with its edits, after a check that nothing else changes."""
    text, expected = before, parse_yaml(before, name=name, kind=RegistryError).value
    for edit in edits:
        entries = expected.get(edit.key) or {}
        if edit.value is None and edit.name in entries:
            text = remove_entry(text, edit.key, edit.name, name=name)
            entries = {entry: value for entry, value in entries.items() if entry != edit.name}
        elif edit.value is not None and edit.same_file_as in entries:
            text = add_entry(text, edit.key, edit.name, edit.value, name=name)
            entries = {**entries, edit.name: edit.value}
        else:
            continue
        expected = {**expected, edit.key: entries}
    if text != before and not _parses_to(text, expected):
        keys = ", ".join(f"`{edit.key}.{edit.name}`" for edit in edits)
        raise RegistryError(
            f"{keys} cannot be changed without changing other text",
            place=Place(file=name),
            hint="write one `name: value` per line there, without anchors; or change the entry by hand",
        )
    return text


def _check_names(registry: Registry, changed_keys: ManagedKeys) -> None:
    names = [*changed_keys.history, *changed_keys.bad]
    names += [changed_keys.current] if changed_keys.current else []
    names += [changed_keys.rollout.candidate] if changed_keys.rollout else []
    for name in names:
        registry.release(name)


def _differences(own: ManagedKeys, changed_keys: ManagedKeys) -> dict[str, object]:
    """Return the keys that change, as YAML values."""
    old, new = (msgspec.to_builtins(keys, builtin_types=(_datetime(),)) for keys in (own, changed_keys))
    return {key: _drop_none(value) for key, value in new.items() if value != old[key]}


def _datetime() -> type:
    from datetime import datetime  # kept unconverted: YAML has a type for times

    return datetime


def _drop_none(value: object) -> object:
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if item is not None}
    return list(value) if isinstance(value, tuple) else value


def _rewrite(path: Path, name: str, changes: Mapping[str, object]) -> None:
    """Write changed keys into a file, after a check that nothing else changes."""
    if not changes:
        return
    before = read_text(path, name=name, kind=RegistryError)
    text = before
    for key, value in changes.items():
        text = replace_value(text, key, value, name=name)
    expected = {**parse_yaml(before, name=name, kind=RegistryError).value, **changes}
    if not _parses_to(text, expected):
        keys = ", ".join(f"`{key}`" for key in changes)
        raise RegistryError(
            f"{keys} cannot be changed without changing other text",
            place=Place(file=name),
            hint="write them as plain `key: value` lines at the end of the file, without anchors",
        )
    mark = BYTE_ORDER_MARK if path.read_bytes().startswith(BYTE_ORDER_MARK) else b""
    write_atomic(path, mark + text.encode())


def _parses_to(text: str, expected: object) -> bool:
    try:
        return _are_equal(parse_yaml(text, name="the result").value, expected)
    except ProjectError:
        return False


def _are_equal(found: object, expected: object) -> bool:
    """Compare two YAML values; `.nan` equals itself."""
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(_are_equal(item, expected[key]) for key, item in found.items())
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(_are_equal, found, expected))
    if isinstance(found, float) and isinstance(expected, float) and math.isnan(found):
        return math.isnan(expected)
    return found == expected


@contextmanager
def _locked(directory: Path, clock_s: Callable[[], float]) -> Iterator[None]:
    """Hold the lock of a directory; it needs no file, and the kernel releases it when the process ends."""
    with writing(directory):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with writing(directory):
            is_ours = take_lock(descriptor, limit_s=LOCK_LIMIT_S, clock_s=clock_s)
        if not is_ours:
            raise InfrastructureError(
                f"another process has held the lock of `{directory}` for {LOCK_LIMIT_S:.0f} s",
                hint="nothing was written; end that process (`lsof` names it), then run the same command again",
            )
        yield
    finally:
        os.close(descriptor)
