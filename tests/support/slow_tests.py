"""Finds the tests that start a server or a process, by the code they reach: `make test-fast` leaves them out."""

from __future__ import annotations

import sys
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

TESTS = Path(__file__).resolve().parents[1]
_STARTERS = frozenset({
    "subprocess", "multiprocessing", "concurrent.futures", "socket", "socketserver", "http.server", "moto.server",
    "create_subprocess_exec", "start_server", "ProcessPoolExecutor", "HttpServer", "LocalServer", "serve_review_page",
    "fork", "SubprocessCodeRunner", "TargetsClient",
})  # fmt: skip
"""Modules and names that only such tests mention."""


def is_slow(item: pytest.Item, seen: dict[int, bool]) -> bool:
    """Return whether a test, its fixtures or its helpers start a server or a process.

    Args:
        item: the test.
        seen: the answers so far by object identity, shared by all calls of a session.
    """
    if any(item.iter_markers("slow")) or any(item.iter_markers("local_model")):
        return True
    fixtures = getattr(item, "_fixtureinfo", None)
    definitions = fixtures.name2fixturedefs.values() if fixtures else ()
    reached = [getattr(item, "function", None), *(each.func for several in definitions for each in several)]
    return any(_starts(unwrapped(one), seen) for one in reached)


def unwrapped(value: object) -> object:
    """Return the function beneath decorators: Hypothesis and pytest wrap the test's own."""
    inner = getattr(getattr(value, "hypothesis", None), "inner_test", value)
    while (beneath := getattr(inner, "__wrapped__", None)) is not None:
        inner = beneath
    return inner


def _starts(value: object, seen: dict[int, bool]) -> bool:
    if id(value) not in seen:
        seen[id(value)] = False  # ends the recursion of what calls itself
        seen[id(value)] = any(
            name in _STARTERS or _is_starter(inner) or _starts(unwrapped(inner), seen) for name, inner in _uses(value)
        )
    return seen[id(value)]


def _is_starter(value: object) -> bool:
    named = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return isinstance(named, str) and any(named == one or named.startswith(f"{one}.") for one in _STARTERS)


def _uses(value: object) -> Iterator[tuple[str, object]]:
    """Yield what the code of the tests' own function or class mentions, by name."""
    if isinstance(value, type) and _is_ours(value):
        for name, member in vars(value).items():
            yield name, member
    elif isinstance(value, FunctionType) and _is_ours(value):
        for name in _names(value.__code__):
            yield name, value.__globals__.get(name)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_ours(value: FunctionType | type) -> bool:
    """Return whether it is defined under tests/."""
    if isinstance(value, FunctionType):
        return Path(value.__code__.co_filename).is_relative_to(TESTS)
    module = sys.modules.get(value.__module__)
    return Path(getattr(module, "__file__", None) or "/").is_relative_to(TESTS)
