"""Health of a server: a failing part is reported when it fails and when it recovers, once each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from flowai.events import AlertEvent, Attempt, CallEvent
from flowai.gateway.records import GatewayStatus
from flowai.server.health import HealthMonitor

if TYPE_CHECKING:
    from flowai.server.health import HealthChange

AT = datetime(2026, 1, 1, tzinfo=UTC)


class Watched:
    """A monitor with a clock of its own and the lines that it reported."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.lines: list[str] = []
        self.monitor = HealthMonitor(self._report, lambda: self.now_s)

    def _report(self, change: HealthChange) -> None:
        self.lines.append(change.text)

    def check(self, **degraded: Any) -> list[str]:
        self.lines.clear()
        self.monitor.check(GatewayStatus(degraded=degraded))  # type: ignore[arg-type] # names are checked by the caller
        return list(self.lines)

    def call(self, *attempts: Attempt) -> list[str]:
        self.lines.clear()
        self.monitor.add_event(
            CallEvent(call_id="c", at=AT, origin="serve", requested_model="m", latency_ms=1.0, attempts=attempts)
        )
        return list(self.lines)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def attempt(error: str | None = None, model: str = "m", message: str | None = None) -> Attempt:
    status: Any = "ok" if error is None else "error"
    return Attempt(model=model, provider="openai", status=status, error_class=error, message=message)


def test_a_part_is_reported_when_it_fails_and_when_it_recovers(watched: Watched) -> None:
    assert watched.check() == []
    assert watched.check(state_unavailable="redis\nis away") == [
        "degraded: the shared state is unreachable: redis is away"
    ]
    watched.now_s = 12.0
    assert watched.check(state_unavailable="another reason") == [], "once"
    assert watched.check(cache_unavailable="disk full") == [
        "degraded: answers cannot be cached: disk full",
        "recovered after 12 s: the shared state is unreachable",
    ]
    assert watched.check(cache_unavailable="disk full") == []


@pytest.mark.parametrize(
    "part",
    [
        "state_unavailable",
        "event_log_unwritable",
        "registry_invalid",
        "semantic_cache_disabled",
        "cache_unavailable",
        "background_task_failing",
    ],
)
def test_each_part_has_words_of_its_own(watched: Watched, part: str) -> None:
    (line,) = watched.check(**{part: "why"})
    assert part not in line
    assert line.endswith(": why")


def test_a_refused_key_is_reported_until_the_model_answers(watched: Watched) -> None:
    assert watched.call(attempt("ServerError"), attempt()) == []
    assert watched.call(attempt("AuthError", message="wrong key"), attempt(model="n")) == [
        "degraded: provider `openai` refuses the key of model `m`: wrong key"
    ]
    assert watched.call(attempt("AuthError"), attempt(model="n")) == [], "once"
    assert watched.check() == [], "the check of parts ends no refused key"
    watched.now_s = 3.0
    assert watched.call(attempt()) == ["recovered after 3 s: provider `openai` refuses the key of model `m`"]
    assert watched.call(attempt("AuthError")) == ["degraded: provider `openai` refuses the key of model `m`"]


def test_other_events_report_nothing(watched: Watched) -> None:
    watched.monitor.add_event(AlertEvent(at=AT, cause="auth", message="x"))
    assert watched.lines == []
