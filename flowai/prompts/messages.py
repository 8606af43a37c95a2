"""Records of a rendered prompt: messages with a role and typed parts."""

from __future__ import annotations

from typing import Literal

import msgspec

Role = Literal["system", "user", "model"]
"""Dotprompt calls the assistant `model`."""

ROLES: tuple[Role, ...] = ("system", "user", "model")


class TextPart(msgspec.Struct, frozen=True, kw_only=True, tag="text"):
    """Text, byte for byte from template and values."""

    text: str
    """May be empty if a value was."""


class MediaPart(msgspec.Struct, frozen=True, kw_only=True, tag="media"):
    """An image or other medium, by reference."""

    url: str
    """`https:` or `data:` URL, unchanged from the value."""
    content_type: str | None = None
    """Media type (`image/png`); None if the template names none."""


class SectionPart(msgspec.Struct, frozen=True, kw_only=True, tag="section"):
    """Marker inside a message: the parts after it belong to this section. It is not sent to models."""

    name: str


Part = TextPart | MediaPart | SectionPart


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a conversation."""

    role: Role
    parts: tuple[Part, ...]
    """In the order of the template; adjacent text is one part."""
    purpose: Literal["history"] | None = None
    """`history` for messages that `{{history}}` inserted."""

    @property
    def text(self) -> str:
        """All text of the message, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))


class RenderedPrompt(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a render."""

    messages: tuple[Message, ...]
    nonce: str | None = None
    """In the marks around untrusted values; None if the prompt has no untrusted variables."""
