"""State of one render, and how paths read values from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from flowai.prompts.template.message_builder import MessageBuilder
from flowai.prompts.template.values import MISSING, follow_path, member


# both are created in every render: a Struct is created ten times faster than a frozen dataclass
class RenderState(msgspec.Struct, frozen=True, kw_only=True):
    """State of one render."""

    builder: MessageBuilder
    data: Mapping[str, Any]
    """Values of `@name`."""
    root: Mapping[str, Any]
    """Value of `@root`."""
    nonce: str
    needs_data: bool
    """Whether a missing `@name` is an error."""
    needs_values: bool
    """Whether a missing value is an error."""


class RenderContext(msgspec.Struct, frozen=True):
    """A context of a render."""

    state: RenderState
    this: Any
    parent: RenderContext | None
    """The enclosing context; None for the outermost."""
    loop: Mapping[str, Any]
    """`@index`, `@key`, `@first`, `@last` of the innermost loop."""


RenderStep = Callable[[RenderContext], None]
Getter = Callable[[RenderContext], Any]


def path_getter(depth: int, names: tuple[str, ...]) -> Getter:
    """Return a getter of a path from the context, or from the one `depth` levels above."""
    if depth == 0 and len(names) == 1:
        name = names[0]
        return lambda frame: member(frame.this, name)

    def get(frame: RenderContext) -> object:
        for _ in range(depth):
            frame = frame.parent or frame  # the compiler has checked the depth
        return follow_path(frame.this, names)

    return get


def root_getter(names: tuple[str, ...]) -> Getter:
    """Return a getter of a path from all values."""
    return lambda frame: follow_path(frame.state.root, names)


def data_getter(names: tuple[str, ...]) -> Getter:
    """Return a getter of `@name`: the innermost loop's, else the caller's."""
    head, rest = names[0], names[1:]

    def get(frame: RenderContext) -> object:
        start = frame.loop[head] if head in frame.loop else frame.state.data.get(head, MISSING)
        return follow_path(start, rest)

    return get
