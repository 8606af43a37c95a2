"""The prompt that asks a model to label a pair; it is a file of this package."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flowai.finetune.decisions.labels import judgement_schema
from flowai.prompts import load_package_prompt, openai_messages

if TYPE_CHECKING:
    from flowai.finetune.records import Pair
    from flowai.prompts import Prompt

_FILE = "label.prompt"


class LabelPrompt:
    """The label prompt, read once."""

    def __init__(self) -> None:
        self._prompt: Prompt = load_package_prompt("flowai.review", _FILE)

    @property
    def hash(self) -> str:
        """Hash of the prompt; pairs with a label of another hash are labelled again."""
        return self._prompt.hash

    @property
    def params(self) -> dict[str, Any]:
        """Sampling parameters of the prompt."""
        return self._prompt.config

    @property
    def response_format(self) -> dict[str, Any]:
        """OpenAI's `response_format` with the JSON Schema of a judgement."""
        schema = {"name": "label", "schema": judgement_schema(), "strict": True}
        return {"type": "json_schema", "json_schema": schema}

    def messages(self, pair: Pair) -> list[dict[str, Any]]:
        """Build the messages that ask for a label of the answer that a model would learn or unlearn."""
        values = {
            "conversation": "\n\n".join(f"{turn.get('role')}: {_turn_text(turn)}" for turn in pair.messages),
            "answer": pair.output if pair.answer is None else pair.answer,
        }
        return openai_messages(self._prompt.render(values).messages)


def _turn_text(turn: dict[str, Any]) -> str:
    """Return the text of a turn; tool calls and media as JSON."""
    content = turn.get("content")
    others = {key: value for key, value in turn.items() if key not in {"role", "content"}}
    parts = [content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)] if content else []
    return "\n".join([*parts, *([json.dumps(others, ensure_ascii=False)] if others else [])])
