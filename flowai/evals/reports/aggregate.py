"""Totals of trials, totals by group, and changes between two runs."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from flowai.evals.reports.records import Changes, Distribution, EarlierTrial, Group, Totals
from flowai.statistics import quantile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flowai.evals.reports.records import Trial


def distribution(times_ms: Iterable[float | None]) -> Distribution:
    """Compute count and quantiles of the measured times; None is a time that was not measured."""
    ordered = sorted(time_ms for time_ms in times_ms if time_ms is not None)
    return Distribution(count=len(ordered), p50_ms=quantile(ordered, 0.5), p95_ms=quantile(ordered, 0.95))


class TotalsBuilder:
    """Computes the totals of trials, one after the other.

    Tokens and cost are of fresh answers only, because a cached answer was paid for in an earlier run; times are of all
    answers, as measured when each was generated.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = defaultdict(int)
        self._scores: dict[str, tuple[float, int]] = {}
        self._latency_ms = array("d")
        self._ttft_ms = array("d")
        self._input_tokens = self._output_tokens = 0
        self._cost_usd = 0.0

    def add(self, trial: Trial) -> None:
        """Count a trial."""
        counts = self._counts
        counts["trial"] += 1
        counts[trial.outcome] += 1
        for check in trial.checks:
            if check.metric is not None and check.passed is not None:
                self._add_score(check.metric, check.score)
            for name, value in check.metrics.items():
                self._add_score(name, value)
        for name, value in trial.metrics.items():
            self._add_score(name, value)
        if trial.failure is not None:
            return
        counts["answered"] += 1
        counts["json_promised"] += trial.json_valid is not None
        counts["json_valid"] += trial.json_valid is True
        if trial.latency_ms is not None:
            self._latency_ms.append(trial.latency_ms)
        if trial.ttft_ms is not None:
            self._ttft_ms.append(trial.ttft_ms)
        if trial.cache != "exact":
            counts["fresh"] += 1
            counts["unpriced"] += trial.cost_usd is None
            self._input_tokens += trial.input_tokens or 0
            self._output_tokens += trial.output_tokens or 0
            self._cost_usd += trial.cost_usd or 0.0

    @property
    def sums(self) -> dict[str, float]:
        """Sum of the scores by metric name, and the number of trials as `__count`: what derived metrics read."""
        return {name: total for name, (total, _) in self._scores.items()} | {"__count": float(self._counts["trial"])}

    def _add_score(self, name: str, value: float) -> None:
        total, count = self._scores.get(name, (0.0, 0))
        self._scores[name] = (total + value, count + 1)

    def build(self, derived: Mapping[str, float] | None = None) -> Totals:
        """Return the totals, with the metrics that are derived from the others."""
        counts = self._counts
        judged_count = counts["pass"] + counts["fail"]
        return Totals(
            trial_count=counts["trial"],
            pass_count=counts["pass"],
            fail_count=counts["fail"],
            error_count=counts["error"],
            unscored_count=counts["unscored"],
            pass_rate=counts["pass"] / judged_count if judged_count else None,
            json_promised_count=counts["json_promised"],
            json_valid_count=counts["json_valid"],
            cached_count=counts["answered"] - counts["fresh"],
            fresh_count=counts["fresh"],
            input_tokens=self._input_tokens,
            output_tokens=self._output_tokens,
            cost_usd=self._cost_usd,
            unpriced_count=counts["unpriced"],
            latency=distribution(self._latency_ms),
            ttft=distribution(self._ttft_ms),
            metrics={name: total / count for name, (total, count) in sorted(self._scores.items())}
            | dict(derived or {}),
        )


Derive = Callable[[str, Mapping[str, float]], Mapping[str, float]]
"""Compute the derived metrics of a suite from the sums of its scores."""


def no_metrics(_suite: str, _sums: Mapping[str, float]) -> Mapping[str, float]:
    """Return no derived metrics."""
    return {}


class RunTotals:
    """Computes the totals of a run: of all trials, by suite, and by suite, prompt and model."""

    def __init__(self, derive: Derive = no_metrics) -> None:
        self._derive = derive
        self._all = TotalsBuilder()
        self._suites: dict[str, TotalsBuilder] = defaultdict(TotalsBuilder)
        self._groups: dict[tuple[str, str, str], TotalsBuilder] = defaultdict(TotalsBuilder)

    def add(self, trial: Trial) -> None:
        """Count a trial."""
        self._all.add(trial)
        self._suites[trial.suite].add(trial)
        self._groups[trial.suite, trial.prompt, trial.model].add(trial)

    def all(self) -> Totals:
        """Return the totals of all trials; metrics are derived if all are of one suite."""
        only = next(iter(self._suites), "") if len(self._suites) == 1 else ""
        return self._all.build(self._derive(only, self._all.sums) if only else None)

    def by_suite(self) -> dict[str, Totals]:
        """Return the totals by suite, in order of appearance."""
        return {suite: builder.build(self._derive(suite, builder.sums)) for suite, builder in self._suites.items()}

    def groups(self) -> tuple[Group, ...]:
        """Return the totals by suite, prompt and model, in order of appearance."""
        return tuple(
            Group(suite=suite, prompt=prompt, model=model, totals=builder.build(self._derive(suite, builder.sums)))
            for (suite, prompt, model), builder in self._groups.items()
        )


def totals_of(trials: Iterable[Trial]) -> Totals:
    """Compute the totals of trials."""
    builder = TotalsBuilder()
    for trial in trials:
        builder.add(trial)
    return builder.build()


def groups_of(trials: Iterable[Trial]) -> tuple[Group, ...]:
    """Compute totals by suite, prompt and model, in order of appearance."""
    totals = RunTotals()
    for trial in trials:
        totals.add(trial)
    return totals.groups()


def changes_between(
    run_id: str, before: Mapping[str, Trial], now: Iterable[Trial], *, baseline: str | None = None
) -> Changes | None:
    """Compare outcomes with those of an earlier run; None if the runs share no judged trial.

    `before` has the earlier trials by the key of the trial here; `baseline` is the prompt that was tried there, None if
    each prompt is compared with itself.
    """
    regressions: list[str] = []
    fixes: list[str] = []
    shared_count = 0
    judged = ("pass", "fail")
    for trial in now:
        earlier = before.get(trial.key)
        if earlier is None or earlier.outcome not in judged or trial.outcome not in judged:
            continue
        shared_count += 1
        if earlier.outcome != trial.outcome:
            (regressions if trial.outcome == "fail" else fixes).append(trial.key)
    if not shared_count:
        return None
    return Changes(
        run_id=run_id, baseline=baseline, regressions=tuple(regressions), fixes=tuple(fixes), shared_count=shared_count
    )


def earlier_trials(
    run_id: str, before: Mapping[str, Trial], now: Iterable[Trial], *, baseline: str | None = None
) -> Iterator[EarlierTrial]:
    """Yield the earlier result of each trial that an earlier run has too; arguments as of `changes_between`."""
    for trial in now:
        earlier = before.get(trial.key)
        if earlier is None:
            continue
        is_same = earlier.output is not None and earlier.output == trial.output
        yield EarlierTrial(
            key=trial.key,
            run_id=run_id,
            baseline=baseline,
            outcome=earlier.outcome,
            output=None if is_same else earlier.output,
            is_same_output=is_same,
            cost_usd=earlier.cost_usd,
            latency_ms=earlier.latency_ms,
        )
