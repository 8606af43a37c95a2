"""Bodies of the three protocols of completions with random mistakes, as a random generator gives them."""

from __future__ import annotations

import copy
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAA"
    "AfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PDF = "data:application/pdf;base64,JVBERi0xLjQKJSVFT0YK"
SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]}
CALL = {"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"at": "the sky"}'}}
CHAT_PARTS: tuple[dict[str, Any], ...] = (
    {"type": "text", "text": "hello"},
    {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
    {"type": "image_url", "image_url": {"url": "https://images.invalid/a.png"}},
    {"type": "image_url", "image_url": PIXEL},
    {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
    {"type": "file", "file": {"file_id": "file-1"}},
    {"type": "video_url", "video_url": {"url": "https://images.invalid/a.mp4"}},
    {"type": "refusal", "refusal": "no"},
)
RESPONSES_PARTS: tuple[dict[str, Any], ...] = (
    {"type": "input_text", "text": "hello"},
    {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
    {"type": "input_image", "image_url": "https://images.invalid/a.png"},
    {"type": "input_file", "file_data": PDF, "filename": "a.pdf"},
    {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "mp3"}},
    {"type": "output_text", "text": "hello", "annotations": []},
    {"type": "refusal", "refusal": "no"},
)
MESSAGES_PARTS: tuple[dict[str, Any], ...] = (
    {"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL[22:]}},
    {"type": "image", "source": {"type": "url", "url": "https://images.invalid/a.png"}},
    {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF[28:]}},
    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hello"}},
    {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "the sky"}},
    {"type": "tool_result", "tool_use_id": "t1", "content": "a cloud"},
    {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "c2ln"},
)
PARTS = CHAT_PARTS + RESPONSES_PARTS + MESSAGES_PARTS
ITEMS: tuple[dict[str, Any], ...] = (
    {"type": "function_call", "call_id": "t1", "name": "look", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "t1", "output": "a cloud"},
    {"type": "reasoning", "id": "r1", "summary": []},
    {"type": "item_reference", "id": "i1"},
    {"type": "file_search_call", "id": "f1", "queries": [], "status": "completed"},
    {"role": "tool", "tool_call_id": "t1", "content": "a cloud"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "assistant", "content": None, "function_call": CALL["function"]},
    {"role": "function", "name": "look", "content": "a cloud"},
    {"role": "developer", "content": "be brief"},
)
TOOLS: dict[str, list[dict[str, Any]]] = {
    CHAT: [{"type": "function", "function": {"name": "look", "description": "looks", "parameters": SCHEMA}}],
    RESPONSES: [{"type": "function", "name": "look", "parameters": SCHEMA, "strict": True}],
    MESSAGES: [{"name": "look", "description": "looks", "input_schema": SCHEMA}],
}
NONSENSE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 2**31, 2**53 + 1, -(2**63), 10**18, 1e308, 5e-324),
    *("", " ", "\0", "\u202e", "\U0001f600" * 50, "x" * 5000, "null", "{", "[]", "{}", "NaN", "function", "auto"),
    *("file:///etc/passwd", "gs://bucket/a.png", "s3://bucket/a", "www.images.invalid/a.pdf", "javascript:alert(1)"),
    *("data:", "data:image/png;base64", "data:;base64,", "data:image/png;base64,%%%", "data:text/html,<b>"),
    *("HTTP://images.invalid/a.png", "http://", "https://", "//images.invalid/a", "http://[::1", "http://a b/"),
    *([], {}, [[]], [{}], [None], {"": ""}, {"type": "text"}, {"$ref": "#"}, [[[[[]]]]], {"a": {"b": {"c": []}}}),
)
KEYS = (
    *("type", "text", "role", "content", "id", "name", "url", "input", "tools", "n", "cache_control", "tool_calls"),
    *("tool_call_id", "image_url", "file", "format", "detail", "source", "data", "extra_body", "api_base", "metadata"),
)


def mutated_bodies(seed: int, models: tuple[str, ...], addresses: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield paths and bodies without end, one in four of them without a mistake of its own.

    Args:
        seed: of the random numbers.
        models: names to ask for.
        addresses: further values, of servers that must not be called.
    """
    rng = random.Random(seed)  # noqa: S311 - no secrets
    values = NONSENSE + addresses * 4
    while True:
        path = rng.choice((CHAT, RESPONSES, MESSAGES))
        body = valid_body(rng, path, rng.choice(models))
        if rng.random() < 0.75:
            for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
                _mutate(rng, body, values)
        yield path, body


def valid_body(rng: random.Random, path: str, model: str) -> dict[str, Any]:
    """Return a body without a mistake; in one of five, parts are of any protocol."""
    parts = {CHAT: CHAT_PARTS[:-1], RESPONSES: RESPONSES_PARTS[:3], MESSAGES: MESSAGES_PARTS[:3]}[path]
    if rng.random() < 0.2:
        parts = PARTS
    content: Any = copy.deepcopy(rng.sample(parts, rng.randint(1, 3))) if rng.random() < 0.8 else "hello"
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    messages += [copy.deepcopy(rng.choice(ITEMS)) for _ in range(rng.choice((0, 0, 0, 0, 0, 1, 2)))]
    if messages[-1].get("role") != "user":
        messages.append({"role": "user", "content": "and now?"})
    body: dict[str, Any] = {"model": model, "input" if path == RESPONSES else "messages": messages}
    if path == MESSAGES:
        body["max_tokens"] = 50
    if rng.random() < 0.5:
        body["tools"] = copy.deepcopy(TOOLS[path])
    options: dict[str, Any] = {"temperature": 0.5, "stream": True, "top_p": 0.9, "metadata": {}}
    if path == CHAT:
        options |= {"stop": ["x"], "seed": 1, "tool_choice": "auto", "response_format": {"type": "json_object"}}
        options |= {"logit_bias": {"1": 2}, "reasoning_effort": "low", "max_tokens": 9, "user": "ann"}
    body |= {name: copy.deepcopy(options[name]) for name in rng.sample(sorted(options), rng.randint(0, 3))}
    return body


def _mutate(rng: random.Random, body: dict[str, Any], values: tuple[Any, ...]) -> None:
    owner = rng.choice([owner for owner in _containers(body) if owner] or [body])
    keys: list[Any] = list(owner) if isinstance(owner, dict) else list(range(len(owner)))
    if owner is body and rng.random() < 0.8:  # the conversation more often than the rest
        keys = [key for key in ("messages", "input", "tools") if key in body] or keys
    if not keys:
        return
    key = rng.choice(keys)
    match rng.randrange(8):
        case 0 | 1 | 2:
            owner[key] = copy.deepcopy(rng.choice(values))
        case 3:
            del owner[key]
        case 4 if isinstance(owner, dict):
            owner[rng.choice(KEYS)] = copy.deepcopy(rng.choice(values))
        case 5 if isinstance(owner, dict):
            owner[rng.choice(KEYS)] = owner.pop(key)
        case 4 | 5:
            owner.insert(key, copy.deepcopy(rng.choice(PARTS + ITEMS)))
        case 6:
            owner[key] = [owner[key]] if rng.random() < 0.5 else {"type": "text", "text": owner[key]}
        case 7:
            owner[key] = _deep(rng.choice((3, 30, 70)), owner[key])


def _containers(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from _containers(item)


def _deep(depth: int, value: Any) -> Any:
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value
