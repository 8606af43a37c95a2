"""Derived metrics: arithmetic over the sums of a run's other metrics, evaluated here, or code that is run elsewhere."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NoReturn

from flowai.evals.assertions.services import CodeError
from flowai.evals.suites.records import CodeRef

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from flowai.evals.suites.records import DerivedMetric, Suite

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


def evaluate(expression: str, values: Mapping[str, float]) -> float:
    """Evaluate `+ - * / % ^`, parentheses and functions (`sqrt`, `min` ...) over named values.

    Raises:
        ExpressionError: it cannot be read, reads an unknown name, or has no finite value.
    """
    return _ExpressionParser(expression, values).evaluate()


class _ExpressionParser:
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
        while (sign_text := self._peek()) in _SUMS:
            self._position += 1
            sign = -sign if sign_text == "-" else sign
        return sign * self._power()

    def _power(self) -> float:
        value = self._atom()
        if self._peek() in {"^", "**"}:
            self._position += 1
            return math.pow(value, self._signed())
        return value

    def _atom(self) -> float:
        part = self._next()
        if part == "(":
            return self._nested()
        if part[0].isdigit() or part[0] == ".":
            return float(part)
        if not (part[0].isalpha() or part[0] == "_"):
            self._position -= 1
            self._unexpected()
        if part in _FUNCTIONS and self._peek() == "(":
            self._position += 1
            return self._call(part)
        try:
            return self._values[part]
        except KeyError:
            raise ExpressionError(f"reads `{part}`, which is no metric") from None

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


RunMetricCode = Callable[[CodeRef, Mapping[str, float]], float]
"""Runs a metric that is code on the values of the others; raises CodeError without a finite number."""


def derive(
    metrics: Sequence[DerivedMetric], sums: Mapping[str, float], run_code: RunMetricCode | None = None
) -> tuple[dict[str, float], list[str]]:
    """Compute the derived metrics of a suite, in order; a later one may read an earlier one.

    Args:
        metrics: the suite's.
        sums: sums of the scores by metric name, and `__count`.
        run_code: runs those that are code; None if no code may run.

    Returns:
        The values by name, and a line for each metric without a value.
    """
    values, problems = dict(sums), []
    found: dict[str, float] = {}
    for metric in metrics:
        try:
            if isinstance(metric.value, str):
                value = evaluate(metric.value, values)
            elif run_code is None:
                problems.append(f"derived metric `{metric.name}` is left out: it is code, and no code may run")
                continue
            else:
                value = run_code(metric.value, values)
        except ExpressionError as error:
            problems.append(f"derived metric `{metric.name}`: `{metric.value}` {error}")
        except CodeError as error:
            problems.append(f"derived metric `{metric.name}`: {error}")
        else:
            found[metric.name] = values[metric.name] = value
    return found, problems


class RunMetrics:
    """Derived metrics of the suites of a run.

    Args:
        suites: the suites.
        runner_of: returns what runs the code of a suite; None if no code may run.
    """

    def __init__(self, suites: Iterable[Suite], runner_of: Callable[[Suite], RunMetricCode] | None = None) -> None:
        self._suites = {suite.path: suite for suite in suites if suite.derived_metrics}
        self._runner_of = runner_of
        self._problems: dict[str, None] = {}
        self._values: dict[tuple[str, tuple[tuple[str, float], ...]], dict[str, float]] = {}
        """By suite and sums: code runs once for equal ones."""

    @property
    def problems(self) -> tuple[str, ...]:
        """A line for each metric that had no value so far."""
        return tuple(self._problems)

    def __call__(self, path: str, sums: Mapping[str, float]) -> Mapping[str, float]:
        """Compute the metrics of a suite from the sums of its scores."""
        suite = self._suites.get(path)
        if suite is None:
            return {}
        key = (path, tuple(sums.items()))
        if key not in self._values:
            run_code = None if self._runner_of is None else self._runner_of(suite)
            self._values[key], problems = derive(suite.derived_metrics, sums, run_code)
            self._problems.update(dict.fromkeys(problems))
        return self._values[key]
