"""Prompts that a package of flowai ships: files in the same dialect as a project's own."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from flowai.prompts.prompt import parse_prompt

if TYPE_CHECKING:
    from flowai.prompts.prompt import Prompt


class _NoPartials:
    def get(self, name: str) -> None:  # noqa: ARG002 - a partial's name
        return None

    def names(self) -> tuple[str, ...]:
        return ()


def load_package_prompt(package: str, file: str) -> Prompt:
    """Parse a prompt of a package of flowai; `file` is its path in the package."""
    text = resources.files(package).joinpath(file).read_text(encoding="utf-8")
    return parse_prompt(
        text, id=f"flowai/{Path(file).stem}", path=Path(file), file=f"flowai's own {file}", partials=_NoPartials()
    )
