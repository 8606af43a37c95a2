"""How often the hallucination row of a rollout is wrong when a judge with a measured error gives the scores.

Logs of rollouts at 50 %, judged at the end of each hour by the code of `flowai canary-report`. The judge flags 80 % of
the hallucinations and passes 90 % of the other answers; its calibration has 100 labels of each kind, drawn anew each
time. Users differ (beta(10)) and make three calls on average; every answer is scored. `alone`: hallucination is the
only guardrail and has all of alpha 0.05; else it shares alpha with the default guardrails. The margin is the default
unless a row names another. Logs are counted in memory; the first ones of each kind are also written as event logs and
read by the code of the command, which must roll back exactly the same ones. In brackets: 95 % intervals.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np  # noqa: TID251 - draws

from flowai.calibration import Calibration, JudgeCounts, JudgingRules
from flowai.canary.judge import evaluate_rollout
from flowai.canary.planning.simulated_counts import count_simulated
from flowai.canary.planning.simulated_verdicts import judge_simulated, rollout_spec
from flowai.comparison.count import count_log
from flowai.comparison.evidence import DecisionRules
from flowai.comparison.metrics import METRICS
from flowai.registry.policies import CanaryPolicy, JudgingPolicy
from flowai.simulation.event_log import write_event_log
from flowai.simulation.generator import simulate_calls
from flowai.simulation.judge_error import JudgeError, misjudge
from flowai.simulation.scenario import Arm, Scenario
from flowai.statistics import clopper_pearson, difference_bias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.analytics.records import Metric
    from flowai.canary.report_records import CanaryReport
    from flowai.simulation.calls import SimulatedCalls

HEADER = ("what", "seen", "target", "met")
RUNS = 200
WRITTEN = 2
"""Logs of each kind that are also written and read."""
REPORTED = 40
"""Rollouts of each kind whose corrected difference at the end counts."""
ALPHA = 0.05
LABELS = 100
JUDGE = JudgeError(true_positive_rate=0.8, true_negative_rate=0.9)
YOUDEN = JUDGE.true_positive_rate + JUDGE.true_negative_rate - 1
JUDGE_HASH = "0123456789abcdef"
Row = tuple[str, ...]

BASE = Scenario(
    candidate=Arm(primary_failure_rate=0.0),
    control=Arm(primary_failure_rate=0.0),
    stages=((50, 24.0),),
    calls_per_hour=250.0,
    calls_per_user=3.0,
    user_concentration=10.0,
    score_rate=1.0,
    score_delay_min=5.0,
    judge_hash=JUDGE_HASH,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A kind of rollout."""

    what: str
    candidate_rate: float
    control_rate: float
    of_candidate: JudgeError = JUDGE
    """The judge's rates on the candidate's answers; the calibration is of the control's."""
    margin: float = CanaryPolicy().margins.hallucination
    calls_per_hour: float = 250.0
    guardrails: tuple[Metric, ...] = ("hallucination",)
    runs_divisor: int = 4
    target: str = "rollback"
    """Share of runs that must be at most alpha: `rollback`, `promotion`, `bias`; empty for the record."""


def cases() -> Iterator[Case]:
    """Yield rollouts without a difference, and those by which a row could be misled."""
    yield Case(
        what="no difference, 10 % of answers hallucinate",
        candidate_rate=0.1,
        control_rate=0.1,
        guardrails=(*CanaryPolicy().guardrails, "hallucination"),
        runs_divisor=2,
    )
    for rate in (0.01, 0.1, 0.3):
        yield Case(
            what=f"alone: no difference, {rate * 100:.0f} % of answers hallucinate",
            candidate_rate=rate,
            control_rate=rate,
            runs_divisor=1,
        )
    for gap in (0.01, 0.03):
        worse = JudgeError(true_positive_rate=0.8 + gap, true_negative_rate=0.9 - gap)
        yield Case(
            what=f"alone: no difference, candidate's TPR {gap * 100:+.0f} and TNR {-gap * 100:+.0f} points",
            candidate_rate=0.1,
            control_rate=0.1,
            of_candidate=worse,
            target="bias",
        )
    yield Case(
        what="alone: worse by 1.3 margins (10 -> 16.5 %, margin 5 points)",
        candidate_rate=0.165,
        control_rate=0.1,
        margin=0.05,
        calls_per_hour=1000.0,
        runs_divisor=8,
        target="promotion",
    )
    yield Case(
        what="alone: no difference at 10 %, margin 5 points",
        candidate_rate=0.1,
        control_rate=0.1,
        margin=0.05,
        calls_per_hour=1000.0,
        runs_divisor=8,
        target="",
    )
    yield Case(what="alone: worse: 10 -> 20 %", candidate_rate=0.2, control_rate=0.1, target="")


def calibrate(rng: np.random.Generator) -> Calibration:
    """Draw a calibration of the judge."""
    hits = int(rng.binomial(LABELS, JUDGE.true_positive_rate))
    passed = int(rng.binomial(LABELS, JUDGE.true_negative_rate))
    return Calibration(
        name="hallucination",
        judge="simulated",
        judge_hash=JUDGE_HASH,
        at=BASE.begin - timedelta(days=7),
        source="evals/faithful.yaml",
        counts=JudgeCounts(
            true_positive_count=hits,
            false_negative_count=LABELS - hits,
            true_negative_count=passed,
            false_positive_count=LABELS - passed,
        ),
    )


