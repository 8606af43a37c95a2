"""Names what a chat request uses: `temperature:0`, `tools:strict`, `user:image`, `order:late-system`.

Each feature was tried on the installed LiteLLM (`providers.json`). A request is only sent without LiteLLM if every one
of its features is known; all that has no name here is unknown.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from flowai.providers.client import ChatMessage

UNKNOWN = "?"
"""Feature that no provider supports."""
NULL_FIELD = "null-field"
"""Feature of a message with a field that is null; it is sent without the field."""
MAX_STOP_COUNT = 4
"""LiteLLM cuts longer lists."""
MAX_JSON_DEPTH = 60
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
EXTRA_PARAMETERS = frozenset(
    {
        "best_of", "chat_template_kwargs", "enable_thinking", "guided_choice", "guided_json", "guided_regex",
        "ignore_eos", "include_reasoning", "length_penalty", "min_p", "min_tokens", "mirostat", "models", "provider",
        "random_seed", "reasoning", "reasoning_format", "repetition_penalty", "repeat_penalty", "route", "safe_prompt",
        "search_mode", "skip_special_tokens", "stop_token_ids", "thinking_budget", "top_a", "top_k", "transforms",
        "typical_p",
    }
)  # fmt: skip
"""Parameters that are not OpenAI's, which common servers know."""
_SCHEMA_WORDS = {
    "$ref": "refs",
    "additionalProperties": "additional",
    "cache_control": "cache-control",
    "pattern": "pattern",
}
_COMBINATORS = frozenset({"allOf", "anyOf", "const", "enum", "not", "oneOf"})
_OWN_HEADERS = (
    *("accept", "api-key", "authorization", "connection", "content-", "cookie", "expect", "host", "http-referer"),
    *("idempotency-", "keep-alive", "openai-", "proxy-", "te", "trailer", "transfer-", "upgrade", "user-agent"),
    *("x-api-key", "x-pplx-", "x-novita-", "x-stainless-", "x-title"),
)
"""Beginnings of headers that clients or LiteLLM set themselves."""
_TEXT_PART = frozenset({"type", "text"})
_TOOL_CALL = frozenset({"id", "type", "function"})
_FUNCTION_CALL = frozenset({"name", "arguments"})
_TOOL_KEYS = frozenset({"name", "description", "parameters", "strict"})
_SCHEMA_KEYS = frozenset({"name", "description", "schema", "strict"})


def parameter_feature(name: str, value: Any) -> str:  # noqa: ANN401 - JSON is anything
    """Return the feature of a parameter; `UNKNOWN` for all others."""
    kind = _KINDS.get(name)
    if kind is not None:
        return kind(name, value)
    if name in EXTRA_PARAMETERS and is_json(value):
        return f"extra:{name}"
    return UNKNOWN


def add_nested_features(features: set[str], name: str, value: Any) -> None:  # noqa: ANN401 - JSON is anything
    """Add the features of the schemas in `tools` or `response_format`."""
    if name == "tools":
        for tool in value:
            function = tool["function"]
            if "strict" in function:
                features.add("tools:strict")
            if "parameters" not in function:
                features.add("tools:no-parameters")
            elif not _COMBINATORS.isdisjoint(function["parameters"]):
                features.add("tools:combinator")
    for word in _schema_words(value):
        features.add(f"{name}:{word}")


def add_message_features(features: set[str], messages: Iterable[ChatMessage]) -> None:
    """Add the features of messages and of their order."""
    last_role = None
    for message in messages:
        role = message.get("role")
        content = message.get("content")
        if len(message) == 2 and type(content) is str and content and role in _TEXTS_BY_ROLE:  # noqa: PLR2004 - both fields
            features.add(_TEXTS_BY_ROLE[role])
        else:
            features.update(_message_features(message, role, content))
        if role == last_role:
            features.add(f"order:{role}-twice")
        elif role in {"system", "developer"} and last_role is not None:
            features.add("order:late-system")
        elif last_role is None and role not in {"system", "developer", "user"}:
            features.add("order:answer-first")
        last_role = role
    if last_role is None:
        features.add(UNKNOWN)
    elif last_role == "assistant":
        features.add("order:answer-last")
    elif last_role not in {"user", "tool"}:
        features.add("order:system-last")


_TEXTS_BY_ROLE = {role: f"{role}:text" for role in ("system", "developer", "user", "assistant")}
DEVELOPER_FEATURES = frozenset(f"developer:{kind}" for kind in ("text", "parts", "name", "empty"))


def _message_features(message: ChatMessage, role: Any, content: Any) -> set[str]:  # noqa: ANN401 - JSON is anything
    features = {f"{role}:{_content_kind(content)}"}
    for name, value in message.items():
        if value is None and name != "role":
            features.add(NULL_FIELD)
        elif name in {"role", "content"}:
            continue
        elif name == "tool_calls" and role == "assistant" and _are_tool_calls(value):
            features.add("assistant:calls")
        elif name == "tool_call_id" and role == "tool" and type(value) is str:
            features.add("tool:id")
        elif name in {"name", "refusal"} and type(value) is str:
            features.add(f"{role}:{name}")
        else:
            features.add(UNKNOWN)
    if isinstance(content, list):
        features.update(f"{role}:{_part_kind(part)}" for part in content)
    return features


