"""Output of a run for CI systems: annotations, GitHub's step summary, and a comment; none of it changes the result."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from flowai.cli import console

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.evals.reports import Report
    from flowai.project import Project

MAX_SUMMARY_BYTES = 1_000_000
"""GitHub refuses the summary of a step with more than 1 MiB."""


def check_outputs(paths: Iterable[Path]) -> None:
    """Check, before anything is paid, that the files that the user asked for can be written.

    Raises:
        InfrastructureError: a path is a directory, or is below a file or in a directory without write permission.
    """
    from flowai.errors import InfrastructureError, Place

    for path in paths:
        parent = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
        problem = None
        if path.is_dir():
            problem = "is a directory; expected a file"
        elif not parent.is_dir():
            problem = f"`{parent}` is not a directory"
        elif not os.access(path if path.exists() else parent, os.W_OK):
            problem = "no permission to write"
        if problem is not None:
            raise InfrastructureError(f"cannot write: {problem}", place=Place(file=str(path)), hint="nothing was run")


def publish(
    report: Report, project: Project, *, comment: Path | None, unwritten: Iterable[str] = (), annotates: bool
) -> None:
    """Write what CI systems show; a file that cannot be written is one warning on stderr.

    Args:
        report: a finished run.
        project: the project that was run.
        comment: file for the comment; None for none.
        unwritten: problems with report files, to warn about too.
        annotates: whether stdout may have annotations: not if it is a JSON document.
    """
    from flowai.errors import InfrastructureError

    problems = list(unwritten)
    if annotates and console.is_github():
        from flowai.evals.reports.annotations import annotation_lines

        root = repository_root(project.root)
        for line in annotation_lines(report, lambda file: _in_repository(project.root / file, root)):
            console.print_workflow_command(line)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    for path, write in ((Path(summary) if summary else None, _write_summary), (comment, _write_comment)):
        try:
            if path is not None:
                write(report, path)
        except InfrastructureError as error:
            problems.append(str(error))
    if problems:
        console.print_progress_line(f"warning: {'; '.join(problems)}; the result is unchanged")


def repository_root(folder: Path) -> Path:
    """Return the root of the repository that a folder is in: GITHUB_WORKSPACE, else git's; else the folder itself."""
    folder = folder.resolve()
    workspace = os.environ.get("GITHUB_WORKSPACE")
    if workspace and folder.is_relative_to(Path(workspace).resolve()):
        return Path(workspace).resolve()
    return next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), folder)


def _in_repository(path: Path, root: Path) -> str:
    return os.path.relpath(path.resolve(), root) if path.resolve().is_relative_to(root) else str(path)


def _write_summary(report: Report, path: Path) -> None:
    """Add the report to the summary page of a GitHub job."""
    from flowai.evals.reports.comment import to_comment
    from flowai.evals.reports.markdown_report import to_markdown
    from flowai.storage.files import writing

    with writing(path):
        text = to_markdown(report)
        used_bytes = path.stat().st_size if path.exists() else 0
        if used_bytes + len(text.encode()) > MAX_SUMMARY_BYTES:
            text = to_comment(report)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(text)


def _write_comment(report: Report, path: Path) -> None:
    from flowai.evals.reports.comment import to_comment
    from flowai.storage.files import write_atomic

    write_atomic(path, to_comment(report))
