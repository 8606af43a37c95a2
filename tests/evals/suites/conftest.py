"""A small project to read suites from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flowai.evals.suites.loader import load_suite
from flowai.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flowai.evals.suites.records import Suite


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = (tmp_path / "project").resolve()
    for name in ("evals", "datasets", "prompts/code_v1"):
        (root / name).mkdir(parents=True)
    (root / "registry.yaml").write_text("schema_version: 1\n")
    for name in ("summary_v1", "summary_v2", "_shared", "code_v1/code"):
        (root / f"prompts/{name}.prompt").write_text("Hello\n")
    return Project(root=root, registry=root / "registry.yaml")


@pytest.fixture
def write(project: Project) -> Callable[[str, str | bytes], Path]:
    """Write a file of the project."""

    def put(name: str, content: str | bytes) -> Path:
        path = project.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return put


@pytest.fixture
def suite_of(project: Project, write: Callable[[str, str | bytes], Path]) -> Callable[[str], Suite]:
    """Read a suite from its text."""

    def read(text: str) -> Suite:
        return load_suite(write("evals/x.yaml", text), project)

    return read
