"""When failures are too many, which one cause they have, and when an incident is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.watch.attribution import CandidateRelease, UserSample, attribute
from flowai.watch.causes import find_causes
from flowai.watch.error_rates import LONG_MINUTES, MAX_KEYS_PER_MINUTE, AlertRule, BurnWindows, CountKey, MinuteCounts
from flowai.watch.incidents import INCIDENT_EXPIRY, Incident, update_incidents

if TYPE_CHECKING:
    from collections.abc import Iterable

RULE = AlertRule(error_rate=0.05, window_minutes=5, min_calls=50)
NOW = 1_000_000  # a minute
NOON = datetime(2026, 5, 2, 12, 0, tzinfo=UTC)

Calls = tuple[int, int, str, str]  # minutes ago, calls, feature, provider


def spans(
    *calls: Calls, failed: Iterable[Calls] = (), release: str = "v1", variant: str = "", rule: AlertRule = RULE
) -> BurnWindows:
    counts = MinuteCounts()
    for error, group in (("", calls), ("ServerError", failed)):
        for ago, count, feature, provider in group:
            for _ in range(count):
                cell = CountKey(feature=feature, provider=provider, release=release, variant=variant, error=error)
                counts.add(NOW - ago, cell)
    return counts.windows(NOW, rule)


def burns(*calls: Calls, failed: Iterable[Calls]) -> bool:
    return spans(*calls, failed=failed).of(lambda _: True).exceeds_threshold(RULE)


def causes(found: BurnWindows) -> list[tuple[str, str]]:
    return [(one.kind, one.name) for one in find_causes(found, RULE, None, None)]


# --- the rule ---


@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [
        ([(0, 90, "a", "p")], [(0, 10, "a", "p")], True),
        ([(0, 95, "a", "p")], [(0, 5, "a", "p")], False),  # five per cent are still borne
        ([(0, 20, "a", "p")], [(0, 29, "a", "p")], False),  # too few calls
        ([(30, 40, "a", "p")], [(2, 20, "a", "p")], True),  # few now, enough over the hour, still going on
        ([(30, 40, "a", "p")], [(20, 20, "a", "p")], False),  # it is over
        ([(30, 900, "a", "p")], [(2, 20, "a", "p")], False),  # a small part of the hour
        ([(90, 40, "a", "p")], [(2, 20, "a", "p")], False),  # too old to count
        ([], [], False),
    ],
)
def test_a_window_alerts_above_rate_and_minimum(good: list[Calls], bad: list[Calls], expected: bool) -> None:
    assert burns(*good, failed=bad) is expected


def test_counts_expire_and_stay_small() -> None:
    counts = MinuteCounts()
    for minute in range(200):
        counts.add(minute, CountKey(feature="a"))
    counts.drop_before(140)
    assert sum(counts.since(0).values()) == 60
    for number in range(MAX_KEYS_PER_MINUTE + 100):
        counts.add(300, CountKey(feature=f"f{number}", error="E"))
    assert len(counts.since(300)) == MAX_KEYS_PER_MINUTE + 1
    assert sum(counts.since(300).values()) == MAX_KEYS_PER_MINUTE + 100


# --- causes ---


def test_a_provider_that_fails_for_several_features_is_one_cause() -> None:
    found = spans((0, 100, "a", "p"), (0, 100, "b", "q"), failed=[(0, 40, "a", "p"), (0, 40, "c", "p")])
    assert causes(found) == [("provider", "p")]


def test_one_feature_that_fails_on_a_provider_is_the_cause_itself() -> None:
    found = spans((0, 100, "a", "p"), (0, 100, "b", "p"), failed=[(0, 90, "a", "p")])
    assert causes(found) == [("feature", "a")]


def test_a_feature_that_fails_besides_a_provider_is_a_cause_of_its_own() -> None:
    failed = [(0, 60, "a", "p"), (0, 60, "b", "p"), (0, 60, "c", "q")]
    assert causes(spans((0, 100, "d", "q"), failed=failed)) == [("provider", "p"), ("feature", "c")]


def test_many_small_features_without_a_provider_are_the_service() -> None:
    assert causes(spans(failed=[(0, 10, f"f{number}", "") for number in range(8)])) == [("service", "")]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 70), st.integers(0, 80), st.sampled_from(["a", "b", ""]), st.sampled_from(["p", "q", ""])
        ),
        max_size=8,
    ),
    st.lists(
        st.tuples(
            st.integers(0, 70), st.integers(0, 80), st.sampled_from(["a", "b", ""]), st.sampled_from(["p", "q", ""])
        ),
        max_size=8,
    ),
)
def test_every_alert_has_a_cause_and_each_cause_is_listed_once(good: list[Calls], bad: list[Calls]) -> None:
    found = spans(*good, failed=bad)
    named = causes(found)
    assert len(named) == len(set(named))
    if found.of(lambda _: True).exceeds_threshold(RULE):
        assert named


# --- a release ---


class Rollout:
    """Calls of both sides of a rollout, each by a user of its own."""

    def __init__(self, *, is_whole: bool = False) -> None:
        self.counts = MinuteCounts()
        self.units = UserSample()
        self.suspect = CandidateRelease(
            release="v2", changed=frozenset({"chat"}), is_full=is_whole, since_minute=NOW - LONG_MINUTES
        )
        self._users = 0

    def call(
        self,
        count: int,
        *,
        failed: int = 0,
        release: str = "v2",
        variant: str = "canary",
        feature: str = "chat",
        ago: int = 1,
        provider: str = "p",
        user: str | None = None,
        caller: str | None = None,
    ) -> None:
        for number in range(count):
            self._users += 1
            error = "ServerError" if number < failed else ""
            cell = CountKey(feature=feature, provider=provider, release=release, variant=variant, error=error)
            self.counts.add(NOW - ago, cell)
            name = user or f"user-{self._users}"
            self.units.add(NOW - ago, name, cell, caller=caller or name)

    def control(self, count: int, *, failed: int = 0, ago: int = 1, variant: str = "control") -> None:
        self.call(count, failed=failed, release="v1", variant=variant, ago=ago)

    @property
    def verdict(self) -> str:
        return attribute(self.suspect, self.units, self.counts.windows(NOW, RULE), RULE).verdict

    @property
    def causes(self) -> list[tuple[str, str]]:
        found = self.counts.windows(NOW, RULE)
        blame = attribute(self.suspect, self.units, found, RULE)
        return [(one.kind, one.name) for one in find_causes(found, RULE, self.suspect, blame)]


def test_a_canary_that_fails_unlike_the_baseline_is_the_cause() -> None:
    rollout = Rollout()
    rollout.call(40, failed=30)
    rollout.control(900, failed=9, variant="stable")
    assert rollout.verdict == "candidate_worse"
    assert rollout.causes == [("release", "v2")]


def test_a_canary_below_the_minimum_of_calls_is_still_detected() -> None:
    rollout = Rollout()
    rollout.call(9, failed=9)
    rollout.control(900, failed=3, variant="stable")
    assert rollout.verdict == "candidate_worse"
    assert rollout.causes == [("release", "v2")]


def test_failures_of_both_variants_do_not_blame_the_canary() -> None:
    rollout = Rollout()
    rollout.call(300, failed=150)
    rollout.control(300, failed=140)
    assert rollout.verdict == "both_worse"
    assert rollout.causes == [("feature", "chat")]


def test_a_broken_canary_is_the_cause_despite_provider_failures() -> None:
    rollout = Rollout()
    rollout.call(60, failed=60)
    rollout.control(600, failed=48)
    assert rollout.verdict == "candidate_worse"


@pytest.mark.parametrize(("calls", "failed"), [(4, 4), (40, 1), (1_000, 40)])
def test_too_few_failures_and_tolerated_rates_have_no_cause(calls: int, failed: int) -> None:
    rollout = Rollout()
    rollout.call(calls, failed=failed)
    rollout.control(5_000, variant="stable")
    assert rollout.verdict == "not_proven"


def test_many_failures_of_one_user_count_once() -> None:
    rollout = Rollout()
    rollout.call(30)
    rollout.call(200, failed=200, user="bot")
    rollout.control(500, failed=1)
    assert rollout.verdict == "not_proven"


def test_one_caller_s_calls_without_a_user_are_no_proof() -> None:
    rollout = Rollout()
    rollout.call(40, failed=37, caller="key a")
    rollout.call(40, failed=3)
    rollout.control(900, failed=9, variant="stable")
    assert rollout.verdict == "single_caller"
    assert rollout.causes == [("release", "v2")], "operators are told"
    rollout.call(30, failed=30, caller="key b")
    assert rollout.verdict == "candidate_worse", "without the first caller it is still proven"


def test_calls_of_many_callers_without_a_user_are_proof() -> None:
    rollout = Rollout()
    for number in range(30):
        rollout.call(1, failed=1, caller=f"key {number}")
    rollout.control(900, failed=9, variant="stable")
    assert rollout.verdict == "candidate_worse"


def test_one_user_of_many_features_is_no_proof() -> None:
    rollout = Rollout()
    features = [f"f{number}" for number in range(8)]
    rollout.suspect = replace(rollout.suspect, changed=frozenset(features))
    for feature in features:
        rollout.call(1, failed=1, user="bot", feature=feature)
        rollout.call(200, release="v1", variant="control", feature=feature)
    assert rollout.verdict == "single_caller"


def test_calls_that_asked_no_provider_do_not_show_that_failures_go_on() -> None:
    rollout = Rollout()
    rollout.call(60, failed=60, ago=40)
    rollout.control(600, ago=40)
    rollout.call(60)
    rollout.control(600)
    for _ in range(60):
        cell = CountKey(feature="chat", release="v2", variant="canary", error="InvalidRequestError", was_tried=False)
        rollout.counts.add(NOW, cell)
    assert rollout.verdict == "recovered"


def test_past_failures_are_recovered() -> None:
    rollout = Rollout()
    rollout.call(60, failed=60, ago=40)
    rollout.control(600, ago=40)
    rollout.call(60)
    rollout.control(600)
    assert rollout.verdict == "recovered"


def test_without_a_control_no_release_is_blamed() -> None:
    rollout = Rollout()
    rollout.call(100, failed=100)
    assert rollout.verdict == "no_control_traffic"


def test_unchanged_features_and_other_releases_blame_no_release() -> None:
    rollout = Rollout()
    rollout.call(100, failed=100, feature="plan")
    rollout.call(100, failed=100, release="v0")
    rollout.call(100)
    rollout.control(500)
    assert rollout.verdict == "not_proven"


def test_calls_of_an_earlier_stage_do_not_count() -> None:
    rollout = Rollout()
    rollout.suspect = CandidateRelease(release="v2", changed=frozenset({"chat"}), is_full=False, since_minute=NOW - 3)
    rollout.call(60, failed=60, ago=10)
    rollout.control(600, ago=10)
    assert rollout.verdict == "no_control_traffic"


def test_at_100_percent_unchanged_features_of_the_provider_are_the_control() -> None:
    rollout = Rollout(is_whole=True)
    rollout.call(200, failed=150)
    assert rollout.verdict == "no_control_traffic"
    assert rollout.causes == [("feature", "chat")]
    rollout.call(200, failed=1, feature="plan", provider="other")
    assert rollout.verdict == "no_control_traffic", "another provider knows nothing"
    assert rollout.causes == [("feature", "chat")], "another provider knows nothing"
    rollout.call(200, failed=1, feature="plan")
    assert rollout.verdict == "candidate_worse"
    assert rollout.causes == [("release", "v2")]


def test_at_100_percent_a_provider_that_is_down_is_the_cause() -> None:
    rollout = Rollout(is_whole=True)
    rollout.call(200, failed=150)
    rollout.call(200, failed=120, feature="plan")
    assert rollout.verdict == "both_worse"
    assert rollout.causes == [("provider", "p")]


def test_at_100_percent_features_may_differ_by_the_tolerated_rate() -> None:
    rollout = Rollout(is_whole=True)
    rollout.call(5_000, failed=400)  # 8 %, and 4 % of the neighbour
    rollout.call(5_000, failed=200, feature="plan")
    assert rollout.verdict != "candidate_worse"


def test_a_sample_of_users_is_enough_and_stays_small() -> None:
    rollout = Rollout()
    rollout.units = UserSample(max_count=500)
    rollout.call(1_000, failed=900)
    rollout.control(9_000, failed=90)
    assert len(rollout.units) <= 500
    assert rollout.verdict == "candidate_worse"
    rollout.units.drop_before(NOW + 1)
    assert len(rollout.units) == 0
    for _ in range(20):
        rollout.units.drop_before(NOW + 1)
    rollout.call(100)
    assert len(rollout.units) == 100, "where few are left, all are drawn again"


# --- incidents ---


def incident(**changes: object) -> Incident:
    facts: dict[str, object] = {
        "id": "i",
        "cause": "c",
        "kind": "feature",
        "name": "a",
        "opened_at": NOON,
        "last_failing_at": NOON,
        "last_call_at": NOON,
        **changes,
    }
    return Incident(**facts)  # type: ignore[arg-type]


def after(found: BurnWindows, one: Incident, minutes: float) -> str:
    did = update_incidents([one], (), found, RULE, NOON + timedelta(minutes=minutes))
    return "resolved" if did.resolved else "kept" if did.kept else "lost"


WELL = spans((0, 10, "a", "p"))
ILL = spans((0, 10, "a", "p"), failed=[(0, 2, "a", "p")])
SILENT = spans((0, 10, "b", "p"))


def test_an_incident_ends_after_a_healthy_window() -> None:
    assert after(WELL, incident(), 4.9) == "kept"
    assert after(WELL, incident(), 5) == "resolved"
    (kept,) = update_incidents([incident()], (), ILL, RULE, NOON + timedelta(minutes=9)).kept
    assert kept.last_failing_at == NOON + timedelta(minutes=9)


def test_silence_is_no_recovery_until_a_day_has_passed() -> None:
    assert after(SILENT, incident(), 23 * 60) == "kept"
    assert after(SILENT, incident(), INCIDENT_EXPIRY / timedelta(minutes=1)) == "resolved"


def test_an_open_incident_is_not_opened_again_but_another_cause_is() -> None:
    burning = spans(failed=[(0, 60, "a", "p")])
    found = find_causes(burning, RULE, None, None)
    did = update_incidents([incident()], found, burning, RULE, NOON)
    assert did.opened == ()
    assert len(did.kept) == 1
    assert update_incidents([incident(name="z")], found, burning, RULE, NOON).opened == found


def test_a_release_s_incident_ends_when_its_features_and_calls_are_healthy() -> None:
    one = incident(kind="release", name="v2", features=("a",))
    served_otherwise = spans((0, 50, "a", "p"))
    assert after(served_otherwise, one, 6) == "resolved"
    still = MinuteCounts()
    for number in range(1_000):
        release = "v2" if number < 10 else "v1"
        still.add(NOW, CountKey(feature="a", provider="p", release=release, error="E" if number < 10 else ""))
    assert after(still.windows(NOW, RULE), one, 60) == "kept", "1 % of the calls still fail, and they are the release's"
