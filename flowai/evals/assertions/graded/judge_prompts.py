"""The prompts of graded assertions: files in `prompts/`, in the same dialect as a project's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowai.prompts import openai_messages, parse_prompt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.prompts import Prompt
    from flowai.prompts.template.parser import PartialSource
    from flowai.providers.client import ChatMessage

FOLDER = "prompts"


class _NoPartials:
    def get(self, name: str) -> PartialSource | None:  # noqa: ARG002 - the protocol's
        return None

    def names(self) -> list[str]:
        return []


@dataclass(frozen=True, slots=True)
class JudgePrompts:
    """The package's prompts for graders; each is parsed once."""

    _parsed: dict[str, Prompt] = field(default_factory=dict)

    def load(self, name: str) -> Prompt:
        """Return a prompt by its file's name without suffix."""
        if name not in self._parsed:
            file = f"{FOLDER}/{name}.prompt"
            text = resources.files(__package__).joinpath(file).read_text(encoding="utf-8")
            self._parsed[name] = parse_prompt(text, id=name, path=Path(file), file=file, partials=_NoPartials())
        return self._parsed[name]

    def messages(self, name: str, values: Mapping[str, Any]) -> tuple[ChatMessage, ...]:
        """Render a prompt; values that a model wrote get marks that they cannot close."""
        return tuple(openai_messages(self.load(name).render(values).messages))
