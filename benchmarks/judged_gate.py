"""How often the gate is wrong when a judge gave the verdicts: limits and comparisons corrected by its measured error.

The judge has a TPR of .8 and a TNR of .9, measured anew in each round on 50 faulty and 50 sound answers. The limit is a
pass rate of .9 with a margin of .05 and an alpha of .05; compared cases fail on either side independently, the harder
case. "Met" is wrong where the truth is at the limit less the margin or below, "not met" where it is at the limit or
above.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flowai.calibration import Calibration, JudgeCounts, JudgeStanding
from flowai.evals.gates.comparing import ComparisonNames, compare_pairs, pair_results
from flowai.evals.gates.judged import PASS_RATE, GatingJudge, judged_check, judged_comparison
from flowai.evals.gates.records import CaseResult
from flowai.evals.reports.records import Gate, GateCheck

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = ("what", "cases", "truth", "met", "not met", "undecided", "target", "met")
TPR, TNR = 0.8, 0.9
LABELS_EACH = 50
LIMIT, MARGIN, ALPHA = 0.9, 0.05, 0.05
NOW = datetime(2026, 12, 1, tzinfo=UTC)
ROUNDS = 600
SEED = 20_261_201
CHANCE = 2.6
"""Standard errors by which a share of the rounds may lie above alpha."""
Verdicts = Counter[bool | None]


def measured(rng: random.Random) -> tuple[GatingJudge]:
    """Draw a calibration."""
    hits, passed = (sum(rng.random() < rate for _ in range(LABELS_EACH)) for rate in (TPR, TNR))
    counts = JudgeCounts(
        true_positive_count=hits,
        false_negative_count=LABELS_EACH - hits,
        true_negative_count=passed,
        false_positive_count=LABELS_EACH - passed,
    )
    calibration = Calibration(name="x", judge="x", judge_hash="x", at=NOW, source="x", counts=counts)
    limits = frozenset({PASS_RATE})
    standing = JudgeStanding(judge_hashes=("x",), calibration=calibration)
    return (GatingJudge(standing=standing, is_measured=True, limits=limits, own_limits=limits),)


def results(rng: random.Random, count: int, rate: float) -> list[CaseResult]:
    """Draw verdicts on answers of which a share is sound."""
    found = []
    for number in range(count):
        chance = TNR if rng.random() < rate else 1 - TPR
        value = float(rng.random() < chance)
        found.append(CaseResult(suite="s", case=str(number), prompt="p", model="m", first=(value,)))
    return found


def limit_verdicts(rng: random.Random, count: int, rate: float, rounds: int) -> Verdicts:
    """Count verdicts on a pass rate."""
    gate = Gate(pass_rate=LIMIT, margin=MARGIN, alpha=ALPHA)
    check = GateCheck(suite="s", metric=PASS_RATE, observed=0, threshold=LIMIT, direction="min", passed=None)
    return Counter(judged_check(check, results(rng, count, rate), measured(rng), gate).passed for _ in range(rounds))


def comparison_verdicts(rng: random.Random, count: int, difference: float, rounds: int) -> Verdicts:
    """Count verdicts on a difference."""
    gate = Gate(pass_rate=0, margin=MARGIN, alpha=ALPHA, baseline="b")
    names = ComparisonNames(suite="s", prompt="p", model="m", baseline="b")
    verdicts: Verdicts = Counter()
    for _ in range(rounds):
        before = {result.case: result for result in results(rng, count, LIMIT)}
        pairs = pair_results(results(rng, count, LIMIT + difference), before)
        verdicts[judged_comparison(compare_pairs(names, pairs, gate), measured(rng), gate).passed] += 1
    return verdicts


def row(what: str, count: int, truth: str, verdicts: Verdicts, *, wrong: bool) -> tuple[str, ...]:
    """Format a row; `wrong` is the verdict that would be wrong."""
    total = verdicts.total()
    shares = [f"{verdicts[verdict] / total:.1%}".replace("%", " %") for verdict in (True, False, None)]
    most = ALPHA + CHANCE * (ALPHA * (1 - ALPHA) / total) ** 0.5
    word = "met" if wrong else "not met"
    return what, str(count), truth, *shares, f"{word} <= 5 %", "yes" if verdicts[wrong] / total <= most else "NO"


def rows(rounds: int = ROUNDS) -> Iterator[tuple[str, ...]]:
    """Yield the table, each row as `HEADER` says."""
    rng = random.Random(SEED)  # noqa: S311 - a simulation
    for count in (100, 400, 1000):
        for rate, wrong in ((0.95, False), (LIMIT, False), (LIMIT - MARGIN, True), (0.8, True), (0.6, True)):
            verdicts = limit_verdicts(rng, count, rate, rounds)
            yield row("pass rate", count, f"{rate:g}", verdicts, wrong=wrong)
    for count in (200, 1000):
        for difference, wrong in ((0.0, False), (-MARGIN, True), (-0.1, True), (-0.2, True)):
            verdicts = comparison_verdicts(rng, count, difference, rounds)
            yield row("difference", count, f"{100 * difference:+g} points", verdicts, wrong=wrong)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="verdicts of each kind")
    for cells in (HEADER, ("---",) * len(HEADER), *rows(parser.parse_args().rounds)):
        sys.stdout.write(f"| {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
