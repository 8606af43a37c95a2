"""Builds requests in OpenAI's chat and embeddings protocol, as LiteLLM would send them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.providers.wire import WireRequest

if TYPE_CHECKING:
    from flowai.providers.catalog import DirectProvider
    from flowai.providers.client import EmbedRequest, Endpoint, Request

_NO_KEY = "none"


def chat_request(
    request: Request, provider: DirectProvider, *, stream: bool = True, usage: bool = True
) -> WireRequest | None:
    """Build a chat request; None if LiteLLM must build it.

    Args:
        request: the request.
        provider: the provider of its endpoint, from the catalog.
        stream: whether the answer is streamed.
        usage: whether a streamed answer ends with its token counts.
    """
    body: dict[str, Any] = {
        "model": request.endpoint.model.partition("/")[2] or request.endpoint.model,
        "messages": request.messages,
        **request.params,
    }
    if stream:
        body["stream"] = True
        if usage:
            body["stream_options"] = {"include_usage": True}
    return _wire_request(request.endpoint, provider, "/chat/completions", body)


def embedding_request(request: EmbedRequest, provider: DirectProvider) -> WireRequest | None:
    """Build an embeddings request; None if LiteLLM must build it."""
    model = request.endpoint.model.partition("/")[2] or request.endpoint.model
    body = {"model": model, "input": request.texts, "encoding_format": "float"}
    return _wire_request(request.endpoint, provider, "/embeddings", body)


def _wire_request(endpoint: Endpoint, provider: DirectProvider, path: str, body: dict[str, Any]) -> WireRequest | None:
    key = endpoint.api_key or (_NO_KEY if endpoint.api_base else _first_set(provider.key_variables))
    if not key:
        return None
    base_url = endpoint.api_base or _first_set(provider.base_url_variables) or provider.base_url
    return WireRequest(
        url=base_url.rstrip("/") + path,
        headers=(("Content-Type", "application/json"), ("Authorization", f"Bearer {key}")),
        body=msgspec.json.encode(body),
    )


def _first_set(variables: tuple[str, ...]) -> str | None:
    return next((value for name in variables if (value := os.environ.get(name))), None)
