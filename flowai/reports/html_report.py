"""Writes a report as one HTML page: no script, nothing loaded from anywhere, readable in the light and in the dark.

In: a Report. Out: text. Must never know where it is written. Model output is hostile: whatever is no `Markup` is
escaped.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from flowai.rendering.formatting import count, dollars, duration
from flowai.rendering.markdown import one_line
from flowai.reports.tables import GATE_COLUMNS, GROUP_COLUMNS, VERDICT_WORDS, figure_rows, gate_rows, group_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowai.reports.model import Changes, Check, Report, Trial

_MOST_OUTPUT_CHARS = 20_000
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_SIGNS = {"pass": "\u2713", "fail": "\u2717", "error": "!", "undecided": "?", "unscored": "?"}
_ORDER = ("fail", "error", "unscored")  # what can be learned from comes first
_TEXT_COLUMNS = frozenset({"suite", "prompt", "model", "metric", ""})
# HTML Standard, "Preprocessing the input stream": control characters and surrogates have no place in a document
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")

# Colours come in pairs that keep a contrast of at least 4.5 in both schemes; a sign or a word says the same each time.
_STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fff; --ink: #1c1f23; --quiet: #59616b; --line: #d8dce1; --card: #f5f6f8;
  --pass: #1a6b37; --fail: #b3261e; --error: #8a5200; --undecided: #59616b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181b; --ink: #e6e8eb; --quiet: #a0a8b2; --line: #363b42; --card: #1f2226;
    --pass: #6cc98a; --fail: #ff8d85; --error: #f0b35e; --undecided: #a0a8b2;
  }
}
body {
  margin: 2rem auto; padding: 0 1.25rem; max-width: 72rem;
  background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
}
h1 { margin: 0 0 .75rem; font-size: 1.5rem; overflow-wrap: anywhere; }
h2 { margin: 2.25rem 0 .75rem; font-size: 1.15rem; }
h3 { margin: 0; font-size: 1rem; overflow-wrap: anywhere; }
p, ul { margin: .5rem 0; }
code, pre { font: .87em/1.5 ui-monospace, monospace; overflow-wrap: anywhere; unicode-bidi: isolate; }
.verdict { padding: .6rem 1rem; border: 1px solid; border-left-width: .5rem; border-radius: .3rem; font-weight: 650; }
.pass { color: var(--pass); } .fail { color: var(--fail); } .error { color: var(--error); }
.undecided, .unscored { color: var(--undecided); }
.quiet { color: var(--quiet); }
.warning { padding-left: .8rem; border-left: .25rem solid var(--error); }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(13.5rem, 1fr)); gap: .5rem; margin: 1rem 0; }
.figures div { padding: .5rem .75rem; border-radius: .3rem; background: var(--card); }
dt { color: var(--quiet); font-size: .85rem; }
dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { color: var(--quiet); font-weight: 500; font-size: .85rem; }
th:last-child, td:last-child { padding-right: 0; }
.number { text-align: right; white-space: nowrap; }
.trial { margin: .75rem 0; padding: .75rem 1rem; border: 1px solid var(--line); border-radius: .3rem; }
.trial:target { outline: 2px solid; }
.trial ul { padding: 0; list-style: none; }
details.trial { margin: .35rem 0; padding: .35rem 1rem; }
summary { cursor: pointer; overflow-wrap: anywhere; }
pre {
  margin: .6rem 0 0; padding: .6rem .8rem; border-radius: .3rem; max-height: 26rem; overflow: auto;
  background: var(--card); white-space: pre-wrap;
}
a { color: inherit; }
"""


class Markup(str):
    """Text that is HTML already; any other text is escaped on its way into the page."""

    __slots__ = ()


