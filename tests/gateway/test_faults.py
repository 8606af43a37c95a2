"""Every row of the fault table, on real sockets, through the real LiteLLM and the real gateway."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from support.fault_project import Providers, Seen, observe
from support.fault_table import EVERY, MAX_SCALE, ROWS, SETTINGS, WELL, Row, Way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CASES = [(row, way) for row in ROWS for way in row.ways]
CALLERS = {"InvalidRequestError", "ContentFilteredError"}
SCALES = (1.0, 4.0, MAX_SCALE)
"""A limit says what the gateway does, not how busy the machine is: where time alone decided, it is tried again with
longer ones."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Row, Way], Seen]]:
    """Return what was seen of a row; each is tried once, again only when the machine was too slow."""
    known: dict[tuple[int, Way], Seen] = {}

    def look(providers: Providers, row: Row, way: Way) -> Seen:
        key = (id(row), way)
        if key not in known:
            for scale in SCALES:
                known[key] = observe(row, way, providers, tmp_path_factory.mktemp("faulty"), scale)
                if not was_too_slow(row, known[key]):
                    break
        return known[key]

    with Providers() as providers:
        yield partial(look, providers)


def was_too_slow(row: Row, found: Seen) -> bool:
    """Return whether the call took too long, or a timeout led to other attempts than the table names."""
    has_timed_out = any("TimedOutError" in attempt for attempt in found.attempts)
    return found.took_s > row.within.limit_s(found.scale) or (has_timed_out and found.attempts != row.attempts)


@pytest.mark.parametrize(("row", "way"), CASES, ids=[f"{row.fault}-{row.setting}-{way}" for row, way in CASES])
def test_each_fault_has_the_documented_result(row: Row, way: Way, seen: Callable[[Row, Way], Seen]) -> None:
    found = seen(row, way)
    if row.gets is None:
        assert type(found.error).__name__ == row.error, found.answer
        assert bool(found.text) == (row.after_text and way != "whole")
        assert found.event.error_class == row.error
    else:
        assert found.answer is not None, found.error
        assert found.answer.model == row.gets
        assert found.answer.text == row.expected_text
        assert found.answer.finish_reason == found.event.finish_reason == row.finish_reason
        assert found.text == found.answer.text
        assert (found.answer.degraded, found.answer.disclaimer) == (
            (True, "in short") if row.gets == "last" else (False, None)
        )
        assert found.event.error_class is None
        assert found.event.provider == found.answer.provider
    assert found.attempts == row.attempts
    assert found.requests == row.requests
    assert found.alerts == ([] if row.alert is None else [row.alert])
    assert found.explanation.event.attempts == found.event.attempts
    assert found.took_s <= row.within.limit_s(found.scale)


@pytest.mark.parametrize(("row", "way"), CASES, ids=[f"{row.fault}-{row.setting}-{way}" for row, way in CASES])
def test_no_cut_off_answer_succeeds_and_no_avoidable_failure_occurs(
    row: Row, way: Way, seen: Callable[[Row, Way], Seen]
) -> None:
    """No cut-off answer is a success; no call fails that a healthy fallback could have served."""
    found = seen(row, way)
    if found.answer is not None:
        assert found.answer.text == row.expected_text or found.answer.finish_reason == "length"
        return
    is_callers = type(found.error).__name__ in CALLERS
    is_cut = way == "streamed" and found.text
    has_healthy_fallback = row.fallback is WELL["fallback"] and "fallback: []" not in SETTINGS[row.setting][0]
    assert is_callers or is_cut or not has_healthy_fallback


def test_every_fault_is_tested_complete_and_streamed() -> None:
    ways: dict[tuple[str, str], set[Way]] = {}
    for row in ROWS:
        ways.setdefault((row.fault, row.setting), set()).update(row.ways)
    assert [name for name, asked in ways.items() if asked != set(EVERY)] == []
