"""The prompts of graded assertions: files in `prompts/`, in the same dialect as a project's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowai.prompts import load_package_prompt, openai_messages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.prompts import Prompt
    from flowai.providers.client import ChatMessage

FOLDER = "prompts"


@dataclass(frozen=True, slots=True)
class JudgePrompts:
    """The package's prompts for graders; each is parsed once."""

    _parsed: dict[str, Prompt] = field(default_factory=dict)

    def load(self, name: str) -> Prompt:
        """Return a prompt by its file's name without suffix."""
        if name not in self._parsed:
            self._parsed[name] = load_package_prompt(__package__, f"{FOLDER}/{name}.prompt")
        return self._parsed[name]

    def messages(self, name: str, values: Mapping[str, Any]) -> tuple[ChatMessage, ...]:
        """Render a prompt; values that a model wrote get marks that they cannot close."""
        return tuple(openai_messages(self.load(name).render(values).messages))