def to_html(report: Report) -> str:
    """Give the report as an HTML page; equal reports give equal text."""
    title = f"{report.kind} {one_line(report.target, 300) or 'all suites'}"
    words = VERDICT_WORDS[report.decision.verdict]
    changes = [*([report.changes] if report.changes else []), *report.against_baseline]
    anchors = {trial.key: f"trial-{number}" for number, trial in enumerate(report.trials, start=1)}
    body = _tag(
        "main",
        _tag("h1", title),
        _tag("p", f"{_SIGNS[report.decision.verdict]} {words}", kind=f"verdict {report.decision.verdict}"),
        *(_tag("p", f"Warning: {one_line(warning, 300)}", kind="warning") for warning in report.warnings),
        _figures(report),
        _section("Gate", _table(GATE_COLUMNS, gate_rows(report))),
        _section("Prompts and models", _table(GROUP_COLUMNS, group_rows(report))),
        *(_changes(change, anchors) for change in changes),
        _unpassed(report, anchors),
        _passed(report, anchors),
        _tag("p", f"flowai {report.flowai_version}", kind="quiet"),
    )
    head = _tag(
        "head",
        Markup('<meta charset="utf-8">\n'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">\n'),
        _tag("title", f"{title}: {words}"),
        _tag("style", Markup(_STYLE)),
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n{head}{_tag("body", body)}</html>\n'


def _figures(report: Report) -> Markup:
    pairs = (_tag("div", _tag("dt", name), _tag("dd", value)) for name, value in figure_rows(report))
    return _tag("dl", *pairs, kind="figures")


def _section(title: str, content: Markup) -> Markup:
    return _tag("section", _tag("h2", title), content) if content else Markup()


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """Write a table; its numbers are set flush right, so that their digits stand under each other."""
    if not rows:
        return Markup()
    kinds = ["" if column in _TEXT_COLUMNS else "number" for column in columns]

    def line(name: str, cells: Sequence[str]) -> Markup:
        return _tag("tr", *(_tag(name, cell, kind=kind) for cell, kind in zip(cells, kinds, strict=True)))

    table = _tag("table", _tag("thead", line("th", columns)), _tag("tbody", *(line("td", row) for row in rows)))
    return _tag("div", table, kind="wide")


def _changes(changes: Changes, anchors: dict[str, str]) -> Markup:
    against = f"Against {changes.baseline} in run" if changes.baseline else "Since run"
    title = f"{against} {changes.run_id} ({count(changes.shared_count, 'trial')} in both)"
    lines = []
    for sign, word, keys in (("fail", "broke", changes.broke), ("pass", "fixed", changes.fixed)):
        links = (_link(key, anchors) for key in keys)
        names = Markup(f": {', '.join(links)}") if keys else ""
        number = _tag("span", f"{_SIGNS[sign]} {len(keys)} {word}", kind=sign) if keys else f"0 {word}"
        lines.append(_tag("p", number, names))
    return _section(title, _joined(lines))


def _link(key: str, anchors: dict[str, str]) -> Markup:
    name = _tag("code", one_line(key, 300))
    return _tag("a", name, href=f"#{anchors[key]}") if key in anchors else name


def _unpassed(report: Report, anchors: dict[str, str]) -> Markup:
    trials = sorted(
        (trial for trial in report.trials if trial.outcome != "pass"), key=lambda trial: _ORDER.index(trial.outcome)
    )
    articles = (
        _tag("article", _tag("h3", *_name(trial)), *_evidence(trial), kind="trial", id=anchors[trial.key])
        for trial in trials
    )
    return _section(f"What did not pass ({len(trials)})", _joined(articles))


def _passed(report: Report, anchors: dict[str, str]) -> Markup:
    trials = [trial for trial in report.trials if trial.outcome == "pass"]
    folded = (
        _tag("details", _tag("summary", *_name(trial)), *_evidence(trial), kind="trial", id=anchors[trial.key])
        for trial in trials
    )
    return _section(f"What passed ({len(trials)})", _joined(folded))


def _name(trial: Trial) -> tuple[Markup, str]:
    repeat = f", repeat {trial.repeat}" if trial.repeat else ""
    word = _tag("span", f"{_SIGNS[trial.outcome]} {trial.outcome.upper()}", kind=trial.outcome)
    return word, f" {one_line(trial.case, 300)}{repeat}"


def _evidence(trial: Trial) -> tuple[Markup, ...]:
    """Show where a trial stands, what it took, what its checks say, and the answer."""
    where = Markup(" · ").join(_tag("code", one_line(text, 300)) for text in (trial.place, trial.prompt, trial.model))
    reasons = [_tag("li", one_line(trial.failure.message, 300))] if trial.failure else []
    reasons += [_check(check) for check in sorted(trial.checks, key=lambda check: check.passed is True)]
    return (
        _tag("p", Markup(where), kind="quiet"),
        _tag("p", " · ".join(_costs(trial)), kind="quiet") if trial.output is not None else Markup(),
        _tag("ul", *reasons) if reasons else Markup(),
        Markup() if trial.output is None else _output(trial.output),
    )


def _costs(trial: Trial) -> Iterable[str]:
    yield f"latency {duration(trial.latency_ms)}"
    yield f"TTFT {duration(trial.ttft_ms)}"
    tokens = ("-" if number is None else f"{number:,}" for number in (trial.input_tokens, trial.output_tokens))
    yield f"tokens {', '.join(tokens)}"
    yield f"cost {dollars(trial.cost_usd)}"
    yield {"exact": "cached", "replay": "replayed", "miss": "fresh"}[trial.cache]
    if trial.finish_reason:
        yield f"finished: {one_line(trial.finish_reason)}"


def _check(check: Check) -> Markup:
    state = {True: "pass", False: "fail", None: "undecided"}[check.passed]
    uncounted = " (weight 0)" if check.weight == 0 else ""
    says = one_line(check.reason or check.type, 300)
    sign = _tag("span", _SIGNS[state], kind=state)
    return _tag("li", sign, f" {says}{uncounted} ", _tag("code", one_line(check.place, 300), kind="quiet"))


def _output(text: str) -> Markup:
    if not text:
        return _tag("p", "(empty answer)", kind="quiet")
    cut = text[:_MOST_OUTPUT_CHARS]
    more = f"{len(text) - len(cut):,} more characters in report.json" if len(text) > len(cut) else ""
    # a parser drops the first line feed inside <pre>; the one given here is it
    shown = _tag("pre", "\n", cut, dir="auto")
    return _joined((shown, _tag("p", more, kind="quiet"))) if more else shown


def _joined(parts: Iterable[Markup]) -> Markup:
    return Markup("".join(parts))


def _tag(name: str, *content: str, kind: str = "", **attributes: str) -> Markup:
    """Write one element.

    Args:
        name: of the element.
        content: what stands in it; escaped unless it is Markup.
        kind: its class; empty for none.
        attributes: others.
    """
    named = {**({"class": kind} if kind else {}), **attributes}
    start = "".join(f' {key}="{html.escape(value)}"' for key, value in named.items())
    inside = "".join(part if isinstance(part, Markup) else _escape(part) for part in content)
    end = "" if name in {"code", "span", "a"} else "\n"
    return Markup(f"<{name}{start}>{inside}</{name}>{end}")


def _escape(text: str) -> str:
    return html.escape(_FORBIDDEN.sub("\ufffd", text))
