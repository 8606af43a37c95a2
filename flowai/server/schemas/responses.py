"""Replies of the endpoints beside completions, in OpenAI's format.

Source: OpenAI API reference, The embedding object, The model object.
"""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from flowai.providers import Embeddings


class EmbeddingReply(msgspec.Struct, frozen=True, kw_only=True):
    """Vector of a text."""

    object: Literal["embedding"] = "embedding"
    """Always `embedding`."""
    index: int
    """Position of the text in the request."""
    embedding: list[float] | str
    """Numbers, or base64 of 32-bit floats, little-endian."""


class EmbeddingsUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts."""

    prompt_tokens: int
    """Tokens of all texts; 0 when not reported."""
    total_tokens: int
    """Equal to `prompt_tokens`."""


class EmbeddingsReply(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors in the order of the texts."""

    object: Literal["list"] = "list"
    """Always `list`."""
    model: str
    """Name of the model in the registry."""
    data: tuple[EmbeddingReply, ...]
    """The vectors."""
    usage: EmbeddingsUsage
    """Token counts."""


class ModelReply(msgspec.Struct, frozen=True, kw_only=True):
    """A feature or a model."""

    id: str
    """Name in the registry."""
    object: Literal["model"] = "model"
    """Always `model`."""
    created: int = 0
    """Always 0."""
    owned_by: Literal["flowai:feature", "flowai:model"]
    """`flowai:feature` or `flowai:model`."""


class ModelsReply(msgspec.Struct, frozen=True, kw_only=True):
    """All features, then all models."""

    object: Literal["list"] = "list"
    """Always `list`."""
    data: tuple[ModelReply, ...]
    """Features and models."""


def embeddings_reply(model: str, vectors: Embeddings, *, as_base64: bool) -> EmbeddingsReply:
    """Convert vectors into OpenAI's format."""
    rows = tuple(
        EmbeddingReply(index=index, embedding=_base64(vector) if as_base64 else list(vector))
        for index, vector in enumerate(vectors.vectors)
    )
    tokens = vectors.input_tokens or 0
    return EmbeddingsReply(model=model, data=rows, usage=EmbeddingsUsage(prompt_tokens=tokens, total_tokens=tokens))


def _base64(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
