"""Answers, queries and an embedder that tests of the caches share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from flowai.cache.cache_key import CacheQuery, build_cache_query
from flowai.errors import InfrastructureError
from flowai.providers import Completion, Endpoint, Request
from flowai.registry.records import CachePolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

ANSWER = Completion(
    text="hi",
    model="openai/m",
    served_model="m",
    provider="openai",
    finish_reason="stop",
    input_tokens=10,
    output_tokens=5,
    cost_usd=0.25,
    latency_ms=1500.0,
    ttft_ms=200.0,
)
REQUEST = Request(
    endpoint=Endpoint(name="m", model="openai/m", provider="openai", api_key="sk-one"),
    messages=({"role": "user", "content": "hello"},),
    params={"temperature": 0, "max_tokens": 5},
)


def request_of(text: str, **changes: Any) -> Request:
    return Request(
        endpoint=REQUEST.endpoint, messages=({"role": "user", "content": text},), params=REQUEST.params, **changes
    )


def lookup(
    text: str,
    *,
    tenant: str = "t",
    kind: Any = "semantic",
    ttl: str = "1h",
    threshold: float = 0.8,
    mode: Any = "serve",
    max_false_hits: str = "100%",
    **variables: Any,
) -> CacheQuery:
    """Return the query of a prompt with the variable `text` and others; by default all similar requests are served."""
    return build_cache_query(
        request_of(f"{text} {sorted(variables.items())}"),
        feature="f",
        prompt_hash="h",
        tenant=tenant,
        policy=CachePolicy(kind=kind, ttl=ttl, threshold=threshold, mode=mode, max_false_hits=max_false_hits),
        variables={"text": text, **variables},
    )


class FakeEmbedder:
    """Counts letters: texts of the same letters are near, whatever their meaning."""

    is_ready = True

    def __init__(self, name: str = "letters") -> None:
        self.name = name
        self.asked: list[str] = []
        self.fails = False

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        if self.fails:
            raise InfrastructureError("no vectors today")
        self.asked += texts
        return [
            [1.0 + math.sqrt(text.lower().count(letter)) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts
        ]

    async def warm_up(self) -> None:
        pass

    async def aclose(self) -> None:
        pass
