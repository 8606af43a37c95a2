"""Request body of the Responses API; the records validate it and are a source of the OpenAPI document.

Source: OpenAI API reference, Create a model response. Keys of items that are not listed here (`status`, `annotations`)
have no effect, so that output items can be sent back unchanged.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from flowai.providers.openai.chat_messages import MediaAddress
from flowai.server.schemas.common import (
    Body,
    ExtensionOptions,
    Metadata,
    ModelName,
    ShortText,
    TokenLimit,
    ToolName,
)


class InputText(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="input_text"):
    """A text."""

    text: str
    """The text."""


class InputImage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="input_image"):
    """An image."""

    image_url: MediaAddress
    """Its web address, which the provider reads, or a `data:` URL in base64."""
    detail: Literal["low", "high", "auto", "original"] | None = None
    """Resolution in which the model sees it."""
    file_id: None = None
    """Files are not supported."""


class OutputText(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="output_text"):
    """A text of the model."""

    text: str
    """The text."""
    annotations: list[Any] = []
    """Always empty in answers."""
    logprobs: list[Any] | None = []
    """Always empty in answers."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="refusal"):
    """A refusal of the model."""

    refusal: str
    """The text."""


class InputMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """A message of any role."""

    role: Literal["user", "assistant", "system", "developer"]
    """Author of the message."""
    content: str | list[InputText | InputImage | OutputText | Refusal]
    """Text, or parts."""


class FunctionCall(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="function_call"):
    """The model's call of a function."""

    call_id: Annotated[str, Meta(min_length=1, max_length=256)]
    """Connects it with its output."""
    name: ToolName
    """Name of the function."""
    arguments: str
    """Arguments, a JSON object as text."""


class FunctionCallOutput(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="function_call_output"):
    """The result of a function call."""

    call_id: Annotated[str, Meta(min_length=1, max_length=256)]
    """Id of the call."""
    output: str | list[InputText | InputImage]
    """Text, or parts."""


InputItem = InputMessage | FunctionCall | FunctionCallOutput


class FunctionTool(Body, frozen=True):
    """A function that the model may call."""

    type: Literal["function"]  # no tag: msgspec requires tags only within unions
    name: ToolName
    """Name of the function."""
    description: str | None = None
    """Purpose of the function, for the model."""
    parameters: dict[str, Any] | None = None
    """JSON Schema of its arguments."""
    strict: bool | None = None
    """Whether arguments must follow the schema."""


class FunctionChoice(Body, frozen=True):
    """The function that must be called."""

    type: Literal["function"]  # as above
    name: ToolName
    """Name of the function."""


class PlainFormat(Body, frozen=True, tag_field="type", tag="text"):
    """Free text."""


class JsonObjectFormat(Body, frozen=True, tag_field="type", tag="json_object"):
    """Any JSON object."""


class JsonSchemaFormat(Body, frozen=True, tag_field="type", tag="json_schema"):
    """JSON that follows a schema."""

    name: ToolName
    """Name of the schema."""
    schema: dict[str, Any]
    """The schema."""
    description: str | None = None
    """Purpose of the schema, for the model."""
    strict: bool | None = None
    """Whether the provider must enforce it."""


class TextOptions(Body, frozen=True):
    """Options of the text."""

    format: PlainFormat | JsonObjectFormat | JsonSchemaFormat | None = None
    """Format of the answer."""
    verbosity: ShortText | None = None
    """Length of the answer; the provider defines the values."""


class ReasoningOptions(Body, frozen=True):
    """Options of a reasoning model."""

    effort: ShortText | None = None
    """Effort; the provider defines the values."""
    summary: Literal["auto"] | None = None
    """`auto`: a summary where there is one; answers never have one."""
    generate_summary: Literal["auto"] | None = None
    """The same under its older name."""


class ResponseStreamOptions(Body, frozen=True):
    """Options of a stream."""

    include_obfuscation: bool | None = None
    """Accepted without effect."""


class ResponsesBody(Body, frozen=True):
    """A request of the Responses API."""

    model: ModelName
    """Name of a feature, or of a model in the registry; if both exist, the feature."""
    input: str | list[InputItem] | None = None
    """The conversation; not with `prompt_variables`."""
    prompt_variables: dict[str, Any] | None = None
    """The variables of the feature's prompt; `input` is then absent or empty."""
    instructions: str | None = None
    """The first message, of the role `system`."""
    stream: bool | None = None
    """Whether the answer is streamed."""
    stream_options: ResponseStreamOptions | None = None
    """Options of a stream."""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    """0 to 2."""
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    """0 to 1."""
    max_output_tokens: TokenLimit | None = None
    """Maximum number of tokens of the answer."""
    tools: Annotated[list[FunctionTool], Meta(max_length=128)] | None = None
    """Functions that the model may call; tools that run at a provider are not supported."""
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | None = None
    """Whether the model must call a function, and which."""
    parallel_tool_calls: bool | None = None
    """Whether the model may call several functions at once."""
    text: TextOptions | None = None
    """Options of the text."""
    reasoning: ReasoningOptions | None = None
    """Options of a reasoning model."""
    include: list[Literal["reasoning.encrypted_content"]] | None = None
    """Accepted without effect: answers have no reasoning items."""
    store: bool | None = None
    """Accepted without effect: no response is stored, and the answer has `store: false`."""
    metadata: Metadata | None = None
    """Repeated in the answer, neither stored nor forwarded."""
    user: ShortText | None = None
    """Id of the user; it decides the variant of a rollout and the arm of an experiment. Only a hash is stored."""
    safety_identifier: ShortText | None = None
    """The same under OpenAI's newer name; `user` wins."""
    prompt_cache_key: ShortText | None = None
    """Accepted and not forwarded: it has no effect on answers."""
    prompt_cache_retention: ShortText | None = None
    """Accepted and not forwarded."""
    flowai: ExtensionOptions | None = None
    """Parameters beyond OpenAI's."""


WHOLE_NUMBERS = ("max_output_tokens",)
"""Parameters that may be written as `100.0`, a whole number in JSON."""

NO_OP_VALUES: dict[str, tuple[Any, ...]] = {
    "background": (False,),
    "truncation": ("disabled",),
    "top_logprobs": (0,),
    "service_tier": ("auto", "default"),
}
"""Unsupported parameters with their values without effect, which are accepted; other values are refused."""

STATE_PARAMS = {
    "previous_response_id": "no response is stored: send the earlier items in `input`",
    "conversation": "no conversation is stored: send the earlier items in `input`",
    "prompt": "prompts are the project's: name a feature as `model` and send `prompt_variables`",
    "max_tool_calls": "it limits tools that run at the provider, and these are not supported",
}
"""Parameters that are refused, and what to do instead."""

TOOL_TYPES = frozenset({"function"})
ITEM_TYPES = frozenset({"message", "function_call", "function_call_output"})
INPUT_TYPES = frozenset({"input_text", "input_image"})
CONTENT_TYPES = {
    "user": INPUT_TYPES | {"output_text"},
    "assistant": frozenset({"input_text", "output_text", "refusal"}),
    "system": frozenset({"input_text", "output_text"}),
    "developer": frozenset({"input_text", "output_text"}),
}
"""Supported values of `type`; of a message's content, by its role."""
