"""Checks of answers that do not depend on how a provider was called."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from flowai.providers.failures import content_filtered_error, malformed_error
from flowai.providers.openai.embeddings import vector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowai.providers.client import EmbedRequest, Endpoint, Request


_THOUGHTS = re.compile(r"<(?:think|thinking)>.*?</(?:think|thinking)>", re.DOTALL)


def vectors_of(rows: Iterable[Any], request: EmbedRequest) -> tuple[tuple[float, ...], ...]:
    """Return the vectors of an embeddings answer in the order of the texts.

    Raises:
        MalformedAnswerError: they are not one vector per text, all of the same length.
    """
    try:
        ordered = sorted(rows, key=lambda row: row["index"])
        vectors = tuple(vector(row["embedding"]) for row in ordered)
    except (KeyError, TypeError, ValueError):
        raise malformed_error(request.endpoint, "the answer contains no vectors of numbers") from None
    if len(vectors) != len(request.texts):
        raise malformed_error(request.endpoint, f"{len(vectors)} vectors came for {len(request.texts)} texts")
    if len({len(each) for each in vectors}) > 1:
        raise malformed_error(request.endpoint, "the vectors are of different lengths")
    return vectors


def check_not_withheld(endpoint: Endpoint, finish_reason: str | None, *, is_empty: bool) -> None:
    """Raise ContentFilteredError if the provider's policy withheld the whole answer."""
    if finish_reason == "content_filter" and is_empty:
        raise content_filtered_error(endpoint, "the provider's policy withheld the whole answer")


def tool_call_deltas(tool_calls: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return complete tool calls as the deltas of one chunk."""
    return tuple({"index": index, **call} for index, call in enumerate(tool_calls))


def visible_text(text: str) -> str:
    """Return a complete answer without the thoughts that some models put before it, in `<think>`, as LiteLLM does."""
    found = _THOUGHTS.match(text) if text.startswith("<") else None
    return text if found is None else text[found.end() :]


def token_limit(request: Request) -> int | None:
    """Return the token limit of a request, by either of OpenAI's names."""
    limits = [request.params.get(name) for name in ("max_tokens", "max_completion_tokens")]
    return max((limit for limit in limits if isinstance(limit, int)), default=None)
