"""Where a feature's training sets lie, and what people and models said of its pairs.

In: a project, a feature. Out: paths, the book of decisions, labels. Must never know what is done with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.errors import UsageError, one_of
from flowai.finetune.book import Book
from flowai.finetune.labels import Label
from flowai.storage.jsonl import read_lines

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.operations.workspace import Workspace
    from flowai.project import Project


def home_of(project: Project, feature: str) -> Path:
    """Give the directory of a feature's training sets, and of what people decided for them."""
    return project.root / "finetune" / feature


def open_book(project: Project, feature: str) -> Book:
    """Open the decisions on a feature's pairs.

    Raises:
        ProjectError: a line is no decision.
    """
    path = home_of(project, feature) / "decisions.jsonl"
    return Book(path, name=project.show(path))


def damage_of(book: Book) -> list[str]:
    """Say which lines of the decisions cannot be read."""
    if not book.damaged:
        return []
    lines = ", ".join(map(str, book.damaged[:5])) + (" ..." if len(book.damaged) > 5 else "")  # noqa: PLR2004 - enough to find them
    return [f"{book.name}: cannot be read, and not counted: line {lines}"]


def labels_file(project: Project, feature: str) -> Path:
    """Give the file of what models say of a feature's pairs."""
    return home_of(project, feature) / "labels.jsonl"


def read_labels(project: Project, feature: str) -> tuple[Label, ...]:
    """Give what models say of a feature's pairs, in the order they said it.

    Raises:
        ProjectError: a line is no label.
    """
    path = labels_file(project, feature)
    return read_lines(path, Label, name=project.show(path)).records


def feature_of(workspace: Workspace, named: str | None) -> str:
    """Give the feature that is meant.

    Raises:
        UsageError: there is no such feature, or there are several and none was named.
    """
    if named is not None:
        workspace.registry.feature(named)
        return named
    known = sorted(workspace.registry.features)
    begun = [name for name in known if home_of(workspace.project, name).is_dir()] or known
    if len(begun) != 1:
        raise UsageError("which feature? name it with `--feature`", hint=one_of(begun))
    return begun[0]
