"""Syntax tree of a template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowai.errors import Place
    from flowai.prompts.messages import Role


@dataclass(frozen=True, kw_only=True, slots=True)
class Path:
    """A reference to a value: `name`, `user.name`, `this`, `../name`, `@index`, `@root.name`."""

    text: str
    """As written, for errors."""
    place: Place
    is_data: bool = False
    """Whether it begins with `@`."""
    depth: int = 0
    """Number of contexts up (`../`)."""
    names: tuple[str, ...] = ()
    """Keys and positions from there; empty for `this`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Literal:
    """A value written in the template: a quoted string, a number, true, false or null."""

    value: str | int | float | bool | None


Expression = Path | Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """Text of the template itself."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """`{{name}}`: a value as text."""

    value: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Json:
    """`{{json name indent=2}}`: a value as JSON."""

    value: Expression
    indent: int | None
    """Spaces per level; None for one compact line."""
    place: Place


@dataclass(frozen=True, kw_only=True, slots=True)
class Media:
    """`{{media url=u contentType=t}}`."""

    url: Expression
    content_type: Expression | None
    place: Place


@dataclass(frozen=True, kw_only=True, slots=True)
class SetRole:
    """`{{role "system"}}`: the role of the text after it."""

    role: Role


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """`{{history}}`: earlier messages are inserted here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """`{{section "name"}}`."""

    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class If:
    """`{{#if x}}` and `{{#unless x}}`."""

    test: Expression
    negate: bool
    """True for `unless`."""
    include_zero: bool
    """Whether 0 counts as true (`includeZero=true`)."""
    then: Nodes
    otherwise: Nodes


@dataclass(frozen=True, kw_only=True, slots=True)
class Equals:
    """`{{#ifEquals a b}}` and `{{#unlessEquals a b}}`: same type and same value."""

    left: Expression
    right: Expression
    negate: bool
    then: Nodes
    otherwise: Nodes


@dataclass(frozen=True, kw_only=True, slots=True)
class Each:
    """`{{#each items}}`: the body once per item; `otherwise` if there are none."""

    items: Expression
    then: Nodes
    otherwise: Nodes
    place: Place


@dataclass(frozen=True, kw_only=True, slots=True)
class With:
    """`{{#with user}}`: the body in another context; `otherwise` if that is empty."""

    value: Expression
    then: Nodes
    otherwise: Nodes


@dataclass(frozen=True, kw_only=True, slots=True)
class Include:
    """`{{> name context key=value}}`: a partial."""

    name: str
    context: Expression | None
    """`this` inside the partial; None to keep the caller's."""
    fields: tuple[tuple[str, Expression], ...]
    """Names that override the context's."""
    body: Nodes


Node = Text | Output | Json | Media | SetRole | History | Section | If | Equals | Each | With | Include
Nodes = tuple[Node, ...]
