"""Writes a working project; never replaces a user's file, and goes on where an interrupted run stopped."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.errors import InfrastructureError, ProjectError, UsageError
from flowai.evals.importers.importer import plan_import
from flowai.evals.importers.records import ImportPlan
from flowai.project import Project
from flowai.registry import environment_of, load_registry
from flowai.scaffold.model_choice import LOCAL, URL_KEY_VARIABLE, choose_model, missing_packages
from flowai.scaffold.records import FileOutcome, InitReport
from flowai.scaffold.template_files import (
    GITLAB_ENTRY,
    IGNORED_LINES,
    SCHEMA_PATH,
    project_files,
    schema_content,
    surrounding_files,
)
from flowai.scaffold.writing import add_lines, create_file, write_own_file
from flowai.storage.own_files import REGISTRY_FILE, check_no_link

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from flowai.evals.importers.records import ImportedFile
    from flowai.scaffold.model_choice import ModelChoice

_WRONG_NAMES = ("registry.yml", "registry.json")
_IMPORTED_NAME = "imported"


@dataclass(frozen=True, kw_only=True, slots=True)
class InitOptions:
    """Where and for which model a project is written."""

    directory: Path
    provider: str = LOCAL
    model: str | None = None
    """Name of the model behind the URL that `provider` is; None to ask it."""
    exports: tuple[Path, ...] = ()
    """Files of one export of another tool, to import."""
    here: Path
    """Directory in which the user types commands."""
    environ: Mapping[str, str]


def initialise(options: InitOptions) -> InitReport:
    """Write a working project; in an existing one only what it lacks beside its prompts, suites and datasets.

    Raises:
        UsageError: the folder is a file, or an option is wrong; nothing was written.
        ProjectError: the folder's registry, or the export, cannot be read; nothing was written.
        InfrastructureError: a file cannot be written: run it again after the fix; earlier files are kept.
    """
    root = _root(options.directory)
    project = Project(root=root, registry=root / REGISTRY_FILE)
    is_there = _check_registry(project, options.environ)
    environ = environment_of(project, options.environ)
    choice = choose_model(options.provider, options.model, key=environ.get(URL_KEY_VARIABLE))
    files = project_files(choice)
    is_existing = is_there and project.registry.read_text(encoding="utf-8") != files[-1].text
    taken = () if is_existing else files
    plan = _imported(options, root, taken)
    outcomes: list[FileOutcome] = []
    try:
        outcomes.extend(_write(root, choice, taken, plan))
    except InfrastructureError as error:
        raise _unfinished(error) from error
    if is_existing:
        outcomes.append(
            FileOutcome(path=REGISTRY_FILE, status="left", reason="the project has one: nothing is added to it")
        )
    return InitReport(
        root=str(root),
        is_existing_project=is_existing,
        files=tuple(outcomes),
        not_taken=plan.omissions,
        notes=tuple(_notes(options, project, choice, outcomes, plan)),
        steps=tuple(_steps(options, root, choice, plan, environ, is_existing=is_existing)),
    )


def _root(directory: Path) -> Path:
    root = directory.expanduser().resolve()
    if root.exists() and not root.is_dir():
        raise UsageError(
            f"`{directory}` is a file, expected a folder", hint="`flowai init DIR` creates a folder that is missing"
        )
    return root


def _check_registry(project: Project, environ: Mapping[str, str]) -> bool:
    """Return whether the folder has a registry; it must be one that this flowai reads.

    Raises:
        ProjectError: it is of another layout, or invalid.
    """
    check_no_link(project.registry)
    if not project.registry.exists():
        wrong = next((name for name in _WRONG_NAMES if (project.root / name).exists()), None)
        if wrong is not None:
            raise ProjectError(
                f"found `{wrong}`, expected `{REGISTRY_FILE}`; nothing was written",
                hint=f"rename it to `{REGISTRY_FILE}`, or choose another folder: `flowai init DIR`",
            )
        return False
    try:
        load_registry(project, env=None, environ=environ)
    except ProjectError as error:
        hint = f"{error.hint}; " if error.hint else ""
        raise ProjectError(
            f"the folder has a project that cannot be read: {error.what}",
            place=error.place,
            hint=f"{hint}nothing was written; fix it, or choose another folder: `flowai init DIR`",
        ) from error
    return True


def _imported(options: InitOptions, root: Path, taken: Sequence[ImportedFile]) -> ImportPlan:
    """Return the plan of the export; of none without one."""
    if not options.exports:
        return ImportPlan(format="", target="")
    paths = [options.here / path for path in options.exports]
    plan = plan_import(paths)
    if not plan.files:
        path = paths[0]
        if not path.resolve().is_relative_to(root):
            raise UsageError(
                f"--from: `{options.exports[0]}` runs unchanged, and names files beside it; nothing was written",
                hint=f"create the project around it: `flowai init {shlex.quote(str(path.resolve().parent))}`",
            )
        return plan
    own = {file.path for file in taken}
    return plan_import(paths, name=_IMPORTED_NAME) if any(file.path in own for file in plan.files) else plan


def _write(root: Path, choice: ModelChoice, taken: Sequence[ImportedFile], plan: ImportPlan) -> Iterator[FileOutcome]:
    """Write everything; the registry, which makes the folder a project, after the files that it names."""
    yield add_lines(root, ".gitignore", IGNORED_LINES)  # first: no other file may be committed by accident
    yield write_own_file(root, SCHEMA_PATH, schema_content())
    around = surrounding_files(choice) if taken else ()  # the jobs of an existing project are its own
    for file in (*plan.files, *around, *taken):
        yield create_file(root, file.path, file.text)


def _unfinished(error: InfrastructureError) -> InfrastructureError:
    hint = f"{error.hint}; " if error.hint else ""
    return InfrastructureError(
        error.what, place=error.place, hint=f"{hint}then run `flowai init` again: it writes the files that are missing"
    )


def _notes(
    options: InitOptions, project: Project, choice: ModelChoice, outcomes: Sequence[FileOutcome], plan: ImportPlan
) -> Iterator[str]:
    yield from plan.notes
    named = options.environ.get("FLOWAI_REGISTRY")
    if named and (options.here / named).resolve() != project.registry:
        yield f"FLOWAI_REGISTRY names `{named}`: until it is unset, commands use that project"
    left = {outcome.path for outcome in outcomes if outcome.status == "left"}
    if GITLAB_ENTRY in left:
        yield f"`{GITLAB_ENTRY}` is yours: add `include: [{{local: .gitlab/flowai.yml}}]` to it"
    if left & {file.path for file in project_files(choice)[:-1]}:
        yield "files that were left may not fit the registry: `flowai doctor` tells"


def _steps(
    options: InitOptions,
    root: Path,
    choice: ModelChoice,
    plan: ImportPlan,
    environ: Mapping[str, str],
    *,
    is_existing: bool,
) -> Iterator[str]:
    if root != options.here.resolve():
        yield f"cd {shlex.quote(os.path.relpath(root, options.here.resolve()))}"
    if is_existing:
        yield "flowai doctor"
    else:
        if choice.extra and (command := missing_packages()):
            yield command
        if choice.key_variable and not environ.get(choice.key_variable):
            yield f"cp -n .env.example .env    # then write the key into it: {choice.key_variable}=..."
        yield "flowai smoke"
        yield "flowai eval"
    if options.exports:
        yield shlex.join(_eval_words(options, root, plan))


def _eval_words(options: InitOptions, root: Path, plan: ImportPlan) -> list[str]:
    """Return the command that runs the imported suite, typed in the project."""
    if not plan.files:
        return ["flowai", "eval", os.path.relpath((options.here / options.exports[0]).resolve(), root)]
    words = ["flowai", "eval", plan.target]
    words += ["--from-outputs", plan.outputs] if plan.outputs else []
    return words + (["--model", "NAME"] if not plan.models and not plan.outputs else [])
