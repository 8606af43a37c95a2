"""The records a render gives: messages with a role and typed parts."""

from __future__ import annotations

from typing import Literal

import msgspec

Role = Literal["system", "user", "model"]
"""Who speaks; dotprompt calls the assistant `model`."""

ROLES: tuple[Role, ...] = ("system", "user", "model")


class TextPart(msgspec.Struct, frozen=True, kw_only=True, tag="text"):
    """Text, byte for byte as template and values gave it."""

    text: str
    """May be empty when a value was."""


class MediaPart(msgspec.Struct, frozen=True, kw_only=True, tag="media"):
    """A picture or other medium, by reference."""

    url: str
    """`https:` or `data:` address, as the value gave it."""
    content_type: str | None = None
    """Media type (`image/png`); None when the template names none."""


class SectionPart(msgspec.Struct, frozen=True, kw_only=True, tag="section"):
    """A mark inside a message: what follows belongs to this section. Models never see it."""

    name: str
    """As the template wrote it."""


Part = TextPart | MediaPart | SectionPart


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a conversation."""

    role: Role
    """Who speaks."""
    parts: tuple[Part, ...]
    """In the order of the template; adjacent text is one part."""
    purpose: Literal["history"] | None = None
    """`history` for messages that `{{history}}` placed; else None."""

    @property
    def text(self) -> str:
        """All text of the message, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))


class RenderedPrompt(msgspec.Struct, frozen=True, kw_only=True):
    """What a render gives."""

    messages: tuple[Message, ...]
    """The conversation, in order."""
    nonce: str | None = None
    """What the marks around untrusted values carry; None when the prompt has no untrusted variables."""
