"""Texts of a pair: earlier turns, request, answer; without system and developer messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flowai.finetune.records import Pair

_INSTRUCTIONS = frozenset({"system", "developer"})
_NON_TEXT_KEYS = frozenset({"role", "type", "id", "tool_call_id"})


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversationParts:
    """The parts of a conversation that distinguish a pair."""

    before: str
    """Turns before the request: of a conversation, or a prompt's examples."""
    request: str
    """Everything after the last answer."""
    answer: str
    """The answer to learn, or the output of a rejected pair."""


def conversation_parts(pair: Pair) -> ConversationParts:
    """Return the parts of a pair; a pair with only instructions has them as its request."""
    turns = [message for message in pair.messages if message.get("role") not in _INSTRUCTIONS] or list(pair.messages)
    answers = [index for index, turn in enumerate(turns) if turn.get("role") == "assistant"]
    start = answers[-1] + 1 if answers else 0
    if start == len(turns):  # a request to continue the last answer
        start = 0
    return ConversationParts(
        before="\n".join(_strings(turns[:start])),
        request="\n".join(_strings(turns[start:])),
        answer=pair.output if pair.answer is None else pair.answer,
    )


def all_texts(pair: Pair) -> Iterator[str]:
    """Yield every text of a pair: of each message, instructions and tool arguments included, and of the answers."""
    yield from _strings(pair.messages)
    yield pair.output
    if pair.edit is not None:
        yield pair.edit


def _strings(messages: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield the texts within messages, in order, at any depth."""
    stack: list[Any] = list(messages)[::-1]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            stack.extend(inner for key, inner in reversed(value.items()) if key not in _NON_TEXT_KEYS)
        elif isinstance(value, (list, tuple)):
            stack.extend(reversed(value))
