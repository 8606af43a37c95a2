"""Verdicts from counts and evidence: pure functions, so that every rule is tested."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from flowai.comparison.blocks import ArmPair, CallsPerUser, accumulate, accumulate_failures, close_blocks
from flowai.comparison.counts import CallCounts, Counts, RiskChange, TimeBucket, UserSums
from flowai.comparison.facts import MILLION
from flowai.comparison.means import UserMeans, mean_series
from flowai.comparison.spec import CELL_US, HOUR_US
from flowai.comparison.validity import MAX_STRAY_RATE, is_common
from flowai.comparison.verdict import MIN_COUNT, STRONG_LOG_E, MetricFinding, decide, exit_code, status_of
from flowai.errors import ExitCode
from flowai.statistics import Block, RatioEProcess
from flowai.statistics.mean_evidence import ArmSample

if TYPE_CHECKING:
    from flowai.comparison.means import MeanSeries

ALPHA = 0.0125
SURE = math.log(1000)
DATA = UserMeans(candidate=ArmSample(count=1000, mean=0.01), baseline=ArmSample(count=1000, mean=0.01))
PAIR = ArmPair(candidate="canary", control="control", extra_control="stable")
UNCACHED = CallsPerUser(Counts(), PAIR)


def finding(**changes: Any) -> MetricFinding:
    facts: dict[str, Any] = {
        "name": "error_rate",
        "is_guardrail": True,
        "means": DATA,
        "is_due": True,
        "margin": 0.01,
        "alpha": ALPHA,
    }
    return MetricFinding(**(facts | changes))


def status(**changes: Any) -> str:
    return status_of(finding(**changes), safe_alpha=0.05)


def test_evidence_decides_what_a_metric_says() -> None:
    assert status() == "inconclusive"
    assert status(safe_log_e=SURE, safe_log_e_peak=SURE) == "non_inferior"
    assert status(log_e_peak=SURE) == "inferior"
    both = status(log_e_peak=SURE, safe_log_e=SURE, safe_log_e_peak=SURE)
    assert both == "non_inferior", "worse, but within the margin that was allowed"


def test_a_metric_remains_non_inferior_until_it_is_worse() -> None:
    assert status(safe_log_e=-1.0, safe_log_e_peak=SURE) == "non_inferior"
    assert status(safe_log_e=-1.0, safe_log_e_peak=SURE, log_e_peak=SURE) == "inferior"


@pytest.mark.parametrize(("alpha", "found"), [(0.0125, "inferior"), (0.0124, "inconclusive")])
def test_harm_decides_at_its_part_of_alpha(alpha: float, found: str) -> None:
    assert status(log_e_peak=math.log(80.5), alpha=alpha) == found


def test_missing_is_said_only_when_there_could_have_been_data() -> None:
    none = ArmSample()
    assert status(means=UserMeans()) == "no_data"
    assert status(means=UserMeans(candidate=none, baseline=DATA.baseline)) == "no_data"
    assert status(means=UserMeans(), is_due=False) == "inconclusive"
    assert status(means=UserMeans(), applies=False) == "not_tested"


@pytest.mark.parametrize(
    ("found", "doubts", "verdict"),
    [
        (("non_inferior", "non_inferior"), (), "promote"),
        (("non_inferior", "not_tested"), (), "promote"),
        (("not_tested", "not_tested"), (), "hold"),
        (("non_inferior", "inconclusive"), (), "hold"),
        (("inferior", "non_inferior"), (), "rollback"),
        (("inferior", "no_data"), (), "rollback"),
        (("non_inferior", "no_data"), (), "invalid"),
        (("inconclusive", "no_data"), (), "invalid"),
        (("non_inferior", "non_inferior"), ("mixed",), "invalid"),
        (("inferior", "non_inferior"), ("mixed",), "invalid"),
    ],
)
def test_the_verdict_follows(found: tuple[Any, Any], doubts: tuple[str, ...], verdict: str) -> None:
    findings = [finding(), finding(name="acceptance"), finding(name="slow_ttft", is_guardrail=False)]
    words = {"error_rate": found[0], "acceptance": found[1], "slow_ttft": "inferior"}
    assert decide(words, findings, doubts)[0] == verdict  # type: ignore[arg-type]


def test_strong_evidence_of_harm_outranks_doubts_and_names_them() -> None:
    enough = STRONG_LOG_E - math.log(ALPHA)
    for log_e, verdict, first in ((enough + 1e-9, "rollback", "error rate is"), (enough - 1e-9, "invalid", "mixed")):
        findings = [finding(log_e_peak=log_e), finding(name="acceptance", log_e_peak=99.0)]
        found, reasons = decide({"error_rate": "inferior", "acceptance": "non_inferior"}, findings, ("mixed",))
        assert found == verdict
        assert reasons[0].startswith(first)
        assert "mixed" in reasons


def test_without_calls_the_reason_is_that_there_are_none() -> None:
    findings = [finding(means=UserMeans(), is_due=False)]
    assert decide({"error_rate": "inconclusive"}, findings, ()) == ("hold", ("no calls of both arms yet",))


def test_statuses_are_those_of_the_design() -> None:
    assert [exit_code(one, None) for one in ("promote", "rollback", "hold", "invalid")] == [
        ExitCode.DONE,
        ExitCode.GATE_NOT_MET,
        ExitCode.INCONCLUSIVE,
        ExitCode.INCONCLUSIVE,
    ]
    only = frozenset({"rollback", "invalid"})
    assert [exit_code(one, only) for one in ("promote", "rollback", "hold", "invalid")] == [0, 1, 0, 5]  # type: ignore[arg-type]


def test_strays_are_a_doubt_only_with_evidence_that_they_are_a_share() -> None:
    assert not is_common(0, 0)
    assert not is_common(1, 1)
    assert not is_common(1, 10), "one call shows no share"
    assert is_common(5, 10)
    assert not is_common(100, 10_000), "no more than the share"
    assert is_common(140, 10_000)
    assert not is_common(round(MAX_STRAY_RATE * 10**7), 10**7)


# --- users of a stage ---


def users(count: int, failing: int, total: float | None = None) -> UserSums:
    """Return users, some of whom always fail."""
    whole = round(failing * MILLION if total is None else total)
    return UserSums(user_count=count, affected_count=failing, total=whole, squares=whole * MILLION)


def series(candidate: UserSums, control: UserSums, margin: float = 0.01) -> MeanSeries:
    sums = {("error_rate", "canary", 0): {0: candidate}, ("error_rate", "control", 0): {0: control}}
    counts = Counts(users=sums)  # type: ignore[arg-type]
    return mean_series(counts, "error_rate", PAIR, stage=0, margin=margin, min_users=MIN_COUNT, now_us=HOUR_US)


def test_users_who_always_fail_are_seen_in_means() -> None:
    assert series(users(3000, 0), users(3000, 0)).at(HOUR_US)[1] > SURE
    assert series(users(3000, 39), users(3000, 0)).at(HOUR_US)[1] < math.log(20)


def test_a_stage_must_see_for_itself() -> None:
    for count, has_evidence in ((49, False), (50, True)):
        means, peak = series(users(count, 0), users(5000, 0), margin=0.5).at(HOUR_US)
        assert means.candidate.count == count
        assert (peak > 0) == has_evidence


def test_the_control_and_the_rest_of_the_traffic_are_one_baseline() -> None:
    sums = {("error_rate", side, 0): {0: users(100, 10)} for side in ("canary", "control", "stable")}
    counts = Counts(users=sums)  # type: ignore[arg-type]
    found = mean_series(counts, "error_rate", PAIR, stage=0, margin=0.01, min_users=50, now_us=HOUR_US)
    means, _ = found.at(HOUR_US)
    assert (means.candidate.count, means.baseline.count) == (100, 200)
    assert (means.candidate.mean, means.baseline.mean) == (0.1, 0.1)
    assert found.at(HOUR_US - 1)[0].candidate.count == 0, "an hour's changes are known at its end"


# --- blocks ---


def cells(*counts: tuple[int, int], stage: int = 0) -> list[TimeBucket]:
    return [
        TimeBucket(stage=stage, at_us=index * CELL_US, sides={"canary": (count[0], 0), "control": (count[1], 0)})
        for index, count in enumerate(counts)
        if any(count)
    ]


def test_blocks_close_when_both_arms_have_enough() -> None:
    blocks = close_blocks(cells((20, 40), (0, 90), (1, 9), (9, 9)), PAIR, until_us=HOUR_US)
    assert [(one.block.candidate_count, one.block.control_count) for one in blocks] == [(20, 40), (1, 99)]
    blocks = close_blocks(cells(*[(3, 2)] * 12), PAIR, until_us=HOUR_US)
    assert [one.block.candidate_count for one in blocks] == [30], "few wait for others"
    assert close_blocks(cells(*[(90, 0)] * 30), PAIR, until_us=HOUR_US * 9) == [], "one arm says nothing"


def test_a_block_closes_after_an_hour_whatever_it_holds_if_both_arms_are_in_it() -> None:
    few = cells((1, 1))
    assert close_blocks(few, PAIR, until_us=HOUR_US - 1) == []
    (only,) = close_blocks(few, PAIR, until_us=HOUR_US)
    assert (only.until_us, only.block.candidate_count, only.block.control_count) == (HOUR_US, 1, 1)
    first, second = close_blocks(cells((1, 1), *[(0, 0)] * 20, (2, 2)), PAIR, until_us=9 * HOUR_US)
    assert (first.until_us, first.block.candidate_count) == (HOUR_US, 1), "a later cell is no part of it"
    assert (second.until_us, second.block.candidate_count) == (21 * CELL_US + HOUR_US, 2)
    (late,) = close_blocks(cells((5, 0), *[(0, 0)] * 20, (0, 3)), PAIR, until_us=9 * HOUR_US)
    assert (late.until_us, late.block.candidate_count, late.block.control_count) == (22 * CELL_US, 5, 3), "it waits"


def test_a_stage_shorter_than_a_block_has_one_all_the_same() -> None:
    brief = [*cells((3, 3), stage=1), *cells(*[(60, 60)] * 6, stage=2)[1:]]
    blocks = close_blocks(brief, PAIR, until_us=2 * HOUR_US)
    assert [one.block.candidate_count for one in blocks if one.stage == 1] == [3]
    assert [one.block.candidate_count for one in blocks if one.stage == 2] == [60] * 5


def test_with_heavy_traffic_blocks_are_a_part_of_what_came_before() -> None:
    heavy = cells(*[(5000, 5000)] * 300)
    blocks = close_blocks(heavy, PAIR, until_us=300 * CELL_US)
    assert len(blocks) < 250
    assert sum(one.block.candidate_count for one in blocks) <= 300 * 5000
    assert all(one.until_us % CELL_US == 0 for one in blocks)


def test_an_open_cell_says_nothing_yet() -> None:
    assert close_blocks(cells((60, 60)), PAIR, until_us=CELL_US - 1) == []
    assert len(close_blocks(cells((60, 60)), PAIR, until_us=CELL_US)) == 1


def test_evidence_is_what_was_known_at_any_moment() -> None:
    failing = [
        TimeBucket(stage=0, at_us=index * CELL_US, sides={"canary": (100, 60), "control": (100, 30)})
        for index in range(9)
    ]
    found = accumulate(failing, PAIR, until_us=HOUR_US)
    assert found.at(0) == (0.0, 0.0)
    assert found.at(CELL_US)[0] < found.at(2 * CELL_US)[0] < found.at(HOUR_US)[0]
    until = accumulate(failing, PAIR, until_us=4 * CELL_US)
    assert until.at(HOUR_US) == found.at(4 * CELL_US), "what comes later changes nothing before"


# --- users at risk ---


def change(at: int, canary: tuple[int, int, int], control: tuple[int, int, int], stage: int = 0) -> RiskChange:
    return RiskChange(stage=stage, at_us=at * CELL_US, sides={"canary": canary, "control": control})


def test_all_users_at_risk_are_counted_whether_they_call_or_not() -> None:
    changes = [change(0, (10, 0, 0), (90, 2, 0)), change(30, (5, 3, 0), (0, 0, 4))]
    found = accumulate_failures(changes, PAIR, until_us=HOUR_US * 9, calls_per_user=UNCACHED)
    sizes = [(10, 90, 0, 2), (15, 84, 3, 0)]
    expected = RatioEProcess(failures_only=True)
    for one, (n1, n0, k1, k0), at in zip(found.blocks, sizes, (1, 31), strict=True):
        block = Block(candidate_count=n1, control_count=n0, candidate_failure_count=k1, control_failure_count=k0)
        assert one.block == block
        assert found.at(at * CELL_US)[0] == expected.add(block)
    assert found.at(HOUR_US)[0] != found.at(31 * CELL_US)[0]


def test_a_failure_counts_only_where_both_arms_have_users_at_risk() -> None:
    alone = [change(0, (10, 9, 0), (0, 0, 0)), change(1, (0, 1, 0), (5, 0, 0)), change(2, (0, 0, 0), (0, 1, 0))]
    found = accumulate_failures(alone, PAIR, until_us=HOUR_US, calls_per_user=UNCACHED)
    assert [one.block.candidate_count for one in found.blocks] == [1], "the first nine had nobody to compare with"
    assert found.blocks[0].block.candidate_failure_count == 1


def test_stages_have_users_at_risk_of_their_own() -> None:
    changes = [change(0, (10, 0, 0), (10, 0, 0)), change(1, (7, 1, 0), (6, 0, 0), stage=1)]
    (only,) = accumulate_failures(changes, PAIR, until_us=HOUR_US, calls_per_user=UNCACHED).blocks
    assert (only.stage, only.block.candidate_count, only.block.control_count) == (1, 7, 6)


def test_users_of_a_cold_cache_reach_a_model_more_often() -> None:
    counts = Counts()
    counts.calls["canary", 0, "chat", 0] = CallCounts(call_count=50, cached_count=5)
    counts.calls["control", 0, "chat", 0] = CallCounts(call_count=40, cached_count=20)
    counts.calls["stable", 0, "chat", HOUR_US] = CallCounts(call_count=60, cached_count=30)
    ratios = CallsPerUser(counts, PAIR)
    assert ratios.at(0, CELL_US) == ratios.at(0, 5 * HOUR_US) == pytest.approx(0.9 / 0.5)
    assert ratios.at(1, 0) == 1.0, "no calls are known"
