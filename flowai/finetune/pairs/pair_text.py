"""Texts of a pair: earlier turns, request, answer. The words of the prompt itself are left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flowai.finetune.records import Pair

_INSTRUCTIONS = frozenset({"system", "developer"})
_NOT_SAID = frozenset({"role", "type", "id", "tool_call_id"})


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversationParts:
    """The parts of a pair that make it this one."""

    before: str
    """The turns before: of a conversation, or a prompt's examples."""
    request: str
    """What was asked: everything after the last answer."""
    answer: str
    """What a model should learn to say, or for a rejected pair what it said."""


def conversation_parts(pair: Pair) -> ConversationParts:
    """Take a pair apart; where there are only instructions, they are the request."""
    turns = [message for message in pair.messages if message.get("role") not in _INSTRUCTIONS] or list(pair.messages)
    answered = [at for at, turn in enumerate(turns) if turn.get("role") == "assistant"]
    asked = answered[-1] + 1 if answered else 0
    if asked == len(turns):  # nothing was asked after the last answer: it was asked to go on
        asked = 0
    return ConversationParts(
        before="\n".join(_strings(turns[:asked])),
        request="\n".join(_strings(turns[asked:])),
        answer=pair.output if pair.answer is None else pair.answer,
    )


def all_texts(pair: Pair) -> Iterator[str]:
    """Give every text of a pair, instructions and arguments of tool calls included: each message's, the answer's."""
    yield from _strings(pair.messages)
    yield pair.output
    if pair.edit is not None:
        yield pair.edit


def _strings(messages: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Give the texts within messages, in order, however deep they lie."""
    waiting: list[Any] = list(messages)[::-1]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting.extend(inner for key, inner in reversed(value.items()) if key not in _NOT_SAID)
        elif isinstance(value, (list, tuple)):
            waiting.extend(reversed(value))
