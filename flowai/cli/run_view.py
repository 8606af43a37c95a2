"""Screen of a finished run: prompts and models, totals, failed trials, verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.evals.gates.sentences import check_sentence
from flowai.evals.reports.tables import OUTCOME_WORDS, VERDICT_WORDS
from flowai.rendering import formatting
from flowai.rendering.markdown import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowai.evals.reports import Changes, GateCheck, Report, Totals, Trial

_GAP = "     "
MAX_SHOWN_COUNT = 20
SMALL_RUN_COUNT = 10


def head_lines(report: Report) -> Iterator[str]:
    """Yield a line for each prompt on each model; with its own figures if there are several."""
    prompts = {prompt.id: f"{prompt.id} @{prompt.hash[:6]} ({prompt.state})" for prompt in report.prompts}
    rows = []
    for group in report.groups:
        totals = group.totals
        row = [prompts[group.prompt], group.model, group.suite, formatting.count(totals.trial_count, "case")]
        if len(report.groups) > 1:
            row.append(f"{totals.pass_count}/{totals.pass_count + totals.fail_count} pass")
            row.append(f"p95 {formatting.duration(totals.latency.p95_ms)}")
        rows.append(row)
    yield from formatting.aligned(rows, gap="   ")


def figure_lines(totals: Totals, elapsed_s: float) -> Iterator[str]:
    """Yield the totals in two lines."""
    outcomes = f"pass {totals.pass_count}  fail {totals.fail_count}  error {totals.error_count}"
    rate = f"pass rate {totals.pass_count}/{totals.pass_count + totals.fail_count}"
    unpriced = f" + {totals.unpriced_count} unpriced" if totals.unpriced_count else ""
    cost = f"{formatting.dollars(totals.cost_usd)}{unpriced}"
    yield _GAP.join(
        (f"{outcomes}  unscored {totals.unscored_count}", rate, cost, formatting.duration(elapsed_s * 1000))
    )
    latency, ttft = totals.latency, totals.ttft
    times = f"p50 {formatting.duration(latency.p50_ms)}  p95 {formatting.duration(latency.p95_ms)}"
    times += f"  TTFT p95 {formatting.duration(ttft.p95_ms)}"
    if ttft.count != latency.count:
        times += f" (of {ttft.count})"
    parts = [f"{totals.cached_count} cached, {totals.fresh_count} fresh: {times}"]
    if totals.json_promised_count:
        parts.append(f"JSON {totals.json_valid_count}/{totals.json_promised_count}")
    yield _GAP.join(parts)


def trial_lines(trials: Sequence[Trial], *, again: str) -> Iterator[str]:
    """Yield a line per trial that did not pass, with place, reason and output; all trials of a small run.

    Args:
        trials: all trials.
        again: command that retries the errors.
    """
    shown = [trial for trial in trials if trial.outcome != "pass" or len(trials) <= SMALL_RUN_COUNT]
    several = len({(trial.prompt, trial.model) for trial in trials}) > 1
    names = {trial.key: _name(trial, several=several) for trial in shown}
    width = max(map(len, names.values()), default=0)
    for trial in shown[:MAX_SHOWN_COUNT]:
        word = OUTCOME_WORDS[trial.outcome]
        time = f"{formatting.duration(trial.latency_ms):>8}"
        parts = [f"{word:<5} {names[trial.key]:<{width}}", time, *_failure_reason(trial, again)]
        yield "  ".join(parts).rstrip()
        if trial.outcome in ("fail", "unscored") and trial.output is not None:
            yield f"      {one_line(trial.output, 100) or '(empty answer)'}"
    if len(shown) > MAX_SHOWN_COUNT:
        yield f"... and {len(shown) - MAX_SHOWN_COUNT} more in the report"


def _name(trial: Trial, *, several: bool) -> str:
    """Name a trial: its case, and prompt and model if there are several."""
    repeat = f" #{trial.repeat + 1}" if trial.repeat else ""
    return f"{trial.case}{repeat} ({trial.prompt}, {trial.model})" if several else f"{trial.case}{repeat}"


def _failure_reason(trial: Trial, again: str) -> Iterator[str]:
    if trial.failure is not None:
        yield one_line(trial.failure.message, 140)
        if trial.outcome == "error":
            yield f"again: {again}"
        return
    for check in trial.checks:
        if check.passed is not True and check.weight > 0:
            yield f"{check.place}  {one_line(check.reason, 120)}"
            return


def change_line(changes: Changes) -> str:
    """Return the regressions and fixes since the last run, or compared with a baseline."""
    parts = []
    for word, keys in (("broke", changes.regressions), ("fixed", changes.fixes)):
        cases = ", ".join(dict.fromkeys(key.split("::")[1] for key in keys))
        parts.append(f"{len(keys)} {word}" + (f" ({one_line(cases, 120)})" if cases else ""))
    against = f"against {changes.baseline}" if changes.baseline else f"since run {changes.run_id}"
    return f"{against}: {', '.join(parts)}"


def verdict_line(report: Report, place: str) -> str:
    """Return the verdict, the unmet limits, and the path of the report."""
    unmet = [check for check in report.decision.checks if check.passed is not True]
    parts = [VERDICT_WORDS[report.decision.verdict], *(_limit(check) for check in unmet[:3]), place]
    return "  ".join(parts)


def _limit(check: GateCheck) -> str:
    if check.observed is None:
        return f"{check.metric}: nothing measured"
    if check.low is not None:
        return check_sentence(check)
    sign = "<" if check.direction == "min" else ">"
    return (
        f"{check.metric} {formatting.format_number(check.observed)} {sign} {formatting.format_number(check.threshold)}"
    )
