"""Rows for OpenAI's fine-tuning, which Together, Azure, Fireworks and others accept too: chat and preference.

Source: OpenAI's OpenAPI document 2.3, `FineTuneChatRequestInput` and `FineTunePreferenceRequestInput`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.finetune.formats.conversation import Turn

TrainingRow = dict[str, Any]


def chat_row(turns: Iterable[Turn], answer: str) -> TrainingRow:
    """Build the row of an answer to learn.

    Only the last answer has weight 1, because only it was judged; judged earlier answers have rows of their own.
    """
    last = {"role": "assistant", "content": answer, "weight": 1}
    return {"messages": [*(_message(turn, weighted=True) for turn in turns), last]}


def preference_row(turns: Iterable[Turn], better: str, worse: str) -> TrainingRow:
    """Build the row of a preferred answer and a worse one."""
    return {
        "input": {"messages": [_message(turn, weighted=False) for turn in turns]},
        "preferred_output": [{"role": "assistant", "content": better}],
        "non_preferred_output": [{"role": "assistant", "content": worse}],
    }


def _message(turn: Turn, *, weighted: bool) -> TrainingRow:
    """Write a message without empty keys: the API refuses null in most of them."""
    message: TrainingRow = {"role": turn.role, "content": turn.text}
    if turn.name and turn.role != "tool":
        message["name"] = turn.name
    if turn.role == "assistant" and weighted:
        message["weight"] = 0
    if turn.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in turn.calls
        ]
    if turn.role == "tool":
        message["tool_call_id"] = turn.call_id
    return message
