"""Screens of `flowai runs list` and `flowai runs diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.evals.reports.slices import pass_rate
from flowai.rendering import formatting
from flowai.rendering.markdown import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowai.evals.reports import Report
    from flowai.evals.runs.run_diff import RunDiff, TurnedCase
    from flowai.evals.runs.run_history import RunSummary

_LIST_COLUMNS = ("run", "started (UTC)", "target", "cases", "passed", "pass rate", "errors", "cost", "state")
_LIST_SIDES = {"cases": ">", "passed": ">", "pass rate": ">", "errors": ">", "cost": ">"}
_LIST_DROP_ORDER = ("errors", "cost", "passed", "started (UTC)", "cases")
MAX_TARGET_CHARS = 40
MAX_TURNED_COUNT = 20
MAX_NAMES_CHARS = 24
DEFAULT_WIDTH = 160
_TURN_WORDS = {"worse": "WORSE", "better": "better", "noise": "noise"}
_INDENT = " " * 7


def list_lines(runs: Sequence[RunSummary], width: int | None) -> Iterator[str]:
    """Yield the table of runs, the newest first."""
    if not runs:
        yield "no runs; `flowai eval` starts one"
        return
    drop_order = [_LIST_COLUMNS.index(name) for name in _LIST_DROP_ORDER]
    rows = formatting.without_columns([_LIST_COLUMNS, *map(_list_row, runs)], drop_order, width)
    yield from formatting.aligned(rows, "".join(_LIST_SIDES.get(name, "<") for name in rows[0]))
    yield f"{formatting.count(len(runs), 'run')}   details: flowai runs show {runs[0].run_id}"


def _list_row(run: RunSummary) -> tuple[str, ...]:
    judged = run.pass_count + run.fail_count
    torn = f", {formatting.count(run.unreadable_line_count, 'torn line')}" if run.unreadable_line_count else ""
    return (
        run.run_id,
        "-" if run.started_at is None else one_line(run.started_at[:16].replace("T", " ")),
        one_line(run.target, MAX_TARGET_CHARS) or "-",
        f"{run.case_count:,}",
        f"{run.pass_count:,}/{judged:,}" if judged else "-",
        formatting.rate(run.pass_rate),
        f"{run.error_count + run.unscored_count:,}",
        formatting.dollars(run.cost_usd),
        f"{run.state}{torn}",
    )


def diff_lines(diff: RunDiff, base: Report, run: Report, width: int | None) -> Iterator[str]:
    """Yield the comparison of two runs: figures, paired table, turned cases with reasons; the result last."""
    yield from formatting.aligned(_figure_rows(base, run), "<>>>")
    yield ""
    pairs, earlier, later = diff.pairs, f"run {diff.base}", f"run {diff.run}"
    table = [
        ("cases in both", f"passed in {later}", f"failed in {later}"),
        (f"passed in {earlier}", f"{pairs.both_passed:,}", f"{pairs.worse:,}"),
        (f"failed in {earlier}", f"{pairs.better:,}", f"{pairs.both_failed:,}"),
    ]
    yield from formatting.aligned(table, "<>>")
    only = [(diff.only_in_base_count, earlier), (diff.only_in_run_count, later)]
    for number, name in only:
        if number:
            yield f"{formatting.count(number, 'case')} only in {name}"
    if diff.turned:
        yield ""
    for turned in diff.turned[:MAX_TURNED_COUNT]:
        yield from _turned_lines(turned, run, width or DEFAULT_WIDTH)
    if len(diff.turned) > MAX_TURNED_COUNT:
        hidden = len(diff.turned) - MAX_TURNED_COUNT
        yield f"... and {formatting.count(hidden, 'more case', 'more cases')} with --json"
    yield from formatting.wrapped(_result(diff), width)


def _figure_rows(base: Report, run: Report) -> list[tuple[str, ...]]:
    rates = [pass_rate(report.trials).interval.estimate for report in (base, run)]
    difference = None if None in rates else (rates[1] or 0.0) - (rates[0] or 0.0)
    before, now = base.totals, run.totals
    errors = now.error_count - before.error_count
    return [
        ("", f"run {base.run_id}", f"run {run.run_id}", "difference"),
        *_different_names(base, run),
        ("pass rate", *map(formatting.rate, rates), "-" if difference is None else f"{difference * 100:+.1f} points"),
        ("errors", f"{before.error_count:,}", f"{now.error_count:,}", f"{errors:+,}" if errors else "0"),
        ("cost (fresh)", formatting.dollars(before.cost_usd), formatting.dollars(now.cost_usd), ""),
        ("latency p95", formatting.duration(before.latency.p95_ms), formatting.duration(now.latency.p95_ms), ""),
    ]


def _different_names(base: Report, run: Report) -> Iterator[tuple[str, ...]]:
    """Yield a row with the prompts, and one with the models, if those of the runs differ."""
    for name in ("prompt", "model"):
        names = [", ".join(dict.fromkeys(getattr(group, name) for group in report.groups)) for report in (base, run)]
        if names[0] != names[1]:
            yield name, *(one_line(text, MAX_NAMES_CHARS) for text in names), ""


def _turned_lines(turned: TurnedCase, run: Report, width: int) -> Iterator[str]:
    several = len({(trial.prompt, trial.model) for trial in run.trials[:10_000]}) > 1
    name = f"{turned.case} ({turned.prompt}, {turned.model})" if several else turned.case
    shares = ""
    if turned.judged_before > 1 or turned.judged > 1:
        shares = f"  {turned.passed_before}/{turned.judged_before} -> {turned.passed}/{turned.judged}"
    head = f"{_TURN_WORDS[turned.turn]:<6} {one_line(name, width // 2)}{shares}"
    yield head
    if turned.reason:
        was = "was: " if turned.turn == "better" else ""
        place = f"  {turned.place}" if turned.place else ""
        free_chars = width - len(_INDENT) - len(place) - len(was)
        yield f"{_INDENT}{was}{one_line(turned.reason, max(20, free_chars))}{place}"
    if turned.turn != "noise" and turned.output is not None:
        half = (width - len(_INDENT) - 6) // 2
        before = "(no answer)" if turned.output_before is None else one_line(turned.output_before, half)
        yield f"{_INDENT}{before}  ->  {one_line(turned.output, half)}"


def _result(diff: RunDiff) -> str:
    pairs = diff.pairs
    total = pairs.both_passed + pairs.worse + pairs.better + pairs.both_failed + pairs.noise
    evidence = "" if diff.p_value is None else f"   p {diff.p_value:.2g} (McNemar, exact)"
    counts = f"{pairs.worse:,} turned worse, {pairs.better:,} better, {pairs.noise:,} noise"
    return f"{counts} of {formatting.count(total, 'case')}{evidence}"
