"""The syntax tree of a template: what its tags mean, each with the place it stands at."""

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
    """As written, for messages."""
    place: Place
    """The tag it stands in."""
    is_data: bool = False
    """Whether it begins with `@`."""
    depth: int = 0
    """How many contexts up, >= 0 (`../`)."""
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
    """What to write."""
    indent: int | None
    """Spaces per level; None for one compact line."""
    place: Place
    """Where it stands."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Media:
    """`{{media url=u contentType=t}}`."""

    url: Expression
    content_type: Expression | None
    place: Place


@dataclass(frozen=True, kw_only=True, slots=True)
class SetRole:
    """`{{role "system"}}`: what follows is said by this role."""

    role: Role


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """`{{history}}`: the messages before this one go here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """`{{section "name"}}`."""

    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class If:
    """`{{#if x}}` and `{{#unless x}}`."""

    test: Expression
    """What is asked."""
    negate: bool
    """True for `unless`."""
    include_zero: bool
    """Whether 0 counts as true (`includeZero=true`)."""
    then: Nodes
    """Rendered when the test holds."""
    otherwise: Nodes
    """Rendered when it does not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Equals:
    """`{{#ifEquals a b}}` and `{{#unlessEquals a b}}`: same kind and same value."""

    left: Expression
    right: Expression
    negate: bool
    then: Nodes
    otherwise: Nodes


@dataclass(frozen=True, kw_only=True, slots=True)
class Each:
    """`{{#each items}}`: the body once per item; `otherwise` when there is none."""

    items: Expression
    then: Nodes
    otherwise: Nodes
    place: Place


@dataclass(frozen=True, kw_only=True, slots=True)
class With:
    """`{{#with user}}`: the body with another context; `otherwise` when it is empty."""

    value: Expression
    then: Nodes
    otherwise: Nodes


@dataclass(frozen=True, kw_only=True, slots=True)
class Include:
    """`{{> name context key=value}}`: a partial."""

    name: str
    """The partial's name."""
    context: Expression | None
    """What `this` is inside; None to keep the caller's."""
    fields: tuple[tuple[str, Expression], ...]
    """Names laid over the context."""
    body: Nodes
    """The partial's own nodes."""


Node = Text | Output | Json | Media | SetRole | History | Section | If | Equals | Each | With | Include
Nodes = tuple[Node, ...]
