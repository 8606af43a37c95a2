"""Derived metrics: arithmetic over the sums of a run's other metrics, evaluated here without running code."""

from __future__ import annotations

import math
import operator
import re
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MAX_EXPRESSION_CHARS = 2_000
MAX_DEPTH = 50
_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|([^\W\d][\w.]*)|(\*\*|[-+*/%^(),]))")
_FUNCTIONS: dict[str, tuple[Callable[..., float], int | None]] = {
    "abs": (abs, 1), "ceil": (math.ceil, 1), "exp": (math.exp, 1), "floor": (math.floor, 1), "log": (math.log, 1),
    "log10": (math.log10, 1), "log2": (math.log2, 1), "max": (max, None), "min": (min, None), "pow": (math.pow, 2),
    "round": (round, 1), "sqrt": (math.sqrt, 1),
}  # fmt: skip
"""Function and number of its arguments; None for one or more."""
_SUMS = {"+": operator.add, "-": operator.sub}
_PRODUCTS = {"*": operator.mul, "/": operator.truediv, "%": math.fmod}


class ExpressionError(ValueError):
    """An expression that cannot be read or has no value."""


def names_of(expression: str) -> frozenset[str]:
    """Return the names that an expression reads.

    Raises:
        ExpressionError: it cannot be read.
    """
    names: set[str] = set()

    class Names(dict[str, float]):
        def __missing__(self, name: str) -> float:
            names.add(name)
            return 1.0

    try:
        _Parser(expression, Names()).evaluate()
    except ExpressionError as error:
        if str(error).startswith("has no value"):  # with these values
            return frozenset(names)
        raise
    return frozenset(names)


def evaluate(expression: str, values: Mapping[str, float]) -> float:
    """Evaluate `+ - * / % ^`, parentheses and functions (`sqrt`, `min` ...) over named values.

    Raises:
        ExpressionError: it cannot be read, reads an unknown name, or has no finite value.
    """
    return _Parser(expression, values).evaluate()


class _Parser:
    """Recursive descent over the tokens of an expression, evaluating while it reads."""

    def __init__(self, expression: str, values: Mapping[str, float]) -> None:
        if len(expression) > MAX_EXPRESSION_CHARS:
            raise ExpressionError(f"is longer than {MAX_EXPRESSION_CHARS:,} characters")
        self._values = values
        self._tokens = list(_tokens(expression))
        self._position = 0
        self._depth = 0

    def evaluate(self) -> float:
        try:
            value = float(self._sum())
        except ZeroDivisionError:
            raise ExpressionError("has no value: it divides by zero") from None
        except (OverflowError, ValueError, TypeError) as error:
            if isinstance(error, ExpressionError):
                raise
            raise ExpressionError(f"has no value: {error}") from None
        if self._position < len(self._tokens):
            self._unexpected()
        if not math.isfinite(value):
            raise ExpressionError("has no finite value")
        return value

    def _sum(self) -> float:
        value = self._product()
        while (token := self._peek()) in _SUMS:
            self._position += 1
            value = _SUMS[token](value, self._product())
        return value

    def _product(self) -> float:
        value = self._signed()
        while (token := self._peek()) in _PRODUCTS:
            self._position += 1
            value = _PRODUCTS[token](value, self._signed())
        return value

    def _signed(self) -> float:
        sign = 1.0
        while (token := self._peek()) in _SUMS:
            self._position += 1
            sign = -sign if token == "-" else sign
        return sign * self._power()

    def _power(self) -> float:
        value = self._atom()
        if self._peek() in {"^", "**"}:
            self._position += 1
            return math.pow(value, self._signed())
        return value

    def _atom(self) -> float:
        token = self._next()
        if token == "(":
            return self._nested()
        if token[0].isdigit() or token[0] == ".":
            return float(token)
        if not (token[0].isalpha() or token[0] == "_"):
            self._position -= 1
            self._unexpected()
        if token in _FUNCTIONS and self._peek() == "(":
            self._position += 1
            return self._call(token)
        try:
            return self._values[token]
        except KeyError:
            raise ExpressionError(f"reads `{token}`, which is no metric") from None

    def _nested(self) -> float:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError("is nested too deeply")
        value = self._sum()
        self._expect(")")
        self._depth -= 1
        return value

    def _call(self, name: str) -> float:
        function, count = _FUNCTIONS[name]
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError("is nested too deeply")
        arguments = [self._sum()]
        while self._peek() == ",":
            self._position += 1
            arguments.append(self._sum())
        self._expect(")")
        self._depth -= 1
        if count is not None and len(arguments) != count:
            raise ExpressionError(f"`{name}` found {len(arguments)} arguments; expected {count}")
        return float(function(*arguments) if count is not None else function(arguments))

    def _peek(self) -> str:
        return self._tokens[self._position] if self._position < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        if not token:
            raise ExpressionError("ends too early")
        self._position += 1
        return token

    def _expect(self, token: str) -> None:
        if self._next() != token:
            self._position -= 1
            self._unexpected()

    def _unexpected(self) -> NoReturn:
        raise ExpressionError(f"found `{self._peek()}`, which does not fit there")


def _tokens(expression: str) -> Iterator[str]:
    position, text = 0, expression.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ExpressionError(f"found `{text[position:].strip()[:20]}`, which is no number, name or sign")
        yield match[match.lastindex or 0]
        position = match.end()