def _content_kind(content: Any) -> str:  # noqa: ANN401 - JSON is anything
    if type(content) is str:
        return "text" if content else "empty"
    if content is None:
        return "null"
    return "parts" if type(content) is list and content else UNKNOWN


def _part_kind(part: Any) -> str:  # noqa: ANN401 - JSON is anything
    if type(part) is not dict:
        return UNKNOWN
    if part.get("type") == "text" and part.keys() == _TEXT_PART and type(part["text"]) is str:
        return "part-text" if part["text"] else "part-empty"
    image = part.get("image_url")
    if part.get("type") != "image_url" or len(part) != 2 or type(image) is not dict:  # noqa: PLR2004 - both fields
        return UNKNOWN
    url, detail = image.get("url"), image.get("detail", "auto")
    if type(url) is not str or type(detail) is not str or image.keys() - {"url", "detail"}:
        return UNKNOWN
    if not url.startswith(("data:image/", "https://", "http://")):
        return UNKNOWN
    kind = "image-data" if url.startswith("data:") else "image"
    return f"{kind}-detail" if "detail" in image else kind


def _are_tool_calls(calls: Any) -> bool:  # noqa: ANN401 - JSON is anything
    return (
        type(calls) is list
        and bool(calls)
        and all(
            type(call) is dict
            and call.keys() == _TOOL_CALL
            and type(call["id"]) is str
            and call["type"] == "function"
            and type(call["function"]) is dict
            and call["function"].keys() == _FUNCTION_CALL
            and all(type(text) is str for text in call["function"].values())
            for call in calls
        )
    )


