"""Replaces a prefill by an instruction, for models that refuse messages which end with the assistant's turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowai.providers import ChatMessage


def prefill_of(messages: tuple[ChatMessage, ...]) -> str | None:
    """Return the prefill; None when the messages do not end with the assistant's turn."""
    if len(messages) < 2 or messages[-1].get("role") != "assistant":  # noqa: PLR2004 - a turn before the prefill
        return None
    content = messages[-1].get("content")
    return content if isinstance(content, str) and content.strip() else None


def as_instruction(messages: tuple[ChatMessage, ...], prefill: str) -> tuple[ChatMessage, ...]:
    """Replace the prefill by an instruction; roles still alternate, as some providers require."""
    instruction = f"Begin your answer with exactly this text, then go on:\n{prefill}"
    *earlier, last, _ = messages
    if last.get("role") == "user" and isinstance(last.get("content"), str):
        return (*earlier, {**last, "content": f"{last['content']}\n\n{instruction}"})
    return (*earlier, last, {"role": "user", "content": instruction})


def strip_prefill(text: str, prefill: str) -> str:
    """Return the answer without a repeated prefill: callers get the continuation, as from other models."""
    start = text.lstrip()
    return start[len(prefill.rstrip()) :] if start.startswith(prefill.rstrip()) else text


class PrefillStripper:
    """Strips a repeated prefill from a streamed answer; holds back text until a repetition is excluded."""

    def __init__(self, prefill: str) -> None:
        self._prefill = prefill
        self._buffer: str | None = ""

    def feed(self, text: str) -> str:
        """Add a text; return the text that may be passed on now."""
        if self._buffer is None:
            return text
        self._buffer += text
        start = self._buffer.lstrip()
        prefill = self._prefill.rstrip()
        if len(start) < len(prefill) and prefill.startswith(start):
            return ""
        return self.finish()

    def finish(self) -> str:
        """Return the text that is still held back."""
        buffered, self._buffer = self._buffer, None
        return "" if buffered is None else strip_prefill(buffered, self._prefill)
