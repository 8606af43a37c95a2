"""How often a verdict is wrong, and how soon it is right, on simulated event logs of whole rollouts.

Users differ, come back and move from arm to arm as the share grows; every log is judged at the end of each hour by the
code of `flowai canary-report`, with ten guardrails that share alpha 0.05. Logs are counted in memory; a test shows that
the command counts the same, metric by metric, and says the same. In brackets: 95 % intervals.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np  # noqa: TID251 - columns of simulated calls

from flowai.canary.planning.simulated_counts import count_simulated
from flowai.canary.planning.simulated_verdicts import find_rollback, judge_simulated, rollout_spec
from flowai.comparison.blocks import ArmPair
from flowai.comparison.evidence import Comparison, DecisionRules
from flowai.comparison.metrics import METRICS
from flowai.comparison.spec import HOUR_US
from flowai.registry.policies import CanaryPolicy
from flowai.simulation.generator import simulate_calls
from flowai.simulation.scenario import Arm, Bots, CacheTraffic, FeatureTraffic, Outage, Scenario
from flowai.statistics import clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowai.analytics.records import Metric
    from flowai.simulation.calls import SimulatedCalls

HEADER = ("what", "seen", "target", "met")
RUNS = 1_000
ALPHA = 0.05
Row = tuple[str, ...]
Result = TypeVar("Result")

_SEEDS_AT_ONCE = 20

ALL_GUARDRAILS: tuple[Metric, ...] = (
    "error_rate",
    "json_valid",
    "slow_calls",
    "latency",
    "ttft",
    "cost",
    "cancelled",
    "degraded",
    "acceptance",
    "hallucination",
)
DEFAULT_GUARDRAILS = CanaryPolicy().guardrails

GOOD = Arm(primary_failure_rate=0.0)
"""The release that serves: 2 % errors, 1 % invalid JSON, 62 % acceptance; lognormal times and costs."""

RAMP = ((0, 6.0), (1, 24.0), (5, 24.0), (25, 24.0), (100, 6.0))
"""The default stages, a day each."""

TEN_PERCENT = ((0, 6.0), (10, 48.0))

SEVEN = tuple(
    FeatureTraffic(name=f"feature-{index}", weight=weight, end_weight=end, failure_factor=factor, latency_factor=slow)
    for index, (weight, end, factor, slow) in enumerate(
        (
            (3.0, 1.0, 0.5, 1.0),
            (2.0, 2.0, 1.0, 1.5),
            (1.0, 3.0, 2.0, 0.7),
            (1.0, 0.5, 3.0, 2.0),
            (0.5, 1.0, 0.2, 1.0),
            (0.5, 0.5, 1.0, 3.0),
            (0.2, 0.6, 4.0, 1.0),
        )
    )
)

USUAL = Scenario(
    candidate=GOOD,
    control=GOOD,
    stages=RAMP,
    calls_per_hour=300.0,
    calls_per_user=12.0,
    user_concentration=10.0,
    user_sigma=0.3,
    day_night=0.5,
    retry_rate=0.3,
    repeated_failure_rate=0.3,
    anonymous_rate=0.1,
)
"""A rollout like many: users differ and come back, some calls have none, failed calls are repeated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A kind of rollout, many times."""

    what: str
    scenario: Scenario
    kind: Literal["null", "promotion", "detection", "thin"] = "null"
    guardrails: tuple[Metric, ...] = ALL_GUARDRAILS
    metric: Metric | None = None
    """The guardrail that must find the harm."""
    target: float | None = None
    """Largest share of wrong verdicts, or largest median of candidate calls; None for the record."""


@dataclass(kw_only=True, slots=True)
class Outcomes:
    """Outcomes of the rollouts of a case."""

    runs: int = 0
    rolled_back: int = 0
    promoted: int = 0
    """Like `invalid`, not counted where a rollout is played up to its rollback only."""
    invalid: int = 0
    """Rollouts with the verdict `invalid` at the end of a stage."""
    worse: Counter[str] = field(default_factory=Counter)
    calls: list[float] = field(default_factory=list)


def nulls() -> Iterator[Case]:
    """Yield rollouts of a candidate that is just as good."""
    for concentration in (2.0, 10.0, 30.0):
        yield Case(
            what=f"default stages, own rates beta({concentration:g})",
            scenario=replace(USUAL, user_concentration=concentration),
        )
    yield Case(what="default stages, users alike", scenario=replace(USUAL, user_concentration=None, user_sigma=0.0))
    habitual = replace(GOOD, error_rate=0.0, always_failing_user_rate=0.1)
    ramp = replace(
        USUAL, stages=TEN_PERCENT, candidate=habitual, control=habitual, calls_per_hour=500.0, calls_per_user=27.0
    )
    yield Case(what="every tenth user always fails, 0 then 10 %", scenario=ramp)
    yield Case(what="one stage of 10 %", scenario=replace(USUAL, stages=TEN_PERCENT))
    yield Case(what="one stage of 50 %", scenario=replace(USUAL, stages=((50, 48.0),)))
    yield Case(what="three features with rates of their own, changing mix", scenario=replace(USUAL, features=SEVEN[:3]))
    yield Case(what="seven features with rates of their own, changing mix", scenario=replace(USUAL, features=SEVEN))
    yield Case(what="failures drift to three times as many", scenario=replace(USUAL, drift=3.0))
    yield Case(what="failures drift to a third", scenario=replace(USUAL, drift=1 / 3))
    yield Case(what="warm cache of the control, cold one of the candidate", scenario=replace(USUAL, cache=COLD))
    yield Case(
        what="outage of both arms", scenario=replace(USUAL, outage=Outage(start_hour=40, hours=2, failure_rate=0.6))
    )
    yield Case(
        what="half of the feedback is lost, the rest late",
        scenario=replace(USUAL, lost_feedback_rate=0.5, feedback_delay_min=45.0, score_delay_min=50.0),
    )
    yield Case(
        what="clocks of four processes differ by up to 420 s",
        scenario=replace(USUAL, process_count=4, clock_skew_s=420.0),
    )
    bots = (Bots(count=4, calls_per_hour=30.0, is_failing=True), Bots(count=2, calls_per_hour=60.0))
    yield Case(what="six bots, four of which always fail", scenario=replace(USUAL, bots=bots))
    fallbacks = replace(GOOD, primary_failure_rate=0.05, degraded_rate=0.3, cancelled_rate=0.03)
    yield Case(
        what="both arms fall back (5 %) and are cancelled (3 %)",
        scenario=replace(USUAL, candidate=fallbacks, control=fallbacks),
    )
    everything = replace(
        USUAL,
        user_concentration=5.0,
        features=SEVEN,
        drift=2.0,
        cache=COLD,
        bots=bots,
        process_count=4,
        clock_skew_s=420.0,
    )
    yield Case(what="all of these at once", scenario=everything)


COLD = CacheTraffic(hit_rate=0.4, warm_up_calls=2000.0)

BIG = replace(
    USUAL,
    stages=((50, 36.0),),
    calls_per_hour=1100.0,
    calls_per_user=3.0,
    feedback_rate=0.9,
    score_rate=0.5,
    day_night=0.0,
)
"""A stage that could be promoted: thousands of users in each arm."""


def promotions() -> Iterator[Case]:
    """Yield rollouts of a candidate whose harm is 1.3 times the margin, and of a good one for the record."""
    harms: tuple[tuple[str, Metric, Arm], ...] = (
        ("errors 2 -> 3.3 %", "error_rate", replace(GOOD, error_rate=0.033)),
        ("errors: 1.3 % of users always fail", "error_rate", replace(GOOD, always_failing_user_rate=0.013)),
        ("JSON 99 -> 97.7 %", "json_valid", replace(GOOD, bad_json_rate=0.023)),
        ("acceptance 62 -> 59.4 %", "acceptance", replace(GOOD, acceptance=0.594)),
        ("hallucination 3 -> 4.3 %", "hallucination", replace(GOOD, hallucination_rate=0.043)),
        ("latency x 1.26", "latency", replace(GOOD, latency_ms=800 * 1.26)),
        ("TTFT x 1.195", "ttft", replace(GOOD, ttft_ms=200 * 1.195)),
        ("cost x 1.26", "cost", replace(GOOD, cost_usd=0.00126)),
        ("cancelled 5 -> 6.3 %", "cancelled", replace(GOOD, cancelled_rate=0.063)),
    )
    for what, metric, harm in harms:
        control = replace(GOOD, cancelled_rate=0.05) if metric == "cancelled" else GOOD
        yield Case(
            what=f"promoted: {what}",
            scenario=replace(BIG, candidate=harm, control=control),
            kind="promotion",
            guardrails=(metric,),
            metric=metric,
            target=ALPHA,
        )
    for guardrail in ("error_rate", "json_valid", "latency", "acceptance"):
        yield Case(
            what=f"promoted: no difference, {guardrail}", scenario=BIG, kind="promotion", guardrails=(guardrail,)
        )


def detections() -> Iterator[Case]:
    """Yield rollouts of a worse candidate; users make three calls on average."""
    returning = replace(
        USUAL,
        stages=((10, 80.0),),
        calls_per_hour=250.0,
        calls_per_user=3.0,
        activity_exponent=None,
        user_concentration=None,
        anonymous_rate=0.0,
        retry_rate=0.0,
        day_night=0.0,
        feedback_rate=0.5,
        score_rate=1.0,
    )
    harms: tuple[tuple[str, Metric, Arm, float, tuple[tuple[int, float], ...]], ...] = (
        ("errors 2 -> 3 %", "error_rate", replace(GOOD, error_rate=0.03), 1800, ((10, 160.0),)),
        ("errors 2 -> 10 % at 1 % share", "error_rate", replace(GOOD, error_rate=0.10), 70, ((1, 80.0),)),
        ("p95 +20 %", "slow_calls", replace(GOOD, latency_ms=960.0, ttft_ms=240.0), 500, ((10, 80.0),)),
        ("acceptance 62 -> 57 %", "acceptance", replace(GOOD, acceptance=0.57), 1000, ((10, 160.0),)),
        ("JSON 99 -> 97 %", "json_valid", replace(GOOD, bad_json_rate=0.03), 500, ((10, 80.0),)),
        ("hallucination 3 -> 6 %", "hallucination", replace(GOOD, hallucination_rate=0.06), 1200, ((10, 80.0),)),
        ("cost +50 %", "cost", replace(GOOD, cost_usd=0.0015), 300, ((10, 80.0),)),
        ("TTFT +30 %", "ttft", replace(GOOD, ttft_ms=260.0), 400, ((10, 80.0),)),
        ("callers who leave 1 -> 20 %", "cancelled", replace(GOOD, cancelled_rate=0.2), math.nan, ((10, 40.0),)),
        (
            "median x 2, p95 unchanged",
            "latency",
            replace(GOOD, latency_ms=1600.0, latency_sigma=0.08),
            math.nan,
            ((10, 40.0),),
        ),
        ("only fails over", "error_rate", replace(GOOD, primary_failure_rate=1.0), 60, ((10, 20.0),)),
    )
    for what, metric, harm, target, stages in harms:
        guardrails = DEFAULT_GUARDRAILS if metric in DEFAULT_GUARDRAILS else (*DEFAULT_GUARDRAILS, metric)
        case = Case(
            what=what,
            scenario=replace(returning, candidate=harm, stages=stages),
            kind="detection",
            guardrails=guardrails,
            metric=metric,
            target=None if math.isnan(target) else target,
        )
        yield case
        yield replace(
            case,
            what=f"{what}, users differ (beta(30), sigma 0.3)",
            scenario=replace(case.scenario, user_concentration=30.0, user_sigma=0.3),
            target=None,
        )
    thin = replace(returning, candidate=replace(GOOD, error_rate=1.0), calls_per_hour=3.5, stages=((50, 24.0),))
    thin = replace(thin, features=SEVEN[:3], control=replace(GOOD, error_rate=0.0))
    yield Case(what="thin: all of about 42 canary calls fail, none of the control", scenario=thin, kind="thin")


def rules_of(guardrails: tuple[Metric, ...]) -> DecisionRules:
    """Return the default policy's rules with other guardrails."""
    margins = CanaryPolicy().margins
    return DecisionRules(
        alpha=ALPHA, guardrails=guardrails, margins={name: margins.of(name) for name in METRICS}, baseline="v1"
    )


