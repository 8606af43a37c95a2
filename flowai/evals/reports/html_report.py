"""Report as one HTML page: no script, no external resource, light and dark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from flowai.evals.reports import tables
from flowai.rendering.formatting import count, dollars, duration
from flowai.rendering.html_page import joined, page, section, table, tag
from flowai.rendering.markdown import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flowai.evals.reports.records import AssertionResult, Changes, Report, Trial

_MAX_OUTPUT_CHARS = 20_000
_SIGNS = {"pass": "\u2713", "fail": "\u2717", "error": "!", "inconclusive": "?", "unscored": "?"}
_COLOURS = {"pass": "good", "fail": "bad", "error": "warn", "inconclusive": "quiet", "unscored": "quiet"}
_ORDER = ("fail", "error", "unscored")  # failures first
_TEXT_COLUMNS = frozenset({"suite", "prompt", "model", "metric", ""})
_STYLE = """
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(13.5rem, 1fr)); gap: .5rem; margin: 1rem 0; }
.figures div { padding: .5rem .75rem; border-radius: .3rem; background: var(--card); }
dt { color: var(--quiet); font-size: .85rem; }
dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.trial { margin: .75rem 0; padding: .75rem 1rem; border: 1px solid var(--line); border-radius: .3rem; }
.trial:target { outline: 2px solid; }
.trial h3 { margin: 0; }
.trial ul { padding: 0; list-style: none; }
details.trial { margin: .35rem 0; padding: .35rem 1rem; }
summary { cursor: pointer; overflow-wrap: anywhere; }
a { color: inherit; }
"""


def to_html(report: Report) -> str:
    """Render the report as an HTML page; equal reports give equal bytes."""
    title = f"{report.kind} {one_line(report.target, 300) or 'all suites'}"
    verdict = tables.VERDICT_WORDS[report.decision.verdict]
    changes = [*([report.changes] if report.changes else []), *report.against_baseline]
    anchors = {trial.key: f"trial-{number}" for number, trial in enumerate(report.trials, start=1)}
    body = (
        tag("h1", title),
        _coloured("p", report.decision.verdict, verdict, kind="verdict "),
        *(tag("p", f"Warning: {one_line(warning, 300)}", kind="warning") for warning in report.warnings),
        _figures(report),
        section("Gate", _table(tables.GATE_COLUMNS, tables.gate_rows(report))),
        section("Prompts and models", _table(tables.GROUP_COLUMNS, tables.group_rows(report))),
        *(_changes(change, anchors) for change in changes),
        _unpassed(report, anchors),
        _passed(report, anchors),
        tag("p", f"flowai {report.flowai_version}", kind="quiet"),
    )
    return page(f"{title}: {verdict}", body, style=_STYLE)


def _figures(report: Report) -> Markup:
    pairs = (tag("div", tag("dt", name), tag("dd", value)) for name, value in tables.figure_rows(report))
    return tag("dl", *pairs, kind="figures")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    return table(columns, rows, numeric=[column for column in columns if column not in _TEXT_COLUMNS])


def _coloured(name: str, outcome: str, text: str, *, kind: str = "") -> Markup:
    return tag(name, f"{_SIGNS[outcome]} {text}", kind=f"{kind}{_COLOURS[outcome]}")


def _changes(changes: Changes, anchors: dict[str, str]) -> Markup:
    context = f"Against {changes.baseline} in run" if changes.baseline else "Since run"
    title = f"{context} {changes.run_id} ({count(changes.shared_count, 'trial')} in both)"
    lines = []
    for outcome, (total, keys) in zip(("fail", "pass"), tables.change_rows(changes), strict=True):
        names = Markup(": ") + Markup(", ").join(_link(key, anchors) for key in keys) if keys else ""
        lines.append(tag("p", _coloured("span", outcome, total) if keys else total, names))
    return section(title, joined(lines))


def _link(key: str, anchors: dict[str, str]) -> Markup:
    name = tag("code", one_line(key, 300))
    return tag("a", name, href=f"#{anchors[key]}") if key in anchors else name


def _unpassed(report: Report, anchors: dict[str, str]) -> Markup:
    trials = sorted(
        (trial for trial in report.trials if trial.outcome != "pass"), key=lambda trial: _ORDER.index(trial.outcome)
    )
    articles = (
        tag("article", tag("h3", *_name(trial)), *_evidence(trial), kind="trial", id=anchors[trial.key])
        for trial in trials
    )
    return section(f"Not passed ({len(trials)})", joined(articles))


def _passed(report: Report, anchors: dict[str, str]) -> Markup:
    trials = [trial for trial in report.trials if trial.outcome == "pass"]
    folded = (
        tag("details", tag("summary", *_name(trial)), *_evidence(trial), kind="trial", id=anchors[trial.key])
        for trial in trials
    )
    return section(f"Passed ({len(trials)})", joined(folded))


def _name(trial: Trial) -> tuple[Markup, str]:
    repeat = f", repeat {trial.repeat}" if trial.repeat else ""
    return _coloured("span", trial.outcome, trial.outcome.upper()), f" {one_line(trial.case, 300)}{repeat}"


def _evidence(trial: Trial) -> tuple[Markup, ...]:
    location = Markup(" · ").join(tag("code", one_line(text, 300)) for text in (trial.place, trial.prompt, trial.model))
    reasons = [tag("li", one_line(trial.failure.message, 300))] if trial.failure else []
    reasons += [_check(check) for check in sorted(trial.checks, key=lambda check: check.passed is True)]
    return (
        tag("p", location, kind="quiet"),
        tag("p", " · ".join(_costs(trial)), kind="quiet") if trial.output is not None else Markup(),
        tag("ul", *reasons) if reasons else Markup(),
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


def _check(check: AssertionResult) -> Markup:
    state = {True: "pass", False: "fail", None: "inconclusive"}[check.passed]
    uncounted = " (weight 0)" if check.weight == 0 else ""
    text = one_line(check.reason or check.type, 300)
    sign = tag("span", _SIGNS[state], kind=_COLOURS[state])
    return tag("li", sign, f" {text}{uncounted} ", tag("code", one_line(check.place, 300), kind="quiet"))


def _output(text: str) -> Markup:
    if not text:
        return tag("p", "(empty answer)", kind="quiet")
    cut = text[:_MAX_OUTPUT_CHARS]
    more = f"{len(text) - len(cut):,} more characters in report.json" if len(text) > len(cut) else ""
    # an HTML parser drops the first line feed inside <pre>
    shown = tag("pre", "\n", cut, dir="auto")
    return joined((shown, tag("p", more, kind="quiet"))) if more else shown
