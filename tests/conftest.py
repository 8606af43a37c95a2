"""Fixtures that the tests of several packages share."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from support.chromium import browsing, find_chromium
from support.slow_tests import is_slow

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from support.chromium import Browser

# a busy machine is no failure: nothing here is judged by the time it takes
settings.register_profile("flowai", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fast", settings.get_profile("flowai"), max_examples=20)  # `make test-fast`
settings.load_profile("flowai")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public data beside the checkout; a test that needs it skips visibly where it is absent."""
    for parent in Path(__file__).resolve().parents:
        data = parent.parent / "shared" / "data"
        if data.is_dir():
            return data
    pytest.skip("public test data (shared/data beside the checkout) is not here")


@pytest.fixture(scope="session")
def browser_program() -> str:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium here: install Debian's package of that name")
    return program


@pytest.fixture
def browser(browser_program: str) -> Iterator[Browser]:
    with browsing(browser_program) as found:
        yield found


def pytest_configure() -> None:
    """Undo what a shell does to its background jobs: they ignore Ctrl-C, and so would every process a test starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.pop("CI", None)  # it switches the cache off; tests of that set it themselves


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Exclude modules and collected tests from garbage collection: they live to the end, and every pass visits all."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


_GROUPS = {
    "service": ("FLOWAI_TEST_SERVICES", "needs a real server: run `make test-services`"),
    "browser": ("FLOWAI_TEST_SERVICES", "needs Chromium: run `make test-services`"),
    "consumers": ("FLOWAI_TEST_CONSUMERS", "needs the trainers: run `make test-consumers`"),
}


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow tests; skip, visibly, what needs a real server or other people's trainers, unless it was asked for."""
    seen: dict[int, bool] = {}
    for item in items:
        if is_slow(item, seen):
            item.add_marker("slow")
    for marker, (variable, reason) in _GROUPS.items():
        if os.environ.get(variable) == "1":
            continue
        for item in items:
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))
