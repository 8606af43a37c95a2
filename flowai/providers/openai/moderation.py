"""OpenAI's moderation endpoint.

Source: OpenAI API reference, "Create moderation".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flowai.providers.wire import WireRequest

if TYPE_CHECKING:
    from flowai.providers.client import Endpoint

OPENAI_BASE = "https://api.openai.com/v1"


class _Result(msgspec.Struct, frozen=True):
    categories: dict[str, bool | None]


class _Answer(msgspec.Struct, frozen=True):
    results: list[_Result]


def moderation_request(endpoint: Endpoint, text: str) -> WireRequest:
    """Build the request that moderates a text."""
    body = {"model": endpoint.model.partition("/")[2], "input": text}
    headers = [("Content-Type", "application/json")]
    if endpoint.api_key is not None:
        headers.append(("Authorization", f"Bearer {endpoint.api_key}"))
    base = (endpoint.api_base or OPENAI_BASE).rstrip("/")
    return WireRequest(url=f"{base}/moderations", headers=tuple(headers), body=msgspec.json.encode(body))


def flagged_categories(body: bytes) -> tuple[str, ...]:
    """Return the names of the flagged categories, sorted.

    Raises:
        ValueError: the answer has another form.
    """
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except msgspec.DecodeError as error:
        raise ValueError(f"not an answer of a moderation endpoint: {error}") from None
    flagged = {name for result in answer.results for name, is_flagged in result.categories.items() if is_flagged}
    return tuple(sorted(flagged))
