"""Counting: the same events give the same bytes however they lie, and one user is one."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.rollout_log import BEGIN, Scenario, Side, events_of, write_log

from flowai.analytics.event_query import TimeRange, open_log
from flowai.canary.judge import evaluate_rollout
from flowai.canary.report_records import CanaryReport, with_digest
from flowai.comparison import sampling
from flowai.comparison.count import count_arms
from flowai.comparison.evidence import DecisionRules
from flowai.comparison.metrics import METRICS
from flowai.comparison.spec import CELL_US, COLUMNS, HOUR_US, ComparisonSpec, RolloutStage, rollout_sides
from flowai.events import Attempt, CallEvent, EventLog, FeedbackEvent
from flowai.redaction import Redactor
from flowai.registry.policies import NonInferiorityMargins
from flowai.rendering.report_files import to_json
from flowai.statistics.histogram import bucket_quantile
from flowai.timestamps import to_us

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.analytics.records import Metric
    from flowai.comparison.counts import Counts
    from flowai.events import Event, FeedbackVerdict

pytestmark = pytest.mark.slow  # reads large logs

MARGINS = {name: NonInferiorityMargins().of(name) for name in METRICS}
SCENARIO = Scenario(calls_count=3000, hours=30.0, percent=50, canary=Side(error_rate=0.05), calls_per_user=3)


def spec(scenario: Scenario = SCENARIO, **changes: Any) -> ComparisonSpec:
    time_range = TimeRange(since_us=to_us(scenario.begin), until_us=to_us(scenario.end))
    facts: dict[str, Any] = {
        "sides": rollout_sides(scenario.candidate),
        "stages": (RolloutStage(percent=scenario.percent, time_range=time_range),),
        "feature": None,
        "feedback_us": HOUR_US,
        "now_us": time_range.until_us + HOUR_US,
    }
    return ComparisonSpec(**(facts | changes))


def count(directory: Path, asked: ComparisonSpec | None = None) -> Counts:
    asked = asked or spec()
    with open_log(directory, COLUMNS, asked.time_range) as log:
        return count_arms(log, asked)


def report_bytes(directory: Path) -> bytes:
    rules = DecisionRules(alpha=0.05, guardrails=METRICS[:4], margins=MARGINS, baseline="v1")
    return to_json(evaluate_rollout(count(directory), spec(), rules, replay=True))


def units(found: Counts) -> int:
    return sum(sum(hours.values()) for hours in found.units.values())


def anonymous(found: Counts) -> int:
    return sum(sum(hours.values()) for hours in found.anonymous.values())


def at_risk(found: Counts, metric: Metric = "error_rate") -> tuple[int, int, int]:
    """Return users who came to be at risk, first failures, and users who left; of all arms and stages."""
    sides = [numbers for change in found.risks[metric] for numbers in change.sides.values()]
    came, failed, left = (sum(one[index] for one in sides) for index in range(3))
    return came, failed, left


def calls_of(scenario: Scenario) -> list[CallEvent]:
    return [event for event in events_of(scenario) if isinstance(event, CallEvent)]


def write_events(directory: Path, events: list[Event], process: str = "p") -> None:
    with EventLog(directory, process, Redactor(()), lambda: BEGIN) as log:
        for event in events:
            log.append(event)


def as_parquet(source: Path, target: Path) -> None:
    """Write a log as Parquet, as a compaction would: with the types that lines have."""
    import duckdb

    target.mkdir(parents=True)
    texts: tuple[str, ...] = ("kind", "call_id", "origin", "user_hash", "session", "feature")
    texts += ("release", "variant", "prompt_hash", "requested_model", "cache", "error_class", "verdict")
    types: dict[str, str] = dict.fromkeys(texts, "VARCHAR") | {"at": "TIMESTAMPTZ", "schema_version": "BIGINT"}
    types |= dict.fromkeys(("is_sticky", "json_valid", "degraded"), "BOOLEAN") | {"attempts": "JSON"}
    types |= dict.fromkeys(("cost_usd", "ttft_ms", "latency_ms"), "DOUBLE")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        read = f"read_json('{source}/*/*.jsonl', format = 'newline_delimited', columns = {types})"
        connection.execute(f"COPY (SELECT * FROM {read}) TO '{target / 'part.parquet'}' (FORMAT parquet)")  # noqa: S608


@pytest.mark.parametrize("unsampled_calls", [sampling.UNSAMPLED_CALLS, 100])
def test_the_same_events_give_the_same_bytes_in_any_order_split_and_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unsampled_calls: int
) -> None:
    monkeypatch.setattr(sampling, "UNSAMPLED_CALLS", unsampled_calls)
    monkeypatch.setattr(sampling, "MIN_IN_CELL", 1)
    whole = list(events_of(SCENARIO))
    write_events(tmp_path / "whole", whole)
    shuffled = list(whole)
    random.Random(3).shuffle(shuffled)  # noqa: S311 - a test's order
    write_events(tmp_path / "split", shuffled[::2], "a")
    write_events(tmp_path / "split", shuffled[1::2], "b")
    as_parquet(tmp_path / "whole", tmp_path / "parquet" / "dt=2026-05-04")
    write_events(tmp_path / "mixed", whole[:700])
    write_events(tmp_path / "rest", whole[700:])
    as_parquet(tmp_path / "rest", tmp_path / "mixed" / "dt=2026-05-05")
    write_log(tmp_path / "days", SCENARIO)
    expected = report_bytes(tmp_path / "whole")
    for form in ("split", "parquet", "mixed", "days"):
        assert report_bytes(tmp_path / form) == expected, form


def with_detour(number: int, event: Event) -> Event:
    """Return a call that another model answered, or that no provider was asked for; others unchanged."""
    if not isinstance(event, CallEvent):
        return event
    model = event.requested_model or "m"
    failed = Attempt(model=model, provider="p", status="error", was_tried=False, error_class="InvalidRequestError")
    other = msgspec.structs.replace(failed, model="other", status="ok", was_tried=True, error_class=None)
    if event.error_class is not None:
        return msgspec.structs.replace(event, error_class="InvalidRequestError", attempts=(failed,))
    return msgspec.structs.replace(event, attempts=(failed, other)) if number % 7 == 0 else event


@pytest.mark.parametrize("unsampled_calls", [sampling.UNSAMPLED_CALLS, 100])
def test_fallbacks_and_unsent_calls_are_the_same_in_any_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unsampled_calls: int
) -> None:
    monkeypatch.setattr(sampling, "UNSAMPLED_CALLS", unsampled_calls)
    monkeypatch.setattr(sampling, "MIN_IN_CELL", 1)
    events = [with_detour(number, event) for number, event in enumerate(events_of(SCENARIO))]
    write_events(tmp_path / "lines", events)
    write_events(tmp_path / "mixed", events[1::2])
    as_parquet(tmp_path / "lines", tmp_path / "parquet" / "dt=2026-05-04")
    for day, rest in enumerate((events[::4], events[2::4])):  # several files: rows are told apart by file
        write_events(tmp_path / f"rest{day}", rest)
        as_parquet(tmp_path / f"rest{day}", tmp_path / "mixed" / f"dt=2026-05-0{5 + day}")
    sums = list(count(tmp_path / "lines").calls.values())
    expected = (
        sum(isinstance(one, CallEvent) and one.error_class is None and bool(one.attempts) for one in events),
        sum(isinstance(one, CallEvent) and one.error_class is not None for one in events),
    )
    assert (sum(one.fell_back_count for one in sums), sum(one.unsent_count for one in sums)) == expected
    assert min(expected) > 50
    for form in ("parquet", "mixed"):
        assert report_bytes(tmp_path / form) == report_bytes(tmp_path / "lines"), form


def test_lines_told_twice_change_nothing_but_the_warning(tmp_path: Path) -> None:
    events = list(events_of(SCENARIO))
    write_events(tmp_path / "once", events)
    write_events(tmp_path / "twice", events, "a")
    write_events(tmp_path / "twice", events[:100], "b")
    once, twice = count(tmp_path / "once"), count(tmp_path / "twice")
    assert twice.problem_count("duplicated") == sum(isinstance(event, CallEvent) for event in events[:100])
    assert once.calls == twice.calls
    assert once.risks == twice.risks
    assert once.cells == twice.cells
    assert once.users == twice.users
    assert once.times == twice.times


def test_a_call_told_differently_is_named(tmp_path: Path) -> None:
    first = calls_of(SCENARIO)[0]
    write_events(tmp_path, [first, msgspec.structs.replace(first, error_class="ServerError")])
    assert count(tmp_path).problems == {"conflicting": {0: 1}}


def test_a_user_who_fails_again_and_again_counts_once(tmp_path: Path) -> None:
    write_log(
        tmp_path,
        Scenario(
            calls_count=600, percent=50, calls_per_user=600, canary=Side(error_rate=1.0), control=Side(error_rate=1.0)
        ),
    )
    found = count(tmp_path, spec(Scenario(percent=50)))
    assert [list(change.sides.values()) for change in found.risks["error_rate"]] == [[(1, 1, 0)]]
    assert sum(sums.failed_count for sums in found.calls.values()) == 600


def call_of(number: int, **changes: Any) -> CallEvent:
    """Return a call of the one user, so many minutes after the start."""
    return msgspec.structs.replace(
        calls_of(Scenario(calls_count=1, percent=50))[0],
        call_id=f"call-{number}",
        at=BEGIN + timedelta(minutes=number),
        error_class=None,
        **changes,
    )


def test_the_first_failure_of_a_user_counts_once_over_stages_arms_and_features(tmp_path: Path) -> None:
    candidate = {"variant": "canary", "release": "v2"}
    control = {"variant": "control", "release": "v1"}
    failure = "ServerError"
    events: list[Event] = [
        call_of(1, **control, feature="a"),
        msgspec.structs.replace(call_of(12, **control, feature="a"), error_class=failure),
        msgspec.structs.replace(call_of(24, **control, feature="b"), error_class=failure),
        msgspec.structs.replace(call_of(70, **candidate, feature="a"), error_class=failure),
        msgspec.structs.replace(call_of(80, **candidate, feature="c"), error_class=failure),
    ]
    write_events(tmp_path, events)
    begin = to_us(BEGIN)
    stages = tuple(
        RolloutStage(percent=percent, time_range=TimeRange(since_us=since, until_us=since + HOUR_US))
        for percent, since in ((5, begin), (50, begin + HOUR_US))
    )
    found = count(tmp_path, spec(Scenario(percent=50), stages=stages))
    changes = [(one.at_us, dict(one.sides)) for one in found.risks["error_rate"]]
    assert changes == [
        (begin, {"control": (1, 0, 0)}),
        (begin + 2 * CELL_US, {"control": (0, 1, 0)}),
    ]
    sums = {
        (side, stage): sum(one.affected_count for one in hours.values())
        for (name, side, stage), hours in found.users.items()
        if name == "error_rate"
    }
    assert sums == {("control", 0): 1, ("canary", 1): 1}, "in means the user stays"


def test_a_user_who_fails_in_another_arm_leaves_this_one(tmp_path: Path) -> None:
    events: list[Event] = [
        call_of(11, variant="control", release="v1"),
        call_of(17, variant="canary", release="v2"),
        msgspec.structs.replace(call_of(23, variant="canary", release="v2"), error_class="ServerError"),
    ]
    write_events(tmp_path, events)
    found = count(tmp_path, spec(Scenario(percent=50)))
    assert at_risk(found) == (2, 1, 1)
    assert dict(found.risks["error_rate"][-1].sides) == {"canary": (0, 1, 0), "control": (0, 0, 1)}
    assert [sum(hours.values()) for hours in found.in_both.values()] == [1]


def test_cancelled_calls_count_as_cancelled_only(tmp_path: Path) -> None:
    write_log(tmp_path, Scenario(calls_count=400, percent=50, changes={"error_class": "Cancelled"}, feedback_rate=0.0))
    found = count(tmp_path, spec(Scenario(percent=50)))
    assert at_risk(found, "cancelled") == (400, 400, 0)
    assert at_risk(found, "error_rate") == (0, 0, 0)
    assert at_risk(found, "degraded") == (0, 0, 0)
    assert found.times == {}
    assert found.for_stage("canary", 0).ended_count == found.for_stage("canary", 0).failed_count == 0
    assert sum(sums.cancelled_count for sums in found.calls.values()) == 400


def test_calls_without_an_asker_are_units_beside_users(tmp_path: Path) -> None:
    loose = Scenario(calls_count=200, percent=50, has_users=False, seed=3)
    write_log(tmp_path / "loose", loose)
    write_log(tmp_path / "both", Scenario(calls_count=300, percent=50), loose)
    alone, both = count(tmp_path / "loose", spec(loose)), count(tmp_path / "both", spec(loose))
    assert alone.unit == "call"
    assert (units(alone), anonymous(alone)) == (0, 200)
    assert both.unit == "user"
    assert (units(both), anonymous(both)) == (300, 200)
    assert sum(both.unit_count(side, 0) for side in ("canary", "control")) == 500
    assert at_risk(both)[0] == 500
    assert sum(sums.call_count for sums in both.calls.values()) == 500


def test_feedback_counts_within_its_window_and_the_last_word_decides(tmp_path: Path) -> None:
    even = Side(error_rate=0.0)
    calls = calls_of(Scenario(calls_count=3, percent=50, feedback_rate=0.0, control=even, canary=even))
    said: list[tuple[int, FeedbackVerdict, int]] = [
        (0, "rejected", 60),
        (0, "accepted", 120),
        (1, "accepted", 60),
        (1, "edited", 90),
        (2, "accepted", 4000),
    ]
    events: list[Event] = [
        *calls,
        *(
            FeedbackEvent(
                call_id=calls[index].call_id,
                at=calls[index].at + timedelta(seconds=after_s),
                origin="serve",
                verdict=verdict,
            )
            for index, verdict, after_s in said
        ),
    ]
    random.Random(1).shuffle(events)  # noqa: S311 - a test's order
    write_events(tmp_path, events)
    found = count(tmp_path, spec(Scenario(percent=50)))
    tallies = [found.call_tally("acceptance", side, 0) for side in ("canary", "control")]
    assert sum(one.count for one in tallies) == 2
    assert sum(one.failure_count for one in tallies) == 1


def test_quantiles_are_within_half_a_percent(tmp_path: Path) -> None:
    write_log(tmp_path, SCENARIO)
    found = count(tmp_path)
    taken = sorted(
        call.latency_ms for call in calls_of(SCENARIO) if call.variant == "canary" and call.error_class is None
    )
    for share in (0.5, 0.95, 0.99):
        exact = taken[-int(-(len(taken) * share) // 1) - 1]
        assert bucket_quantile(found.latencies_of("slow_calls", "canary", 0), share) == pytest.approx(exact, rel=0.005)


def test_what_a_cache_answered_counts_in_no_metric(tmp_path: Path) -> None:
    write_log(tmp_path, Scenario(calls_count=500, percent=50, changes={"cache": "exact"}))
    found = count(tmp_path, spec(Scenario(percent=50)))
    assert found.times == {}
    assert not any(found.risks.values())
    assert not any(found.cells.values())
    assert found.users == {}
    assert found.tallies == {}
    whole = [found.for_stage(side, 0) for side in ("canary", "control")]
    assert sum(sums.call_count for sums in whole) == sum(sums.cached_count for sums in whole) == 500
    assert all(sums.reached_count == sums.failed_count == sums.priced_count == 0 for sums in whole)


def test_stages_are_kept_apart_and_a_cell_is_five_minutes(tmp_path: Path) -> None:
    write_log(tmp_path, SCENARIO)
    begin, end = to_us(SCENARIO.begin), to_us(SCENARIO.end)
    middle = begin + (end - begin) // 2 + 7_000_000
    stages = tuple(
        RolloutStage(percent=percent, time_range=TimeRange(since_us=since, until_us=until))
        for percent, since, until in ((5, begin, middle), (50, middle, end))
    )
    found = count(tmp_path, spec(stages=stages))
    for cells in (found.risks["error_rate"], found.cells["acceptance"]):
        assert {cell.stage for cell in cells} == {0, 1}
        assert all(cell.at_us % CELL_US == 0 for cell in cells)
        assert all(cell.at_us + CELL_US > middle for cell in cells if cell.stage == 1)


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    found = count(tmp_path / "nowhere")
    assert found.calls == {}
    assert found.problems == {}
    assert found.units == {}


def test_names_in_events_are_only_names(tmp_path: Path) -> None:
    hostile = "'); DROP TABLE lines; --"
    changes = {"feature": hostile, "session": hostile, "user_hash": hostile}
    write_log(tmp_path / "it's", Scenario(calls_count=100, percent=50, changes=changes))
    found = count(tmp_path / "it's", spec(Scenario(percent=50), feature=hostile))
    assert sum(sums.call_count for sums in found.calls.values()) == 100
    assert found.features() == [hostile]


def test_nothing_is_drawn_on_stdout_and_nothing_is_fetched(tmp_path: Path) -> None:
    with open_log(tmp_path, COLUMNS, spec().time_range) as log:
        names = ("enable_progress_bar", "autoinstall_known_extensions", "autoload_known_extensions")
        found = [log.fetch(f"SELECT current_setting('{name}')")[0][0] for name in names]
    assert found == [False, False, False]


def test_a_report_can_be_read_again_and_its_digest_fits(tmp_path: Path) -> None:
    write_log(tmp_path, SCENARIO)
    read = msgspec.json.decode(report_bytes(tmp_path), type=CanaryReport)
    assert with_digest(read).digest == read.digest
    assert with_digest(msgspec.structs.replace(read, verdict="promote", reasons=())).digest != read.digest


def test_a_sticky_call_that_names_nobody_is_nobody(tmp_path: Path) -> None:
    write_log(
        tmp_path,
        Scenario(calls_count=300, percent=50),
        Scenario(calls_count=100, percent=50, seed=3, has_users=False, changes={"is_sticky": True}),
        Scenario(calls_count=100, percent=50, seed=4, has_users=False, changes={"is_sticky": True, "session": "s"}),
    )
    found = count(tmp_path, spec(Scenario(percent=50)))
    assert units(found) == 302, "the session came to both arms, as its calls were drawn one by one"
    assert anonymous(found) == 100
