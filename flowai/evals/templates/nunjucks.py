"""Renders templates in Nunjucks' syntax with Jinja2, without access to anything of Python.

Only keys, positions and a few methods of JSON values are reachable; loops and texts have limits. What Jinja2 means
differently (truth, `==`, numbers, `length`) is rewritten in the parsed template.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from jinja2 import ChainableUndefined, TemplateSyntaxError, Undefined, meta, nodes
from jinja2.exceptions import TemplateError as JinjaError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from flowai.evals.templates.filters import FILTERS, MAX_TEXT_CHARS
from flowai.evals.templates.script_values import (
    is_equal,
    is_less,
    is_true,
    member,
    number_of,
    to_text,
)
from flowai.evals.templates.tags import MalformedTemplateError, TemplateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from jinja2 import Template

MAX_OUTPUT_CHARS = MAX_TEXT_CHARS
MAX_ITERATIONS = 100_000
"""Rounds of all loops of one rendering."""
MAX_POWER_BITS = 4_096

_TAG = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_QUOTED = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""", re.DOTALL)
_RAW = re.compile(r"(\{%-?\s*(?:raw|verbatim)\s*-?%\}.*?\{%-?\s*end(?:raw|verbatim)\s*-?%\})", re.DOTALL)
_rounds: ContextVar[list[int]] = ContextVar("rounds")


def render(
    source: str,
    variables: Mapping[str, Any],
    *,
    env: Mapping[str, str] | None = None,
    filters: Mapping[str, Callable[..., Any]] | None = None,
) -> str:
    """Render a template that has tags; see `rendering.render`."""
    token = _rounds.set([0])
    try:
        template = _compiled(source) if not filters else _environment(filters).from_string(_translate(source))
        return "".join(_bounded(template.generate({"env": dict(env or {}), **variables})))
    except TemplateError:
        raise
    except TemplateSyntaxError as error:
        raise MalformedTemplateError(f"wrong syntax: {error.message}", line=error.lineno) from None
    except RecursionError:
        raise TemplateError("nested too deeply") from None
    except (JinjaError, ArithmeticError, LookupError, SyntaxError, TypeError, ValueError, MemoryError) as error:
        raise TemplateError((str(error) or type(error).__name__).splitlines()[0][:200]) from None
    finally:
        _rounds.reset(token)


def _bounded(chunks: Iterable[str]) -> Iterator[str]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > MAX_OUTPUT_CHARS:
            raise TemplateError(f"the rendered text is longer than {MAX_OUTPUT_CHARS:,} characters")
        yield chunk


@lru_cache(maxsize=512)
def root_names(source: str) -> frozenset[str]:
    """Return the names of the variables that a template with tags reads; none if its syntax is wrong."""
    try:
        return frozenset(meta.find_undeclared_variables(_environment().parse(_translate(source))))
    except (JinjaError, RecursionError, SyntaxError):
        return frozenset()


class _Empty(ChainableUndefined):
    """An undefined value: empty everywhere."""

    def __call__(self, *_: object, **__: object) -> _Empty:  # type: ignore[override] # Jinja2's never returns
        return self

    def __len__(self) -> int:
        return 0


