"""The table of a usage report as plain text and as Markdown.

In: a UsageReport. Out: rows of cells, text. Must never know terminals.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from flowai.markup import one_line
from flowai.reports.numbers import NOTHING, dollars, duration, rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.metrics.usage import UsageReport, UsageRow

FIGURES = (
    "calls",
    "errors",
    "JSON valid",
    "p50",
    "p95",
    "p99",
    "TTFT p50",
    "p95",
    "p99",
    "accepted",
    "saved",
    "hits",
    "degraded",
    "tokens in",
    "out",
    "cost",
    "over time",
)
_BARS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"


def columns(report: UsageReport) -> tuple[str, ...]:
    """Give the head of the table."""
    return (*report.by, *FIGURES)


def rows(report: UsageReport) -> list[tuple[str, ...]]:
    """Give a row per group, and one for all of them where there are several."""
    table = [(*(one_line(row.group[one] or NOTHING, 40) for one in report.by), *_figures(row)) for row in report.rows]
    if len(report.rows) > 1:
        table.append(("all", *([""] * (len(report.by) - 1)), *_figures(report.total)))
    return table


def _figures(row: UsageRow) -> tuple[str, ...]:
    unpriced = f" + {row.unpriced_count:,} unpriced" if row.unpriced_count else ""
    return (
        f"{row.call_count:,}",
        rate(row.error_rate),
        rate(row.json_valid_rate),
        *(duration(one) for one in row.latency),
        *(duration(one) for one in row.ttft),
        rate(row.acceptance_rate),
        rate(row.save_rate),
        rate(row.hit_rate),
        rate(row.degraded_rate),
        f"{row.input_tokens:,}",
        f"{row.output_tokens:,}",
        dollars(row.cost_usd) + unpriced,
        sparkline(row.calls_by_slice),
    )


def sparkline(numbers: Sequence[int]) -> str:
    """Draw numbers as a line of bars; a space is none."""
    most = max(numbers, default=0)
    return "".join(" " if not number else _BARS[(number * 8 - 1) // most] for number in numbers) if most else ""


def to_markdown(report: UsageReport) -> str:
    """Give the table as Markdown."""
    head = columns(report)
    lines = [f"# metrics, {report.since} to {report.until}", ""]
    lines += [f"| {' | '.join(_md(cell) for cell in row)} |" for row in (head, ["---"] * len(head), *rows(report))]
    lines += [f"\n- {problem.count:,} lines: {problem.kind}" for problem in report.problems]
    return "\n".join(lines) + "\n"


def _md(text: str) -> str:
    if text == "---":
        return text
    return "".join(f"\\{char}" if char in "\\`*_[]|#" else char for char in html.escape(text, quote=False))
