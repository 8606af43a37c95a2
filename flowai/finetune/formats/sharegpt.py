"""Rows for LLaMA-Factory in its sharegpt format, the one with several turns and tool calls.

Source: LLaMA-Factory, `data/README.md`: human and observation have odd positions, gpt and function_call even ones,
their number is even; an invalid row is dropped with a warning in the log. `data/formatter.py`: a function_call is JSON
with `name` and `arguments`, or a list of them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flowai.finetune.formats.conversation import FormatViolationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.finetune.formats.conversation import Turn

TrainingRow = dict[str, Any]

TAGS = {"user": "human", "tool": "observation", "assistant": "gpt"}
ASKING = frozenset({"human", "observation"})
ANSWERING = frozenset({"gpt", "function_call"})
CALLING = "function_call"


def sharegpt_row(turns: Sequence[Turn], answer: str) -> TrainingRow:
    """Build the row of an answer to learn; `mask_history` in the training file excludes earlier answers from the loss.

    LLaMA-Factory requires that questions and answers alternate.
    """
    system = turns[0].text if turns[0].role == "system" else ""
    messages: list[TrainingRow] = []
    for turn in turns[1:] if system else turns:
        if turn.calls and turn.text.strip():
            raise FormatViolationError("tools/with_text", "an assistant's message with tool calls and text")
        tag = CALLING if turn.calls else TAGS[turn.role]
        if (tag in ASKING) == (len(messages) % 2 == 1):
            raise FormatViolationError("roles/order", f"`{tag}` where LLaMA-Factory requires its counterpart")
        messages.append({"from": tag, "value": _calls(turn) if turn.calls else turn.text})
    return {"conversations": [*messages, {"from": TAGS["assistant"], "value": answer}], "system": system}


def _calls(turn: Turn) -> str:
    calls = [{"name": call.name, "arguments": call.values()} for call in turn.calls]
    return json.dumps(calls[0] if len(calls) == 1 else calls, ensure_ascii=False)
