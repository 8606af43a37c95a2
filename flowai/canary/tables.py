"""Texts and tables of a canary report, for screens and pages alike; not escaped for Markdown or HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.canary.next_steps import forecast_text, has_calls, next_steps, reasons_of, undecided
from flowai.comparison.metrics import label_of
from flowai.comparison.text import (
    format_cost,
    format_effect,
    format_failures,
    format_margin,
    format_rates,
    format_safe,
    format_share,
    format_split,
    format_value,
    format_worse,
    judged_texts,
    seconds_between,
)
from flowai.comparison.verdict import STATUS_LABELS
from flowai.rendering.formatting import MISSING_TEXT, aligned, duration, format_evidence, joined_lines, span, wrapped
from flowai.rendering.markdown import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from flowai.analytics.records import CountOfTotal, Range
    from flowai.canary.report_records import CanaryReport, StageReport
    from flowai.comparison.records import ArmReport, CallShares, MetricReport

VERDICT_WORDS = {"promote": "PROMOTE", "hold": "HOLD", "rollback": "ROLLBACK", "invalid": "INVALID"}

COLUMNS = (
    "metric",
    "candidate, mean over users",
    "baseline, mean over users",
    "effect [95 %]",
    "margin",
    "evidence: worse",
    "evidence: safe",
    "status",
)
FAILURE_COLUMNS = (
    "metric",
    "failed calls: candidate",
    "failed calls: control",
    "affected users: candidate",
    "affected users: baseline",
)
FORECAST_COLUMNS = ("guardrail", "needs")
ARM_COLUMNS = ("", "candidate", "control", "ratio [95 %]")
FEATURE_COLUMNS = ("feature", "calls", "own model failed", "fell back", "invalid JSON")
ERROR_COLUMNS = ("error", "candidate", "control")
STAGE_COLUMNS = ("stage", "arm", "users", "calls", "own model failed", "fell back", "errors to callers", "split")

_SCREEN_COLUMNS = ("metric", "candidate", "baseline", "effect [95 %]", "status")
_EVIDENCE_COLUMNS = ("guardrail", "margin", "worse", "safe", "failed calls", "affected users")
_MAX_SCREEN_FEATURES = 8
_MAX_SCREEN_ERRORS = 4
_MAX_NAME_CHARS = 40


def metric_rows(report: CanaryReport, *, guardrails: bool) -> list[tuple[str, ...]]:
    """Return a row per guardrail, or per other metric that was measured; see `COLUMNS`."""
    return [
        (
            label_of(one.name),
            format_value(one, one.candidate_value),
            format_value(one, one.control_value),
            format_effect(one),
            format_margin(one),
            format_worse(one),
            format_safe(one),
            STATUS_LABELS[one.status],
        )
        for one in _metrics(report, guardrails=guardrails)
    ]


def _metrics(report: CanaryReport, *, guardrails: bool) -> list[MetricReport]:
    return [
        one
        for one in report.metrics
        if one.is_guardrail is guardrails and (guardrails or one.candidate.count or one.control.count)
    ]


def failure_rows(report: CanaryReport) -> list[tuple[str, ...]]:
    """Return failed calls and affected users of each rate with data; see `FAILURE_COLUMNS`."""
    return [
        (
            label_of(one.name),
            format_failures(one.candidate_calls),
            format_failures(one.control_calls),
            format_failures(one.candidate),
            format_failures(one.control),
        )
        for one in report.metrics
        if one.scale == "difference" and (one.candidate.count or one.control.count)
    ]


def forecast_rows(report: CanaryReport) -> list[tuple[str, str]]:
    """Return what each undecided guardrail needs; see `FORECAST_COLUMNS`."""
    if report.verdict == "rollback" or not has_calls(report):
        return []
    return [(label_of(one.name), forecast_text(one)) for one in undecided(report)]


def headline_parts(report: CanaryReport) -> tuple[str, ...]:
    """Return the parts of the first line: releases, environment, stage, duration, users, split."""
    candidate, control = report.arms["candidate"], report.arms["control"]
    stage = "dogfood" if report.stage == "dogfood" else f"{report.stage} %"
    users = "users" if report.unit == "user" else "calls"
    where = f" in {report.environment}" if report.environment else ""
    return (
        f"{report.candidate} against control ({report.baseline}){where}",
        f"stage {stage}",
        span(seconds_between(report.since, report.until)),
        f"{candidate.unit_count:,} / {control.unit_count:,} {users}",
        format_split(one.e_value for one in report.splits) if report.splits else "no split",
    )


def call_columns(report: CanaryReport) -> tuple[str, ...]:
    """Return the columns of `call_rows`: the arms with calls in this stage."""
    return ("", *report.stages[-1].calls) if report.stages else ("",)


def call_rows(report: CanaryReport) -> list[tuple[str, ...]]:
    """Return users and how the calls of each arm ended in this stage; see `call_columns`."""
    if not report.stages or not report.stages[-1].calls:
        return []
    stage = report.stages[-1]
    return [
        ("users with a name", *(f"{stage.users[arm] - stage.anonymous[arm]:,}" for arm in stage.calls)),
        ("calls without a user, each counts as one", *(f"{stage.anonymous[arm]:,}" for arm in stage.calls)),
        *((title, *map(pick, stage.calls.values())) for title, pick in _CALL_SHARES),
    ]


def _reached(shares: CallShares) -> int:
    return shares.calls - shares.cached - shares.unsent


def _ended(shares: CallShares) -> int:
    return _reached(shares) - shares.cancelled


def _rate(part: int, total: int) -> float | None:
    return part / total if total else None


_CALL_SHARES: tuple[tuple[str, Callable[[CallShares], str]], ...] = (
    ("calls", lambda one: f"{one.calls:,}"),
    ("answered by a cache", lambda one: format_share(one.cached, one.calls)),
    ("failed before a provider was asked", lambda one: format_share(one.unsent, one.calls)),
    ("cancelled by the caller", lambda one: format_share(one.cancelled, _reached(one))),
    ("own model failed", lambda one: format_share(one.failed, _ended(one))),
    ("fell back: another model or the last resort", lambda one: format_share(one.fell_back, _ended(one))),
    ("errors to callers", lambda one: format_share(one.errors, _ended(one))),
)
"""Rows about calls; answers of a cache, calls that asked no provider and cancelled calls are no part of the totals of
the last three."""


def arm_rows(report: CanaryReport) -> list[tuple[str, str, str, str]]:
    """Return times and cost of both arms with their ratios; see `ARM_COLUMNS`."""
    arms = (report.arms["candidate"], report.arms["control"])
    rows: list[tuple[str, str, str, str]] = []
    lines: tuple[tuple[str, Callable[[ArmReport], str], str], ...] = (
        ("p50, p95, p99", lambda arm: ", ".join(duration(one) for one in arm.latency), _p95(report.latency_p95)),
        ("TTFT p50, p95, p99", lambda arm: ", ".join(duration(one) for one in arm.ttft), _p95(report.ttft_p95)),
        ("cost of 1,000 calls to models", format_cost, MISSING_TEXT),
    )
    for name, pick, ratio in lines:
        rows.append((name, pick(arms[0]), pick(arms[1]), ratio))
    return rows


def _p95(ratio: Range) -> str:
    if ratio.estimate is None:
        return MISSING_TEXT
    low = "0" if ratio.low is None else f"{ratio.low:.2f}"
    return f"p95 x {ratio.estimate:.2f} [{low}, {'any' if ratio.high is None else f'{ratio.high:.2f}'}]"


def feature_rows(report: CanaryReport) -> list[tuple[str, ...]]:
    """Return a row per feature, candidate and control side by side; see `FEATURE_COLUMNS`."""
    return [
        (
            one_line(one.feature, _MAX_NAME_CHARS) or "(none)",
            f"{one.candidate.calls:,} / {one.control.calls:,}",
            _both(one.candidate, one.control, lambda shares: _rate(shares.failed, _ended(shares))),
            _both(one.candidate, one.control, lambda shares: _rate(shares.fell_back, _ended(shares))),
            format_rates(one.candidate_bad_json.rate, one.control_bad_json.rate),
        )
        for one in report.features
    ]


def _both(candidate: CallShares, control: CallShares, pick: Callable[[CallShares], float | None]) -> str:
    return format_rates(pick(candidate), pick(control))


def error_rows(report: CanaryReport) -> list[tuple[str, str, str]]:
    """Return the errors of callers by class, with their share of ended calls; see `ERROR_COLUMNS`."""
    totals = [_ended(report.arms[arm].shares) for arm in ("candidate", "control")]
    return [
        (one_line(name, _MAX_NAME_CHARS), format_share(counts[0], totals[0]), format_share(counts[1], totals[1]))
        for name, counts in report.error_classes.items()
    ]


def stage_rows(report: CanaryReport) -> list[tuple[str, ...]]:
    """Return a row per stage and arm; see `STAGE_COLUMNS`."""
    splits = {one.stage: one.e_value for one in report.splits}
    return [row for stage in report.stages for row in _stage_rows(stage, splits.get(stage.stage))]


def _stage_rows(stage: StageReport, split: float | None) -> Iterator[tuple[str, ...]]:
    title = stage.stage if stage.stage == "dogfood" else f"{stage.stage} %"
    verdict = MISSING_TEXT if split is None else f"{format_split((split,))} ({format_evidence(split)} of 1,000)"
    for arm, shares in stage.calls.items():
        ended = _ended(shares)
        yield (
            title,
            arm,
            f"{stage.users.get(arm, 0):,}",
            f"{shares.calls:,}",
            *(format_share(part, ended) for part in (shares.failed, shares.fell_back, shares.errors)),
            verdict,
        )
        title, verdict = "", ""


def verdict_line(report: CanaryReport) -> str:
    """Return the verdict and its reasons."""
    return f"{VERDICT_WORDS[report.verdict]}  {'; '.join(reasons_of(report))}"


def replay_rows(report: CanaryReport) -> Iterator[tuple[str, str, str]]:
    """Yield a row for each hour whose verdict differs from the hour before."""
    before = ""
    for one in report.replay:
        if one.verdict != before:
            yield one.at, VERDICT_WORDS[one.verdict], one.reason
        before = one.verdict


def screen_lines(report: CanaryReport, place: str, width: int | None = None) -> Iterator[str]:
    """Yield the screen: both arms, a line per guardrail, the verdict, the next command, the path of the report.

    Args:
        report: the report.
        place: path of its Markdown.
        width: characters of a line; None for lines of any length.
    """
    yield from joined_lines(headline_parts(report), width, indent="  ")
    yield from _fitting([_SCREEN_COLUMNS, *map(_screen_row, _metrics(report, guardrails=True))], "<>><<", width)
    yield "candidate, baseline: mean over users of the share of each user's calls"
    yield from _fitting([_EVIDENCE_COLUMNS, *map(_evidence_row, _metrics(report, guardrails=True))], "<>>>>>", width)
    for text in judged_texts(report.metrics):
        yield from wrapped(text, width)
    also = [label_of(one.name) for one in _metrics(report, guardrails=False) if one.status == "inferior"]
    if also:
        yield from wrapped(f"also worse, but not a guardrail: {', '.join(also)}", width)
    yield from joined_lines(_times(report), width)
    yield from joined_lines(_shares(report), width)
    yield from joined_lines(_errors(report), width)
    if len(report.features) > 1:
        rows = feature_rows(report)
        yield from aligned([FEATURE_COLUMNS, *rows[:_MAX_SCREEN_FEATURES]], "<>>>>")
        if len(rows) > _MAX_SCREEN_FEATURES:
            yield f"and {len(rows) - _MAX_SCREEN_FEATURES} more features in the report"
    for warning in report.warnings:
        yield from wrapped(f"warning: {warning}", width)
    for row in replay_rows(report):
        yield from wrapped("  ".join(row), width)
    yield from wrapped(verdict_line(report), width)
    for step in next_steps(report):
        yield from wrapped(str(step), None if step.command else width)
    yield f"{place}   report.html   report.json"


def _fitting(rows: Sequence[Sequence[str]], sides: str, width: int | None) -> Iterator[str]:
    """Yield aligned rows; the columns move together if they are too wide."""
    lines = list(aligned(rows, sides))
    too_wide = width is not None and max(map(len, lines)) > width
    yield from aligned(rows, sides, " ") if too_wide else lines


def _screen_row(metric: MetricReport) -> tuple[str, ...]:
    return (
        label_of(metric.name),
        format_value(metric, metric.candidate_value),
        format_value(metric, metric.control_value),
        format_effect(metric),
        STATUS_LABELS[metric.status],
    )


def _evidence_row(metric: MetricReport) -> tuple[str, ...]:
    def rates(candidate: CountOfTotal, control: CountOfTotal) -> str:
        return MISSING_TEXT if metric.scale == "ratio" else format_rates(candidate.rate, control.rate)

    return (
        label_of(metric.name),
        format_margin(metric),
        format_worse(metric),
        format_safe(metric),
        rates(metric.candidate_calls, metric.control_calls),
        rates(metric.candidate, metric.control),
    )


def _times(report: CanaryReport) -> tuple[str, ...]:
    candidate, control = report.arms["candidate"], report.arms["control"]
    return (
        f"p95 {duration(candidate.latency[1])} / {duration(control.latency[1])}{_ratio(report.latency_p95)}",
        f"TTFT p95 {duration(candidate.ttft[1])} / {duration(control.ttft[1])}{_ratio(report.ttft_p95)}",
        f"1,000 calls {format_cost(candidate)} / {format_cost(control)}",
    )


def _ratio(ratio: Range) -> str:
    return "" if ratio.estimate is None else f" (x {ratio.estimate:.2f})"


def _errors(report: CanaryReport) -> tuple[str, ...]:
    """Return the most frequent classes of errors with the calls of candidate and control."""
    classes = list(report.error_classes.items())
    shown = [f"{one_line(name, _MAX_NAME_CHARS)} {first:,} / {second:,}" for name, (first, second) in classes]
    more = len(shown) - _MAX_SCREEN_ERRORS
    return tuple(shown[:_MAX_SCREEN_ERRORS]) + ((f"{more} more in the report",) if more > 0 else ())


def _shares(report: CanaryReport) -> Iterator[str]:
    """Yield how calls ended, candidate and control side by side; what did not happen is left out."""
    arms = (report.arms["candidate"], report.arms["control"])
    first, second = (arm.shares for arm in arms)
    shares: tuple[tuple[str, Callable[[CallShares], float | None]], ...] = (
        ("fell back", lambda one: _rate(one.fell_back, _ended(one))),
        ("cached", lambda one: _rate(one.cached, one.calls)),
        ("asked no provider", lambda one: _rate(one.unsent, one.calls)),
        ("cancelled", lambda one: _rate(one.cancelled, _reached(one))),
        ("errors to callers", lambda one: _rate(one.errors, _ended(one))),
    )
    for title, pick in shares:
        if pick(first) or pick(second):
            yield f"{title} {_both(first, second, pick)}"
    if any(arm.anonymous_count for arm in arms):
        yield "calls without a user " + " / ".join(f"{arm.anonymous_count:,}" for arm in arms)
