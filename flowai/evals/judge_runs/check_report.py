"""`flowai judge check` as lines for a terminal, Markdown and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.evals.judges.pairwise import PREFERENCE_NAME
from flowai.rendering import formatting
from flowai.rendering.markdown import escape_markdown, table
from flowai.rendering.report_files import to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.evals.judge_runs.records import JudgeCheck, JudgeCheckReport, RateWithInterval
    from flowai.rendering.report_files import Writers

STATUS_WORDS = {
    "above_floor": "ABOVE THE FLOOR",
    "below_floor": "BELOW THE FLOOR",
    "too_few_labels": "TOO FEW LABELS",
    "judge_down": "JUDGE DOWN",
    "stopped": "STOPPED",
}
MAX_SHOWN_MISJUDGED = 3


def screen_lines(report: JudgeCheckReport, width: int | None) -> Iterator[str]:
    """Yield the lines of a report for a terminal."""
    for check in report.judges:
        yield from formatting.wrapped(
            f"{check.name}   judge: {check.judge}   hash: {check.judge_hash}", width, indent="  "
        )
        yield from formatting.aligned(list(_rows(check)), "<<")
        for unscored in check.unscored_reasons:
            yield from formatting.wrapped(f"unscored {unscored.count:,}: {unscored.reason}", width)
        for one in check.misjudged[:MAX_SHOWN_MISJUDGED]:
            reason = f": {one.reason}" if one.reason else ""
            yield from formatting.wrapped(f"{one.case}: label {one.label}, verdict {one.verdict}{reason}", width)
        if len(check.misjudged) > MAX_SHOWN_MISJUDGED:
            yield f"... {len(check.misjudged) - MAX_SHOWN_MISJUDGED} more of the judge's errors: --json lists them"
        status_reason = f"  {check.status_reason}" if check.status_reason else ""
        yield from formatting.wrapped(f"{STATUS_WORDS[check.status]}{status_reason}", width)
        if check.calibration is not None:
            yield f"{check.calibration} holds the calibration; commit it"
        yield ""


def to_markdown(report: JudgeCheckReport) -> str:
    """Return a report as Markdown."""
    parts = [f"# Judges of {escape_markdown(report.suite)}", f"Measured at {report.at}."]
    for check in report.judges:
        parts.append(f"## {escape_markdown(check.name)}")
        parts.append(
            f"{STATUS_WORDS[check.status].capitalize()}{': ' if check.status_reason else ''}"
            f"{escape_markdown(check.status_reason, 1000)}. Judge: {escape_markdown(check.judge)}, "
            f"hash `{check.judge_hash}`."
        )
        parts.append(table(("measure", "value"), [(name, escape_markdown(value)) for name, value in _rows(check)]))
        if check.unscored_reasons:
            rows = [(escape_markdown(one.reason), f"{one.count:,}") for one in check.unscored_reasons]
            parts.append(table(("reason of unscored answers", "answers"), rows))
        if check.misjudged:
            wrong = [
                (escape_markdown(one.case), one.label, one.verdict, escape_markdown(one.reason))
                for one in check.misjudged
            ]
            parts.append(table(("case", "label", "verdict", "reason"), wrong))
    parts.extend(f"- {escape_markdown(warning, 1000)}" for warning in report.warnings)
    return "\n\n".join(parts) + "\n"


WRITERS: Writers[JudgeCheckReport] = {".json": to_json, ".md": to_markdown}
"""Writers by the ending of the file."""


def _rows(check: JudgeCheck) -> Iterator[tuple[str, str]]:
    counts, labels = check.counts, check.labels
    left_out = [
        f"{count:,} {word}"
        for count, word in (
            (labels.disputed_count, "disputed"),
            (labels.unlabelled_count, "without a label"),
            (labels.missing_answer_count, "without an answer"),
        )
        if count
    ]
    without = f"; left out: {', '.join(left_out)}" if left_out else ""
    if check.name == PREFERENCE_NAME:
        yield "labelled pairs", f"{labels.pass_count:,} A, {labels.fail_count:,} B"
        yield "B is better", f"{counts.true_positive_count:,} judged B, {counts.false_negative_count:,} judged A"
        yield "A is better", f"{counts.true_negative_count:,} judged A, {counts.false_positive_count:,} judged B"
    else:
        yield "labels", f"{labels.fail_count:,} fail, {labels.pass_count:,} pass{without}"
        yield (
            "faulty answers",
            f"{counts.true_positive_count:,} flagged, {counts.false_negative_count:,} passed by the judge",
        )
        yield (
            "sound answers",
            f"{counts.true_negative_count:,} passed, {counts.false_positive_count:,} flagged by the judge",
        )
    yield "true positive rate", _share(check.true_positive_rate)
    yield "true negative rate", _share(check.true_negative_rate)
    yield "TPR + TNR - 1", _number(check.youden)
    if check.fault_rate is not None:
        yield "faults among all scored", _share(check.fault_rate)
    yield "Cohen's kappa", f"{_plain(check.kappa)} (base rate of faults {formatting.rate(check.base_rate)})"
    yield (
        "accuracy",
        f"{formatting.rate(check.accuracy)} (a constant judge: {formatting.rate(check.constant_accuracy)})",
    )
    same = check.consistency.same
    yield f"same verdict {check.consistency.asked_count} times", _share(same)
    yield from _position_rows(check)
    length = check.length
    yield "verdict by length", _number(length.verdict)
    yield "label by length", _number(length.label)
    failed = f", {check.failed_call_count:,} of them by failed calls" if check.failed_call_count else ""
    yield "unscored", f"{check.unscored_count:,}{failed}"
    calls = "-" if check.calls_per_answer is None else f"{check.calls_per_answer:.2f}"
    yield "calls per answer", calls
    yield "$ per 1,000 answers", "-" if check.usd_per_thousand is None else formatting.dollars(check.usd_per_thousand)


def _position_rows(check: JudgeCheck) -> Iterator[tuple[str, str]]:
    position = check.position
    if position is None:
        yield "position", "- (no pair of a sound and a faulty answer was asked about)"
        return
    unread = f", {position.unread_count:,} pairs unreadable" if position.unread_count else ""
    yield "same choice in both orders", f"{_share(position.same_choice)}{unread}"
    yield "first answer chosen", _share(position.first_chosen)
    yield "sound answer chosen", _share(position.right)


def _share(rate: RateWithInterval) -> str:
    if rate.value is None or rate.low is None or rate.high is None:
        return f"- (of {rate.total_count:,})"
    return (
        f"{formatting.rate(rate.value)} ({formatting.rate(rate.low)} to {formatting.rate(rate.high)}, "
        f"of {rate.total_count:,})"
    )


def _number(value: RateWithInterval) -> str:
    if value.value is None or value.low is None or value.high is None:
        return "-"
    return f"{value.value:+.2f} ({value.low:+.2f} to {value.high:+.2f})"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"
