"""Samples of every feature of a request to Anthropic's models, in OpenAI's format, and random requests made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from flowai.providers import Endpoint, Request

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

KEY = "sk-ant-api03-test"
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
PDF = "data:application/pdf;base64,JVBERi0="
CACHED: dict[str, Any] = {"cache_control": {"type": "ephemeral"}}
CACHED_1H: dict[str, Any] = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
SYSTEM = {"role": "system", "content": "Be brief."}
HELLO = {"role": "user", "content": "Grüß Gott 👋"}
REPLY = {"role": "assistant", "content": "Good day."}
CITY = {"type": "object", "properties": {"city": {"type": "string", "description": "a city"}}, "required": ["city"]}
CLOSED = {**CITY, "additionalProperties": False}
CONSTRAINED = {
    "type": "object",
    "description": "A review",
    "title": "Review",
    "properties": {
        "stars": {"type": "integer", "minimum": 1, "maximum": 5, "description": "1 to 5"},
        "tags": {"type": "array", "items": {"type": "string", "minLength": 2}, "minItems": 1, "uniqueItems": False},
        "kind": {"type": "string", "enum": ["a", 1]},
        "either": {"oneOf": [{"type": "string", "maxLength": 9}, {"type": "null"}], "anyOf": [{"const": 3}]},
        "all": {"allOf": [{"type": "object", "properties": {"x": {"type": ["integer", "null"], "multipleOf": 2}}}]},
        "map": {"type": "object", "patternProperties": {"^a": {"type": "string"}}, "additionalProperties": True},
        "when": {"type": "string", "format": "date", "pattern": r"^\d+$", "default": "x", "not": {"const": ""}},
    },
    "required": ["stars"],
    "minProperties": 1,
}
WITH_REFERENCES = {
    "type": "object",
    "properties": {"at": {"$ref": "#/$defs/Place"}, "way": {"type": "array", "items": {"$ref": "#/$defs/Place"}}},
    "$defs": {
        "Place": {"type": "object", "properties": {"name": {"$ref": "#/$defs/Name"}}, "required": ["name"]},
        "Name": {"type": "string", "minLength": 1},
    },
}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    """Return a user's message of parts."""
    return {"role": "user", "content": list(parts)}


def text(value: str, **more: Any) -> dict[str, Any]:
    """Return a text part."""
    return {"type": "text", "text": value, **more}


def image(url: str, **more: Any) -> dict[str, Any]:
    """Return an image part."""
    return {"type": "image_url", "image_url": {"url": url}, **more}


def tool(parameters: Any = CITY, **more: Any) -> dict[str, Any]:
    """Return a function tool."""
    return {"type": "function", "function": {"name": "weather", "description": "w", "parameters": parameters}, **more}


def call(call_id: str = "call_1.x", arguments: str = '{"city": "Rom", "n": 1.50}', **more: Any) -> dict[str, Any]:
    """Return a tool call of an earlier answer."""
    return {"id": call_id, "type": "function", "function": {"name": "weather", "arguments": arguments}, **more}


def calls(*tool_calls: dict[str, Any], content: Any = None, **more: Any) -> dict[str, Any]:
    """Return an assistant's message with tool calls."""
    return {"role": "assistant", "content": content, "tool_calls": list(tool_calls), **more}


def result(content: Any = "sunny", call_id: str = "call_1.x", **more: Any) -> dict[str, Any]:
    """Return the result of a tool call."""
    return {"role": "tool", "tool_call_id": call_id, "content": content, **more}


