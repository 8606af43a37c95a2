"""Builds requests in OpenAI's chat and embeddings protocol, equal to those that LiteLLM would send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from flowai.providers.openai.chat_features import (
    DEVELOPER_FEATURES,
    NULL_FIELD,
    UNKNOWN,
    add_message_features,
    add_nested_features,
    parameter_feature,
)
from flowai.providers.openai.response_format import response_format
from flowai.providers.wire import WireRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.providers.catalog import DirectProvider
    from flowai.providers.client import ChatMessage, EmbedRequest, Request

_USAGE = {"include_usage": True}
_NESTED = frozenset({"tools", "response_format"})
_NEED_TOOLS = ("tool_choice", "parallel_tool_calls")


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
    params = request.params
    answer_format = response_format(request)
    if answer_format is not None:
        params = {**params, "response_format": answer_format}
    body = _chat_body(params, request.messages, provider)
    if body is None:
        return None
    if stream:
        body["stream"] = True
        if usage and provider.usage_option:
            body["stream_options"] = _USAGE
    headers = params.get("extra_headers")
    return _wire_request(provider, "/chat/completions", body, headers)


def request_as_written(
    request: Request, provider: DirectProvider, *, stream: bool = True, usage: bool = True
) -> WireRequest | None:
    """Build a chat request without LiteLLM's translations, for `transport: direct`; None if it is not valid JSON."""
    params = {name: value for name, value in request.params.items() if value is not None}
    answer_format = response_format(request)
    if answer_format is not None:
        params["response_format"] = answer_format
    body = {"model": provider.model, "messages": request.messages, **provider.body}
    extra_headers = params.pop("extra_headers", None)
    body.update(params.pop("extra_body", None) or {})
    body.update(params)
    for name in ("stream", "stream_options"):
        body.pop(name, None)
    if stream:
        body["stream"] = True
        if usage:
            body["stream_options"] = _USAGE
    return _wire_request(provider, "/chat/completions", body, extra_headers)


def embedding_request(request: EmbedRequest, provider: DirectProvider) -> WireRequest | None:
    """Build an embeddings request; None if LiteLLM must build it."""
    if not provider.embeddings or not all(request.texts):
        return None
    body = {"model": provider.model, "input": request.texts, "encoding_format": "float"}
    return _wire_request(provider, "/embeddings", body, None)


def _chat_body(
    params: Mapping[str, Any], messages: tuple[ChatMessage, ...], provider: DirectProvider
) -> dict[str, Any] | None:
    """Return the body, without the fields for streaming; None if it has a feature that is not known for certain."""
    family = provider.family
    if family is None:
        return None
    features: set[str] = set()
    body: dict[str, Any] = {"model": provider.model, "messages": messages, **provider.body}
    for name, value in params.items():
        if value is None or name in {"stream", "stream_options"}:
            continue
        feature = parameter_feature(name, value)
        features.add(feature)
        if feature is UNKNOWN:
            return None
        if name in _NESTED:
            add_nested_features(features, name, value)
        if feature in family.drop or name == "extra_headers":
            continue
        added = value if name == "extra_body" else {family.rename.get(name, name): value}
        if not body.keys().isdisjoint(added):
            return None
        body.update(added)
    add_message_features(features, messages)
    if not _is_supported(features, params, provider):
        return None
    if NULL_FIELD in features or (family.roles and not features.isdisjoint(DEVELOPER_FEATURES)):
        body["messages"] = [_message(message, family.roles) for message in messages]
    return body


def _is_supported(features: set[str], params: Mapping[str, Any], provider: DirectProvider) -> bool:
    family = provider.family
    if family is None or not features <= provider.features:
        return False
    if not params.get("tools") and any(params.get(name) is not None for name in _NEED_TOOLS):
        return False
    if params.get("max_tokens") is not None and params.get("max_completion_tokens") is not None:
        return False
    return not any(conflict <= features for conflict in family.conflicts)


def _message(message: ChatMessage, roles: Mapping[str, str]) -> ChatMessage:
    """Return a message without empty fields and by the role's name at the provider."""
    cleaned = {name: value for name, value in message.items() if value is not None}
    cleaned["role"] = roles.get(cleaned["role"], cleaned["role"])
    return cleaned


def _wire_request(
    provider: DirectProvider, path: str, body: dict[str, Any], extra_headers: Mapping[str, str] | None
) -> WireRequest | None:
    try:
        encoded = msgspec.json.encode(body)
    except (TypeError, ValueError, OverflowError, RecursionError):  # lone surrogates, for instance
        return None
    headers = provider.headers
    if extra_headers:
        own = {name.lower() for name in extra_headers}
        headers = (*(pair for pair in headers if pair[0].lower() not in own), *extra_headers.items())
    return WireRequest(url=provider.base_url + path, headers=headers, body=encoded)