def play(case: Case, seeds: range) -> Outcomes:
    """Simulate and judge the rollouts of some seeds."""
    outcomes, rules = Outcomes(), rules_of(case.guardrails)
    begin_us, hours = case.scenario.spans()[0].since_us, case.scenario.hours / 8
    for seed in seeds:
        if case.kind == "detection":
            result = find_rollback(case.scenario, seed, rules, hours=hours)
            if result.rollback_us is not None:  # the next one may take as long
                hours = 1.5 * (result.rollback_us - begin_us) / HOUR_US
        else:
            result = judge_simulated(simulate_calls(case.scenario, seed), case.scenario, rules)
        outcomes.runs += 1
        outcomes.rolled_back += result.rollback_us is not None
        outcomes.promoted += bool(result.promoted)
        outcomes.invalid += "invalid" in result.at_stage_ends
        outcomes.worse.update(result.worse[:1])
        outcomes.calls.append(result.calls_until_rollback)
    return outcomes


def _joined(parts: list[Outcomes]) -> Outcomes:
    whole = Outcomes()
    for part in parts:
        whole.runs += part.runs
        whole.rolled_back += part.rolled_back
        whole.promoted += part.promoted
        whole.invalid += part.invalid
        whole.worse += part.worse
        whole.calls += part.calls
    return whole