def schema_format(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a `response_format` with a schema."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, **more}}


_SIGNED = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
_WEATHER = {"type": "function", "function": {"name": "weather"}}
TOOLS = {"tools": [tool()]}
CONVERSATIONS: list[list[dict[str, Any]]] = [
    [HELLO],
    [SYSTEM, HELLO],
    [SYSTEM, {"role": "system", "content": "Second."}, HELLO, REPLY, {"role": "user", "content": "Go on"}],
    [{"role": "developer", "content": "Be brief."}, HELLO],
    [{**SYSTEM, **CACHED}, {**HELLO, **CACHED_1H}],
    [{"role": "system", "content": [text("A", **CACHED_1H), text("")]}, HELLO],
    [{"role": "system", "content": ""}, HELLO],
    [HELLO, HELLO, REPLY, REPLY, HELLO],
    [{**HELLO, "name": "Ann"}, {**REPLY, "refusal": None, "tool_calls": None, "reasoning_content": "Hm."}, HELLO],
    [HELLO, {"role": "assistant", "content": "The answer is "}],
    [HELLO, {"role": "assistant", "content": [text("One. "), text("Two ", **CACHED)]}],
    [REPLY, HELLO],
    [{"role": "user", "content": ""}, {"role": "assistant", "content": " "}, {"role": "user", "content": "\n"}],
    [user(text(" "), text("x", **CACHED), image(PIXEL, **CACHED), image("https://pictures.example/a b.png?x=1"))],
    [user({"type": "image_url", "image_url": PIXEL}, {"type": "image_url", "image_url": "https://p.example/c.png"})],
    [user({"type": "image_url", "image_url": {"url": PIXEL, "format": "image/webp", "detail": "low"}}, text("what?"))],
    [user(image(PDF), text("read"))],
    [user({"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}, **CACHED}, text("read"))],
    [HELLO, {**REPLY, "thinking_blocks": [_SIGNED, {"type": "redacted_thinking", "data": "x"}]}, HELLO],
    [HELLO, {**REPLY, "thinking_blocks": [{**_SIGNED, "signature": ""}]}, HELLO],
]
"""Conversations without tools."""
TOOL_CONVERSATIONS: list[list[dict[str, Any]]] = [
    [HELLO, calls(call()), result()],
    [HELLO, calls(call(), call("b", ""), content="Looking"), result(), result("", "b"), HELLO],
    [
        HELLO,
        calls(call(), call(), content=""),
        result([text("sunny", **CACHED), image(PIXEL), image(PDF)]),
        REPLY,
        HELLO,
    ],
    [HELLO, calls(call(**CACHED), thinking_blocks=[_SIGNED]), result(**CACHED_1H)],
    [HELLO, calls(call("a", " [1, {}] ")), result([], "a"), calls(call("a")), result("again", "a", name="weather")],
]
"""Conversations with calls of a tool."""
PARAMETERS: list[dict[str, Any]] = [
    {"temperature": 0.5, "max_tokens": 10},
    {"temperature": 1},
    {"temperature": 1.0, "max_completion_tokens": 7},
    {"top_p": 0.9, "top_k": 5},
    {"stop": "\n\n"},
    {"stop": ["a", " "]},
    {"user": "user-1", "n": 1},
    *(
        {"user": name}
        for name in (
            "ann@mail.example",
            "ann@mail",
            "a b@c.de",
            "+49 (30) 1234-567",
            "123456",
            "1234567\n",
            "",
            "x@y.zz\n",
        )
    ),
    {"temperature": None, "stop": None, "tools": None},
    {"cache_control": {"type": "ephemeral"}},
    {"stream": True, "stream_options": {"include_usage": True}},
    {**TOOLS},
    {**TOOLS, "tool_choice": "auto"},
    {**TOOLS, "tool_choice": "required", "parallel_tool_calls": False},
    {**TOOLS, "tool_choice": "none", "parallel_tool_calls": True},
    {**TOOLS, "tool_choice": _WEATHER},
    {**TOOLS, "parallel_tool_calls": True, "tool_choice": _WEATHER},
    {**TOOLS, "parallel_tool_calls": False},
    {"tools": [tool(CLOSED), {"type": "function", "function": {"name": "now"}}]},
    {"tools": [tool({**WITH_REFERENCES, "title": "T", "minProperties": 1}, **CACHED)]},
    {"tools": [tool(None), {"type": "function", "strict": True, "function": {"name": "x", "strict": True, **CACHED}}]},
    {"tools": [tool({"anyOf": [CITY]}), {"type": "function", "function": {"name": "y", "parameters": {}}}]},
    {"tools": [tool({"type": "string", "enum": ["a"]})]},
    *({"reasoning_effort": effort} for effort in ("none", "minimal", "low", "medium", "high", "xhigh", "max")),
    {"reasoning_effort": "high", "max_tokens": 20_000},
    {"reasoning_effort": "low", **TOOLS},
    *({"thinking": {"type": "enabled", "budget_tokens": budget}} for budget in (1024, 2048, 4096, 8192, 30_000)),
    {"thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"}, "max_tokens": 9000},
    {"thinking": {"type": "disabled"}},
    {"thinking": {"type": "adaptive"}},
    {"thinking": {"type": "adaptive", "display": "summarized"}},
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "text"}},
    *({"response_format": schema_format(schema)} for schema in (CITY, CLOSED, CONSTRAINED, WITH_REFERENCES)),
    {"response_format": schema_format(CLOSED, strict=True), **TOOLS},
    {"response_format": schema_format({"type": "array", "items": CITY}), "thinking": {"type": "disabled"}},
]
EVERYDAY: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
    ([SYSTEM, HELLO], {}),
    ([SYSTEM, HELLO], {"max_tokens": 500}),
    ([SYSTEM, HELLO, REPLY, HELLO], {"temperature": 1, "stop": ["END"]}),
    ([user(text("What is this?"), image(PIXEL))], {"max_tokens": 50}),
    ([{"role": "system", "content": [text("Long", **CACHED)]}, HELLO], {}),
    ([SYSTEM, HELLO], {"tools": [tool(CLOSED)], "tool_choice": "auto"}),
    ([SYSTEM, HELLO, calls(call("toolu_1")), result("sunny", "toolu_1")], TOOLS),
    ([SYSTEM, HELLO], {"response_format": schema_format(CLOSED, strict=True)}),
    ([SYSTEM, HELLO], {"response_format": schema_format(WITH_REFERENCES)}),
    ([SYSTEM, HELLO], {"reasoning_effort": "medium"}),
]
"""Requests that most programs send; each model takes them without LiteLLM."""


class Sample(NamedTuple):
    """A model's name, messages and parameters."""

    model: str
    messages: list[dict[str, Any]]
    params: dict[str, Any]

    def request(self, api_base: str | None, **fields: Any) -> Request:
        """Return the request to an address."""
        endpoint = Endpoint(
            name="m", model=f"anthropic/{self.model}", provider="anthropic", api_base=api_base, api_key=KEY
        )
        return Request(endpoint=endpoint, messages=tuple(self.messages), params=self.params, **fields)


def single_samples(model: str) -> Iterator[Sample]:
    """Yield requests with one feature each."""
    for messages in CONVERSATIONS:
        yield Sample(model, messages, {})
    for messages in TOOL_CONVERSATIONS:
        yield Sample(model, messages, TOOLS)
    for params in PARAMETERS:
        yield Sample(model, [SYSTEM, HELLO], params)


def random_sample(model: str, rng: random.Random) -> Sample:
    """Return a request with several features."""
    messages = rng.choice(CONVERSATIONS + TOOL_CONVERSATIONS)
    params: dict[str, Any] = TOOLS if messages in TOOL_CONVERSATIONS else {}
    for _ in range(rng.randint(1, 3)):
        params = rng.choice(PARAMETERS) | params
    return Sample(model, messages, params)
