"""Conversion of messages to OpenAI's chat format.

Source: OpenAI API reference, "Create chat completion", messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai.prompts.messages import MediaPart, SectionPart, TextPart

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.prompts.messages import Message, Part


def openai_messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Convert messages to OpenAI's chat format; the role `model` becomes `assistant`.

    Text alone becomes one string; with media the content is a list of parts, without empty text, because providers
    reject it. Sections are not sent.
    """
    return [_message(message) for message in messages]


def _message(message: Message) -> dict[str, Any]:
    role = "assistant" if message.role == "model" else message.role
    if any(isinstance(part, MediaPart) for part in message.parts):
        return {"role": role, "content": [_part(part) for part in message.parts if not _is_omitted(part)]}
    return {"role": role, "content": message.text}


def _is_omitted(part: Part) -> bool:
    return isinstance(part, SectionPart) or (isinstance(part, TextPart) and not part.text)


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, MediaPart):
        return {"type": "image_url", "image_url": {"url": part.url}}
    return {"type": "text", "text": part.text if isinstance(part, TextPart) else ""}
