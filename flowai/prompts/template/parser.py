"""Parses a template into a syntax tree: the dotprompt dialect, a subset of Handlebars that runs no code.

Source: dotprompt, "template syntax" and its specification cases; Handlebars 4, language guide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from flowai.errors import Place, PromptError, expected_one_of
from flowai.prompts.messages import ROLES
from flowai.prompts.template import nodes as tree
from flowai.prompts.template.lexer import Tag, TextToken, lex
from flowai.prompts.template.limits import TemplateSize
from flowai.prompts.template.template_file import has_front_matter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.prompts.template.lexer import TagWord, TokenStream

HELPERS = ("history", "json", "media", "role", "section")
BLOCKS = ("each", "if", "ifEquals", "unless", "unlessEquals", "with")
MAX_DEPTH = 60  # nested blocks; far above any prompt, far below the interpreter's recursion limit

_LITERALS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "undefined": None}
_SEGMENT = re.compile(r"\[([^\]]*)\]|[^./]+")
_LINE_START = re.compile(r"^(?=[^\r\n])", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class PartialSource:
    """A partial as a file."""

    text: str
    """The whole text; front matter in it is an error."""
    file: str


class Partials(Protocol):
    """Source of partials."""

    def get(self, name: str) -> PartialSource | None:
        """Return a partial by name; None if there is none."""
        ...

    def names(self) -> Iterable[str]:
        """List the available names, for hints."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class _Arguments:
    """Content of a tag after its name: values in order, then `key=value` pairs."""

    head: str
    values: tuple[tree.Expression, ...]
    fields: dict[str, tree.Expression]
    place: Place

    def check(self, *, count: int, fields: Iterable[str] = (), usage: str) -> None:
        """Refuse a wrong number of values, or a key that the helper does not have."""
        extra = [key for key in self.fields if key not in set(fields)]
        if len(self.values) != count or extra:
            found = f"unknown `{extra[0]}=`" if extra else f"{len(self.values)} values"
            what = f"`{self.head}` is used wrongly: found {found}"
            raise PromptError(what, place=self.place, hint=f"write `{usage}`")


@dataclass(frozen=True, kw_only=True, slots=True)
class _ParsedPartial:
    nodes: tree.Nodes
    tag_count: int
    """Of the partial and all that it includes."""
    character_count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ParseContext:
    """State shared by a template and its partials."""

    partials: Partials
    include_chain: tuple[str, ...] = ()
    """Names of the partials being parsed, outermost first; a repeated name is recursion."""
    parsed: dict[tuple[str, str], _ParsedPartial] = field(default_factory=dict)
    """Parsed partials by name and indent."""
    size: TemplateSize = field(default_factory=TemplateSize)


def parse(text: str, *, file: str, partials: Partials, first_line: int = 1) -> tree.Nodes:
    """Parse a template without front matter; `first_line` is its first line in the file. Partials are included."""
    return _parse(text, file=file, first_line=first_line, context=ParseContext(partials=partials))


