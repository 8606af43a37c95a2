"""Puts an assistant prefill into words, for a model that refuses messages which end with the assistant's turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowai.providers import ChatMessage


def prefill_of(messages: tuple[ChatMessage, ...]) -> str | None:
    """Give the text the assistant's answer is to continue; None when the messages end with another turn."""
    if len(messages) < 2 or messages[-1].get("role") != "assistant":  # noqa: PLR2004 - a turn before the prefill
        return None
    content = messages[-1].get("content")
    return content if isinstance(content, str) and content.strip() else None


def as_instruction(messages: tuple[ChatMessage, ...], prefill: str) -> tuple[ChatMessage, ...]:
    """Ask in words for what the prefill asked by its place; roles still take turns, as some providers insist."""
    words = f"Begin your answer with exactly this text, then go on:\n{prefill}"
    *earlier, last, _ = messages
    if last.get("role") == "user" and isinstance(last.get("content"), str):
        return (*earlier, {**last, "content": f"{last['content']}\n\n{words}"})
    return (*earlier, last, {"role": "user", "content": words})


def continuation(text: str, prefill: str) -> str:
    """Take the prefill off an answer that repeats it: the caller gets the continuation, as from other models."""
    begun = text.lstrip()
    return begun[len(prefill.rstrip()) :] if begun.startswith(prefill.rstrip()) else text


class PrefillStripper:
    """Takes the prefill off a streamed answer: holds the first texts back until it is clear whether they repeat it.

    Args:
        prefill: the text to take off.
    """

    def __init__(self, prefill: str) -> None:
        self._prefill = prefill
        self._held: str | None = ""

    def add(self, text: str) -> str:
        """Take a text in; give what may be passed on now."""
        if self._held is None:
            return text
        self._held += text
        begun = self._held.lstrip()
        wanted = self._prefill.rstrip()
        if len(begun) < len(wanted) and wanted.startswith(begun):
            return ""
        return self.finish()

    def finish(self) -> str:
        """Give what is still held back."""
        held, self._held = self._held, None
        return "" if held is None else continuation(held, self._prefill)
