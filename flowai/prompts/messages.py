"""The records a render gives: messages with a role and typed parts.

In: nothing. Out: frozen records. Must never know templates, files or any provider's format.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Role = Literal["system", "user", "model"]
"""Who speaks; dotprompt calls the assistant `model`."""

ROLES: tuple[Role, ...] = ("system", "user", "model")


class TextPart(msgspec.Struct, frozen=True, kw_only=True, tag="text"):
    """Text, byte for byte as template and values gave it.

    Args:
        text: may be empty when a value was.
    """

    text: str


class MediaPart(msgspec.Struct, frozen=True, kw_only=True, tag="media"):
    """A picture or other medium, by reference.

    Args:
        url: `https:` or `data:` address, as the value gave it.
        content_type: media type (`image/png`); None when the template names none.
    """

    url: str
    content_type: str | None = None


class SectionPart(msgspec.Struct, frozen=True, kw_only=True, tag="section"):
    """A mark inside a message: what follows belongs to this section. Models never see it.

    Args:
        name: as the template wrote it.
    """

    name: str


Part = TextPart | MediaPart | SectionPart


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a conversation.

    Args:
        role: who speaks.
        parts: in the order of the template; adjacent text is one part.
        purpose: `history` for messages that `{{history}}` placed; else None.
    """

    role: Role
    parts: tuple[Part, ...]
    purpose: Literal["history"] | None = None

    @property
    def text(self) -> str:
        """All text of the message, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """What a render gives.

    Args:
        messages: the conversation, in order.
        nonce: what the marks around untrusted values carry; None when the prompt has no untrusted variables.
    """

    messages: tuple[Message, ...]
    nonce: str | None = None