def _row(case: Case, outcomes: Outcomes) -> Row:
    runs = outcomes.runs
    if case.kind == "promotion":
        seen = _share(outcomes.promoted, runs)
        return (
            (case.what, seen, _percent(case.target), _yes(outcomes.promoted / runs <= case.target))
            if case.target
            else (case.what, seen, "", "")
        )
    if case.kind == "thin":
        return case.what, f"{_share(outcomes.rolled_back, runs)} rolled back", "all", _yes(outcomes.rolled_back == runs)
    if case.kind == "detection":
        middle = median(outcomes.calls)
        late = sorted(outcomes.calls)[min(int(0.8 * runs), runs - 1)]
        seen = f"{middle:,.0f} calls (80 %: {late:,.0f})"
        if case.target is None:
            return case.what, seen, "", ""
        return case.what, seen, f"{case.target:,.0f}", _yes(middle <= case.target)
    seen = f"{_share(outcomes.rolled_back, runs)}; invalid {_percent(outcomes.invalid / runs)}"
    if outcomes.worse:
        seen += f" ({', '.join(f'{name} {count}' for name, count in outcomes.worse.most_common())})"
    return case.what, seen, _percent(ALPHA), _yes(outcomes.rolled_back / runs <= ALPHA)


# --- other constructions, for contrast ---


