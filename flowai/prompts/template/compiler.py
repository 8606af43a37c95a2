"""Compiles a syntax tree into a function from values to messages; the function runs for every render."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from flowai.errors import Place, PromptError
from flowai.prompts import spotlight
from flowai.prompts.template import nodes as tree
from flowai.prompts.template.context import (
    Getter,
    RenderContext,
    RenderState,
    RenderStep,
    data_getter,
    path_getter,
    root_getter,
)
from flowai.prompts.template.message_builder import TextSource
from flowai.prompts.template.values import MISSING, as_json, describe_kind, is_empty, is_number, is_same

ALL: Final = "*"
"""Member of a `ValueOrigin` that stands for all values at once (`{{json this}}`)."""
ValueOrigin = frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """Compile-time view of a context: the variables that its contents come from."""

    parent: Scope | None = None
    origin: ValueOrigin | None = None
    """Variables that `this` comes from; None for the outermost, where each name is a variable of its own."""
    overrides: Mapping[str, ValueOrigin] = field(default_factory=dict)
    """Origins of the names that a partial was passed."""
    keys: ValueOrigin = frozenset()
    """Variables that `@key` of the innermost loop comes from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A compiled template."""

    steps: tuple[RenderStep, ...]
    uses: Mapping[str, tree.Path]
    """Variables of the template, each with the path that uses it first."""
    uses_all: bool
    """Whether it uses all values at once."""


def compile_nodes(nodes: tree.Nodes, *, untrusted: frozenset[str] = frozenset()) -> Program:
    """Compile a template; values of `untrusted` variables get marks."""
    compiler = _Compiler(untrusted)
    steps = compiler.steps(nodes, Scope())
    return Program(steps=steps, uses=compiler.uses, uses_all=compiler.uses_all)


class _Compiler:
    """Builds one closure per node; records variables in use, and which text comes from untrusted ones."""

    def __init__(self, untrusted: frozenset[str]) -> None:
        self._untrusted = untrusted
        self.uses: dict[str, tree.Path] = {}
        self.uses_all = False
        self._builders: dict[type, Callable[[Any, Scope], RenderStep]] = {
            tree.Text: self._text,
            tree.Output: self._output,
            tree.Json: self._json,
            tree.Media: self._media,
            tree.SetRole: self._role,
            tree.History: self._history,
            tree.Section: self._section,
            tree.If: self._if,
            tree.Equals: self._equals,
            tree.Each: self._each,
            tree.With: self._with,
            tree.Include: self._include,
        }

    def steps(self, nodes: tree.Nodes, scope: Scope) -> tuple[RenderStep, ...]:
        return tuple(self._builders[type(node)](node, scope) for node in nodes)

    def _text(self, node: tree.Text, _: Scope) -> RenderStep:
        text = node.text
        return lambda frame: frame.state.builder.text(text)

    def _role(self, node: tree.SetRole, _: Scope) -> RenderStep:
        role = node.role
        return lambda frame: frame.state.builder.role(role)

    def _history(self, _: tree.History, __: Scope) -> RenderStep:
        return lambda frame: frame.state.builder.history()

    def _section(self, node: tree.Section, _: Scope) -> RenderStep:
        name = node.name
        return lambda frame: frame.state.builder.section(name)

    def _output(self, node: tree.Output, scope: Scope) -> RenderStep:
        path = node.value
        get, origin = self._value(path, scope)
        source = TextSource(name=path.text, place=path.place)
        wrap = self._wrapper(origin, path.place)

        def step(frame: RenderContext) -> None:
            value = get(frame)
            text = value if type(value) is str else _format_value(value, path, frame.state)
            frame.state.builder.value(wrap(text, frame.state) if wrap else text, source)

        return step

    def _json(self, node: tree.Json, scope: Scope) -> RenderStep:
        get, origin = self._value(node.value, scope)
        name = node.value.text if isinstance(node.value, tree.Path) else "json"
        source = TextSource(name=name, place=node.place)
        wrap = self._wrapper(origin, node.place)

        def step(frame: RenderContext) -> None:
            value = _check_present(get(frame), node.value, frame.state)
            text = "" if value is MISSING else _json_text(value, node.indent, source)
            frame.state.builder.value(wrap(text, frame.state) if wrap else text, source)

        return step

    def _media(self, node: tree.Media, scope: Scope) -> RenderStep:
        get_url, _ = self._value(node.url, scope)
        get_type: Getter = lambda _: None  # noqa: E731 - getter of a missing argument
        if node.content_type is not None:
            get_type, _ = self._value(node.content_type, scope)

        def step(frame: RenderContext) -> None:
            url = _check_present(get_url(frame), node.url, frame.state)
            if not isinstance(url, str) or not url:
                what = f"the `url=` of `media` is {describe_kind(url)}; expected text"
                raise PromptError(what, place=node.place, hint="pass an `https:` or `data:` URL")
            content_type = get_type(frame)
            frame.state.builder.media(url, content_type if isinstance(content_type, str) and content_type else None)

        return step

    def _if(self, node: tree.If, scope: Scope) -> RenderStep:
        test, _ = self._value(node.test, scope)
        then, otherwise = self._branches(node, scope)

        def step(frame: RenderContext) -> None:
            value = test(frame)
            is_true = not is_empty(value) and (node.include_zero or bool(value) or not is_number(value))
            for inner in then if is_true != node.negate else otherwise:
                inner(frame)

        return step

    def _equals(self, node: tree.Equals, scope: Scope) -> RenderStep:
        get_left, _ = self._value(node.left, scope)
        get_right, _ = self._value(node.right, scope)
        then, otherwise = self._branches(node, scope)

        def step(frame: RenderContext) -> None:
            left = _check_present(get_left(frame), node.left, frame.state)
            right = _check_present(get_right(frame), node.right, frame.state)
            for inner in then if is_same(left, right) != node.negate else otherwise:
                inner(frame)

        return step

    def _branches(
        self, node: tree.If | tree.Equals, scope: Scope
    ) -> tuple[tuple[RenderStep, ...], tuple[RenderStep, ...]]:
        return self.steps(node.then, scope), self.steps(node.otherwise, scope)

    def _each(self, node: tree.Each, scope: Scope) -> RenderStep:
        get, origin = self._value(node.items, scope)
        body = self.steps(node.then, Scope(parent=scope, origin=origin, keys=origin))
        otherwise = self.steps(node.otherwise, scope)

        def step(frame: RenderContext) -> None:
            items = _items(_check_present(get(frame), node.items, frame.state), node)
            last = len(items) - 1
            for index, (key, item) in enumerate(items):
                loop = {"index": index, "key": key, "first": index == 0, "last": index == last}
                inner_frame = RenderContext(frame.state, item, frame, loop)
                for inner in body:
                    inner(inner_frame)
            if not items:
                for inner in otherwise:
                    inner(frame)

        return step

    def _with(self, node: tree.With, scope: Scope) -> RenderStep:
        get, origin = self._value(node.value, scope)
        body = self.steps(node.then, Scope(parent=scope, origin=origin, keys=scope.keys))
        otherwise = self.steps(node.otherwise, scope)

        def step(frame: RenderContext) -> None:
            value = _check_present(get(frame), node.value, frame.state)
            if is_empty(value):
                for inner in otherwise:
                    inner(frame)
            else:
                inner_frame = RenderContext(frame.state, value, frame, frame.loop)
                for inner in body:
                    inner(inner_frame)

        return step

    def _include(self, node: tree.Include, scope: Scope) -> RenderStep:
        getters: list[tuple[str, Getter, tree.Expression]] = []
        overrides: dict[str, ValueOrigin] = {}
        for name, expression in node.fields:
            get, overrides[name] = self._value(expression, scope)
            getters.append((name, get, expression))
        get_context: Getter | None = None
        inner_scope = Scope(
            parent=scope.parent, origin=scope.origin, overrides={**scope.overrides, **overrides}, keys=scope.keys
        )
        if node.context is not None:
            get_context, origin = self._value(node.context, scope)
            inner_scope = Scope(parent=scope, origin=origin, overrides=overrides, keys=scope.keys)
        body = self.steps(node.body, inner_scope)

        def step(frame: RenderContext) -> None:
            this, up = frame.this, frame.parent
            if get_context is not None and node.context is not None:
                this, up = _check_present(get_context(frame), node.context, frame.state), frame
            if getters:
                fields = {name: _check_present(get(frame), value, frame.state) for name, get, value in getters}
                this = {**(this if isinstance(this, Mapping) else {}), **fields}
            inner_frame = RenderContext(frame.state, this, up, frame.loop)
            for inner in body:
                inner(inner_frame)

        return step

    def _wrapper(self, origin: ValueOrigin, place: Place) -> Callable[[str, RenderState], str] | None:
        """Return a function that puts marks around text from untrusted variables; None if there is none."""
        if origin & self._untrusted or (ALL in origin and self._untrusted):
            return lambda text, run: spotlight.wrap(text, run.nonce, place=place)
        return None

    def _value(self, expression: tree.Expression, scope: Scope) -> tuple[Getter, ValueOrigin]:
        if isinstance(expression, tree.Literal):
            value = expression.value
            return (lambda _: value), frozenset()
        if expression.is_data and expression.names[0] == "root":
            outermost = self._named(expression, expression.names[1:], Scope())
            return root_getter(expression.names[1:]), outermost
        if expression.is_data:
            return data_getter(expression.names), scope.keys if expression.names[0] == "key" else frozenset()
        for _ in range(expression.depth):
            if scope.parent is None:
                what = f"`{expression.text}` leaves the outermost context"
                raise PromptError(what, place=expression.place, hint="`../` works inside `{{#each}}` and `{{#with}}`")
            scope = scope.parent
        return path_getter(expression.depth, expression.names), self._named(expression, expression.names, scope)

    def _named(self, path: tree.Path, names: tuple[str, ...], scope: Scope) -> ValueOrigin:
        """Return the origin of a path, and record the variables that it uses."""
        if names and names[0] in scope.overrides:
            return scope.overrides[names[0]]
        if scope.origin is not None:
            return scope.origin.union(*scope.overrides.values()) if not names else scope.origin
        if not names:
            self.uses_all = True
            return frozenset([ALL])
        self.uses.setdefault(names[0], path)
        return frozenset([names[0]])


def _check_present(value: object, expression: tree.Expression, run: RenderState) -> object:
    """Refuse a missing value where that is an error."""
    if value is MISSING and isinstance(expression, tree.Path):
        if expression.is_data and expression.names[0] != "root" and run.needs_data:
            hint = "pass it in the `context` of the render, or test it with `{{#if}}`"
            raise PromptError(f"`{expression.text}` is missing", place=expression.place, hint=hint)
        if run.needs_values and not expression.is_data:
            hint = "pass a value, test it with `{{#if}}`, or declare it optional under `input.schema`"
            raise PromptError(f"`{expression.text}` is missing", place=expression.place, hint=hint)
    return value


def _format_value(value: object, path: tree.Path, run: RenderState) -> str:
    value = _check_present(value, path, run)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if value is MISSING or (value is None and not (run.needs_values and not path.is_data)):
        return ""
    if isinstance(value, Mapping | list | tuple):
        hint = f"write `{{{{json {path.text}}}}}`, or iterate with `{{{{#each}}}}` or `{{{{#with}}}}`"
    elif value is None:
        hint = "pass a value, or declare it optional under `input.schema`"
    else:
        hint = "pass it as text"
    raise PromptError(
        f"`{path.text}` is {describe_kind(value)}; expected text, a number or a boolean", place=path.place, hint=hint
    )


def _items(value: object, node: tree.Each) -> list[tuple[int | str, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if is_empty(value):
        return []
    name = node.items.text if isinstance(node.items, tree.Path) else "each"
    what = f"`{name}` is {describe_kind(value)}; expected a list or an object"
    raise PromptError(what, place=node.place, hint="`{{#each}}` iterates over lists and objects")


def _json_text(value: object, indent: int | None, source: TextSource) -> str:
    try:
        return as_json(value, indent)
    except (TypeError, ValueError) as error:
        what = f"`{source.name}` cannot be written as JSON: {error}"
    except RecursionError:
        what = f"`{source.name}` is nested too deep"
    raise PromptError(what, place=source.place, hint="pass maps, lists, text, numbers, booleans and null only")
