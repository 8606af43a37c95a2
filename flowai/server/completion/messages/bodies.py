"""Request bodies of the Messages API; the records validate them and are a source of the OpenAPI document.

Source: Anthropic API reference, Create a Message, Count tokens in a Message. Keys of blocks that are not listed here
(`citations`) have no effect, so that an answer's blocks can be sent back unchanged.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from flowai.providers.openai.chat_messages import MediaAddress
from flowai.server.schemas.common import Body, ExtensionOptions, ModelName, ShortText, TokenLimit, ToolName

ToolId = Annotated[str, Meta(min_length=1, max_length=256)]


class CacheControl(msgspec.Struct, frozen=True, kw_only=True):
    """End of a prefix that Anthropic may cache; forwarded."""

    type: Literal["ephemeral"]
    """Always `ephemeral`."""
    ttl: Literal["5m", "1h"] | None = None
    """Lifetime."""


class TextBlock(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="text"):
    """A text."""

    text: str
    """The text."""
    cache_control: CacheControl | None = None
    """End of a cached prefix."""


class SystemBlock(msgspec.Struct, frozen=True, kw_only=True):
    """A text of the system message."""

    type: Literal["text"]  # no tag: msgspec requires tags only within unions
    text: str
    """The text."""
    cache_control: CacheControl | None = None
    """End of a cached prefix."""


class Base64Image(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="base64"):
    """An image in the request."""

    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    """Format of the image."""
    data: Annotated[str, Meta(min_length=1)]
    """The image, base64."""


class ImageUrl(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="url"):
    """An image on the web."""

    url: MediaAddress
    """Its web address, which the provider reads."""


class ImageBlock(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="image"):
    """An image."""

    source: Base64Image | ImageUrl
    """The image."""
    cache_control: CacheControl | None = None
    """End of a cached prefix."""


class ToolUseBlock(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="tool_use"):
    """The model's call of a tool."""

    id: ToolId
    """Connects it with its result."""
    name: ToolName
    """Name of the tool."""
    input: dict[str, Any]
    """Arguments."""


class ToolResultBlock(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="tool_result"):
    """The result of a tool call."""

    tool_use_id: ToolId
    """Id of the call."""
    content: str | list[TextBlock | ImageBlock] | None = None
    """Text, or blocks."""
    is_error: bool | None = None
    """Whether the tool failed; the model then reads `Error: ` before the text."""
    cache_control: CacheControl | None = None
    """End of a cached prefix."""


class MessageParam(msgspec.Struct, frozen=True, kw_only=True):
    """A message."""

    role: Literal["user", "assistant", "system"]
    """Author of the message."""
    content: str | list[TextBlock | ImageBlock | ToolUseBlock | ToolResultBlock]
    """Text, or blocks."""


class ClientTool(Body, frozen=True):
    """A tool that the model may call."""

    name: ToolName
    """Name of the tool."""
    input_schema: dict[str, Any]
    """JSON Schema of its arguments."""
    description: str | None = None
    """Purpose of the tool, for the model."""
    type: Literal["custom"] | None = None
    """Always `custom`: tools that Anthropic defines are not supported."""
    strict: bool | None = None
    """Whether arguments must follow the schema."""
    eager_input_streaming: bool | None = None
    """Accepted without effect: arguments are streamed as the provider sends them."""
    cache_control: CacheControl | None = None
    """End of a cached prefix."""


class MessagesToolChoice(Body, frozen=True):
    """Tool that the model must call, if any."""

    type: Literal["auto", "any", "tool", "none"]
    """`auto`, `any`, `none`, or `tool` with a name."""
    name: ToolName | None = None
    """Name of the tool; only with the type `tool`."""
    disable_parallel_tool_use: bool | None = None
    """Whether the model may call one tool only."""


class JsonSchemaOutput(Body, frozen=True):
    """JSON that follows a schema."""

    type: Literal["json_schema"]
    """Always `json_schema`."""
    schema: dict[str, Any]
    """The schema."""


