"""Request bodies of the endpoints beside completions; sources of the OpenAPI document too.

Source: OpenAI API reference, Create embeddings.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from flowai.events import FeedbackVerdict
from flowai.server.schemas.common import Body, ModelName, ShortText


class EmbeddingsBody(Body, frozen=True):
    """Texts to embed."""

    model: ModelName
    """Name of a model in the registry."""
    input: (
        Annotated[str, Meta(min_length=1)]
        | Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1, max_length=2048)]
    )
    """A text, or up to 2,048 texts; token ids are not supported."""
    encoding_format: Literal["float", "base64"] | None = None
    """Numbers, or base64 of 32-bit floats, little-endian."""
    user: ShortText | None = None
    """Accepted and not forwarded."""


class FeedbackBody(Body, frozen=True):
    """A user's feedback on an answer."""

    call_id: Annotated[str, Meta(min_length=1, max_length=256)]
    """Id of the call: `X-Flowai-Call-Id`, or the answer's `id`."""
    verdict: FeedbackVerdict
    """The user's verdict."""
    text: str | None = None
    """The user's version of the answer, with `edited`."""
    user: ShortText | None = None
    """Id of the user; only a hash is stored."""


class ScoreBody(Body, frozen=True):
    """A judge's score of an answer."""

    call_id: Annotated[str, Meta(min_length=1, max_length=256)]
    """Id of the call: `X-Flowai-Call-Id`, or the answer's `id`."""
    name: Annotated[str, Meta(min_length=1, max_length=256)]
    """The judged property: `hallucination`."""
    passed: bool
    """Whether the answer is free of it; the last score of a call under one name counts."""
    score: Annotated[float, Meta(ge=0, le=1)] | None = None
    """The judge's confidence in that, 0 to 1."""
    judge: ShortText | None = None
    """The judge."""