def risk_per_arm(calls: SimulatedCalls) -> SimulatedCalls:
    """Return the calls as if a user were another one in each arm and feature."""
    width = int(calls.feature.max(initial=0)) + 1
    other = (calls.user * 4 + calls.variant) * width + calls.feature
    return replace(calls, user=np.where(calls.user >= 0, other, -1).astype(np.int32))


def contrast(what: str, scenario: Scenario, seeds: range) -> tuple[int, list[float]]:
    """Play errors alone with another construction; return false alarms and candidate calls until an alarm.

    `per_arm`: a user's risk ends per arm and feature. `means`: the difference of users' mean failure shares, by stage,
    as evidence of harm.
    """
    alarms, calls_until = 0, []
    threshold = -math.log(rules_of(ALL_GUARDRAILS).alphas["error_rate"])
    rules = rules_of(("error_rate",))
    pair = ArmPair(candidate="canary", control="control", extra_control="stable")
    for seed in seeds:
        calls = simulate_calls(scenario, seed)
        spec = rollout_spec(scenario)
        if what == "per_arm":
            calls = risk_per_arm(calls)
        counts = count_simulated(calls, [one.name for one in scenario.features], spec)
        comparison = Comparison.build(counts, spec, rules, pair)
        if what == "means":
            moments = _alarms_of_means(comparison, threshold)
        else:
            series = comparison.worse["error_rate"]
            moments = [at_us for at_us, peak in zip(series.untils_us, series.peaks, strict=True) if peak >= threshold]
        alarms += bool(moments)
        known = counts.as_of(min(moments)) if moments else counts
        calls_until.append(
            float(sum(sums.reached_count for (side, *_), sums in known.calls.items() if side == "canary"))
            if moments
            else math.inf
        )
    return alarms, calls_until


