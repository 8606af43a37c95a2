"""Every row of the fault table, on real sockets, through the real gateway: over flowai's connections and LiteLLM."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from support.fault_project import Providers, Seen, observe
from support.fault_table import EVERY, MAX_SCALE, ROWS, SETTINGS, WELL, Row, Way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowai.providers.client import Transport

TRANSPORTS: tuple[Transport, ...] = ("direct", "litellm")
CASES = [
    (row, way, transport)
    for transport in TRANSPORTS
    for row in ROWS
    if row.direct_only is None or transport == "direct"
    for way in row.ways
]
NAMES = [f"{row.fault}-{row.setting}-{way}-{transport}" for row, way, transport in CASES]
CALLERS = {"InvalidRequestError", "ContentFilteredError"}
SCALES = (1.0, 4.0, MAX_SCALE)
"""A limit says what the gateway does, not how busy the machine is: where time alone decided, it is tried again with
longer ones."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Row, Way, Transport], Seen]]:
    """Return what was seen of a row; each is tried once, again only when the machine was too slow."""
    known: dict[tuple[int, Way, Transport], Seen] = {}

    def look(providers: Providers, row: Row, way: Way, transport: Transport) -> Seen:
        key = (id(row), way, transport)
        if key not in known:
            for scale in SCALES:
                root = tmp_path_factory.mktemp("faulty")
                known[key] = observe(row, way, providers, root, transport=transport, scale=scale)
                if not was_too_slow(row, known[key]):
                    break
        return known[key]

    with Providers() as providers:
        yield partial(look, providers)


def was_too_slow(row: Row, found: Seen) -> bool:
    """Return whether the call took too long, or a timeout led to other attempts than the table names."""
    has_timed_out = any("TimedOutError" in attempt for attempt in found.attempts)
    return found.took_s > row.within.limit_s(found.scale) or (has_timed_out and found.attempts != row.attempts)


@pytest.mark.parametrize(("row", "way", "transport"), CASES, ids=NAMES)
def test_each_fault_has_the_documented_result(
    row: Row, way: Way, transport: Transport, seen: Callable[[Row, Way, Transport], Seen]
) -> None:
    found = seen(row, way, transport)
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


@pytest.mark.parametrize(("row", "way", "transport"), CASES, ids=NAMES)
def test_no_cut_off_answer_succeeds_and_no_avoidable_failure_occurs(
    row: Row, way: Way, transport: Transport, seen: Callable[[Row, Way, Transport], Seen]
) -> None:
    """No cut-off answer is a success; no call fails that a healthy fallback could have served."""
    found = seen(row, way, transport)
    if found.answer is not None:
        assert found.answer.text == row.expected_text or found.answer.finish_reason == "length"
        return
    is_callers = type(found.error).__name__ in CALLERS
    is_cut = way == "streamed" and found.text
    has_healthy_fallback = row.fallback is WELL["fallback"] and "fallback: []" not in SETTINGS[row.setting][0]
    assert is_callers or is_cut or not has_healthy_fallback


def test_every_fault_is_tested_complete_and_streamed_on_both_transports() -> None:
    ways: dict[tuple[str, str, Transport], set[Way]] = {}
    for row, way, transport in CASES:
        ways.setdefault((row.fault, row.setting, transport), set()).add(way)
    assert [name for name, asked in ways.items() if asked != set(EVERY)] == []
    direct_only = {(row.fault, row.setting) for row in ROWS if row.direct_only is not None}
    assert len(ways) == len(TRANSPORTS) * len({key[:2] for key in ways}) - len(direct_only)
