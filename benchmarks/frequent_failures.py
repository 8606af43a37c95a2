"""How often equally good releases are rolled back where failures are frequent, by the evidence for rare failures.

Rollouts at 50 % for a day, judged at the end of each hour by the code of `flowai canary-report`; the error rate is the
only guardrail and has all of alpha 0.05. Users differ (beta). In brackets: 95 % intervals.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from flowai.canary.planning.simulated_counts import count_simulated
from flowai.canary.planning.simulated_verdicts import judge_simulated, rollout_spec
from flowai.comparison.evidence import DecisionRules
from flowai.comparison.metrics import METRICS
from flowai.registry.policies import CanaryPolicy
from flowai.simulation.generator import simulate_calls
from flowai.simulation.scenario import Arm, Scenario
from flowai.statistics import clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = ("failed calls", "calls per user", "users", "users with a failure", "rolled back", "at most")
RUNS = 1_500
ALPHA = 0.05
CASES = ((0.02, 12.0, 10.0), (0.05, 3.0, 10.0), (0.1, 3.0, 10.0), (0.1, 12.0, 2.0), (0.3, 3.0, 10.0))
"""Rate of failed calls, calls per user, concentration of users' own rates."""
RULES = DecisionRules(
    alpha=ALPHA,
    guardrails=("error_rate",),
    margins={name: CanaryPolicy().margins.of(name) for name in METRICS},
    baseline="v1",
)


def rows(runs: int = RUNS) -> Iterator[tuple[str, ...]]:
    """Yield the table, each row as `HEADER` says."""
    for rate, calls_per_user, concentration in CASES:
        arm = Arm(primary_failure_rate=0.0, error_rate=rate)
        scenario = Scenario(
            candidate=arm,
            control=arm,
            stages=((50, 24.0),),
            calls_per_hour=250.0,
            calls_per_user=calls_per_user,
            user_concentration=concentration,
        )
        outcomes = (judge_simulated(simulate_calls(scenario, seed), scenario, RULES) for seed in range(runs))
        wrong = sum(bool(outcome.worse) for outcome in outcomes)
        interval = clopper_pearson(wrong, runs)
        row = (
            f"{rate:.0%}",
            f"{calls_per_user:g}",
            f"beta({concentration:g})",
            f"{failing_share(scenario):.0%}",
            f"{wrong / runs:.1%} ({100 * interval.low:.1f} to {100 * interval.high:.1f})",
            f"{ALPHA:.0%}",
        )
        yield tuple(cell.replace("%", " %") for cell in row)


def failing_share(scenario: Scenario) -> float:
    """Return the share of the users of a rollout who have a failure."""
    calls = simulate_calls(scenario, 0)
    counts = count_simulated(calls, [one.name for one in scenario.features], rollout_spec(scenario))
    sides = [side for change in counts.risks["error_rate"] for side in change.sides.values()]
    return sum(failed for _, failed, _ in sides) / sum(came for came, _, _ in sides)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="rollouts of each kind")
    options = parser.parse_args()
    sys.stdout.write("| " + " | ".join(HEADER) + " |\n| " + " | ".join("---" for _ in HEADER) + " |\n")
    for row in rows(options.runs):
        sys.stdout.write("| " + " | ".join(row) + " |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
