"""Request body of chat completions; the records validate it and are a source of the OpenAPI document.

Source: OpenAI API reference, Create chat completion; `prompt_variables` as LiteLLM's proxy names it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from flowai.providers.openai.chat_messages import ChatMessageRecord
from flowai.server.schemas.common import (
    Body,
    ExtensionOptions,
    Metadata,
    ModelName,
    ShortText,
    StreamOptions,
    TokenLimit,
    ToolName,
)

Penalty = Annotated[float, Meta(ge=-2, le=2)]


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """A function that the model may call."""

    name: ToolName
    """Name of the function."""
    description: str | None = None
    """Purpose of the function, for the model."""
    parameters: dict[str, Any] | None = None
    """JSON Schema of its arguments."""
    strict: bool | None = None
    """Whether arguments must follow the schema."""


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the model may call."""

    type: Literal["function"]
    """Always `function`."""
    function: Function
    """The function."""


class FunctionName(msgspec.Struct, frozen=True, kw_only=True):
    """The function that must be called."""

    name: Annotated[str, Meta(min_length=1)]
    """Name of the function."""


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The tool that must be called."""

    type: Literal["function"]
    """Always `function`."""
    function: FunctionName
    """The function."""


class NamedSchema(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON Schema that the answer must follow."""

    name: ToolName
    """Name of the schema."""
    description: str | None = None
    """Purpose of the schema, for the model."""
    schema: dict[str, Any] | None = None
    """The schema."""
    strict: bool | None = None
    """Whether the provider must enforce it."""


class ResponseFormat(msgspec.Struct, frozen=True, kw_only=True):
    """Format of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    """Free text, any JSON object, or JSON that follows a schema."""
    json_schema: NamedSchema | None = None
    """The schema; only with the type `json_schema`."""


class ChatOptions(ExtensionOptions, frozen=True):
    """Parameters beyond OpenAI's."""

    on_break: Literal["error", "restart"] = "error"
    """If a stream breaks off: `error` ends it with an error event, `restart` starts over with the next model, after a
    chunk with `flowai.restarted: true`: discard all chunks before it."""


class ChatBody(Body, frozen=True):
    """A chat request."""

    model: ModelName
    """Name of a feature, or of a model in the registry; if both exist, the feature."""
    messages: list[ChatMessageRecord] | None = None
    """The conversation; not with `prompt_variables`."""
    prompt_variables: dict[str, Any] | None = None
    """The variables of the feature's prompt; `messages` is then absent or empty."""
    stream: bool | None = None
    """Whether the answer is streamed."""
    stream_options: StreamOptions | None = None
    """Options of a stream."""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    """0 to 2."""
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    """0 to 1."""
    frequency_penalty: Penalty | None = None
    """-2 to 2."""
    presence_penalty: Penalty | None = None
    """-2 to 2."""
    max_tokens: TokenLimit | None = None
    """Maximum number of tokens of the answer."""
    max_completion_tokens: TokenLimit | None = None
    """The same under OpenAI's newer name."""
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    """Stop sequence, or up to four of them."""
    seed: Annotated[int, Meta(ge=-(1 << 53), le=1 << 53)] | None = None
    """Seed for reproducible answers, if the provider supports it; -2^53 to 2^53, the exact integers of JSON."""
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    """Token id -> -100 to 100."""
    tools: Annotated[list[Tool], Meta(min_length=1, max_length=128)] | None = None
    """Tools that the model may call."""
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    """Whether the model must call a tool, and which."""
    parallel_tool_calls: bool | None = None
    """Whether the model may call several tools at once."""
    response_format: ResponseFormat | None = None
    """Format of the answer."""
    reasoning_effort: ShortText | None = None
    """Effort of a reasoning model; the provider defines the values."""
    verbosity: ShortText | None = None
    """Length of the answer; the provider defines the values."""
    user: ShortText | None = None
    """Id of the user; it decides the variant of a rollout and the arm of an experiment. Only a hash is stored."""
    safety_identifier: ShortText | None = None
    """The same under OpenAI's newer name; `user` wins."""
    prompt_cache_key: ShortText | None = None
    """Accepted and not forwarded: it has no effect on answers."""
    prompt_cache_retention: ShortText | None = None
    """Accepted and not forwarded."""
    metadata: Metadata | None = None
    """Accepted, neither stored nor forwarded."""
    flowai: ChatOptions | None = None
    """Parameters beyond OpenAI's."""


FORWARDED_PARAMS = (
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "seed",
    "logit_bias",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning_effort",
    "verbosity",
)
"""Parameters that are forwarded to the model unchanged."""

WHOLE_NUMBERS = ("max_tokens", "max_completion_tokens", "seed")
"""Parameters that may be written as `100.0`, a whole number in JSON."""

NO_OP_VALUES: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "store": (False,),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
}
"""Unsupported parameters with their values without effect, which are accepted; other values are refused."""