def rules_of(case: Case, calibration: Calibration) -> DecisionRules:
    """Return the default policy's rules with the one guardrail, and the judge as its calibration allows."""
    policy, judging = CanaryPolicy(), JudgingPolicy()
    found = JudgingRules(
        calibrations=(calibration,), min_youden=judging.min_youden, max_age_s=judging.max_age_s, now=BASE.begin
    ).standing("hallucination", {JUDGE_HASH: 1})
    return DecisionRules(
        alpha=ALPHA,
        guardrails=case.guardrails,
        margins={name: policy.margins.of(name) for name in METRICS} | {"hallucination": case.margin},
        baseline="v1",
        judged={} if found is None else {"hallucination": found},
    )


def calls_of(case: Case, seed: int) -> tuple[Scenario, SimulatedCalls]:
    """Simulate a rollout and the judge's scores."""
    scenario = replace(
        BASE,
        candidate=replace(BASE.candidate, hallucination_rate=case.candidate_rate),
        control=replace(BASE.control, hallucination_rate=case.control_rate),
        calls_per_hour=case.calls_per_hour,
    )
    calls = simulate_calls(scenario, seed)
    return scenario, misjudge(calls, candidate=case.of_candidate, baseline=JUDGE, seed=seed)


def report_of(scenario: Scenario, calls: SimulatedCalls, rules: DecisionRules, *, is_written: bool) -> CanaryReport:
    """Report on a rollout, from its event log or from counts in memory."""
    spec = rollout_spec(scenario)
    if not is_written:
        counts = count_simulated(calls, [one.name for one in scenario.features], spec)
        return evaluate_rollout(counts, spec, rules)
    with tempfile.TemporaryDirectory() as name:
        write_event_log(calls, scenario, Path(name))
        counts = count_log([Path(name)], spec)
        if counts.scores_of("hallucination").keys() != {JUDGE_HASH}:
            sys.exit("the scores of the log do not name their judge")
        return evaluate_rollout(counts, spec, rules, replay=True)


def play(case: Case, runs: int) -> tuple[int, int, list[float]]:
    """Return rollbacks, promotions, and the corrected differences at the end of the first rollouts."""
    rollbacks, promotions, differences = 0, 0, []
    for seed in range(runs):
        calibration = calibrate(np.random.default_rng([seed, 3]))
        rules = rules_of(case, calibration)
        scenario, calls = calls_of(case, seed)
        outcome = judge_simulated(calls, scenario, rules)
        rollbacks += "hallucination" in outcome.worse
        promotions += bool(outcome.promoted)
        if seed >= REPORTED:
            continue
        report = report_of(scenario, calls, rules, is_written=seed < WRITTEN)
        if seed < WRITTEN and (outcome.rollback_us is not None) != any(
            one.verdict == "rollback" for one in report.replay
        ):
            sys.exit(f"{case.what}, seed {seed}: the command does not say what the simulation says")
        effect = next(one.effect for one in report.metrics if one.name == "hallucination")
        if effect.estimate is not None:
            differences.append(effect.estimate)
    return rollbacks, promotions, differences


def row_of(case: Case, most: int) -> Row:
    """Play the rollouts of a case: at most so many, a part of them where each takes longer."""
    runs = max(most // case.runs_divisor, 1)
    rollbacks, promotions, differences = play(case, runs)
    mean = float(np.mean(differences))
    seen = f"rolled back {share(rollbacks, runs)}; promoted {share(promotions, runs)}; difference {mean * 100:+.2f} pt"
    if case.target == "bias":
        bound = difference_bias(
            case.candidate_rate,
            YOUDEN,
            tpr_gap=case.of_candidate.true_positive_rate - JUDGE.true_positive_rate,
            tnr_gap=case.of_candidate.true_negative_rate - JUDGE.true_negative_rate,
        )
        # the mean over the rollouts errs by chance, too
        slack = 3 * float(np.std(differences)) / len(differences) ** 0.5
        bias = abs(mean - (case.candidate_rate - case.control_rate))
        return case.what, seen, f"bias <= {bound * 100:.2f} pt", yes_no(is_met=bias <= bound + slack)
    if not case.target:
        return case.what, seen, "", ""
    wrong = rollbacks if case.target == "rollback" else promotions
    return case.what, seen, f"{case.target} <= {ALPHA:.0%}".replace("%", " %"), yes_no(is_met=wrong / runs <= ALPHA)


def share(found: int, runs: int) -> str:
    """Return a share of the runs with its interval."""
    interval = clopper_pearson(found, runs)
    return f"{100 * found / runs:.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def yes_no(*, is_met: bool) -> str:
    """Return whether a target is met."""
    return "yes" if is_met else "**no**"


def rows(runs: int = RUNS) -> Iterator[Row]:
    """Yield the table, each row as `HEADER` says."""
    for case in cases():
        yield row_of(case, runs)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="most rollouts of a kind")
    options = parser.parse_args()
    sys.stdout.write("| " + " | ".join(HEADER) + " |\n| " + " | ".join("---" for _ in HEADER) + " |\n")
    for row in rows(options.runs):
        sys.stdout.write("| " + " | ".join(row) + " |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