class OutputConfig(Body, frozen=True):
    """Options of the answer."""

    effort: ShortText | None = None
    """Effort of a reasoning model; the provider defines the values."""
    format: JsonSchemaOutput | None = None
    """Format of the answer."""


class ThinkingConfig(Body, frozen=True):
    """Thinking, which answers never contain."""

    type: Literal["disabled", "adaptive"]
    """`adaptive`: the model decides; `enabled`, which demands thinking blocks, is not supported."""
    display: Literal["omitted", "summarized"] | None = None
    """Accepted without effect."""


class ClearThinking(msgspec.Struct, frozen=True, kw_only=True):
    """Removal of earlier thinking blocks, of which there are none."""

    type: Literal["clear_thinking_20251015"]  # no tag: msgspec requires tags only within unions


class ContextManagement(Body, frozen=True):
    """Edits of the conversation; no other is supported."""

    edits: list[ClearThinking]
    """Accepted without effect."""


class MessagesMetadata(Body, frozen=True):
    """Metadata of a request."""

    user_id: Annotated[str, Meta(max_length=512)] | None = None
    """Id of the user; it decides the variant of a rollout and the arm of an experiment. Only a hash is stored."""


class _Conversation(Body, frozen=True):
    """Parameters of a message and of its token count."""

    model: ModelName
    """Name of a feature, or of a model in the registry; if both exist, the feature."""
    messages: list[MessageParam] | None = None
    """The conversation; not with `prompt_variables`."""
    system: str | list[SystemBlock] | None = None
    """The first message, of the role `system`."""
    tools: Annotated[list[ClientTool], Meta(max_length=128)] | None = None
    """Tools that the model may call; tools that run at a provider are not supported."""
    tool_choice: MessagesToolChoice | None = None
    """Tool that the model must call, if any."""
    output_config: OutputConfig | None = None
    """Options of the answer."""
    thinking: ThinkingConfig | None = None
    """Accepted without effect."""
    context_management: ContextManagement | None = None
    """Accepted without effect."""
    cache_control: CacheControl | None = None
    """Accepted without effect: blocks mark cached prefixes."""


class MessagesBody(_Conversation, frozen=True, kw_only=True):
    """A request of the Messages API."""

    max_tokens: TokenLimit
    """Maximum number of tokens of the answer."""
    prompt_variables: dict[str, Any] | None = None
    """The variables of the feature's prompt; `messages` is then absent or empty."""
    stream: bool | None = None
    """Whether the answer is streamed."""
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    """0 to 1."""
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    """0 to 1."""
    top_k: Annotated[int, Meta(ge=1, le=1 << 31)] | None = None
    """Number of most likely tokens to choose from; not every provider supports it."""
    stop_sequences: Annotated[list[str], Meta(max_length=4)] | None = None
    """Up to four stop sequences, which every provider accepts; the answer does not say which one was met."""
    metadata: MessagesMetadata | None = None
    """Metadata of the request."""
    flowai: ExtensionOptions | None = None
    """Parameters beyond Anthropic's."""


class CountTokensBody(_Conversation, frozen=True, kw_only=True):
    """A request for the token count of a message."""

    messages: Annotated[list[MessageParam], Meta(min_length=1)]
    """The conversation."""


WHOLE_NUMBERS = ("max_tokens", "top_k")
"""Parameters that may be written as `100.0`, a whole number in JSON."""

NO_OP_VALUES: dict[str, tuple[Any, ...]] = {
    "service_tier": ("auto", "standard_only"),
    "speed": ("standard",),
    "mcp_servers": ([],),
    "container": (),
}
"""Unsupported parameters with their values without effect, which are accepted; other values are refused."""

TOOL_TYPES = frozenset({"custom"})
EDIT_TYPES = frozenset({"clear_thinking_20251015"})
RESULT_TYPES = frozenset({"text", "image"})
BLOCK_TYPES = {
    "user": RESULT_TYPES | {"tool_result"},
    "assistant": frozenset({"text", "tool_use"}),
    "system": frozenset({"text"}),
}
"""Supported values of `type`; of a message's blocks, by its role."""
