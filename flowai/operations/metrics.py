"""What `flowai metrics` does: figures of the calls of a stretch of time.

In: options, a project. Out: a UsageReport. Must never know how it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import msgspec

from flowai.errors import UsageError, one_of
from flowai.files import write_atomic
from flowai.metrics.moments import parse_moment
from flowai.metrics.query import CLOCK_SKEW_S, Stretch, open_log, to_us
from flowai.metrics.usage import COLUMNS, By, measure_usage
from flowai.metrics.usage_tables import to_markdown
from flowai.operations.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flowai.metrics.usage import UsageReport
    from flowai.operations.workspace import Surroundings


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricsOptions:
    """What the command was asked.

    Args:
        since: begin, as typed.
        until: end, as typed; None for now.
        by: what to group by, with commas.
        outputs: files to write.
    """

    since: str = "24h"
    until: str | None = None
    by: str = "feature"
    outputs: tuple[Path, ...] = ()


def usage_json(report: UsageReport) -> bytes:
    """Give the report as indented JSON; equal reports give equal bytes."""
    return msgspec.json.format(msgspec.json.encode(report, order="deterministic"), indent=1) + b"\n"


WRITERS: dict[str, Callable[[UsageReport], str | bytes]] = {".json": usage_json, ".md": to_markdown}


def run_metrics(around: Surroundings, options: MetricsOptions) -> UsageReport:
    """Measure, and write what was asked for.

    Raises:
        UsageError: an option is wrong.
        ProjectError: the registry is wrong.
        InfrastructureError: the log cannot be read, or a file cannot be written.
    """
    by = tuple(_by(word.strip()) for word in options.by.split(","))
    for path in options.outputs:
        if path.suffix.lower() not in WRITERS:
            raise UsageError(f"`{path.name}`: found ending `{path.suffix}`, expected one of `.json`, `.md`")
    now = around.now().replace(microsecond=0)
    since = parse_moment(options.since, now=now, option="--since")
    until = now if options.until is None else parse_moment(options.until, now=now, option="--until")
    if until <= since:
        raise UsageError("nothing lies between `--since` and `--until`")
    stretch = Stretch(since_us=to_us(since), until_us=to_us(until))
    workspace = open_workspace(around)
    with open_log(workspace.events, COLUMNS, stretch) as log:
        report = measure_usage(log, stretch, tuple(dict.fromkeys(by)), now_us=to_us(now) + CLOCK_SKEW_S * 1_000_000)
    for path in options.outputs:
        write_atomic(path, WRITERS[path.suffix.lower()](report))
    return report


def _by(word: str) -> By:
    for known in get_args(By):
        if known == word:
            return known  # type: ignore[no-any-return]
    raise UsageError(f"--by: found `{word}`", hint=one_of(get_args(By), found=word))
