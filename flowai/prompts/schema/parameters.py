"""Parameters of a prompt's `config`: names and types.

Source: OpenAI's and LiteLLM's chat completion parameters, Anthropic's Messages API, dotprompt's model configuration.
Parameters of one provider go into `extra_body`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flowai.prompts.template.values import is_number

# dotprompt spells sampling parameters as Google does; calls use LiteLLM's names
DOTPROMPT_NAMES = {
    "topP": "top_p",
    "topK": "top_k",
    "maxOutputTokens": "max_tokens",
    "stopSequences": "stop",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
}


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_map(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _is_stop(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))


_NUMBER = ("a number", is_number)
_INTEGER = ("a whole number", _is_integer)
_COUNT = ("a whole number above 0", _is_count)
_TEXT = ("text", _is_text)
_FLAG = ("true or false", _is_flag)
_MAP = ("a map", _is_map)
_LIST = ("a list", _is_list)

OTHER_PLACES = {
    "model": "write `model:` beside `config:`",
    "n": "a call has one answer",
    "response_format": "write `output: {format: json}`, or `output.schema`",
    "stream": "the caller decides it",
    "timeout": "a feature of `registry.yaml` has `timeout`",
    "tools": "pass tools with the call",
    "tool_choice": "pass it with the call, as the tools",
    "parallel_tool_calls": "pass it with the call, as the tools",
}
"""Parameters that are set elsewhere, each with a hint."""

PARAMETERS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "top_k": _COUNT,
    "min_p": _NUMBER,
    "top_a": _NUMBER,
    "max_tokens": _COUNT,
    "max_completion_tokens": _COUNT,
    "stop": ("text or a list of texts", _is_stop),
    "stop_sequences": ("text or a list of texts", _is_stop),
    "seed": _INTEGER,
    "presence_penalty": _NUMBER,
    "frequency_penalty": _NUMBER,
    "repetition_penalty": _NUMBER,
    "repeat_penalty": _NUMBER,
    "reasoning_effort": _TEXT,
    "thinking": _MAP,
    "verbosity": _TEXT,
    "logprobs": _FLAG,
    "top_logprobs": _INTEGER,
    "logit_bias": _MAP,
    "modalities": _LIST,
    "audio": _MAP,
    "prediction": _MAP,
    "web_search_options": _MAP,
    "service_tier": _TEXT,
    "store": _FLAG,
    "metadata": _MAP,
    "user": _TEXT,
    "safety_identifier": _TEXT,
    "prompt_cache_key": _TEXT,
    "cache_control": _MAP,
    "extra_body": _MAP,
    "extra_headers": _MAP,
}
"""By LiteLLM's name: the expected value in words, and its check; null is always allowed."""
