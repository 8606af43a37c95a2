"""Types and records that bodies of several endpoints share."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from flowai.events import CacheStatus, Variant

if TYPE_CHECKING:
    from flowai.gateway.records import CompletionResult, StreamStarted

ShortText = Annotated[str, Meta(max_length=256)]
ModelName = Annotated[str, Meta(min_length=1, max_length=256)]
TokenLimit = Annotated[int, Meta(ge=1, le=1 << 31)]
ToolName = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]

CHAT_ID = "chatcmpl-"
RESPONSE_ID = "resp_"
MESSAGE_ID = "msg_"
"""Prefixes of answers' ids; the call's id follows."""


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of bodies: an unknown parameter is an error."""


class StreamOptions(Body, frozen=True):
    """Options of a stream."""

    include_usage: bool | None = None
    """Whether to send a last chunk with the token counts."""
    include_obfuscation: bool | None = None
    """Accepted without effect."""


class ExtensionOptions(Body, frozen=True):
    """Parameters beyond the protocol's."""

    cache: bool = True
    """False to bypass the cache."""


class FlowaiExtension(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Origin of the answer; keys without a value are absent."""

    call_id: str
    """Id of the call."""
    feature: str | None = None
    """Name of the feature."""
    release: str | None = None
    """Release that served the call."""
    variant: Variant | None = None
    """Variant of the rollout."""
    experiment: str | None = None
    """Name of the experiment."""
    arm: str | None = None
    """Arm of the experiment."""
    model: str
    """Name of the answering model in the registry."""
    served_model: str | None = None
    """Name that the provider reports."""
    degraded: bool = False
    """True when the last resort answered."""
    disclaimer: str | None = None
    """Text for the user with such an answer."""
    cache: CacheStatus = "miss"
    """`miss`, or the cache that the answer came from: `exact`, `semantic`."""
    json_valid: bool | None = None
    """Whether the answer is the requested JSON; absent where none was requested."""
    cost_usd: float | None = None
    """Cost of the call, US dollars."""
    restarted: bool = False
    """True on the chunk after which a stream starts over: discard all chunks before it."""
    reason: str | None = None
    """Reason of the restart."""


def flowai_extension(answer: CompletionResult | StreamStarted) -> FlowaiExtension:
    """Return the origin of an answer; at a stream's start, what is known by then."""
    return FlowaiExtension(**{name: getattr(answer, name) for name in _fields_of(type(answer))})


@cache
def _fields_of(record: type[msgspec.Struct]) -> list[str]:
    return [name for name in FlowaiExtension.__struct_fields__ if name in record.__struct_fields__]


def call_id_of(answer_id: str) -> str:
    """Return the call's id from the id of an answer, or from the call's id itself."""
    for prefix in (CHAT_ID, RESPONSE_ID, MESSAGE_ID):
        answer_id = answer_id.removeprefix(prefix)
    return answer_id


def without_nulls(record: msgspec.Struct) -> dict[str, Any]:
    """Return a record's fields that have a value, by name."""
    return {name: value for name, value in msgspec.to_builtins(record).items() if value is not None}
