"""Verdicts from counts and evidence: pure functions, so that every rule is tested."""

from __future__ import annotations

import math
from typing import Any

import pytest

from flowai.analytics.records import CountOfTotal
from flowai.comparison.blocks import ArmPair, accumulate, close_blocks
from flowai.comparison.counts import TimeBucket
from flowai.comparison.spec import CELL_US, HOUR_US
from flowai.comparison.verdict import MetricFinding, decide, exit_code, status_of
from flowai.errors import ExitCode

SURE = math.log(1000)
PAIR = ArmPair(candidate="canary", control="control", extra_control="stable")


def finding(**changes: Any) -> MetricFinding:
    even = CountOfTotal(count=1000, failure_count=10)
    facts: dict[str, Any] = {
        "name": "error_rate",
        "is_guardrail": True,
        "candidate": even,
        "control": even,
        "candidate_calls": even,
        "control_calls": even,
        "opportunities": (1000, 1000),
        "margin": 0.01,
        "alpha": 0.0125,
    }
    return MetricFinding(**(facts | changes))


def status(**changes: Any) -> str:
    return status_of(finding(**changes), safe_alpha=0.05)


def test_evidence_decides_what_a_metric_says() -> None:
    assert status() == "inconclusive"
    assert status(safe_log_e=SURE) == "non_inferior"
    assert status(log_e_peak=SURE) == "inferior"
    assert status(log_e_peak=SURE, safe_log_e=SURE) == "non_inferior", "worse, but within the margin that was allowed"


def test_users_who_always_fail_are_seen_in_calls() -> None:
    failing = CountOfTotal(count=1000, failure_count=60)
    assert status(safe_log_e=SURE, candidate_calls=failing) == "inconclusive"
    assert status(safe_log_e=SURE, log_e_peak=SURE, candidate_calls=failing) == "inferior"


def test_a_stage_must_see_for_itself() -> None:
    few = CountOfTotal(count=49, failure_count=0)
    assert status(safe_log_e=SURE, candidate=few) == "inconclusive"


def test_missing_is_said_only_when_there_could_have_been_data() -> None:
    none = CountOfTotal()
    assert status(candidate=none, control=none) == "no_data"
    assert status(candidate=none) == "no_data"
    assert status(candidate=none, control=none, opportunities=(49, 1000)) == "inconclusive"
    assert status(candidate=none, control=none, applies=False) == "not_tested"


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


def test_statuses_are_those_of_the_design() -> None:
    assert [exit_code(one, None) for one in ("promote", "rollback", "hold", "invalid")] == [
        ExitCode.DONE,
        ExitCode.GATE_NOT_MET,
        ExitCode.INCONCLUSIVE,
        ExitCode.INCONCLUSIVE,
    ]
    only = frozenset({"rollback", "invalid"})
    assert [exit_code(one, only) for one in ("promote", "rollback", "hold", "invalid")] == [0, 1, 0, 5]  # type: ignore[arg-type]


def cells(*counts: tuple[int, int], stage: int = 0) -> list[TimeBucket]:
    return [
        TimeBucket(
            stage=stage, feature="f", at_us=index * CELL_US, sides={"canary": (count[0], 0), "control": (count[1], 0)}
        )
        for index, count in enumerate(counts)
    ]


def test_blocks_close_when_both_arms_have_enough() -> None:
    blocks = close_blocks(cells((20, 40), (0, 90), (1, 9), (9, 9)), PAIR, until_us=HOUR_US)
    assert [(one.block.candidate_count, one.block.control_count) for one in blocks] == [(20, 40), (1, 99)]
    blocks = close_blocks(cells(*[(3, 2)] * 12), PAIR, until_us=HOUR_US)
    assert [one.block.candidate_count for one in blocks] == [30], "few wait for others"
    assert close_blocks(cells(*[(90, 0)] * 30), PAIR, until_us=HOUR_US * 9) == [], "one arm says nothing"


def test_an_open_cell_says_nothing_yet() -> None:
    assert close_blocks(cells((60, 60)), PAIR, until_us=CELL_US - 1) == []
    assert len(close_blocks(cells((60, 60)), PAIR, until_us=CELL_US)) == 1


def test_a_track_gives_what_was_known_at_any_moment() -> None:
    failing = [
        TimeBucket(stage=0, feature="f", at_us=index * CELL_US, sides={"canary": (100, 20), "control": (100, 1)})
        for index in range(9)
    ]
    track = accumulate("error_rate", 0.01, failing, PAIR, until_us=HOUR_US)
    assert track.at(0) == (0.0, 0.0, 0.0)
    assert track.at(CELL_US)[0] < track.at(2 * CELL_US)[0] < track.at(HOUR_US)[0]
    late = accumulate("acceptance", 0.02, failing, PAIR, until_us=HOUR_US, delay_us=HOUR_US)
    assert late.untils_us == [], "its feedback may still come"