def _alarms_of_means(comparison: Comparison, threshold: float) -> list[int]:
    """Return the hours at which a mixture of bets on the difference of means, averaged over stages, is enough."""
    moments: list[int] = []
    for stage in range(len(comparison.spec.stages)):
        series = comparison.means["error_rate", stage]
        for at_us, means in zip(series.moments_us, series.means, strict=True):
            compared = means.compared
            if compared is None:
                continue
            bets = [0.0025, 0.005, 0.01, 0.02, 0.08]
            logs = [(bet * compared.difference - bet * bet / 2) / compared.variance for bet in bets]
            largest = max(logs)
            log_e = largest + math.log(sum(math.exp(one - largest) for one in logs) / len(bets)) + math.log(0.25)
            if log_e >= threshold:
                moments.append(at_us)
    return moments


def contrasts(pool: ProcessPoolExecutor, runs: int) -> Iterator[Row]:
    """Yield false alarms and speed of other constructions, beside the one that ships; errors alone."""
    null = replace(USUAL, user_concentration=2.0)
    seven = replace(USUAL, features=SEVEN)
    found = replace(next(detections()).scenario, user_concentration=30.0)
    for what, words in (
        ("first", "ships: a user's risk ends at the first failure in the rollout"),
        ("per_arm", "a user's risk ends per arm and feature"),
        ("means", "means of users as evidence of harm"),
    ):
        for scenario, of in ((null, "default stages, beta(2)"), (seven, "seven features")):
            alarms = sum(one for one, _ in _spread(pool, contrast, what, scenario, runs=runs))
            yield f"errors alone, {words}: false alarms, {of}", _share(alarms, runs), "", ""
        calls = [one for _, several in _spread(pool, contrast, what, found, runs=runs) for one in several]
        yield f"errors alone, {words}: errors 2 -> 3 %, users differ", f"{median(calls):,.0f} calls", "", ""


def _spread(pool: ProcessPoolExecutor, function: Callable[..., Result], *arguments: object, runs: int) -> list[Result]:
    """Run a function of seeds in several processes."""
    parts = [range(begin, min(begin + _SEEDS_AT_ONCE, runs)) for begin in range(0, runs, _SEEDS_AT_ONCE)]
    return [done.result() for done in [pool.submit(function, *arguments, part) for part in parts]]


def rows(runs: int = RUNS, only: str = "") -> Iterator[Row]:
    """Simulate everything; each row as `HEADER` says."""
    yield "rollouts of each kind", f"{runs:,}", "", ""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for case in (*nulls(), *promotions(), *detections()):
            if only in case.what:
                yield _row(case, _joined(_spread(pool, play, case, runs=runs)))
        if not only:
            yield from contrasts(pool, max(runs // 4, 1))


def _share(found: int, runs: int) -> str:
    interval = clopper_pearson(found, runs)
    return f"{_percent(found / runs)} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _yes(met: bool) -> str:  # noqa: FBT001 - a cell of the table
    return "yes" if met else "**no**"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="rollouts of each kind")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    options = parser.parse_args()
    sys.stdout.write("| " + " | ".join(HEADER) + " |\n| " + " | ".join("---" for _ in HEADER) + " |\n")
    for row in rows(options.runs, options.only):
        sys.stdout.write("| " + " | ".join(row) + " |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
