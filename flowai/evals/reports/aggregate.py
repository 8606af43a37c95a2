"""Totals of trials, totals by group, and changes between two runs."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from flowai.evals.reports.records import Changes, Distribution, EarlierTrial, Group, Totals
from flowai.statistics import quantile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from flowai.evals.reports.records import Trial


def distribution(times_ms: Iterable[float | None]) -> Distribution:
    """Compute count and quantiles of the measured times; None is a time that was not measured."""
    ordered = sorted(time_ms for time_ms in times_ms if time_ms is not None)
    return Distribution(count=len(ordered), p50_ms=quantile(ordered, 0.5), p95_ms=quantile(ordered, 0.95))


def totals_of(trials: Sequence[Trial]) -> Totals:
    """Compute the totals of trials.

    Tokens and cost are of fresh answers only, because a cached answer was paid for in an earlier run; times are of all
    answers, as measured when each was generated.
    """
    counts: dict[str, int] = defaultdict(int)
    scores: dict[str, list[float]] = defaultdict(list)
    for trial in trials:
        counts[trial.outcome] += 1
        for check in trial.checks:
            if check.metric is not None and check.passed is not None:
                scores[check.metric].append(check.score)
    answered = [trial for trial in trials if trial.failure is None]
    fresh = [trial for trial in answered if trial.cache != "exact"]
    judged_count = counts["pass"] + counts["fail"]
    return Totals(
        trial_count=len(trials),
        pass_count=counts["pass"],
        fail_count=counts["fail"],
        error_count=counts["error"],
        unscored_count=counts["unscored"],
        pass_rate=counts["pass"] / judged_count if judged_count else None,
        json_promised_count=sum(trial.json_valid is not None for trial in answered),
        json_valid_count=sum(trial.json_valid is True for trial in answered),
        cached_count=len(answered) - len(fresh),
        fresh_count=len(fresh),
        input_tokens=sum(trial.input_tokens or 0 for trial in fresh),
        output_tokens=sum(trial.output_tokens or 0 for trial in fresh),
        cost_usd=sum(trial.cost_usd or 0.0 for trial in fresh),
        unpriced_count=sum(trial.cost_usd is None for trial in fresh),
        latency=distribution(trial.latency_ms for trial in answered),
        ttft=distribution(trial.ttft_ms for trial in answered),
        metrics={name: sum(values) / len(values) for name, values in sorted(scores.items())},
    )


def groups_of(trials: Iterable[Trial]) -> tuple[Group, ...]:
    """Compute totals by suite, prompt and model, in order of appearance."""
    members: dict[tuple[str, str, str], list[Trial]] = defaultdict(list)
    for trial in trials:
        members[trial.suite, trial.prompt, trial.model].append(trial)
    return tuple(
        Group(suite=suite, prompt=prompt, model=model, totals=totals_of(group))
        for (suite, prompt, model), group in members.items()
    )


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
