"""What callers send: the bodies of each endpoint, as records that check and that the OpenAPI document is made of.

In: nothing. Out: frozen records. Must never know HTTP, nor what becomes of a request.

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
    """A part of a message's content, as the model's provider takes it.

    Args:
        type: `text`, `image_url`, ...
    """

    type: Annotated[str, Meta(min_length=1)]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message; further keys (`name`, `tool_calls`, `tool_call_id`) are passed on.

    Args:
        role: who speaks.
        content: what was said; null for an assistant that only called tools.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None


class StreamOptions(_Body, frozen=True):
    """What a stream carries besides the answer.

    Args:
        include_usage: a last chunk with the tokens used.
        include_obfuscation: accepted; nothing is obfuscated.
    """

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """A function that the model may call.

    Args:
        name: its name.
        description: when to call it.
        parameters: JSON Schema of its arguments.
        strict: whether arguments must follow the schema.
    """

    name: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the model may call.

    Args:
        type: functions are the only kind.
        function: the function.
    """

    type: Literal["function"]
    function: Function


class FunctionName(msgspec.Struct, frozen=True, kw_only=True):
    """The function that must be called.

    Args:
        name: its name.
    """

    name: Annotated[str, Meta(min_length=1)]


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The tool that must be called.

    Args:
        type: functions are the only kind.
        function: which one.
    """

    type: Literal["function"]
    function: FunctionName


class NamedSchema(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON Schema that the answer must follow.

    Args:
        name: its name.
        description: what it is for.
        schema: the schema.
        strict: whether the provider is to enforce it.
    """

    name: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, frozen=True, kw_only=True):
    """What the answer must be.

    Args:
        type: free text, any JSON object, or JSON that follows a schema.
        json_schema: the schema; with `json_schema` only.
    """

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None


class SamplingParams(_Body, frozen=True):
    """What flowai understands beyond OpenAI's parameters.

    Args:
        on_break: when a stream dies in the middle: `error` ends it with an error event, `restart` begins anew with the
            next model, announced by a chunk whose `flowai.restarted` is true: forget all pieces before it.
        cache: false to ask a model in any case.
    """

    on_break: Literal["error", "restart"] = "error"
    cache: bool = True


class ChatBody(_Body, frozen=True):
    """A chat request.

    Args:
        model: a feature, or a model of the registry; a feature wins where both have the name.
        messages: the conversation; not with `prompt_variables`.
        prompt_variables: the variables of the feature's prompt; `messages` is then absent or empty.
        stream: whether the answer comes piece by piece.
        stream_options: what a stream carries besides the answer.
        temperature: 0 to 2.
        top_p: 0 to 1.
        frequency_penalty: -2 to 2.
        presence_penalty: -2 to 2.
        max_tokens: most tokens of the answer.
        max_completion_tokens: the same under OpenAI's newer name.
        stop: where to stop: a text, or up to four.
        seed: for answers that can be repeated, where the provider can; at most 2^53 either way, as far as JSON goes.
        logit_bias: token id -> -100 to 100.
        tools: what the model may call.
        tool_choice: whether and what it must call.
        parallel_tool_calls: whether it may call several at once.
        response_format: what the answer must be.
        reasoning_effort: how long a reasoning model may think, in the provider's words.
        verbosity: how long the answer should be, in the provider's words.
        user: who asks; decides the side of a rollout and the arm of an experiment; only a hash is kept.
        safety_identifier: the same under OpenAI's newer name; `user` wins.
        prompt_cache_key: accepted and not passed on: it changes no answer.
        prompt_cache_retention: accepted and not passed on.
        flowai: what flowai understands beyond OpenAI's parameters.
    """

    model: ModelName
    messages: list[Message] | None = None
    prompt_variables: dict[str, Any] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    max_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    seed: Annotated[int, Meta(ge=-(1 << 53), le=1 << 53)] | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    tools: Annotated[list[Tool], Meta(min_length=1, max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: ShortText | None = None
    verbosity: ShortText | None = None
    user: ShortText | None = None
    safety_identifier: ShortText | None = None
    prompt_cache_key: ShortText | None = None
    prompt_cache_retention: ShortText | None = None
    flowai: SamplingParams | None = None


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
    """Texts to embed.

    Args:
        model: a model of the registry.
        input: one text, or up to 2,048; token ids are not taken.
        encoding_format: numbers, or base64 of 32-bit floats, little-endian.
        user: accepted and not passed on.
    """

    model: ModelName
    input: (
        Annotated[str, Meta(min_length=1)]
        | Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1, max_length=2048)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    user: ShortText | None = None


class FeedbackBody(_Body, frozen=True):
    """What a person made of an answer.

    Args:
        call_id: the call, as `X-Flowai-Call-Id` or the answer's `id` names it.
        verdict: what became of the answer.
        text: the person's version of it, with `edited`.
        user: who says so; only a hash is kept.
    """

    call_id: Annotated[str, Meta(min_length=1, max_length=256)]
    verdict: FeedbackVerdict
    text: str | None = None
    user: ShortText | None = None
