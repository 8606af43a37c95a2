"""Labels of golden pairs by a model, before a reviewer sees them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

_FENCE = "```"

Correct = Literal["yes", "no", "unsure"]


class ModelJudgement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model's answer to the label prompt."""

    reason: Annotated[str, Meta(max_length=1000)]
    """A sentence or two."""
    correct: Correct
    """Whether the answer is right."""
    category: Annotated[str, Meta(min_length=1, max_length=100)]
    """Kind of request, in a few words."""
    quality: Annotated[int, Meta(ge=1, le=5)]
    """From 1 (useless) to 5 (nothing to improve)."""


class Label(Struct, frozen=True, kw_only=True):
    """A model's label for a pair: one line of the labels file."""

    schema_version: Literal[1] = 1
    at: Annotated[datetime, Meta(tz=True)]
    pair: Annotated[str, Meta(min_length=1)]
    model: str
    """Name in the registry."""
    prompt_hash: str
    """Hash of the label prompt."""
    judgement: ModelJudgement | None = None
    """None if the model's answer cannot be parsed."""
    problem: str = ""
    """Error in the model's answer; empty without one."""
    cost_usd: Annotated[float, Meta(ge=0)] | None = None
    """Cost of the call; None if the price is unknown."""


def parse_judgement(answer: str) -> ModelJudgement | str:
    """Parse a model's answer, with or without a code fence; return the judgement, or the error in the answer."""
    text = answer.strip()
    if text.startswith(_FENCE) and text.endswith(_FENCE):
        text = text.strip("`").removeprefix("json").strip()
    try:
        return msgspec.json.decode(text, type=ModelJudgement)
    except msgspec.ValidationError as error:
        return str(error)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return "the answer is not the requested JSON"


def judgement_schema() -> dict[str, Any]:
    """Return the JSON Schema of a judgement; every field is required, no other is allowed.

    Lengths are left out: providers refuse schema keywords that they cannot enforce.
    """
    (_, schemas) = msgspec.json.schema_components([ModelJudgement])
    schema: dict[str, Any] = schemas[ModelJudgement.__name__]
    kept = {"type", "enum", "minimum", "maximum"}
    properties = {
        name: {"type": "string"} | {key: value for key, value in field.items() if key in kept}
        for name, field in schema["properties"].items()
    }
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
