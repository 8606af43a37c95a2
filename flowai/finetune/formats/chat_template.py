"""Rows for trainers that write the text through a chat template: TRL and Axolotl.

Templates write tool calls themselves, so that arguments stand as values here and as text in OpenAI's format.

Sources: TRL 1.16, "Dataset formats and types" (conversational prompt-completion, preference, unpaired preference);
Axolotl, "Conversation", `type: chat_template` with `message_field_training`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.finetune.formats.conversation import Turn

TrainingRow = dict[str, Any]


def completion_row(turns: Iterable[Turn], answer: str) -> TrainingRow:
    """Give TRL's prompt and completion: only the completion is trained."""
    return {"prompt": _messages(turns), "completion": [_answer(answer)]}


def preference_row(turns: Iterable[Turn], better: str, worse: str) -> TrainingRow:
    """Give TRL's preference with an explicit prompt."""
    return {"prompt": _messages(turns), "chosen": [_answer(better)], "rejected": [_answer(worse)]}


def labelled_row(turns: Iterable[Turn], answer: str, *, good: bool) -> TrainingRow:
    """Give TRL's unpaired preference, for KTO."""
    return {**completion_row(turns, answer), "label": good}


def axolotl_row(turns: Iterable[Turn], answer: str) -> TrainingRow:
    """Give Axolotl's messages; `training` says of each whether it is learned, so that a row needs no other rule."""
    messages = [{**message, "training": False} for message in _messages(turns)]
    return {"messages": [*messages, {**_answer(answer), "training": True}]}


def _answer(text: str) -> TrainingRow:
    return {"role": "assistant", "content": text}


def _messages(turns: Iterable[Turn]) -> list[TrainingRow]:
    return [_message(turn) for turn in turns]


def _message(turn: Turn) -> TrainingRow:
    message: TrainingRow = {"role": turn.role, "content": turn.text}
    if turn.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.values()}}
            for call in turn.calls
        ]
    if turn.role == "tool":
        message["tool_call_id"] = turn.call_id
        if turn.name:
            message["name"] = turn.name
    return message
