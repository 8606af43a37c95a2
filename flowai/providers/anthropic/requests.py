"""Builds requests in Anthropic's Messages protocol, as LiteLLM would send them."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.providers.anthropic.messages import convert_messages
from flowai.providers.anthropic.models import PREFIX
from flowai.providers.anthropic.output_format import convert_response_format
from flowai.providers.anthropic.thinking import convert_thinking
from flowai.providers.anthropic.tools import convert_tool_choice, convert_tools
from flowai.providers.anthropic.unproven import UnprovenRequestError
from flowai.providers.catalog import NO_KEY, first_set, is_any_set
from flowai.providers.wire import WireRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.providers.anthropic.models import ModelAbilities, ModelCatalog
    from flowai.providers.client import Endpoint, Request

BASE_URL = "https://api.anthropic.com"
BASE_URL_VARIABLES = ("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL")
KEY_VARIABLES = ("ANTHROPIC_API_KEY",)
STRUCTURED_OUTPUT = "structured-outputs-2025-11-13"
"""Beta feature that a request with a schema needs."""
_PATH = "/v1/messages"
_OAUTH_KEY = "sk-ant-oat"
"""Begin of keys that are sent in other headers."""
_UNSET_VARIABLES = (
    "LITELLM_ANTHROPIC_DISABLE_URL_SUFFIX",
    "DEFAULT_ANTHROPIC_CHAT_MAX_TOKENS",
    "DEFAULT_MAX_TOKENS",
    *(
        f"DEFAULT_REASONING_EFFORT_{name}_THINKING_BUDGET"
        for name in ("MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH", "MAX")
    ),
)
"""Environment variables that change LiteLLM's requests."""
_HEADERS = (
    ("accept", "application/json"),
    ("anthropic-version", "2023-06-01"),
    ("content-type", "application/json"),
)
_SAMPLING = ("temperature", "top_p", "top_k")
_PARAMS = frozenset(
    {
        *_SAMPLING,
        "cache_control",
        "max_completion_tokens",
        "max_tokens",
        "n",
        "parallel_tool_calls",
        "reasoning_effort",
        "response_format",
        "stop",
        "stream",
        "stream_options",
        "thinking",
        "tool_choice",
        "tools",
        "user",
    }
)
_MAX_STOP_COUNT = 4
"""LiteLLM drops further stop sequences."""
_PERSONAL_USER = re.compile(r"(?:[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}|\+?[\d\s()-]{7,})$")
"""Email addresses and telephone numbers: Anthropic refuses them as names of users, and LiteLLM drops them."""


def messages_request(request: Request, models: ModelCatalog, *, stream: bool = True) -> WireRequest | None:
    """Build a request; None if LiteLLM must build it.

    Args:
        request: the request.
        models: the models that are known.
        stream: whether the answer is streamed.
    """
    abilities = models.abilities(request.endpoint.model)
    if abilities is None or is_any_set(_UNSET_VARIABLES):
        return None
    try:
        key = _key(request.endpoint)
        body = _body(request, abilities)
        if stream:
            body["stream"] = True
        encoded = msgspec.json.encode(body)
    except (UnprovenRequestError, msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
        return None  # values that JSON cannot express, too
    beta = (("anthropic-beta", STRUCTURED_OUTPUT),) if "output_format" in body else ()
    return WireRequest(url=_address(request.endpoint), headers=(*_HEADERS, ("x-api-key", key), *beta), body=encoded)


def _key(endpoint: Endpoint) -> str:
    key = endpoint.api_key or (NO_KEY if endpoint.api_base is not None else first_set(KEY_VARIABLES))
    if not key or key != key.strip() or key.startswith(_OAUTH_KEY):
        raise UnprovenRequestError("no usual key")
    return key


def _address(endpoint: Endpoint) -> str:
    base_url = endpoint.api_base or first_set(BASE_URL_VARIABLES) or BASE_URL
    return base_url if base_url.endswith(_PATH) else base_url + _PATH


def _body(request: Request, abilities: ModelAbilities) -> dict[str, Any]:
    params = {name: value for name, value in request.params.items() if value is not None}
    if not params.keys() <= _PARAMS or params.get("n", 1) != 1:
        raise UnprovenRequestError("an unusual parameter")
    system, messages = convert_messages(request.messages)
    body: dict[str, Any] = {
        "model": request.endpoint.model.removeprefix(PREFIX),
        "messages": messages,
        "max_tokens": abilities.max_output_tokens,
        **convert_thinking(params, abilities),
        **_sampling(params, abilities),
        **_limits(params),
        **_extras(params),
    }
    if system:
        body["system"] = system
    return body | _tools(params, messages, abilities) | _output_format(request, params, abilities)


def _sampling(params: Mapping[str, Any], abilities: ModelAbilities) -> dict[str, Any]:
    fields = {name: params[name] for name in _SAMPLING if name in params}
    for name, value in fields.items():
        if type(value) not in (int, float) or not math.isfinite(value):
            raise UnprovenRequestError("an unusual number")
        if not abilities.supports_sampling_params and (name, value) != ("temperature", 1):
            raise UnprovenRequestError("a parameter that the model does not have")
    return fields


def _limits(params: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    limits = [params[name] for name in ("max_tokens", "max_completion_tokens") if name in params]
    if limits:
        if len(limits) > 1 or type(limits[0]) is not int:
            raise UnprovenRequestError("an unusual limit")
        fields["max_tokens"] = limits[0]
    if "stop" in params:
        stop = [params["stop"]] if isinstance(params["stop"], str) else params["stop"]
        is_usual = isinstance(stop, list | tuple) and all(isinstance(text, str) for text in stop)
        if not is_usual or not 1 <= len(stop) <= _MAX_STOP_COUNT:
            raise UnprovenRequestError("unusual stop sequences")
        fields["stop_sequences"] = stop
    return fields


def _extras(params: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if "user" in params:
        if not isinstance(params["user"], str):
            raise UnprovenRequestError("an unusual user")
        if not _PERSONAL_USER.match(params["user"]):
            fields["metadata"] = {"user_id": params["user"]}
    if "cache_control" in params:
        if not isinstance(params["cache_control"], dict):
            raise UnprovenRequestError("an unusual cache control")
        fields["cache_control"] = params["cache_control"]
    return fields


def _tools(params: Mapping[str, Any], messages: list[dict[str, Any]], abilities: ModelAbilities) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    choice = convert_tool_choice(params.get("tool_choice"), params.get("parallel_tool_calls"), abilities)
    if choice is not None:
        fields["tool_choice"] = choice
    if "tools" in params:
        fields["tools"] = convert_tools(params["tools"])
    elif any(block["type"] in {"tool_use", "tool_result"} for turn in messages for block in turn["content"]):
        raise UnprovenRequestError("tool calls without tools")  # LiteLLM adds a tool
    return fields


def _output_format(request: Request, params: Mapping[str, Any], abilities: ModelAbilities) -> dict[str, Any]:
    given = params.get("response_format") if request.response_format is None else request.response_format
    if request.response_schema is not None:
        given = {"type": "json_schema", "json_schema": {"schema": request.response_schema}}
    if given is None:
        return {}
    if not abilities.supports_native_structured_output:
        raise UnprovenRequestError("a schema that LiteLLM sends as a tool")
    converted = convert_response_format(given)
    return {} if converted is None else {"output_format": converted}
