"""Collects text, values and structure during a render, and builds typed messages."""

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
    """Source of a value, for errors."""

    name: str
    place: Place


class MessageBuilder:
    """Collects one conversation; `policy` applies to control tokens in values and in the history.

    Blank template text between two structure tags is layout and not a part; a value always is, even an empty one, so
    that no value can add or remove a message.
    """

    def __init__(self, *, policy: Policy, history: Sequence[Message], file: str) -> None:
        self._policy = policy
        self._history = tuple(self._check_history(message, file) for message in history)
        self._is_history_placed = False
        self._messages: list[Message] = []
        self._role: Role = "user"
        self._parts: list[Part] = []
        self._texts: list[str] = []
        self._has_value = False
        self._length = 0
        self._value_spans: list[ValueSpan[TextSource]] = []

    def text(self, text: str) -> None:
        """Add text of the template."""
        self._texts.append(text)
        self._length += len(text)

    def value(self, text: str, source: TextSource) -> None:
        """Add text of a value."""
        self._texts.append(text)
        self._has_value = True
        if self._policy != "allow" and text:
            end = self._length + len(text)
            self._value_spans.append(ValueSpan(start=self._length, end=end, owner=source))
        self._length += len(text)

    def role(self, role: Role) -> None:
        """Begin a message of another role."""
        self._close_message()
        self._role = role

    def history(self) -> None:
        """Insert the history; the text after it is the model's unless it has a role."""
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
        """Add a medium."""
        self._close_text()
        self._parts.append(MediaPart(url=url, content_type=content_type))

    def finish(self) -> tuple[Message, ...]:
        """Return the conversation; a history without `{{history}}` is inserted before the last user message."""
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
        if not self._texts:
            return
        text = "".join(self._texts)
        if self._has_value or text.strip():
            if self._value_spans:
                text = self._apply_policy(text, self._value_spans)
            self._parts.append(TextPart(text=text))
        self._texts = []
        self._value_spans = []
        self._has_value = False
        self._length = 0

    def _apply_policy(self, text: str, spans: Sequence[ValueSpan[TextSource]]) -> str:
        if self._policy == "neutralise":
            return control_tokens.neutralise(text, spans)
        matches = control_tokens.find_tokens(text, spans)
        if matches:
            token, source = matches[0]
            what = f"`{source.name}` contains the chat control token `{token.group()}`"
            hint = "clean the value, or set `flowai.control_tokens: neutralise` in the front matter"
            raise PromptError(what, place=source.place, hint=hint)
        return text

    def _check_history(self, message: Message, file: str) -> Message:
        """Apply the policy to a message of the history: it contains text of users and models."""
        if self._policy == "allow":
            return message
        source = TextSource(name="history", place=Place(file=file))
        parts = tuple(
            TextPart(text=self._apply_policy(part.text, [ValueSpan(start=0, end=len(part.text), owner=source)]))
            if isinstance(part, TextPart) and part.text
            else part
            for part in message.parts
        )
        return Message(role=message.role, parts=parts, purpose=message.purpose)
