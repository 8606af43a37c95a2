"""The only writer of a registry: changes flowai's own keys, and leaves every other byte as people wrote it.

In: a project, an environment, the change. Out: the file, replaced in one step. Must never know why the keys change.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import InfrastructureError, Place, ProjectError, RegistryError
from flowai.files import parse_yaml, read_text, take_lock, write_atomic, writing
from flowai.registry.load import environment_file, load_registry
from flowai.registry.model import Rollout
from flowai.registry.surgery import with_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from flowai.project import Project
    from flowai.registry.model import Registry

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LOCK_LIMIT_S = 3.0
"""An edit takes milliseconds: who holds the lock for longer is stopped, or is no flowai."""


class OwnKeys(msgspec.Struct, frozen=True, kw_only=True):
    """What flowai itself keeps in a registry.

    Args:
        current: the release that serves; None before the first.
        history: releases that completed 100 %, oldest first.
        bad: releases never to be served again.
        rollout: the rollout that is on; None when none is.
    """

    current: str | None = None
    history: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()
    rollout: Rollout | None = None


def edit_registry(
    project: Project,
    change: Callable[[OwnKeys], OwnKeys],
    *,
    env: str | None,
    environ: Mapping[str, str],
    clock_s: Callable[[], float] = time.monotonic,
) -> Registry:
    """Change flowai's own keys, in the environment's file where one is chosen.

    The file is read, changed and replaced under a lock that all processes on this machine share, so no change is lost.
    Comments, order, quotes and line ends stay; only lines of keys that really change are touched.

    Args:
        project: whose registry.
        change: is given the keys as they stand now, and returns them as they shall be. Called once.
        env: the environment, as for `load_registry`.
        environ: the variables, as for `load_registry`.
        clock_s: a clock that never goes back, seconds.

    Returns:
        The registry as it stands afterwards.

    Raises:
        RegistryError: the registry is wrong before the change, or would be after it; nothing is written then.
        UsageError: there is no such environment, or the change names a release that does not exist.
        InfrastructureError: the file cannot be written, or another process keeps the lock; it is as it was.
    """
    with _locked(project.root, clock_s):
        before = load_registry(project, env=env, environ=environ)
        own = OwnKeys(current=before.current, history=before.history, bad=before.bad, rollout=before.rollout)
        wanted = change(own)
        _check_names(before, wanted)
        path = environment_file(project, before.environment)
        _rewrite(path.resolve(), project.show(path), _differences(own, wanted))
        return load_registry(project, env=env, environ=environ)


def _check_names(registry: Registry, wanted: OwnKeys) -> None:
    names = [*wanted.history, *wanted.bad]
    names += [wanted.current] if wanted.current else []
    names += [wanted.rollout.candidate] if wanted.rollout else []
    for name in names:
        registry.release(name)


def _differences(own: OwnKeys, wanted: OwnKeys) -> dict[str, object]:
    """Give the keys that change, as YAML values."""
    old, new = (msgspec.to_builtins(keys, builtin_types=(_datetime(),)) for keys in (own, wanted))
    return {key: _without_nothing(value) for key, value in new.items() if value != old[key]}


def _datetime() -> type:
    from datetime import datetime  # YAML has times of its own, so they are kept as such

    return datetime


def _without_nothing(value: object) -> object:
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if item is not None}
    return list(value) if isinstance(value, tuple) else value


def _rewrite(path: Path, name: str, changes: Mapping[str, object]) -> None:
    """Write the changes into one file, after proving that they, and nothing else, have changed."""
    if not changes:
        return
    before = read_text(path, name=name, kind=RegistryError)
    text = before
    for key, value in changes.items():
        text = with_value(text, key, value, name=name)
    expected = {**parse_yaml(before, name=name, kind=RegistryError).value, **changes}
    if not _is(text, expected):
        keys = ", ".join(f"`{key}`" for key in changes)
        raise RegistryError(
            f"{keys} cannot be changed without touching what stands around",
            place=Place(file=name),
            hint="write them as plain `key: value` lines at the end of the file, without anchors",
        )
    mark = BYTE_ORDER_MARK if path.read_bytes().startswith(BYTE_ORDER_MARK) else b""
    write_atomic(path, mark + text.encode())


def _is(text: str, expected: object) -> bool:
    try:
        return bool(parse_yaml(text, name="the result").value == expected)
    except ProjectError:
        return False


@contextmanager
def _locked(directory: Path, clock_s: Callable[[], float]) -> Iterator[None]:
    """Hold the lock of a directory: nothing is left behind, and the kernel frees it when a process dies."""
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
