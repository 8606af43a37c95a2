"""`flowai judge sample`: options and screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flowai.cli.help_format import examples
from flowai.cli.options import Env, JsonOption, JudgeConcurrency, OnlyFeature

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.evals.judge_runs.records import RateWithInterval
    from flowai.evals.judge_runs.sample import SampleResult, StratumResult

EXAMPLES = examples(
    "flowai judge sample --dry-run",
    "flowai judge sample --since 24h --n 200",
    "flowai judge sample --since 7d --n 500 --feature summarization --max-cost 2",
)
_COLUMNS = (
    "feature", "release", "calls", "not logged", "sampled", "before", "by rule", "by judge", "passed", "unscored",
    "flagged",
)  # fmt: skip
_DROP_ORDER = (5, 2, 3, 4, 9)
"""Columns that are left out on a narrow terminal, the least important first."""


def command(  # noqa: PLR0913, PLR0917 - one parameter for each option
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Start of the time range: `24h`, `7d`, `2026-05-02`.")
    ] = "24h",
    count: Annotated[
        int, typer.Option("--n", "-n", metavar="N", min=1, max=100_000, help="Answers to judge, over all releases.")
    ] = 200,
    feature: OnlyFeature = None,
    max_cost: Annotated[
        float | None,
        typer.Option("--max-cost", metavar="USD", help="Stop before the judge costs more than this."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show counts and estimated cost; call nothing.")] = False,
    concurrency: JudgeConcurrency = 4,
    env: Env = None,
    json: JsonOption = False,
) -> None:
    """Check logged answers against the texts they were made from.

    Answers are sampled evenly over features and releases. Rules flag numbers, dates and names that the text lacks, at
    no cost; the judge checks the rest. Each verdict is a score event `hallucination`; no answer is judged twice by the
    same judge, so run it again to continue. Exit status: 0, 4 if the judge is down, 5 if nothing can be judged or
    --max-cost ended it.
    """
    from flowai.cli import console
    from flowai.evals.judge_runs.sample import SampleOptions, exit_code, sample_answers

    options = SampleOptions(
        since=since,
        max_count=count,
        feature=feature,
        max_cost_usd=max_cost,
        dry_run=dry_run,
        concurrency=concurrency,
    )
    result = sample_answers(console.command_context(env), options, on_forecast=_forecast, on_score=_progress)
    if json:
        console.print_json(result)
    else:
        for line in screen_lines(result, console.terminal_width()):
            console.print_styled(line)
    code = exit_code(result)
    if code:
        raise typer.Exit(code)


def _forecast(result: SampleResult) -> None:
    from flowai.cli import console
    from flowai.rendering import formatting

    cost = (
        "unknown: its price is not known"
        if result.estimated_cost_usd is None
        else (f"about {formatting.dollars(result.estimated_cost_usd)}")
    )
    free = result.waiting_count - result.call_count
    console.print_progress_line(f"{result.waiting_count:,} answers to judge, {free:,} of them flagged by rules")
    console.print_progress_line(f"{result.call_count:,} need {result.judge}; cost {cost}")
    for warning in result.warnings:
        console.print_progress_line(f"warning: {warning}")


def _progress(done_count: int, total_count: int) -> None:
    """Print the progress, ten times per run."""
    from flowai.cli import console

    if done_count * 10 // total_count != (done_count - 1) * 10 // total_count:
        console.print_progress_line(f"{done_count:,} of {total_count:,} judged")


def screen_lines(result: SampleResult, width: int | None) -> Iterator[str]:
    """Yield the table of strata, then what is left."""
    from flowai.rendering import formatting

    rows = formatting.without_columns([_COLUMNS, *map(_cells, result.strata)], _DROP_ORDER, width)
    yield from formatting.aligned(rows, "".join("<" if name in {"feature", "release"} else ">" for name in rows[0]))
    for reason in result.unscored_reasons:
        yield from formatting.wrapped(f"unscored {reason.count:,}: {reason.reason}", width)
    if result.is_dry_run:
        yield "nothing was judged: --dry-run"
        return
    cost = "-" if result.cost_usd is None else formatting.dollars(result.cost_usd)
    yield f"judge: {result.judge}   hash: {result.judge_hash}   cost: {cost}"
    if result.is_judge_down:
        yield from formatting.wrapped(f"JUDGE DOWN  stopped {result.stopped}; run it again to continue", width)
    elif result.stopped is not None:
        yield from formatting.wrapped(f"stopped {result.stopped}; run it again to continue", width)


def _cells(one: StratumResult) -> tuple[str, ...]:
    counts = (
        one.call_count,
        one.unlogged_count,
        one.sampled_count,
        one.scored_before_count,
        one.flagged_by_rule_count,
        one.flagged_by_judge_count,
        one.passed_count,
        one.unscored_count,
    )
    return (one.feature, one.release, *(f"{count:,}" for count in counts), _rate(one.rate))


def _rate(rate: RateWithInterval) -> str:
    from flowai.rendering import formatting

    if rate.value is None or rate.low is None or rate.high is None:
        return "-"
    return f"{formatting.rate(rate.value)} ({formatting.rate(rate.low)} to {formatting.rate(rate.high)})"
