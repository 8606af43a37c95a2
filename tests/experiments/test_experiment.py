"""Experiments: who wins, who never does, and what makes a comparison worthless."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.experiment_log import Arm, Trial, experiment_events, write_experiments
from support.rollout_log import BEGIN

from flowai.analytics.event_query import TimeRange, open_log
from flowai.canary.report_records import with_digest
from flowai.comparison.count import count_arms
from flowai.comparison.spec import COLUMNS, HOUR_US
from flowai.events import CallEvent, EventLog
from flowai.experiments.judge import ExperimentRules, evaluate_experiment
from flowai.experiments.report import WRITERS
from flowai.experiments.report_records import exit_code
from flowai.experiments.spec import EXPERIMENT_METRICS, experiment_spec, start_of
from flowai.experiments.tables import pair_rows, screen_lines, verdict_line
from flowai.redaction import Redactor
from flowai.registry.policies import NonInferiorityMargins
from flowai.rendering.report_files import to_json
from flowai.timestamps import to_us

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flowai.events import Event
    from flowai.experiments.report_records import ExperimentReport

pytestmark = pytest.mark.slow  # reads large logs

HOURS = 6
GUARDRAILS = ("error_rate", "json_valid", "slow_calls", "acceptance")


def judged(
    directory: Path, arms: tuple[str, ...] = ("A", "B"), hours: float = HOURS, **changes: Any
) -> ExperimentReport:
    begin_us = to_us(BEGIN)
    spec = experiment_spec(
        "tone",
        arms,
        feature="chat",
        time_range=TimeRange(since_us=begin_us, until_us=begin_us + round(hours * HOUR_US)),
        feedback_us=HOUR_US,
        now_us=begin_us + round(hours * HOUR_US),
    )
    facts: dict[str, Any] = {
        "experiment": "tone",
        "feature": "chat",
        "goal": "save_rate",
        "alpha": 0.05,
        "guardrails": GUARDRAILS,
        "margins": {name: NonInferiorityMargins().of(name) for name in EXPERIMENT_METRICS},
    }
    with open_log(directory, COLUMNS, spec.time_range) as log:
        counts = count_arms(log, spec)
    return evaluate_experiment(counts, spec, ExperimentRules(**(facts | changes)))


def written(directory: Path, **changes: Any) -> Path:
    facts: dict[str, Any] = {"calls_count": 4000, "hours": 4.0}
    write_experiments(directory, Trial(**(facts | changes)))
    return directory


def write_events(directory: Path, events: list[Event], process: str = "more") -> None:
    with EventLog(directory, process, Redactor(()), lambda: BEGIN) as log:
        for event in events:
            log.append(event)


def arms_of(**rates: float) -> dict[str, Arm]:
    return {name: Arm(save_rate=rate) for name, rate in rates.items()}


def test_the_arm_with_the_higher_save_rate_wins(tmp_path: Path) -> None:
    report = judged(written(tmp_path, arms=arms_of(A=0.3, B=0.4)))
    assert report.verdict == "winner"
    assert report.winner == "B"
    assert report.leader == "B"
    assert report.goal_acts_at == 40
    assert report.pair("B", "A").is_better
    assert not report.pair("A", "B").is_better
    assert report.pair("A", "B").goal.e_value_peak >= 40
    assert sum(arm.unit_count for arm in report.arms.values()) == 4000
    assert exit_code(report.verdict) == 0


def test_equal_arms_have_no_winner_and_a_needed_user_count(tmp_path: Path) -> None:
    report = judged(written(tmp_path, arms=arms_of(A=0.30, B=0.32)))
    assert report.verdict == "none"
    assert report.winner is None
    assert exit_code(report.verdict) == 5
    assert report.leader == "B"
    assert report.needed_count is not None
    assert report.needed_count > 1000
    assert report.needed_s is not None
    assert verdict_line(report).startswith("NO WINNER YET  B leads; about ")


def test_a_winner_beats_every_other_arm_not_just_one(tmp_path: Path) -> None:
    report = judged(written(tmp_path, arms=arms_of(A=0.20, B=0.40, C=0.40), calls_count=6000), arms=("A", "B", "C"))
    assert report.verdict == "none"
    assert report.pair("B", "A").is_better
    assert report.pair("C", "A").is_better
    assert not report.pair("B", "C").is_better
    assert report.goal_acts_at == 60


def test_an_arm_that_fails_more_often_does_not_win(tmp_path: Path) -> None:
    arms = {"A": Arm(), "B": Arm(save_rate=0.45, error_rate=0.08)}
    report = judged(written(tmp_path, arms=arms))
    assert report.verdict == "worse"
    assert report.winner is None
    assert exit_code(report.verdict) == 1
    assert report.reasons[0] == "error rate of B is worse than that of A"
    assert "B has the best save rate" in report.reasons[1]


def test_a_failing_loser_does_not_block_the_winner(tmp_path: Path) -> None:
    arms = {"A": Arm(save_rate=0.4), "B": Arm(save_rate=0.25, error_rate=0.08)}
    report = judged(written(tmp_path, arms=arms))
    assert report.verdict == "winner"
    assert report.winner == "A"
    assert any("error rate of B is worse" in one for one in report.reasons)


def test_worse_rows_name_the_strongest_evidence_once(tmp_path: Path) -> None:
    arms = {"A": Arm(), "B": Arm(), "C": Arm(error_rate=0.15)}
    report = judged(written(tmp_path, arms=arms, calls_count=6000), arms=("A", "B", "C"))
    assert report.reasons[0] == "error rate of C is worse than that of A and B"
    assert sum(row[-1] == "worse" for row in pair_rows(report)) == 1


def _stray(trial: Trial) -> list[Event]:
    calls = [event for event in experiment_events(trial) if isinstance(event, CallEvent)]
    return [msgspec.structs.replace(call, call_id=f"x{call.call_id}", arm="Z\x1b[2J") for call in calls[:30]]


def _calls(trial: Trial, arm: str) -> list[CallEvent]:
    calls = [event for event in experiment_events(replace(trial, seed=9)) if isinstance(event, CallEvent)]
    return [call for call in calls if call.arm == arm]


def _other_prompt(trial: Trial) -> list[Event]:
    return [msgspec.structs.replace(call, prompt_hash="ef" * 32) for call in _calls(trial, "A")[:100]]


def _one_more_arm_of_users(trial: Trial) -> list[Event]:
    return [*_calls(trial, "B")]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (_stray, "traffic in arms that the registry does not have: 30 calls of Z\\x1b[2J"),
        (_other_prompt, "mixed versions: 2 texts of the prompt of chat served as A"),
        (_one_more_arm_of_users, "users do not divide evenly: A "),
    ],
)
def test_untrustworthy_data_is_invalid(tmp_path: Path, more: Callable[[Trial], list[Event]], reason: str) -> None:
    written(tmp_path, arms=arms_of(A=0.3, B=0.5))
    write_events(tmp_path, more(Trial(arms=arms_of(A=0.3, B=0.5))))
    report = judged(tmp_path)
    assert report.verdict == "invalid"
    assert report.winner is None
    assert exit_code(report.verdict) == 5
    assert report.reasons[0].startswith(reason)
    assert "\x1b" not in "\n".join((*screen_lines(report), str(WRITERS[".md"](report)), str(WRITERS[".html"](report))))


def test_an_arm_without_calls_is_invalid(tmp_path: Path) -> None:
    written(tmp_path, arms=arms_of(A=0.3))
    assert "arm B has no calls" in judged(tmp_path).reasons


def test_feedback_that_is_never_sent_is_named(tmp_path: Path) -> None:
    report = judged(written(tmp_path, arms=arms_of(A=0.0, B=0.0)))
    assert report.verdict == "invalid"
    assert "no data for acceptance" in report.reasons
    assert "no answer of any arm was saved: is this feedback sent at all?" in report.reasons


def test_a_guardrail_without_data_is_invalid(tmp_path: Path) -> None:
    report = judged(written(tmp_path, arms=arms_of(A=0.3, B=0.5)), guardrails=("error_rate", "hallucination"))
    assert report.verdict == "invalid"
    assert report.reasons == ("no data for hallucination",)


def test_users_who_may_still_save_count_as_undecided(tmp_path: Path) -> None:
    # the last hour's users have not been heard yet: without the wait each of them would count as a failure
    report = judged(written(tmp_path, arms=arms_of(A=0.5, B=0.5)), hours=4)
    heard = report.pair("A", "B").goal.candidate
    assert heard.count < report.arms["A"].unit_count * 0.8
    assert heard.rate == pytest.approx(0.5, abs=0.05)


def test_a_user_counts_once(tmp_path: Path) -> None:
    report = judged(written(tmp_path, arms=arms_of(A=0.3, B=0.3), calls_per_user=10))
    assert sum(arm.unit_count for arm in report.arms.values()) == 400
    assert sum(arm.call_count for arm in report.arms.values()) == 4000


def test_without_users_each_call_counts_by_itself(tmp_path: Path) -> None:
    report = judged(written(tmp_path, arms=arms_of(A=0.3, B=0.4), has_users=False))
    assert report.unit == "call"
    assert report.verdict == "winner"
    assert report.winner == "B"
    assert "no call has a user or a session: each call counts as a user" in report.warnings


def test_another_goal_may_decide(tmp_path: Path) -> None:
    # only saves are told, so that whatever is judged is accepted
    report = judged(written(tmp_path, arms=arms_of(A=0.3, B=0.4)), goal="acceptance", guardrails=("error_rate",))
    assert report.verdict == "none"
    assert report.pairs[0].goal.name == "acceptance"
    assert report.pair("A", "B").goal.candidate.rate == 0


def test_release_changes_during_the_experiment_are_reported(tmp_path: Path) -> None:
    written(tmp_path, arms=arms_of(A=0.3, B=0.4), changes={"release": "v1"})
    later = Trial(arms=arms_of(A=0.3, B=0.4), seed=8, changes={"release": "v2", "variant": "canary"})
    write_experiments(tmp_path, later, process="web-2")
    report = judged(tmp_path)
    assert report.verdict == "winner"
    assert report.winner == "B"
    assert report.warnings[0].startswith("several releases served: v1, v2; ")


def test_dogfood_calls_are_excluded(tmp_path: Path) -> None:
    written(tmp_path, changes={"variant": "dogfood"}, calls_count=400)
    assert all(arm.call_count == 0 for arm in judged(tmp_path).arms.values())


def test_an_empty_log_has_no_winner(tmp_path: Path) -> None:
    report = judged(tmp_path / "nowhere")
    assert report.verdict == "none"
    assert report.leader is None
    assert report.needed_count is None
    assert verdict_line(report) == "NO WINNER YET  no arm leads"
    assert WRITERS[".md"](report)
    assert WRITERS[".html"](report)


def test_the_same_log_gives_the_same_bytes(tmp_path: Path) -> None:
    trial = Trial(arms=arms_of(A=0.3, B=0.4), calls_count=2000)
    events = list(experiment_events(trial))
    write_events(tmp_path / "one", events)
    write_events(tmp_path / "two", events[::2], process="p")
    write_events(tmp_path / "two", events[1::2][::-1], process="q")
    one, two = judged(tmp_path / "one"), judged(tmp_path / "two")
    assert to_json(one) == to_json(two)
    assert with_digest(one) == one
    assert len(one.digest) == 64


def test_the_first_call_is_found(tmp_path: Path) -> None:
    written(tmp_path, calls_count=40)
    begin_us = to_us(BEGIN)
    whole = TimeRange(since_us=0, until_us=begin_us + HOURS * HOUR_US)
    assert start_of(tmp_path, "tone", whole) == begin_us
    assert start_of(tmp_path, "it's another", whole) is None
    later = replace(whole, since_us=begin_us + 1)
    assert start_of(tmp_path, "tone", later) == begin_us + 360_000_000
