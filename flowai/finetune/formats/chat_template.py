"""Rows for trainers that use a chat template: TRL and Axolotl.

Templates write tool calls themselves: arguments are JSON values here, and text in OpenAI's format.

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
    """Build TRL's prompt and completion; only the completion is trained."""
    return {"prompt": _messages(turns), "completion": [_answer(answer)]}


def preference_row(turns: Iterable[Turn], better: str, worse: str) -> TrainingRow:
    """Build TRL's preference with an explicit prompt."""
    return {"prompt": _messages(turns), "chosen": [_answer(better)], "rejected": [_answer(worse)]}


def labelled_row(turns: Iterable[Turn], answer: str, *, good: bool) -> TrainingRow:
    """Build TRL's unpaired preference, for KTO."""
    return {**completion_row(turns, answer), "label": good}


def axolotl_row(turns: Iterable[Turn], answer: str) -> TrainingRow:
    """Build Axolotl's messages; each states in `training` whether it is learned."""
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
