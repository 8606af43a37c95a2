"""What one render keeps to itself, and how paths read values from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from flowai.prompts.template.message_builder import MessageBuilder
from flowai.prompts.template.values import MISSING, follow_path, member


# Run and Frame are made in every render, so they are Structs: a frozen dataclass takes ten times as long to build.
class RenderState(msgspec.Struct, frozen=True, kw_only=True):
    """What one render keeps to itself."""

    builder: MessageBuilder
    """The conversation so far."""
    data: Mapping[str, Any]
    """What `@name` reads."""
    root: Mapping[str, Any]
    """What `@root` reads."""
    nonce: str
    """For the marks around untrusted values."""
    needs_data: bool
    """Whether a missing `@name` is an error."""
    needs_values: bool
    """Whether a missing value is an error."""


class RenderContext(msgspec.Struct, frozen=True):
    """One context of a render."""

    state: RenderState
    """The render."""
    this: Any
    """The context's value."""
    parent: RenderContext | None
    """The context around it; None for the outermost."""
    loop: Mapping[str, Any]
    """`@index`, `@key`, `@first`, `@last` of the innermost loop."""


RenderStep = Callable[[RenderContext], None]
Getter = Callable[[RenderContext], Any]


def path_getter(depth: int, names: tuple[str, ...]) -> Getter:
    """Read a path from the context, or one `depth` steps above it."""
    if depth == 0 and len(names) == 1:
        name = names[0]
        return lambda frame: member(frame.this, name)

    def get(frame: RenderContext) -> object:
        for _ in range(depth):
            frame = frame.parent or frame  # the compiler has counted the contexts
        return follow_path(frame.this, names)

    return get


def root_getter(names: tuple[str, ...]) -> Getter:
    """Read a path from all values."""
    return lambda frame: follow_path(frame.state.root, names)


def data_getter(names: tuple[str, ...]) -> Getter:
    """Read `@name`: the innermost loop's first, then what the caller handed in."""
    head, rest = names[0], names[1:]

    def get(frame: RenderContext) -> object:
        start = frame.loop[head] if head in frame.loop else frame.state.data.get(head, MISSING)
        return follow_path(start, rest)

    return get