def _parse(text: str, *, file: str, first_line: int, context: ParseContext) -> tree.Nodes:
    tokens = lex(text, file=file, first_line=first_line)
    context.size.add(len(tokens.items) // 2, len(text), Place(file=file))
    parser = _Parser(tokens, context)
    nodes, stop = parser.body(0)
    if stop is not None:
        name = "/" + stop.words[0].text if stop.kind == "close" and stop.words else "else"
        raise PromptError(f"`{{{{{name}}}}}` closes no block", place=stop.place, hint="remove it, or open its block")
    return nodes


class _Parser:
    """Parses the tokens of one text in one pass."""

    def __init__(self, tokens: TokenStream, context: ParseContext) -> None:
        self._tokens = tokens
        self._context = context
        self._index = 0

    def body(self, depth: int) -> tuple[tree.Nodes, Tag | None]:
        """Parse nodes up to the tag that ends them (`else` or a closing tag); None at the end of the text."""
        nodes: list[tree.Node] = []
        items = self._tokens.items
        while self._index < len(items):
            item = items[self._index]
            self._index += 1
            if isinstance(item, TextToken):
                if item.text:
                    nodes.append(tree.Text(text=item.text))
            elif item.kind in {"else", "close"}:
                return tuple(nodes), item
            elif item.kind == "open":
                nodes.append(self._block(item, depth + 1))
            elif item.kind == "partial":
                nodes.append(self._include(item, self._tokens.indents.get(self._index - 1, "")))
            elif item.kind == "output":
                nodes.append(_output(item))
        return tuple(nodes), None

    def _block(self, tag: Tag, depth: int) -> tree.Node:
        if depth > MAX_DEPTH:
            what = f"blocks are nested deeper than {MAX_DEPTH}"
            raise PromptError(what, place=tag.place, hint="move the inner blocks into a partial")
        name = tag.words[0].text if tag.words else ""
        node, stop = self._branches(tag, depth)
        if stop is None:
            what = f"`{{{{#{name}}}}}` is never closed"
            raise PromptError(what, place=tag.place, hint=f"close it with `{{{{/{name}}}}}`")
        closing = stop.words[0].text if stop.words else ""
        if stop.kind != "close" or closing != name or len(stop.words) > 1:
            found = f"/{closing}" if stop.kind == "close" else "else"
            what = f"`{{{{{found}}}}}` is where `{{{{#{name}}}}}` of line {tag.place.line} must be closed"
            raise PromptError(what, place=stop.place, hint=f"write `{{{{/{name}}}}}`")
        return node

    def _branches(self, tag: Tag, depth: int) -> tuple[tree.Node, Tag | None]:
        """Parse both branches of a block; `{{else if x}}` is a block within the second."""
        arguments = _arguments(tag)
        then, stop = self.body(depth)
        otherwise: tree.Nodes = ()
        if stop is not None and stop.kind == "else":
            if depth > MAX_DEPTH:
                raise PromptError(f"more than {MAX_DEPTH} `else if`", place=stop.place)
            if stop.words:
                chained, stop = self._branches(stop, depth + 1)
                otherwise = (chained,)
            else:
                otherwise, stop = self.body(depth)
        return _block(arguments, then, otherwise), stop

    def _include(self, tag: Tag, indent: str) -> tree.Include:
        if not tag.words or tag.words[0].kind not in {"path", "string"}:
            raise PromptError("a partial needs a name", place=tag.place, hint="write `{{> name}}`")
        arguments = _arguments(tag)
        name = arguments.head
        if len(arguments.values) > 1:
            hint = f"write `{{{{> {name} context key=value}}}}`"
            raise PromptError(f"partial `{name}` has more than one context", place=tag.place, hint=hint)
        return tree.Include(
            name=name,
            context=arguments.values[0] if arguments.values else None,
            fields=tuple(arguments.fields.items()),
            body=self._partial(name, indent, tag.place),
        )

    def _partial(self, name: str, indent: str, place: Place) -> tree.Nodes:
        """Parse a partial, each of its lines indented like its tag, if that is alone on its line."""
        context = self._context
        if name in context.include_chain:
            cycle = " -> ".join((*context.include_chain[context.include_chain.index(name) :], name))
            raise PromptError(f"partial `{name}` includes itself: {cycle}", place=place, hint="use `{{#each}}` instead")
        known = context.parsed.get((name, indent))
        if known is not None:
            context.size.add(known.tag_count, known.character_count, place)
            return known.nodes
        source = context.partials.get(name)
        if source is None:
            hint = expected_one_of(context.partials.names(), found=name)
            raise PromptError(f"no partial `{name}`", place=place, hint=hint)
        if has_front_matter(source.text):
            hint = "remove it; model, parameters and schemas are those of the prompt that includes the partial"
            raise PromptError("a partial has no front matter", place=Place(file=source.file, line=1), hint=hint)
        text = _LINE_START.sub(indent, source.text) if indent else source.text
        before = context.size.tag_count, context.size.character_count
        inner = replace(context, include_chain=(*context.include_chain, name))
        nodes = _parse(text, file=source.file, first_line=1, context=inner)
        context.parsed[name, indent] = _ParsedPartial(
            nodes=nodes,
            tag_count=context.size.tag_count - before[0],
            character_count=context.size.character_count - before[1],
        )
        return nodes


def _output(tag: Tag) -> tree.Node:
    head = tag.words[0]
    if head.kind == "path" and head.text in HELPERS:
        return _helper(_arguments(tag))
    if len(tag.words) > 1:
        what = f"no helper `{head.text}`"
        raise PromptError(what, place=tag.place, hint=expected_one_of((*HELPERS, *BLOCKS), found=head.text))
    value = _expression(head, tag.place)
    if not isinstance(value, tree.Path):
        what = f"`{head.text}` is not a variable"
        raise PromptError(what, place=tag.place, hint="write the text itself, without `{{` and `}}`")
    return tree.Output(value=value)


def _helper(arguments: _Arguments) -> tree.Node:
    """Parse a helper: only the template names roles and sections, never a value."""
    if arguments.head == "history":
        arguments.check(count=0, usage="{{history}}")
        return tree.History()
    if arguments.head == "json":
        arguments.check(count=1, fields=["indent"], usage="{{json name indent=2}}")
        return tree.Json(value=arguments.values[0], indent=_indent(arguments), place=arguments.place)
    if arguments.head == "media":
        arguments.check(count=0, fields=["url", "contentType"], usage="{{media url=name contentType=name}}")
        if "url" not in arguments.fields:
            raise PromptError("`media` has no `url=`", place=arguments.place, hint="write `{{media url=name}}`")
        content_type = arguments.fields.get("contentType")
        return tree.Media(url=arguments.fields["url"], content_type=content_type, place=arguments.place)
    arguments.check(count=1, usage=f'{{{{{arguments.head} "name"}}}}')
    name = arguments.values[0]
    if not isinstance(name, tree.Literal) or not isinstance(name.value, str):
        hint = (
            f"values cannot name roles or sections; for a variable of this name write `{{{{this.{arguments.head}}}}}`"
        )
        raise PromptError(f"`{arguments.head}` needs a quoted name", place=arguments.place, hint=hint)
    if arguments.head == "section":
        return tree.Section(name=name.value)
    for role in ROLES:
        if role == name.value:
            return tree.SetRole(role=role)
    hint = "dotprompt calls it `model`" if name.value == "assistant" else expected_one_of(ROLES, found=name.value)
    raise PromptError(f"no role `{name.value}`", place=arguments.place, hint=hint)


def _indent(arguments: _Arguments) -> int | None:
    """Parse `indent=` of the json helper: a whole number written in the template, 0 to 10."""
    indent = arguments.fields.get("indent", tree.Literal(value=0))
    value = indent.value if isinstance(indent, tree.Literal) else None
    if type(value) is int and 0 <= value <= 10:  # noqa: PLR2004 - JSON.stringify's limit
        return value or None
    raise PromptError("`indent=` is not a number from 0 to 10", place=arguments.place, hint="write `indent=2`")


def _block(arguments: _Arguments, then: tree.Nodes, otherwise: tree.Nodes) -> tree.Node:
    head = arguments.head
    if head in {"if", "unless"}:
        arguments.check(count=1, fields=["includeZero"], usage=f"{{{{#{head} name}}}}")
        zero = arguments.fields.get("includeZero") == tree.Literal(value=True)
        test = arguments.values[0]
        return tree.If(test=test, negate=head == "unless", include_zero=zero, then=then, otherwise=otherwise)
    if head in {"ifEquals", "unlessEquals"}:
        arguments.check(count=2, usage=f"{{{{#{head} name other}}}}")
        left, right = arguments.values
        return tree.Equals(left=left, right=right, negate=head == "unlessEquals", then=then, otherwise=otherwise)
    if head == "each":
        arguments.check(count=1, usage="{{#each name}}")
        return tree.Each(items=arguments.values[0], then=then, otherwise=otherwise, place=arguments.place)
    if head == "with":
        arguments.check(count=1, usage="{{#with name}}")
        return tree.With(value=arguments.values[0], then=then, otherwise=otherwise)
    blocks = expected_one_of(BLOCKS, found=head)
    hint = f"for a variable write `{{{{#if {head}}}}}` or `{{{{#each {head}}}}}`; blocks: {blocks}"
    raise PromptError(f"no block `{head}`", place=arguments.place, hint=hint)


def _arguments(tag: Tag) -> _Arguments:
    if not tag.words:
        raise PromptError("a tag has no name", place=tag.place)
    values: list[tree.Expression] = []
    fields: dict[str, tree.Expression] = {}
    words = tag.words[1:]
    index = 0
    while index < len(words):
        is_field = index + 1 < len(words) and words[index + 1].kind == "equals"
        if is_field and index + 2 < len(words) and words[index].kind == "path":
            fields[words[index].text] = _expression(words[index + 2], tag.place)
            index += 3
        elif is_field or words[index].kind == "equals":
            raise PromptError("`=` needs a name before it and a value after it", place=tag.place)
        else:
            values.append(_expression(words[index], tag.place))
            index += 1
    return _Arguments(head=tag.words[0].text, values=tuple(values), fields=fields, place=tag.place)


def _expression(word: TagWord, place: Place) -> tree.Expression:
    if word.kind == "string":
        return tree.Literal(value=word.text)
    if word.kind == "number":
        return tree.Literal(value=float(word.text) if "." in word.text else int(word.text))
    if word.kind == "equals":
        raise PromptError("found `=`; expected a value", place=place)
    if word.text in _LITERALS:
        return tree.Literal(value=_LITERALS[word.text])
    return _path(word.text, place)


def _path(text: str, place: Place) -> tree.Path:
    """Parse a path: `@` first, then steps up, then names."""
    rest = text.removeprefix("@")
    is_data = rest != text
    depth = 0
    while rest.startswith(("../", "./")) or rest == "..":
        depth += rest.startswith("..")
        rest = rest[2 + rest.startswith("..") :]
    names = [found[1] if found[1] is not None else found[0] for found in _SEGMENT.finditer(rest)]
    if names and names[0] == "this" and not is_data:
        names = names[1:]
    if is_data and (depth or not names):
        raise PromptError(f"`{text}` is not part of the dialect", place=place, hint="write `@name`, or `@root.name`")
    return tree.Path(text=text, place=place, is_data=is_data, depth=depth, names=tuple(names))
