"""`flowai metrics`: usage figures of a time range."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import msgspec

from flowai.analytics.event_query import CLOCK_SKEW_S, TimeRange, days_around, open_log
from flowai.analytics.judged_usage import judged_usage
from flowai.analytics.usage import COLUMNS, GroupBy, measure_usage, scores_by_judge
from flowai.analytics.usage_tables import to_markdown
from flowai.errors import FlowaiError, UsageError, expected_one_of
from flowai.rendering.report_files import check_endings, to_json, write_reports
from flowai.timestamps import parse_moment, to_us
from flowai.workspace.event_source import open_event_source
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flowai.analytics.usage import UsageReport
    from flowai.rendering.report_files import Writers
    from flowai.workspace.workspace import CommandContext


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricsOptions:
    """Options of `flowai metrics`."""

    since: str = "24h"
    """As typed."""
    until: str | None = None
    """As typed; None for now."""
    by: str = "feature"
    """Groupings, separated by commas."""
    outputs: tuple[Path, ...] = ()


WRITERS: Writers[UsageReport] = {".json": to_json, ".md": to_markdown}


def watch_metrics(
    context: CommandContext,
    options: MetricsOptions,
    *,
    every_s: float,
    on_report: Callable[[UsageReport | FlowaiError], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Report usage every `every_s` seconds, from start to start, until the user interrupts.

    A report that takes longer is followed by the next at once. `on_report` receives errors too after the first report,
    since a file may be in the middle of an edit.
    """
    if options.until is not None:
        raise UsageError("--watch always reports until now: it excludes `--until`", hint="remove one of them")
    began_s = context.clock_s()
    on_report(run_metrics(context, options))
    while True:
        sleep(max(0.0, began_s + every_s - context.clock_s()))
        began_s = context.clock_s()
        try:
            found: UsageReport | FlowaiError = run_metrics(context, options)
        except FlowaiError as error:
            found = error
        on_report(found)


def run_metrics(context: CommandContext, options: MetricsOptions) -> UsageReport:
    """Compute the usage figures and write the requested files."""
    by = tuple(_by(word.strip()) for word in options.by.split(","))
    check_endings(options.outputs, WRITERS)
    now = context.now().replace(microsecond=0)
    since = parse_moment(options.since, now=now, option="--since")
    until = now if options.until is None else parse_moment(options.until, now=now, option="--until")
    if until <= since:
        raise UsageError("`--until` must be after `--since`")
    time_range = TimeRange(since_us=to_us(since), until_us=to_us(until))
    workspace = open_workspace(context)
    places = open_event_source(workspace.registry, context.project, workspace.environ, days_around(time_range))
    with places as directories, open_log(directories, COLUMNS, time_range) as log:
        report = measure_usage(log, time_range, tuple(dict.fromkeys(by)), now_us=to_us(now) + CLOCK_SKEW_S * 1_000_000)
        scores = scores_by_judge(log)
    report = msgspec.structs.replace(report, judged=judged_usage(workspace, scores))
    write_reports(report, options.outputs, WRITERS)
    return report


def _by(word: str) -> GroupBy:
    for known in get_args(GroupBy):
        if known == word:
            return known  # type: ignore[no-any-return]
    raise UsageError(f"--by: found `{word}`", hint=expected_one_of(get_args(GroupBy), found=word))
