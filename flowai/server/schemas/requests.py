"""What callers send: the bodies of each endpoint, as records that check and that the OpenAPI document is made of.

Source: OpenAI API reference, Create chat completion, Create embeddings; `prompt_variables` as LiteLLM's proxy names it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from flowai.events import FeedbackVerdict

ShortText = Annotated[str, Meta(max_length=256)]
ModelName = Annotated[str, Meta(min_length=1, max_length=256)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
TokenLimit = Annotated[int, Meta(ge=1, le=1 << 31)]


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A parameter nobody knows is an error, never passed over in silence."""


class ContentPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a message's content, as the model's provider takes it."""

    type: Annotated[str, Meta(min_length=1)]
    """`text`, `image_url`, ..."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message; further keys (`name`, `tool_calls`, `tool_call_id`) are passed on."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    """Who speaks."""
    content: str | list[ContentPart] | None = None
    """What was said; null for an assistant that only called tools."""


class StreamOptions(_Body, frozen=True):
    """What a stream carries besides the answer."""

    include_usage: bool | None = None
    """A last chunk with the tokens used."""
    include_obfuscation: bool | None = None
    """Accepted; nothing is obfuscated."""


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """A function that the model may call."""

    name: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]
    """Its name."""
    description: str | None = None
    """When to call it."""
    parameters: dict[str, Any] | None = None
    """JSON Schema of its arguments."""
    strict: bool | None = None
    """Whether arguments must follow the schema."""


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the model may call."""

    type: Literal["function"]
    """Functions are the only kind."""
    function: Function
    """The function."""


class FunctionName(msgspec.Struct, frozen=True, kw_only=True):
    """The function that must be called."""

    name: Annotated[str, Meta(min_length=1)]
    """Its name."""


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The tool that must be called."""

    type: Literal["function"]
    """Functions are the only kind."""
    function: FunctionName
    """Which one."""


class NamedSchema(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON Schema that the answer must follow."""

    name: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]
    """Its name."""
    description: str | None = None
    """What it is for."""
    schema: dict[str, Any] | None = None
    """The schema."""
    strict: bool | None = None
    """Whether the provider is to enforce it."""


class ResponseFormat(msgspec.Struct, frozen=True, kw_only=True):
    """What the answer must be."""

    type: Literal["text", "json_object", "json_schema"]
    """Free text, any JSON object, or JSON that follows a schema."""
    json_schema: NamedSchema | None = None
    """The schema; with `json_schema` only."""


class SamplingParams(_Body, frozen=True):
    """What flowai understands beyond OpenAI's parameters."""

    on_break: Literal["error", "restart"] = "error"
    """When a stream dies in the middle: `error` ends it with an error event, `restart` begins anew with the next model,
    announced by a chunk whose `flowai.restarted` is true: forget all pieces before it."""
    cache: bool = True
    """False to ask a model in any case."""


class ChatBody(_Body, frozen=True):
    """A chat request."""

    model: ModelName
    """A feature, or a model of the registry; a feature wins where both have the name."""
    messages: list[Message] | None = None
    """The conversation; not with `prompt_variables`."""
    prompt_variables: dict[str, Any] | None = None
    """The variables of the feature's prompt; `messages` is then absent or empty."""
    stream: bool | None = None
    """Whether the answer comes piece by piece."""
    stream_options: StreamOptions | None = None
    """What a stream carries besides the answer."""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    """0 to 2."""
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    """0 to 1."""
    frequency_penalty: Penalty | None = None
    """-2 to 2."""
    presence_penalty: Penalty | None = None
    """-2 to 2."""
    max_tokens: TokenLimit | None = None
    """Most tokens of the answer."""
    max_completion_tokens: TokenLimit | None = None
    """The same under OpenAI's newer name."""
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    """Where to stop: a text, or up to four."""
    seed: Annotated[int, Meta(ge=-(1 << 53), le=1 << 53)] | None = None
    """For answers that can be repeated, where the provider can; at most 2^53 either way, as far as JSON goes."""
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    """Token id -> -100 to 100."""
    tools: Annotated[list[Tool], Meta(min_length=1, max_length=128)] | None = None
    """What the model may call."""
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    """Whether and what it must call."""
    parallel_tool_calls: bool | None = None
    """Whether it may call several at once."""
    response_format: ResponseFormat | None = None
    """What the answer must be."""
    reasoning_effort: ShortText | None = None
    """How long a reasoning model may think, in the provider's words."""
    verbosity: ShortText | None = None
    """How long the answer should be, in the provider's words."""
    user: ShortText | None = None
    """Who asks; decides the side of a rollout and the arm of an experiment; only a hash is kept."""
    safety_identifier: ShortText | None = None
    """The same under OpenAI's newer name; `user` wins."""
    prompt_cache_key: ShortText | None = None
    """Accepted and not passed on: it changes no answer."""
    prompt_cache_retention: ShortText | None = None
    """Accepted and not passed on."""
    flowai: SamplingParams | None = None
    """What flowai understands beyond OpenAI's parameters."""


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
"""Parameters that go to the model as they came."""

WHOLE_NUMBERS = ("max_tokens", "max_completion_tokens", "seed")
"""Parameters that may be written as `100.0`: to JSON that is a whole number too."""

NO_OP_VALUES: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "store": (False,),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
}
"""Parameters that cannot be honoured, and the values that ask for nothing: those are accepted, others refused."""


class EmbeddingsBody(_Body, frozen=True):
    """Texts to embed."""

    model: ModelName
    """A model of the registry."""
    input: (
        Annotated[str, Meta(min_length=1)]
        | Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1, max_length=2048)]
    )
    """One text, or up to 2,048; token ids are not taken."""
    encoding_format: Literal["float", "base64"] | None = None
    """Numbers, or base64 of 32-bit floats, little-endian."""
    user: ShortText | None = None
    """Accepted and not passed on."""


class FeedbackBody(_Body, frozen=True):
    """What a person made of an answer."""

    call_id: Annotated[str, Meta(min_length=1, max_length=256)]
    """The call, as `X-Flowai-Call-Id` or the answer's `id` names it."""
    verdict: FeedbackVerdict
    """What became of the answer."""
    text: str | None = None
    """The person's version of it, with `edited`."""
    user: ShortText | None = None
    """Who says so; only a hash is kept."""
