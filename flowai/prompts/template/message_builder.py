"""A conversation while it is being rendered: takes text, values and marks of structure, gives typed messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.errors import Place, PromptError
from flowai.prompts import control_tokens
from flowai.prompts.control_tokens import ValueSpan
from flowai.prompts.messages import MediaPart, Message, Part, Role, SectionPart, TextPart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.prompts.control_tokens import Policy


@dataclass(frozen=True, kw_only=True, slots=True)
class TextSource:
    """Where a value came from, for messages."""

    name: str
    """As the template wrote it."""
    place: Place
    """The tag it stands in."""


class MessageBuilder:
    """Collects one conversation.

    Blank text of the template between two marks is layout and makes no part; a value does, even an empty one, so that
    no value can make a message appear or vanish.

    Args:
        policy: what happens to control tokens in values and in the history.
        history: the messages before this prompt.
        file: name of the prompt's file, for messages about the history.
    """

    def __init__(self, *, policy: Policy, history: Sequence[Message], file: str) -> None:
        self._policy = policy
        self._history = tuple(self._guarded(message, file) for message in history)
        self._is_history_placed = False
        self._messages: list[Message] = []
        self._role: Role = "user"
        self._parts: list[Part] = []
        self._pieces: list[str] = []
        self._has_value = False
        self._length = 0
        self._stretches: list[ValueSpan[TextSource]] = []

    def text(self, text: str) -> None:
        """Take text of the template."""
        self._pieces.append(text)
        self._length += len(text)

    def value(self, text: str, source: TextSource) -> None:
        """Take text of a value."""
        self._pieces.append(text)
        self._has_value = True
        if self._policy != "allow" and text:
            end = self._length + len(text)
            self._stretches.append(ValueSpan(start=self._length, end=end, owner=source))
        self._length += len(text)

    def role(self, role: Role) -> None:
        """Let another role speak from here on."""
        self._close_message()
        self._role = role

    def history(self) -> None:
        """Put the history here; what follows without a role is said by the model."""
        self._close_message()
        self._messages += [
            Message(role=message.role, parts=message.parts, purpose="history") for message in self._history
        ]
        self._is_history_placed = True
        self._role = "model"

    def section(self, name: str) -> None:
        """Begin a section."""
        self._close_text()
        self._parts.append(SectionPart(name=name))

    def media(self, url: str, content_type: str | None) -> None:
        """Take a medium."""
        self._close_text()
        self._parts.append(MediaPart(url=url, content_type=content_type))

    def finish(self) -> tuple[Message, ...]:
        """Give the conversation; a history that the template did not place goes before the last user message."""
        self._close_message()
        messages = tuple(self._messages)
        if self._is_history_placed or not self._history:
            return messages
        if messages and messages[-1].role == "user":
            return (*messages[:-1], *self._history, messages[-1])
        return (*messages, *self._history)

    def _close_message(self) -> None:
        self._close_text()
        if self._parts:
            self._messages.append(Message(role=self._role, parts=tuple(self._parts)))
            self._parts = []

    def _close_text(self) -> None:
        if not self._pieces:
            return
        text = "".join(self._pieces)
        if self._has_value or text.strip():
            if self._stretches:
                text = self._checked(text, self._stretches)
            self._parts.append(TextPart(text=text))
        self._pieces = []
        self._stretches = []
        self._has_value = False
        self._length = 0

    def _checked(self, text: str, stretches: Sequence[ValueSpan[TextSource]]) -> str:
        """Apply the policy to the text of one part."""
        if self._policy == "neutralise":
            return control_tokens.neutralise(text, stretches)
        found = control_tokens.find_tokens(text, stretches)
        if found:
            token, source = found[0]
            what = f"`{source.name}` carries the chat control token `{token.group()}`"
            hint = "clean the value, or set `flowai.control_tokens: neutralise` in the front matter"
            raise PromptError(what, place=source.place, hint=hint)
        return text

    def _guarded(self, message: Message, file: str) -> Message:
        """Apply the policy to a message of the history: it holds what users and models said."""
        if self._policy == "allow":
            return message
        source = TextSource(name="history", place=Place(file=file))
        parts = tuple(
            TextPart(text=self._checked(part.text, [ValueSpan(start=0, end=len(part.text), owner=source)]))
            if isinstance(part, TextPart) and part.text
            else part
            for part in message.parts
        )
        return Message(role=message.role, parts=parts, purpose=message.purpose)
