"""The part of the compare page that needs no script: verdict, totals, slices, and the failing cases."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from markupsafe import Markup

from flowai.evals.reports import tables
from flowai.evals.reports.page.scatter import points_of, scatter
from flowai.evals.reports.slices import pass_rate, slice_rates
from flowai.rendering.formatting import count, format_number, rate
from flowai.rendering.html_page import joined, section, table, tag
from flowai.rendering.markdown import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flowai.evals.reports.records import GateCheck, Report, Trial

MAX_FAILING_COUNT = 100
MAX_FAILING_CHARS = 400
MAX_SLICE_COUNT = 60
MAX_WARNING_COUNT = 20
MAX_LIMIT_COUNT = 3
MAX_SENTENCE_CHARS = 1_500
_SIGNS = {"pass": "\u2713", "fail": "\u2717", "error": "!", "inconclusive": "?", "unscored": "?"}
_COLOURS = {"pass": "good", "fail": "bad", "error": "warn", "inconclusive": "quiet", "unscored": "quiet"}
_ORDER = ("fail", "error", "unscored")
_TEXT_COLUMNS = frozenset({"suite", "prompt", "model", "metric", "slice", "baseline", ""})
_COMPARISON_COLUMNS = (
    "prompt", "model", "metric", "baseline", "n", "difference", "interval", "p", "", "needs n",
)  # fmt: skip
_GATE_SLICE_COLUMNS = ("slice", "cases", "pass rate", "95 % interval", "difference", "p (Holm)", "")
_COMPARED = {True: "not worse", False: "worse", None: "undecided"}
_SLICE_COLUMNS = ("slice", "cases", "pass rate", "95 % interval", "n")


def page_title(report: Report) -> str:
    """Return the title of a report's page."""
    return f"{report.kind} {one_line(report.target, 300) or 'all suites'}"


def summary(report: Report, turns: Mapping[str, int]) -> Iterator[Markup]:
    """Yield the elements above the matrix; `turns` has the number of cells by turn."""
    verdict = report.decision.verdict
    word = tag("strong", f"{_SIGNS[verdict]} {tables.verdict_words(report)}")
    yield tag("h1", page_title(report))
    yield tag("p", word, " ", verdict_text(report, turns), kind=f"verdict {_COLOURS[verdict]}")
    for warning in report.warnings[:MAX_WARNING_COUNT]:
        yield tag("p", f"Warning: {one_line(warning, 300)}", kind="warning")
    facts = [
        _folded("Totals and gate", _totals(report)),
        _folded("Quality, cost, latency", scatter(points_of(report))),
    ]
    compared = _comparison(report)
    if compared:
        facts.insert(0, _folded("Comparison with the baseline", joined((compared, _gate_slices(report)))))
    elif report.slices:
        facts.insert(0, _gate_slices(report))
    slices = slice_rates(report.trials)
    if slices:
        rows = [
            (
                one_line(item.name),
                str(item.case_count),
                rate(item.rate.interval.estimate),
                f"{rate(item.rate.interval.low)} to {rate(item.rate.interval.high)}",
                str(item.rate.observation_count),
            )
            for item in slices[:MAX_SLICE_COUNT]
        ]
        facts.append(_folded(f"Slices ({len(slices)})", _table(_SLICE_COLUMNS, rows)))
    yield tag("div", *facts, kind="facts")


def verdict_text(report: Report, turns: Mapping[str, int]) -> str:
    """Return the verdict's numbers: pass rate with n and interval, unmet limits, and changes."""
    found = pass_rate(report.trials)
    interval = found.interval
    parts = ["Nothing was judged."]
    if found.observation_count:
        share, low, high = rate(interval.estimate), rate(interval.low), rate(interval.high)
        parts = [f"Pass rate {share} (95 % interval {low} to {high}, n = {found.observation_count:,})."]
    totals = report.totals
    missing = [(totals.error_count, "without an answer"), (totals.unscored_count, "not judged")]
    parts += [f"{count(number, 'trial')} {text}." for number, text in missing if number]
    sentence = report.decision.sentence
    unmet = [check for check in report.decision.checks if check.passed is not True]
    limits = [f"{one_line(check.metric)}: {_limit_text(check)}." for check in unmet[:MAX_LIMIT_COUNT]]
    parts += [one_line(sentence, MAX_SENTENCE_CHARS)] if sentence else limits
    if sum(turns.values()):
        named = (("worse", "turned worse"), ("better", "turned better"), ("noise", "within noise"))
        changed = ", ".join(f"{turns[key]:,} {text}" for key, text in named if turns.get(key))
        parts.append(f"Compared with {_compared_with(report)}: {changed}.")
    elif report.changes is not None or report.against_baseline:
        parts.append(f"Compared with {_compared_with(report)}: nothing turned.")
    return " ".join(parts)


