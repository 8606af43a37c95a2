"""Checks of the files that a user owns: registry, schema, `.env`, prompts, lock, suites."""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING

from flowai.diagnosis.records import error, ok, skipped, warning
from flowai.errors import FlowaiError, Place
from flowai.evals.suites.loader import load_suite
from flowai.registry import binding, environment_of, environments, features_of, load_registry, resolve_release
from flowai.registry.schema import SCHEMA_FILE
from flowai.releases.integrity import changes_since
from flowai.rendering.formatting import count
from flowai.storage.tracked_files import is_tracked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.diagnosis.inspection import Inspection
    from flowai.diagnosis.records import Result

_SCHEMA_LINE = re.compile(r"\A# yaml-language-server: \$schema=(\S+)")
SMOKE_SUITE = "smoke.yaml"
MAX_PROBLEMS = 5
"""Findings of one check; more are counted."""


def check_registry(inspection: Inspection) -> Iterator[Result]:
    """Check the registry, those of the environments, and that a release serves."""
    registry = inspection.loaded
    for name in environments(inspection.project):
        if name != registry.environment:
            try:
                load_registry(inspection.project, env=name, environ=inspection.environ)
            except FlowaiError as problem:
                yield error(f"environment `{name}`: {problem}", problem.hint)
    serving = resolve_release(registry, inspection.environ)
    for text in serving.warnings:
        yield warning(text, "name a release that is not bad, or unset the variable")
    parts = (
        count(len(registry.models), "model"),
        count(len(registry.features), "feature"),
        count(len(registry.releases), "release"),
    )
    yield ok(f"{', '.join(parts)}; `{serving.name}` serves")


def check_schema(inspection: Inspection) -> Iterator[Result]:
    """Check that an editor finds the registry's schema."""
    project = inspection.project
    line = _SCHEMA_LINE.match(project.registry.read_text(encoding="utf-8", errors="replace"))
    if line is None:
        yield skipped("the registry names no schema for editors")
        return
    if "://" in line[1]:
        yield skipped(f"the registry names `{line[1]}`")
        return
    path = project.registry.parent / line[1]
    if not path.is_file():
        yield warning(f"`{line[1]}` is missing, so editors check nothing", "`flowai init` writes it")
    elif path.read_bytes() != SCHEMA_FILE.read_bytes():
        yield warning(f"`{line[1]}` is of another version of flowai", "`flowai init` writes the one of this version")
    else:
        yield ok(line[1])


def check_dotenv(inspection: Inspection) -> Iterator[Result]:
    """Check that `.env` can be read, and by its owner only."""
    path = inspection.project.dotenv
    if not path.is_file():
        yield ok("there is no `.env`; variables come from the environment")
        return
    variables = environment_of(inspection.project, {})
    if is_tracked(path, below=path.parent.name):
        yield error(
            "git tracks `.env`, which holds keys", "`git rm --cached .env`, add it to `.gitignore`, replace its keys"
        )
    elif path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield warning("other users can read `.env`", "chmod 600 .env")
    else:
        yield ok(count(len(variables), "variable"))


def check_prompts(inspection: Inspection) -> Iterator[Result]:
    """Check every prompt; one that a serving release uses is a fault, any other a risk."""
    library = inspection.library
    serving = {
        binding(inspection.registry, release, feature).prompt
        for release in inspection.releases
        for feature in features_of(inspection.registry, release)
    }
    problems = []
    names = sorted({*library.ids(), *serving})
    for name in names:
        try:
            library.load(name)
        except FlowaiError as problem:
            found = error if name in serving else warning
            problems.append(found(str(problem), problem.hint))
    yield from _limited(problems)
    if not problems:
        yield ok(f"{count(len(names), 'prompt')}, {len(serving)} of them in use")


def check_lock(inspection: Inspection) -> Iterator[Result]:
    """Check that published prompts and models have not changed."""
    registry, lock = inspection.registry, inspection.lock
    if not lock.releases:
        yield ok("no release is published yet")
        return
    problems = []
    for release in lock.releases:
        changed = [
            f"{change.kind} `{change.name}`" for change in changes_since(registry, lock, inspection.library, release)
        ]
        if changed:
            found = error if release in inspection.releases else warning
            hint = "restore it from version control; a change is a new release"
            problems.append(found(f"`{release}` changed after it was published: {', '.join(changed)}", hint))
    yield from _limited(problems)
    if not problems:
        yield ok(f"{count(len(lock.releases), 'release')} unchanged")


def check_suites(inspection: Inspection) -> Iterator[Result]:
    """Check that every suite and its dataset can be read."""
    project = inspection.project
    paths = sorted(
        path for path in (*project.evals.glob("*.yaml"), *project.evals.glob("*.yml")) if path.name[0] != "."
    )
    problems, case_count = [], 0
    for path in paths:
        try:
            case_count += len(load_suite(path, project).cases)
        except FlowaiError as problem:
            problems.append(error(str(problem), problem.hint))
        except OSError as problem:
            problems.append(error(str(Place(file=project.show(path))) + f": {problem.strerror}"))
    yield from _limited(problems)
    if not (project.evals / SMOKE_SUITE).is_file():
        yield warning(f"there is no `evals/{SMOKE_SUITE}`", "`flowai smoke` and `flowai release publish` need it")
    elif not problems:
        yield ok(f"{count(len(paths), 'suite')}, {count(case_count, 'case')}")


def _limited(problems: list[Result]) -> Iterator[Result]:
    """Yield the first problems, faults first, and how many are left out."""
    ordered = sorted(problems, key=lambda problem: problem.status != "error")
    yield from ordered[:MAX_PROBLEMS]
    if len(ordered) > MAX_PROBLEMS:
        yield warning(f"and {count(len(ordered) - MAX_PROBLEMS, 'problem')} more", "fix these first")
