"""Samples of every feature of a chat request, and random requests made of them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

from flowai.providers.openai.chat_features import EFFORTS, EXTRA_PARAMETERS

if TYPE_CHECKING:
    import random

PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
HELLO = {"role": "user", "content": "Hello"}
CLOSED = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "a city"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
OPEN = {"type": "object", "properties": {"city": {"type": "string", "enum": ["Berlin", "Rom"]}}}
WITH_REFS = {"type": "object", "properties": {"at": {"$ref": "#/$defs/place"}}, "$defs": {"place": {"type": "string"}}}
WITH_PATTERN = {"type": "object", "properties": {"zip": {"type": "string", "pattern": r"^\d{5}$"}}}
WITH_CHOICE = {"anyOf": [OPEN, {"type": "object", "properties": {"zip": {"type": "string"}}}]}


class Sample(NamedTuple):
    """Parameters and messages that have one feature more than a plain request."""

    params: dict[str, Any]
    messages: list[dict[str, Any]]


def tool(parameters: dict[str, Any] | None = OPEN, **more: Any) -> dict[str, Any]:
    """Return a function tool."""
    function: dict[str, Any] = {"name": "weather", "description": "Return the weather", **more}
    if parameters is not None:
        function["parameters"] = parameters
    return {"type": "function", "function": function}


def call(number: int = 1) -> dict[str, Any]:
    """Return a tool call of an earlier answer."""
    return {
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Rom"}'},
    }


def schema_format(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a `response_format` with a schema."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, **more}}


_TOOLS = [tool()]
_EXTRA_VALUES: dict[str, list[Any]] = {
    "chat_template_kwargs": [{"enable_thinking": False}],
    "enable_thinking": [True, False],
    "guided_choice": [["a", "b"]],
    "guided_json": [OPEN],
    "guided_regex": ["[a-z]+"],
    "ignore_eos": [True],
    "include_reasoning": [True, False],
    "models": [["a/b", "c/d"]],
    "provider": [{"order": ["a"], "allow_fallbacks": False}],
    "reasoning": [{"effort": "low"}],
    "reasoning_format": ["parsed"],
    "route": ["fallback"],
    "safe_prompt": [True],
    "search_mode": ["web"],
    "skip_special_tokens": [False],
    "stop_token_ids": [[1, 2]],
    "transforms": [["middle-out"]],
}
PARAMETERS: dict[str, list[dict[str, Any]]] = {
    "extra_body": [{"extra_body": {"top_k": 5, "guided_json": OPEN}}, {"extra_body": {"min_p": 0.1}}],
    "extra_headers": [{"extra_headers": {"X-Trace": "a b", "x-tenant-id": "7"}}, {"extra_headers": {}}],
    "frequency_penalty": [{"frequency_penalty": value} for value in (0, 0.5, -2.0)],
    "logit_bias": [{"logit_bias": {"50256": -100, "12": 1.5}}],
    "logprobs:false": [{"logprobs": False}],
    "logprobs:true": [{"logprobs": True}],
    "max_completion_tokens": [{"max_completion_tokens": value} for value in (1, 16, 100_000)],
    "max_tokens": [{"max_tokens": value} for value in (1, 16, 100_000)],
    "metadata": [{"metadata": {"team": "a"}}, {"metadata": {}}],
    "modalities": [{"modalities": ["text"]}],
    "n": [{"n": 2}, {"n": 5}],
    "n:1": [{"n": 1}],
    "parallel_tool_calls:false": [{"parallel_tool_calls": False, "tools": _TOOLS}],
    "parallel_tool_calls:true": [{"parallel_tool_calls": True, "tools": _TOOLS}],
    "prediction": [{"prediction": {"type": "content", "content": "Hello world"}}],
    "presence_penalty": [{"presence_penalty": value} for value in (0, 0.5, -2.0)],
    "prompt_cache_key": [{"prompt_cache_key": "a"}],
    **{f"reasoning_effort:{effort}": [{"reasoning_effort": effort}] for effort in EFFORTS},
    "response_format:additional": [
        {"response_format": schema_format(CLOSED, strict=True)},
        {"response_format": schema_format({**CLOSED, "additionalProperties": True})},
    ],
    "response_format:json_object": [{"response_format": {"type": "json_object"}}],
    "response_format:json_schema": [
        {"response_format": schema_format(OPEN)},
        {"response_format": schema_format(OPEN, strict=False, description="a place")},
        {"response_format": schema_format(OPEN, strict=True)},
        {"response_format": schema_format({"type": "array", "items": OPEN, "minItems": 1})},
        {"response_format": schema_format(WITH_CHOICE)},
    ],
    "response_format:pattern": [{"response_format": schema_format(WITH_PATTERN)}],
    "response_format:refs": [{"response_format": schema_format(WITH_REFS)}],
    "response_format:text": [{"response_format": {"type": "text"}}],
    "safety_identifier": [{"safety_identifier": "a"}],
    "seed": [{"seed": value} for value in (0, 42, -1)],
    **{f"service_tier:{tier}": [{"service_tier": tier}] for tier in ("auto", "default", "flex", "priority")},
    "stop": [{"stop": "END"}, {"stop": "\n"}],
    "stop:list": [{"stop": ["a"]}, {"stop": ["a", "b\n", "ü", "\t"]}],
    "store:false": [{"store": False}],
    "store:true": [{"store": True}],
    "temperature:0": [{"temperature": 0}, {"temperature": 0.0}],
    "temperature:1": [{"temperature": 1}, {"temperature": 1.0}],
    "temperature:above-1": [{"temperature": value} for value in (1.01, 1.5, 2)],
    "temperature:below-1": [{"temperature": value} for value in (0.0001, 0.2, 0.7, 0.99)],
    "tool_choice:auto": [{"tool_choice": "auto", "tools": _TOOLS}],
    "tool_choice:named": [{"tool_choice": {"type": "function", "function": {"name": "weather"}}, "tools": _TOOLS}],
    "tool_choice:none": [{"tool_choice": "none", "tools": _TOOLS}],
    "tool_choice:required": [{"tool_choice": "required", "tools": _TOOLS}],
    "tools": [{"tools": _TOOLS}, {"tools": [tool(), tool(name="other")]}],
    "tools:additional": [{"tools": [tool(CLOSED)]}, {"tools": [tool({**OPEN, "additionalProperties": True})]}],
    "tools:combinator": [{"tools": [tool(WITH_CHOICE)]}, {"tools": [tool({**OPEN, "enum": [{"city": "Rom"}]})]}],
    "tools:no-parameters": [{"tools": [tool(None)]}],
    "tools:pattern": [{"tools": [tool(WITH_PATTERN)]}],
    "tools:refs": [{"tools": [tool(WITH_REFS)]}],
    "tools:strict": [{"tools": [tool(strict=True)]}, {"tools": [tool(strict=False)]}],
    "top_logprobs": [{"top_logprobs": 0}, {"top_logprobs": 3}],
    "top_p": [{"top_p": value} for value in (0, 0.1, 1, 1.0)],
    "user": [{"user": "u-1"}],
    **{f"verbosity:{word}": [{"verbosity": word}] for word in ("low", "medium", "high")},
    "web_search_options": [{"web_search_options": {}}, {"web_search_options": {"search_context_size": "low"}}],
    **{f"extra:{name}": [{name: value} for value in _EXTRA_VALUES.get(name, [2, 0.5])] for name in EXTRA_PARAMETERS},
}
"""Parameters that have the feature and, at most, others that it needs."""


def _image(url: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url, **more}}]}


_ASKED: list[dict[str, Any]] = [HELLO, {"role": "assistant", "content": "Which city?", "tool_calls": [call()]}]
_RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}


def _parts(role: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief"}]}


MESSAGES: dict[str, list[list[dict[str, Any]]]] = {
    "user:text": [[HELLO]],
    "system:text": [[{"role": "system", "content": "Be brief"}, HELLO]],
    "developer:text": [[{"role": "developer", "content": "Be brief"}, HELLO]],
    "assistant:text": [[HELLO, {"role": "assistant", "content": "Hi"}, HELLO]],
    "assistant:calls": [[*_ASKED, _RESULT], [HELLO, {**_ASKED[1], "tool_calls": [call(), call(2)]}, _RESULT]],
    "assistant:null": [
        [HELLO, {"role": "assistant", "content": None, "tool_calls": [call()]}, _RESULT],
        [HELLO, {"role": "assistant", "tool_calls": [call()]}, _RESULT],
    ],
    "assistant:empty": [[HELLO, {"role": "assistant", "content": "", "tool_calls": [call()]}, _RESULT]],
    "assistant:name": [[HELLO, {"role": "assistant", "content": "Hi", "name": "Bot"}, HELLO]],
    "null-field": [
        [HELLO, {"role": "assistant", "content": None, "tool_calls": [call()]}, _RESULT],
        [{**HELLO, "name": None}, {"role": "assistant", "content": "Hi", "refusal": None, "tool_calls": None}, HELLO],
    ],
    "assistant:refusal": [
        [HELLO, {"role": "assistant", "content": "Hi", "refusal": "No."}, HELLO],
    ],
    "assistant:parts": [[HELLO, _parts("assistant"), HELLO]],
    "developer:name": [[{"role": "developer", "content": "Be brief", "name": "boss"}, HELLO]],
    "developer:parts": [[_parts("developer"), HELLO]],
    "system:empty": [[{"role": "system", "content": ""}, HELLO]],
    "system:name": [[{"role": "system", "content": "Be brief", "name": "boss"}, HELLO]],
    "system:parts": [[_parts("system"), HELLO]],
    "tool:text": [[*_ASKED, _RESULT]],
    "tool:id": [[*_ASKED, _RESULT]],
    **{
        f"{role}:part-text": [[_parts(role)] if role == "user" else [_parts(role), HELLO]]
        for role in ("user", "system", "developer")
    },
    "assistant:part-text": [[HELLO, _parts("assistant"), HELLO]],
    "tool:part-text": [[*_ASKED, {**_RESULT, **_parts("tool")}]],
    "tool:name": [[*_ASKED, {**_RESULT, "name": "weather"}]],
    "tool:parts": [[*_ASKED, {**_RESULT, **_parts("tool")}]],
    "tool:empty": [[*_ASKED, {**_RESULT, "content": ""}]],
    "user:empty": [[{"role": "user", "content": ""}]],
    "user:name": [[{"role": "user", "content": "Hello", "name": "Ann"}]],
    "user:parts": [[_parts("user")], [{"role": "user", "content": [{"type": "text", "text": "ü \u2028"}]}]],
    "user:part-empty": [[{"role": "user", "content": [{"type": "text", "text": ""}]}]],
    "user:image": [[_image("https://example.org/a%20b.png?x=1")], [_image("http://example.org/a")]],
    "user:image-data": [[_image(PIXEL)]],
    "user:image-detail": [[_image("https://example.org/a.png", detail="low")]],
    "user:image-data-detail": [[_image(PIXEL, detail="high")]],
    "order:user-twice": [[HELLO, HELLO]],
    "order:assistant-twice": [
        [HELLO, {"role": "assistant", "content": "Hi"}, {"role": "assistant", "content": "?"}, HELLO]
    ],
    "order:system-twice": [[{"role": "system", "content": "A"}, {"role": "system", "content": "B"}, HELLO]],
    "order:developer-twice": [[{"role": "developer", "content": "A"}, {"role": "developer", "content": "B"}, HELLO]],
    "order:tool-twice": [[*_ASKED, _RESULT, {**_RESULT, "tool_call_id": "call_2"}]],
    "order:late-system": [[HELLO, {"role": "system", "content": "Be brief"}, HELLO]],
    "order:answer-first": [[{"role": "assistant", "content": "Hi"}, HELLO]],
    "order:answer-last": [[HELLO, {"role": "assistant", "content": "Hi"}]],
    "order:system-last": [[{"role": "system", "content": "Be brief"}]],
}
"""Messages that have the feature and, at most, others that it needs."""


def samples() -> dict[str, list[Sample]]:
    """Return the samples of each feature; copies, for LiteLLM changes what it gets."""
    of_parameters = {name: [Sample(params, [HELLO]) for params in rows] for name, rows in PARAMETERS.items()}
    of_messages = {name: [Sample({}, messages) for messages in rows] for name, rows in MESSAGES.items()}
    return copy.deepcopy({**of_messages, **of_parameters})


def random_request(choices: random.Random, *, max_count: int = 6) -> Sample:
    """Return a request with several features at once."""
    params: dict[str, Any] = {}
    for name in choices.sample(sorted(PARAMETERS), choices.randint(0, max_count)):
        params.update(choices.choice(PARAMETERS[name]))
    messages: list[dict[str, Any]] = []
    for name in choices.sample(sorted(MESSAGES), choices.choice((1, 1, 2, 3))):
        messages += choices.choice(MESSAGES[name])
    return copy.deepcopy(Sample(params, messages))