def _comparison(report: Report) -> Markup:
    """Build the table of paired comparisons, if the gate made some."""
    rows = [
        (
            one_line(item.prompt),
            one_line(item.model),
            one_line(item.metric),
            one_line(item.baseline),
            f"{item.case_count:,}",
            "-" if item.difference is None else f"{item.difference:+.3f}",
            f"{item.low:+.3f} to {item.high:+.3f}",
            f"{item.p_value:.2g}",
            _COMPARED[item.passed],
            "-" if item.needed_case_count is None else f"{item.needed_case_count:,}",
        )
        for item in report.comparison
    ]
    return _table(_COMPARISON_COLUMNS, rows)


def _gate_slices(report: Report) -> Markup:
    """Build the table of the slices that the gate names."""
    rows = [
        (
            one_line(item.name),
            f"{item.case_count:,}",
            rate(item.pass_rate),
            f"{rate(item.low)} to {rate(item.high)}",
            "-" if item.difference is None else f"{item.difference:+.3f}",
            f"{item.p_value:.2g}",
            "no loss shown" if item.passed else "worse",
        )
        for item in report.slices
    ]
    return section("Slices of the gate", _table(_GATE_SLICE_COLUMNS, rows))


def _limit_text(check: GateCheck) -> str:
    if check.observed is None:
        return check.note or "nothing measured"
    if check.passed is None and check.note is not None:
        return f"{format_number(check.observed)}, {check.note}"
    if check.passed is None:
        return f"{format_number(check.observed)} leaves the limit {format_number(check.threshold)} undecided"
    relation = "is below" if check.direction == "min" else "is above"
    return f"{format_number(check.observed)} {relation} {format_number(check.threshold)}"


def _compared_with(report: Report) -> str:
    names = [f"{change.baseline} in run {change.run_id}" for change in report.against_baseline]
    if not names and report.changes is not None:
        names = [f"run {report.changes.run_id}"]
    return one_line(" and ".join(dict.fromkeys(names)) or "the earlier run", 200)


def _folded(title: str, content: Markup) -> Markup:
    return tag("details", tag("summary", title), content) if content else Markup()


def _totals(report: Report) -> Markup:
    pairs = (tag("div", tag("dt", name), tag("dd", value)) for name, value in tables.figure_rows(report))
    return joined(
        (
            tag("dl", *pairs, kind="figures"),
            section("Gate", _table(tables.GATE_COLUMNS, tables.gate_rows(report))),
            section("Prompts and models", _table(tables.GROUP_COLUMNS, tables.group_rows(report))),
            tag("p", f"flowai {report.flowai_version}", kind="quiet"),
        )
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    return table(columns, rows, numeric=[column for column in columns if column not in _TEXT_COLUMNS])


def failing_cases(report: Report) -> Markup:
    """Build the list of failing cases, for browsers without scripts."""
    trials = [trial for trial in report.trials if trial.outcome != "pass"]
    trials.sort(key=lambda trial: _ORDER.index(trial.outcome))
    articles = [tag("article", tag("h3", *_name(trial)), *_evidence(trial)) for trial in trials[:MAX_FAILING_COUNT]]
    hidden_count = len(trials) - len(articles)
    if hidden_count:
        articles.append(tag("p", f"{hidden_count:,} more are in report.json and in the table that needs JavaScript."))
    outcomes: Counter[str] = Counter(trial.outcome for trial in trials)
    title = ", ".join(f"{outcomes[outcome]:,} {outcome}" for outcome in _ORDER if outcomes[outcome])
    return section(f"Not passed: {title or 'none'}", joined(articles) or tag("p", "Every trial passed."))


def _name(trial: Trial) -> tuple[Markup, str]:
    repeat = f", repeat {trial.repeat}" if trial.repeat else ""
    word = tag("span", f"{_SIGNS[trial.outcome]} {trial.outcome.upper()}", kind=_COLOURS[trial.outcome])
    return word, f" {one_line(trial.case, 300)}{repeat}"


def _evidence(trial: Trial) -> Iterator[Markup]:
    yield tag("p", f"{one_line(trial.place, 300)} · {one_line(trial.prompt)} · {one_line(trial.model)}", kind="quiet")
    reasons = [trial.failure.message] if trial.failure else []
    reasons += [check.reason or check.type for check in trial.checks if check.passed is not True]
    if reasons:
        yield tag("ul", *(tag("li", one_line(reason, 300)) for reason in reasons[:20]))
    if trial.output is not None:
        left_out = len(trial.output) - MAX_FAILING_CHARS
        more = f" [... {left_out:,} more characters]" if left_out > 0 else ""
        # an HTML parser drops the first line feed inside <pre>
        shown = trial.output[:MAX_FAILING_CHARS].replace("\r", "\n")
        yield tag("pre", "\n", f"{shown}{more}" or "(empty answer)", dir="auto")
