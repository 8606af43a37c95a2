"""Writes a canary report as Markdown and as one HTML page: no script, nothing loaded from anywhere.

In: a CanaryReport. Out: text. Must never know where it is written. Names are hostile until escaped.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from flowai.metrics.canary_tables import (
    ARM_COLUMNS,
    COLUMNS,
    arm_rows,
    headline,
    metric_rows,
    replay_rows,
    verdict_line,
)
from flowai.metrics.plots import svgs_of
from flowai.rendering.markdown import escaped, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowai.metrics.model import CanaryReport

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_REPLAY_COLUMNS = ("from", "verdict", "because")
_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1f23; --quiet: #59616b; --line: #d8dce1;
  --promote: #1a6b37; --rollback: #b3261e; --invalid: #8a5200; --hold: #59616b; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181b; --ink: #e6e8eb; --quiet: #a0a8b2; --line: #363b42;
  --promote: #6cc98a; --rollback: #ff8d85; --invalid: #f0b35e; --hold: #a0a8b2; } }
body { margin: 2rem auto; padding: 0 1.25rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { margin-top: 2rem; font-size: 1.15rem; }
.verdict { padding: .6rem 1rem; border: 1px solid; border-left-width: .5rem; border-radius: .3rem; font-weight: 650; }
.promote { color: var(--promote); } .rollback { color: var(--rollback); } .invalid { color: var(--invalid); }
.hold { color: var(--hold); } .wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
th, .quiet { color: var(--quiet); } th { font-weight: 500; font-size: .85rem; }
svg { width: 100%; height: auto; margin: .5rem 0; }
"""
_NOTE = (
    "Rates are of users at risk: in each five minutes a user counts once, and after a first failure no more. Evidence "
    "is an e-value over the whole rollout; it may be looked at at any time. Intervals and counts are of this stage."
)


def to_markdown(report: CanaryReport) -> str:
    """Give the report as Markdown; its plots lie beside it."""
    return "\n".join(_markdown(report)) + "\n"


def _markdown(report: CanaryReport) -> Iterator[str]:
    yield f"# canary {escaped(report.candidate)}, stage {report.stage}"
    yield ""
    yield f"**{escaped(verdict_line(report))}**"
    yield ""
    yield escaped(headline(report))
    yield ""
    yield from (f"- warning: {escaped(one)}" for one in report.warnings)
    for title, columns, rows in _tables(report):
        yield from ("", f"## {title}", "", table(columns, rows))
    yield from ("", _NOTE, "")
    yield from (f"![{name.removesuffix('.svg')}]({name})" for name in svgs_of(report))
    yield from ("", f"{report.since} to {report.until}, digest `{report.digest}`")


def _tables(report: CanaryReport) -> Iterator[tuple[str, Sequence[str], Sequence[Sequence[str]]]]:
    yield "Guardrails", COLUMNS, metric_rows(report)
    yield "Times and cost", ARM_COLUMNS, arm_rows(report)
    if rows := list(replay_rows(report)):
        yield "What the verdict would have been", _REPLAY_COLUMNS, rows


def to_html(report: CanaryReport) -> str:
    """Give the report as one HTML page, its plots in it."""
    title = f"canary {report.candidate}, stage {report.stage}"
    body = [
        tag("h1", title),
        f'<p class="verdict {report.verdict}">{html.escape(verdict_line(report))}</p>',
        tag("p", headline(report)),
        *(tag("p", f"Warning: {one}") for one in report.warnings),
        *(f"{tag('h2', name)}{html_table(columns, rows)}" for name, columns, rows in _tables(report)),
        f'<p class="quiet">{html.escape(_NOTE)}</p>',
        *svgs_of(report).values(),
        f'<p class="quiet">{report.since} to {report.until}, digest {report.digest}</p>',
    ]
    return page(title, body)


def page(title: str, body: Sequence[str]) -> str:
    """Give a whole page: its styles, no script, nothing loaded from anywhere.

    Args:
        title: any text.
        body: HTML; texts in it are escaped already.
    """
    head = (
        '<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{tag('title', title)}<style>{_STYLE}</style>\n"
    )
    inside = "".join(body)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}</head>\n<body>\n<main>\n{inside}</main>\n</body>\n</html>\n'
    )


def html_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Give a table of texts, escaped; it scrolls where it is too wide."""
    lines = [f"<tr>{''.join(f'<th>{html.escape(cell)}</th>' for cell in columns)}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    return f'<div class="wide"><table>{"".join(lines)}</table></div>\n'


def tag(name: str, text: str) -> str:
    """Give an element that holds a text, escaped."""
    return f"<{name}>{html.escape(text)}</{name}>\n"
