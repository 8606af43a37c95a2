"""Fixtures of the prompt tests: a prompt from text, and a project on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flowai.project import Project
from flowai.prompts import Prompt, parse_prompt
from flowai.prompts.template.parser import PartialSource

MakePrompt = Callable[..., Prompt]


@dataclass(frozen=True)
class DictPartials:
    """Partials from a dict."""

    texts: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> PartialSource | None:
        return PartialSource(text=self.texts[name], file=f"_{name}.prompt") if name in self.texts else None

    def names(self) -> list[str]:
        return list(self.texts)


@pytest.fixture(scope="session")
def make_prompt() -> MakePrompt:
    """Parse a prompt from text: `make_prompt("Hi {{name}}", partial="...")`."""

    def make(text: str, **partials: str) -> Prompt:
        return parse_prompt(
            text, id="prompts/x_v1", path=Path("x_v1.prompt"), file="x_v1.prompt", partials=DictPartials(partials)
        )

    return make


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project."""
    root = tmp_path / "project"
    (root / "prompts").mkdir(parents=True)
    (root / "registry.yaml").write_text("schema_version: 1\n", encoding="utf-8")
    return Project(root=root, registry=root / "registry.yaml")