def is_json(value: Any, depth: int = 0) -> bool:  # noqa: ANN401 - JSON is anything
    """Return whether a value is written alike by every JSON encoder: no NaN, no dates, no huge integers."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(-(2**63) <= value < 2**63)
    if kind is float:
        return isfinite(value)
    if depth > MAX_JSON_DEPTH:
        return False
    if kind is dict:
        return all(type(name) is str and is_json(item, depth + 1) for name, item in value.items())
    return kind is list and all(is_json(item, depth + 1) for item in value)


def _schema_words(value: Any) -> set[str]:  # noqa: ANN401 - JSON is anything
    """Return the words in a schema that some providers treat in their own way."""
    words = set()
    if type(value) is dict:
        for name, item in value.items():
            if name in _SCHEMA_WORDS:
                words.add(_SCHEMA_WORDS[name])
            if type(item) is dict or type(item) is list:
                words |= _schema_words(item)
    else:
        for item in value:
            if type(item) is dict or type(item) is list:
                words |= _schema_words(item)
    return words


def _number(name: str, value: Any) -> str:  # noqa: ANN401 - JSON is anything
    return name if type(value) in {int, float} and isfinite(value) and abs(value) < 2**53 else UNKNOWN


def _temperature(name: str, value: Any) -> str:  # noqa: ANN401 - JSON is anything
    if _number(name, value) is UNKNOWN:
        return UNKNOWN
    if value in {0, 1}:
        return f"{name}:{value:.0f}"
    return f"{name}:{'below-1' if 0 < value < 1 else 'above-1' if 1 < value <= 2 else UNKNOWN}"  # noqa: PLR2004 - OpenAI's range


def _integer(name: str, value: Any) -> str:  # noqa: ANN401 - JSON is anything
    return name if type(value) is int and -(2**53) < value < 2**53 else UNKNOWN


def _count(name: str, value: Any) -> str:  # noqa: ANN401 - JSON is anything
    return _integer(name, value) if type(value) is int and value > 0 else UNKNOWN


def _choice_count(name: str, value: Any) -> str:  # noqa: ANN401 - JSON is anything
    return "n:1" if type(value) is int and value == 1 else _count(name, value)


def _text(name: str, value: Any) -> str:  # noqa: ANN401 - JSON is anything
    return name if type(value) is str and value else UNKNOWN


def _switch(name: str, value: Any) -> str:  # noqa: ANN401 - JSON is anything
    return f"{name}:{value}".lower() if type(value) is bool else UNKNOWN


def _word(*words: str) -> Callable[[str, Any], str]:
    def feature(name: str, value: Any) -> str:  # noqa: ANN401 - JSON is anything
        return f"{name}:{value}" if type(value) is str and value in words else UNKNOWN

    return feature


def _stop(name: str, value: Any) -> str:  # noqa: ANN401 - JSON is anything
    if type(value) is list:
        is_known = 0 < len(value) <= MAX_STOP_COUNT and all(type(text) is str and text for text in value)
        return f"{name}:list" if is_known else UNKNOWN
    return _text(name, value)


def _numbers(name: str, value: Any) -> str:  # noqa: ANN401 - JSON is anything
    is_known = type(value) is dict and value and all(_number(name, one) is name for one in value.values())
    return name if is_known and is_json(value) else UNKNOWN


def _texts(name: str, value: Any) -> str:  # noqa: ANN401 - JSON is anything
    is_known = type(value) is dict and all(type(one) is str for pair in value.items() for one in pair)
    return name if is_known else UNKNOWN


def _tools(name: str, value: Any) -> str:  # noqa: ANN401 - JSON is anything
    is_known = type(value) is list and value and all(_is_tool(tool) for tool in value) and is_json(value)
    return name if is_known else UNKNOWN


def _is_tool(tool: Any) -> bool:  # noqa: ANN401 - JSON is anything
    if type(tool) is not dict or tool.get("type") != "function" or len(tool) != 2:  # noqa: PLR2004 - both fields
        return False
    function = tool.get("function")
    return (
        type(function) is dict
        and type(function.get("name")) is str
        and function.keys() <= _TOOL_KEYS
        and type(function.get("description", "")) is str
        and type(function.get("parameters", {})) is dict
        and type(function.get("strict", True)) is bool
    )


def _tool_choice(name: str, value: Any) -> str:  # noqa: ANN401 - JSON is anything
    if type(value) is dict:
        function = value.get("function")
        is_named = value.keys() == {"type", "function"} and value["type"] == "function"
        is_named = is_named and type(function) is dict and function.keys() == {"name"} and type(function["name"]) is str
        return f"{name}:named" if is_named else UNKNOWN
    return f"{name}:{value}" if type(value) is str and value in {"auto", "none", "required"} else UNKNOWN


def _response_format(name: str, value: Any) -> str:  # noqa: ANN401 - JSON is anything
    if type(value) is not dict:
        return UNKNOWN
    kind, schema = value.get("type"), value.get("json_schema")
    if value.keys() == {"type"} and type(kind) is str and kind in {"text", "json_object"}:
        return f"{name}:{kind}"
    is_known = (
        value.keys() == {"type", "json_schema"}
        and kind == "json_schema"
        and type(schema) is dict
        and schema.keys() <= _SCHEMA_KEYS
        and type(schema.get("name")) is str
        and type(schema.get("schema")) is dict
        and type(schema.get("strict", True)) is bool
        and is_json(value)
    )
    return f"{name}:json_schema" if is_known else UNKNOWN


def _modalities(name: str, value: Any) -> str:  # noqa: ANN401 - JSON is anything
    return name if value == ["text"] else UNKNOWN


def _prediction(name: str, value: Any) -> str:  # noqa: ANN401 - JSON is anything
    is_known = type(value) is dict and value.keys() == {"type", "content"} and value["type"] == "content"
    return name if is_known and type(value["content"]) is str else UNKNOWN


def _web_search(name: str, value: Any) -> str:  # noqa: ANN401 - JSON is anything
    is_known = type(value) is dict and value.keys() <= {"search_context_size", "user_location"} and is_json(value)
    return name if is_known else UNKNOWN


def _extra_body(name: str, value: Any) -> str:  # noqa: ANN401 - JSON is anything
    return name if type(value) is dict and value and EXTRA_PARAMETERS.issuperset(value) and is_json(value) else UNKNOWN


def _extra_headers(name: str, value: Any) -> str:  # noqa: ANN401 - JSON is anything
    is_known = type(value) is dict and all(
        type(header) is str
        and header.replace("-", "").isalnum()
        and header.isascii()
        and not header.lower().startswith(_OWN_HEADERS)
        and type(text) is str
        and text.isascii()
        and text.isprintable()
        and text == text.strip()
        for header, text in value.items()
    )
    return name if is_known else UNKNOWN


_KINDS: Mapping[str, Callable[[str, Any], str]] = {
    "extra_body": _extra_body,
    "extra_headers": _extra_headers,
    "frequency_penalty": _number,
    "logit_bias": _numbers,
    "logprobs": _switch,
    "max_completion_tokens": _count,
    "max_tokens": _count,
    "metadata": _texts,
    "modalities": _modalities,
    "n": _choice_count,
    "parallel_tool_calls": _switch,
    "prediction": _prediction,
    "presence_penalty": _number,
    "prompt_cache_key": _text,
    "reasoning_effort": _word(*EFFORTS),
    "response_format": _response_format,
    "safety_identifier": _text,
    "seed": _integer,
    "service_tier": _word("auto", "default", "flex", "priority"),
    "stop": _stop,
    "store": _switch,
    "temperature": _temperature,
    "tool_choice": _tool_choice,
    "tools": _tools,
    "top_logprobs": _integer,
    "top_p": _number,
    "user": _text,
    "verbosity": _word("low", "medium", "high"),
    "web_search_options": _web_search,
}
