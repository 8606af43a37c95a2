"""Tables of a usage report, for terminals and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.analytics.judged_usage import judged_line
from flowai.rendering import markdown
from flowai.rendering.formatting import MISSING_TEXT, count, dollars, duration, rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.analytics.usage import UsageReport, UsageRow

_BARS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table: its columns, a row per group, and a row for all groups."""

    columns: tuple[str, ...]
    """The groupings come first."""
    rows: tuple[tuple[str, ...], ...]


def tables(report: UsageReport, *, max_name_chars: int = 28) -> tuple[Table, Table]:
    """Return tables of traffic and speed and of quality and cost, so that each fits on a screen; long names are cut."""
    names = [
        tuple(markdown.one_line(row.group[one] or MISSING_TEXT, max_name_chars) for one in report.by)
        for row in report.rows
    ]
    shown = list(zip(names, report.rows, strict=True))
    if len(shown) > 1:
        shown.append((("all", *([""] * (len(report.by) - 1))), report.total))
    return (
        Table(columns=(*report.by, *_SPEED_COLUMNS), rows=tuple((*name, *_speed_cells(row)) for name, row in shown)),
        Table(
            columns=(*report.by, *_QUALITY_COLUMNS), rows=tuple((*name, *_quality_cells(row)) for name, row in shown)
        ),
    )


_SPEED_COLUMNS = ("calls", "over time", "errors", "over time", "p50", "p95", "p99", "TTFT p50", "p95", "p99")


def _speed_cells(row: UsageRow) -> tuple[str, ...]:
    return (
        f"{row.call_count:,}",
        sparkline(row.calls_by_slice),
        rate(row.error_rate),
        sparkline(row.failed_by_slice),
        *(duration(one) for one in (*row.latency, *row.ttft)),
    )


_QUALITY_COLUMNS = ("JSON", "accepted", "CSAT", "saved", "hallucinated", "hits", "degraded", "tokens in", "out", "cost")


def _quality_cells(row: UsageRow) -> tuple[str, ...]:
    unpriced = f" + {row.unpriced_count:,} unpriced" if row.unpriced_count else ""
    return (
        rate(row.json_valid_rate),
        rate(row.acceptance_rate),
        rate(row.csat_rate),
        rate(row.save_rate),
        rate(row.hallucination_rate),
        rate(row.hit_rate),
        rate(row.degraded_rate),
        _tokens(row.input_tokens),
        _tokens(row.output_tokens),
        dollars(row.cost_usd) + unpriced,
    )


def _tokens(number: int) -> str:
    """Format a number of tokens with three digits: `912`, `36.4 k`, `1.49 M`."""
    size, unit = float(number), ""
    for unit in ("", " k", " M", " G"):
        if size < 999.5 or unit == " G":  # noqa: PLR2004 - the largest that rounds below the next unit
            break
        size /= 1000
    return f"{size:.3g}{unit}" if unit else f"{number:,}"


def sparkline(numbers: Sequence[int]) -> str:
    """Render numbers as a line of bars; a space stands for 0."""
    highest = max(numbers, default=0)
    return "".join(" " if not number else _BARS[(number * 8 - 1) // highest] for number in numbers) if highest else ""


def embeddings_line(report: UsageReport) -> str | None:
    """Return a line about embeddings, which the tables do not contain; None without any."""
    usage = report.embeddings
    if not usage.request_count:
        return None
    failed = f" ({usage.failed_count:,} failed)" if usage.failed_count else ""
    unpriced = f" + {usage.unpriced_count:,} unpriced" if usage.unpriced_count else ""
    requests = f"{count(usage.request_count, 'request')}{failed}"
    return f"embeddings: {requests}, {_tokens(usage.input_tokens)} tokens, {dollars(usage.cost_usd)}{unpriced}"


def to_markdown(report: UsageReport) -> str:
    """Return the tables as Markdown."""
    parts = [f"# metrics, {report.since} to {report.until}"]
    parts += [markdown.table(table.columns, table.rows) for table in tables(report, max_name_chars=100)]
    judged = judged_line(report.judged)
    parts += [] if judged is None else [judged]
    embeddings = embeddings_line(report)
    parts += [] if embeddings is None else [embeddings]
    parts += [f"- {problem.count:,} lines: {problem.kind}" for problem in report.problems]
    return "\n\n".join(parts) + "\n"
