"""What a model says of a golden pair before a person looks at it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

_FENCE = "```"

Correct = Literal["yes", "no", "unsure"]


class ModelJudgement(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model is asked for."""

    reason: Annotated[str, Meta(max_length=1000)]
    """Why, in a sentence or two."""
    correct: Correct
    """Whether the answer is right."""
    category: Annotated[str, Meta(min_length=1, max_length=100)]
    """What kind of request it is, in a few words."""
    quality: Annotated[int, Meta(ge=1, le=5)]
    """Of the answer, 1 useless to 5 nothing to improve."""


class Label(Struct, frozen=True, kw_only=True):
    """A model's label: one line of the file."""

    schema_version: Literal[1] = 1
    """Version of this format: 1."""
    at: Annotated[datetime, Meta(tz=True)]
    """When (RFC 3339, UTC)."""
    pair: Annotated[str, Meta(min_length=1)]
    """The pair's id."""
    model: str
    """Who labelled, the registry's name."""
    prompt_hash: str
    """Hash of the prompt it was asked with."""
    judgement: ModelJudgement | None = None
    """What it says; None where its answer cannot be used."""
    problem: str = ""
    """What is wrong with its answer; empty where nothing is."""
    cost_usd: Annotated[float, Meta(ge=0)] | None = None
    """Of the call; None where the price is not known."""


def judgement_of(answer: str) -> ModelJudgement | str:
    """Read a model's answer; a fence around the JSON is passed over.

    Returns:
        The judgement; or what is wrong with the answer.
    """
    text = answer.strip()
    if text.startswith(_FENCE) and text.endswith(_FENCE):
        text = text.strip("`").removeprefix("json").strip()
    try:
        return msgspec.json.decode(text, type=ModelJudgement)
    except msgspec.ValidationError as error:
        return str(error)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return "the answer is not the JSON that was asked for"


def judgement_schema() -> dict[str, Any]:
    """Give the JSON Schema of what a model is asked for: every field required, none more.

    Lengths are not in it: providers that hold a model to a schema refuse what they cannot hold it to.
    """
    (_, schemas) = msgspec.json.schema_components([ModelJudgement])
    schema: dict[str, Any] = schemas[ModelJudgement.__name__]
    kept = {"type", "enum", "minimum", "maximum"}
    properties = {
        name: {"type": "string"} | {key: value for key, value in one.items() if key in kept}
        for name, one in schema["properties"].items()
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
