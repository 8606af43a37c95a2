"""Lines about the gate of a finished run: comparisons, slices, flaky cases, quarantine, the gate against itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.evals.gates.sentences import comparison_sentence, slice_sentence
from flowai.rendering import formatting
from flowai.rendering.markdown import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.evals.gates.baseline_file import BaselineChange
    from flowai.evals.reports.gate_records import FlakyCase, SelfComparison
    from flowai.evals.reports.records import Report

MAX_SHOWN_COUNT = 5


def gate_lines(report: Report) -> Iterator[str]:
    """Yield what the gate found beside its limits."""
    for comparison in report.comparison:
        yield comparison_sentence(comparison)
        if comparison.worse_cases:
            yield f"  worse: {one_line(', '.join(comparison.worse_cases), 140)}"
    for item in report.slices:
        yield f"{'no loss shown' if item.passed else 'WORSE'}: {slice_sentence(item)}"
    for flaky in report.flaky[:MAX_SHOWN_COUNT]:
        yield _flaky_line(flaky)
    if len(report.flaky) > MAX_SHOWN_COUNT:
        yield f"... and {len(report.flaky) - MAX_SHOWN_COUNT} more flaky cases in the report"
    if report.quarantined:
        yield f"in quarantine: {one_line(', '.join(report.quarantined), 140)}"
    if report.self_comparison is not None:
        yield _self_line(report.self_comparison)


def baseline_lines(change: BaselineChange | None) -> Iterator[str]:
    """Yield the changes of a baseline that was written."""
    if change is not None:
        yield f"baseline written: {change.head}"
        yield from (f"  {line}" for line in change.lines)


def _flaky_line(flaky: FlakyCase) -> str:
    earlier = f"; flaky in {formatting.count(flaky.earlier_count, 'earlier run')} too" if flaky.earlier_count else ""
    return f"flaky: {flaky.case} passed {flaky.pass_count} of {flaky.trial_count}{earlier}"


def _self_line(found: SelfComparison) -> str:
    rounds = formatting.count(found.round_count, "comparison")
    line = (
        f"{rounds} of the run with itself: {found.red_count} worse, {found.undecided_count} undecided;"
        f" limits flipped in {found.flip_count} ({formatting.rate(found.flip_count / found.round_count)})"
    )
    if found.single_case_count:
        line += f"; {formatting.count(found.single_case_count, 'case')} with one trial cannot flip: use --repeat"
    return line
