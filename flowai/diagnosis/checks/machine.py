"""Checks of the installation and of flowai's own directory."""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import tempfile
from importlib import metadata
from typing import TYPE_CHECKING

from flowai import __version__
from flowai.diagnosis.inspection import UnreadableError
from flowai.diagnosis.records import error, ok, skipped, warning
from flowai.errors import FlowaiError
from flowai.rendering.formatting import size
from flowai.state.urls import REDIS_SCHEMES, scheme_of
from flowai.storage.tracked_files import first_tracked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flowai.diagnosis.inspection import Inspection
    from flowai.diagnosis.records import Result

MIN_FREE_BYTES = 100_000_000
LOW_FREE_BYTES = 1_000_000_000
_REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*).*extra == ['\"]([\w-]+)['\"]")
_SPARE_EXTRA = "semantic"
"""Without it calls are served, and only the semantic cache is off."""
_CLASSIFIER = "Programming Language :: Python :: 3."


def check_python(inspection: Inspection) -> Iterator[Result]:  # noqa: ARG001 - the signature of a check
    """Check the version of Python against those that flowai supports."""
    found = platform.python_version()
    text = f"{found}, flowai {__version__}"
    try:
        facts = metadata.metadata("flowai")
    except metadata.PackageNotFoundError:
        yield warning(f"{text} from a folder, not installed", "pip install flowai")
        return
    minors = sorted(
        int(line.removeprefix(_CLASSIFIER))
        for line in facts.get_all("Classifier") or ()
        if line.startswith(_CLASSIFIER) and line.removeprefix(_CLASSIFIER).isdigit()
    )
    minor = int(found.split(".")[1])
    supported = f"flowai supports 3.{minors[0]} to 3.{minors[-1]}"
    if minor < minors[0]:
        yield error(f"{text}; {supported}", "create the environment with a newer Python")
    elif minor > minors[-1]:
        yield warning(f"{text}; {supported}, and is not tested with this one")
    else:
        yield ok(text)


def check_extras(inspection: Inspection) -> Iterator[Result]:
    """Check that the extras that the registry needs are installed, and the weights of a local model."""
    extras = installed_extras()
    if extras is None:
        yield skipped("flowai is not installed as a package")
        return
    is_complete = True
    for result in _missing_parts(inspection, extras):
        is_complete = False
        yield result
    if is_complete:
        yield ok(f"installed: {', '.join(name for name, is_there in extras.items() if is_there) or 'none'}")


def _missing_parts(inspection: Inspection, extras: Mapping[str, bool]) -> Iterator[Result]:
    """Yield what the registry needs and this environment lacks; nothing where the registry cannot be read."""
    try:
        needed = dict(_needed_extras(inspection))
    except UnreadableError:
        return
    for name, reason in needed.items():
        if not extras.get(name, True):
            found = warning if name == _SPARE_EXTRA else error
            yield found(f"`{name}` is not installed; {reason} needs it", f"pip install 'flowai[{name}]'")
    for name in inspection.first_models if "local" in needed else ():
        if inspection.registry.models[name].file is not None:
            try:
                inspection.check_local_model(name)
            except FlowaiError as problem:
                yield error(str(problem), problem.hint)


def installed_extras() -> dict[str, bool] | None:
    """Return whether each extra is installed with all its packages; None if flowai is no installed package."""
    try:
        requirements = metadata.requires("flowai") or []
    except metadata.PackageNotFoundError:
        return None
    found: dict[str, bool] = {}
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        if match is not None:
            found[match[2]] = found.get(match[2], True) and _is_installed(match[1])
    return dict(sorted(found.items()))


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _needed_extras(inspection: Inspection) -> Iterator[tuple[str, str]]:
    registry = inspection.registry
    if scheme_of(registry.state) in REDIS_SCHEMES:
        yield "redis", "`state`"
    elif scheme_of(registry.cache.url or "") in REDIS_SCHEMES:
        yield "redis", "`cache.url`"
    if "://" in registry.events:
        yield "lake", "`events`"
    local = next((name for name in inspection.first_models if registry.models[name].file is not None), None)
    if local is not None:
        yield "local", f"model `{local}`"
    semantic = next((name for name in inspection.chains if registry.feature(name).cache.kind == "semantic"), None)
    if semantic is not None and registry.embeddings is None:
        yield "semantic", f"the cache of `{semantic}`"


def check_disk(inspection: Inspection) -> Iterator[Result]:
    """Check free space and rights of `.flowai`."""
    path = inspection.project.local
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        yield error(f"`{path.name}` is a file or a link, expected a directory", f"remove `{path.name}`")
        return
    place = path if path.exists() else inspection.project.root
    problem = _write_problem(str(place))
    if problem is not None:
        yield error(
            f"`{inspection.project.show(place)}` cannot be written: {problem}",
            "free some space, or give this user the right to write there",
            cause="infrastructure",
        )
        return
    free = shutil.disk_usage(place).free
    if free < MIN_FREE_BYTES:
        yield error(f"only {size(free)} are free", "free some space: `flowai cache clear`", cause="infrastructure")
    elif free < LOW_FREE_BYTES:
        yield warning(f"only {size(free)} are free", "free some space: `flowai cache clear`")
    else:
        yield from _rights(inspection, free)


def _write_problem(directory: str) -> str | None:
    try:
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".doctor."):
            return None
    except OSError as problem:
        return problem.strerror or str(problem)


def _rights(inspection: Inspection, free: int) -> Iterator[Result]:
    path = inspection.project.local
    if not path.exists():
        yield ok(f"{size(free)} free; `{path.name}` is not there yet")
        return
    status = path.stat()
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield warning(f"others can write to `{path.name}`", f"chmod -R go-w {path.name}")
    elif status.st_uid not in {os.geteuid(), 0}:
        yield warning(f"`{path.name}` belongs to another user (uid {status.st_uid})", f"chown -R $(id -u) {path.name}")
    elif shown := first_tracked(path):
        yield error(
            f"git tracks `{shown}`", f"`git rm -r --cached {path.name}`, and add `{path.name}/` to `.gitignore`"
        )
    else:
        yield ok(f"{size(free)} free; `{path.name}` can be written")
