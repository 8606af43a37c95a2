"""A rendered prompt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowai.providers.client import ChatMessage


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderedSuitePrompt:
    """A prompt with the variables of a case."""

    messages: tuple[ChatMessage, ...]
    """For models: the chat, or one message of the user."""
    text: str
    """For programs: the rendered template; of a chat, its JSON."""
    config: dict[str, Any] = field(default_factory=dict)
    """Parameters by promptfoo's names that override those of the provider."""
    promises_json: bool = False
    """Whether the parameters ask for an answer that is JSON."""