class _Rewriter(NodeTransformer):
    """Replaces operators whose meaning differs between the two languages."""

    def visit_If(self, node: nodes.If) -> nodes.Node:  # noqa: N802 - named after the node
        node.test = _call("_true", node.test)
        return self.generic_visit(node)

    def visit_CondExpr(self, node: nodes.CondExpr) -> nodes.Node:  # noqa: N802 - named after the node
        node.test = _call("_true", node.test)
        return self.generic_visit(node)

    def visit_Not(self, node: nodes.Not) -> nodes.Node:  # noqa: N802 - named after the node
        node.node = _call("_true", node.node)
        return self.generic_visit(node)

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - named after the node
        node.iter = _call("_pairs" if isinstance(node.target, nodes.Tuple) else "_items", node.iter)
        return self.generic_visit(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - named after the node
        first, *others = node.nodes
        return self.generic_visit(_call("_concat", first, *others))

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802 - named after the node
        if len(node.ops) != 1:
            return self.generic_visit(node)
        operand = node.ops[0]
        return self.generic_visit(_call(f"_{operand.op}", node.expr, operand.expr))


def _call(name: str, first: nodes.Node, *others: nodes.Node) -> nodes.Filter:
    return nodes.Filter(first, name, list(others), [], None, None, lineno=first.lineno)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Reaches members of JSON values only, and bounds arithmetic."""

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))

    def getattr(self, obj: Any, attribute: str) -> Any:  # noqa: ANN401 - any value
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:  # noqa: ANN401 - any value
        if isinstance(argument, slice):
            return obj[argument] if isinstance(obj, str | list | tuple) else self.undefined(name="slice")
        if type(obj).__module__ == "jinja2.runtime" and type(obj).__name__ == "LoopContext":
            return getattr(obj, argument, None) if argument in _LOOP_FIELDS else self.undefined(name=str(argument))
        return member(obj, argument, self.undefined(obj=obj, name=argument))

    def is_safe_callable(self, obj: Any) -> bool:  # noqa: ANN401 - any value
        return callable(obj)  # nothing else than our functions and a template's macros is reachable

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401, ARG002
        if operator == "+" and not (_is_number(left) and _is_number(right)):
            return _concat(left, right)
        first, second = _number(left), _number(right)
        if operator == "**" and (abs(second) > MAX_POWER_BITS or abs(first) > 2**64):
            raise TemplateError("the power is too large")
        if isinstance(first, int) and isinstance(second, int) and first.bit_length() > MAX_POWER_BITS:
            raise TemplateError("the number is too large")
        return self.binop_table[operator](first, second)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        rewritten: nodes.Template = _Rewriter().visit(template)
        return rewritten


_LOOP_FIELDS = frozenset(
    ("index", "index0", "revindex", "revindex0", "first", "last", "length", "previtem", "nextitem")
)


def _is_number(value: object) -> bool:
    return isinstance(value, bool | int | float)


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else number_of(None if isinstance(value, Undefined) else value)


def _plain(value: object) -> object:
    return None if isinstance(value, Undefined) else value


def _concat(*parts: object) -> str:
    texts = [to_text(_plain(part)) for part in parts]
    if sum(map(len, texts)) > MAX_OUTPUT_CHARS:
        raise TemplateError(f"a text is longer than {MAX_OUTPUT_CHARS:,} characters")
    return "".join(texts)


def _items(value: Any) -> Iterable[Any]:  # noqa: ANN401 - any value
    items = list(value) if isinstance(value, str | list | tuple | range) else []
    if isinstance(value, dict):
        items = list(value)
    count = _rounds.get([0])
    count[0] += len(items)
    if count[0] > MAX_ITERATIONS:
        raise TemplateError(f"its loops have more than {MAX_ITERATIONS:,} rounds")
    return items


def _pairs(value: Any) -> Iterable[Any]:  # noqa: ANN401 - any value
    return _items(list(value.items()) if isinstance(value, dict) else value)


def _contains(part: Any, whole: Any) -> bool:  # noqa: ANN401 - any value
    if isinstance(whole, str):
        return to_text(part) in whole
    return isinstance(whole, list | tuple | dict) and part in whole


_OPERATORS: dict[str, Callable[..., Any]] = {
    "_true": lambda value: is_true(_plain(value)),
    "_items": _items,
    "_pairs": _pairs,
    "_concat": _concat,
    "_eq": lambda left, right: is_equal(_plain(left), _plain(right)),
    "_ne": lambda left, right: not is_equal(_plain(left), _plain(right)),
    "_lt": lambda left, right: is_less(_plain(left), _plain(right), or_equal=False),
    "_lteq": lambda left, right: is_less(_plain(left), _plain(right), or_equal=True),
    "_gt": lambda left, right: is_less(_plain(right), _plain(left), or_equal=False),
    "_gteq": lambda left, right: is_less(_plain(right), _plain(left), or_equal=True),
    "_in": _contains,
    "_notin": lambda part, whole: not _contains(part, whole),
}


def _finalize(value: object) -> str:
    return to_text(_plain(value))


def _environment(filters: Mapping[str, Callable[..., Any]] | None = None) -> _Sandbox:
    if not filters:
        return _shared_environment()
    environment = _new_environment()
    environment.filters.update(filters)
    return environment


@cache
def _shared_environment() -> _Sandbox:
    return _new_environment()


def _new_environment() -> _Sandbox:
    environment = _Sandbox(undefined=_Empty, finalize=_finalize, autoescape=False, keep_trailing_newline=True)
    environment.filters = {**FILTERS, **_OPERATORS}
    environment.tests.update(
        number=lambda value: isinstance(value, int | float) and not isinstance(value, bool),
        truthy=is_true,
        falsy=lambda value: not is_true(_plain(value)),
        null=lambda value: value is None,
    )
    globals_ = environment.globals
    environment.globals = {"range": globals_["range"], "null": None, "undefined": _Empty(name="undefined")}
    return environment


@lru_cache(maxsize=512)
def _compiled(source: str) -> Template:
    return _shared_environment().from_string(_translate(source))


def _translate(source: str) -> str:
    """Replace the spellings of Nunjucks that Jinja2 does not know, in tags and outside of quotes."""
    if not any(word in source for word in ("==", "elseif", "verbatim")):
        return source
    parts = _RAW.split(source)
    return "".join(
        re.sub(r"(end)?verbatim", r"\1raw", part)
        if index % 2
        else _TAG.sub(lambda match: _translate_tag(match[0]), part)
        for index, part in enumerate(parts)
    )


def _translate_tag(tag: str) -> str:
    pieces = _QUOTED.split(tag)
    for index in range(0, len(pieces), 2):
        piece = pieces[index].replace("!==", "!=").replace("===", "==")
        pieces[index] = re.sub(r"(\{%-?\s*)elseif\b", r"\1elif", piece)
    return "".join(pieces)
