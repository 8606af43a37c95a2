"""The tables of a usage report: how often, how fast, how good; for terminals and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.rendering import markdown
from flowai.rendering.formatting import MISSING_TEXT, dollars, duration, rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.analytics.usage import UsageReport, UsageRow

_BARS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """One table: a head, and a row for each group and for all of them."""

    columns: tuple[str, ...]
    """The head; what is grouped by comes first."""
    rows: tuple[tuple[str, ...], ...]
    """Cells, as many as the head has."""


def tables(report: UsageReport, *, most_name_chars: int = 28) -> tuple[Table, Table]:
    """Give what came and how fast, and what became of it: two tables, so that each fits on a screen.

    Args:
        report: what is shown.
        most_name_chars: longer names are cut.
    """
    names = [
        tuple(markdown.one_line(row.group[one] or MISSING_TEXT, most_name_chars) for one in report.by)
        for row in report.rows
    ]
    shown = list(zip(names, report.rows, strict=True))
    if len(shown) > 1:
        shown.append((("all", *([""] * (len(report.by) - 1))), report.total))
    return (
        Table(columns=(*report.by, *_SPEED), rows=tuple((*name, *_speed(row)) for name, row in shown)),
        Table(columns=(*report.by, *_QUALITY_COLUMNS), rows=tuple((*name, *_worth(row)) for name, row in shown)),
    )


_SPEED = ("calls", "over time", "errors", "over time", "p50", "p95", "p99", "TTFT p50", "p95", "p99")


def _speed(row: UsageRow) -> tuple[str, ...]:
    return (
        f"{row.call_count:,}",
        sparkline(row.calls_by_slice),
        rate(row.error_rate),
        sparkline(row.failed_by_slice),
        *(duration(one) for one in (*row.latency, *row.ttft)),
    )


_QUALITY_COLUMNS = (
    "JSON",
    "accepted",
    "CSAT",
    "saved",
    "hallucinated",
    "hits",
    "degraded",
    "tokens in",
    "out",
    "cost",
)


def _worth(row: UsageRow) -> tuple[str, ...]:
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
    """Spell a number of tokens with three figures: `912`, `36.4 k`, `1.49 M`."""
    size, unit = float(number), ""
    for unit in ("", " k", " M", " G"):
        if size < 999.5 or unit == " G":  # noqa: PLR2004 - the largest that rounds below the next unit
            break
        size /= 1000
    return f"{size:.3g}{unit}" if unit else f"{number:,}"


def sparkline(numbers: Sequence[int]) -> str:
    """Draw numbers as a line of bars; a space is none."""
    most = max(numbers, default=0)
    return "".join(" " if not number else _BARS[(number * 8 - 1) // most] for number in numbers) if most else ""


def to_markdown(report: UsageReport) -> str:
    """Give the tables as Markdown."""
    parts = [f"# metrics, {report.since} to {report.until}"]
    parts += [markdown.table(table.columns, table.rows) for table in tables(report, most_name_chars=100)]
    parts += [f"- {problem.count:,} lines: {problem.kind}" for problem in report.problems]
    return "\n\n".join(parts) + "\n"
