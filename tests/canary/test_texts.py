"""Texts of a canary report: the screen, forecasts, the next commands, pages and plots."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from support.canary_records import arm, canary_record, feature, metric, ratio
from support.command_line import parse_command

from flowai.analytics.records import NOT_MEASURED, CountOfTotal, Range
from flowai.canary.next_steps import forecast_text, next_steps
from flowai.canary.plots import svgs_of
from flowai.canary.report import WRITERS
from flowai.canary.report_records import EvidencePlot, Plots
from flowai.canary.tables import forecast_rows, screen_lines, verdict_line
from flowai.comparison.metrics import METRICS, RATIO_METRICS
from flowai.comparison.records import CallForecast

if TYPE_CHECKING:
    from flowai.canary.report_records import CanaryReport

HOSTILE = "<script>alert(1)</script>|`*x*\x1b[2J\u202e"
NOTHING = {
    "candidate": CountOfTotal(),
    "control": CountOfTotal(),
    "candidate_value": None,
    "control_value": None,
    "effect": NOT_MEASURED,
    "status": "inconclusive",
}
LATE = CallForecast(calls=2850, low=1740, high=5170, seconds=4800.0)
NEVER = "would not become non-inferior at this difference"
HOPELESS = CallForecast(calls=None, low=None, high=None, seconds=None)

SCREEN = """\
v2 against control (v1) in prod   stage 25 %   12 h 00 min   3,010 / 3,010 users
  split ok
metric      candidate  baseline  effect [95 %]         status
error rate      2.0 %     1.9 %  +0.1 [-0.4, +0.6] pt  non-inferior
acceptance     60.0 %    61.0 %  -1.0 [-3.0, +1.0] pt  not enough data yet
latency        0.83 s    0.80 s  x 1.04 [1.01, 1.07]   non-inferior
candidate, baseline: mean over users of the share of each user's calls
guardrail   margin      worse       safe  failed calls  affected users
error rate    1 pt  1.3 of 42  410 of 20   2.0 / 1.9 %     3.0 / 2.7 %
acceptance    1 pt  1.3 of 42  410 of 20   2.0 / 1.9 %     3.0 / 2.7 %
latency      x 1.2  1.3 of 42  410 of 20             -               -
also worse, but not a guardrail: slow TTFT
p95 1.55 s / 1.55 s (x 1.06)   TTFT p95 0.38 s / 0.38 s
1,000 calls $1.00 / $1.00
fell back 0.9 / 0.9 %   cached 10.0 / 10.0 %   cancelled 1.0 / 1.0 %
errors to callers 1.1 / 1.1 %   calls without a user 10 / 10
ServerError 40 / 38
feature          calls  own model failed    fell back  invalid JSON
chat     6,000 / 6,000       2.0 / 2.0 %  0.9 / 0.9 %   0.5 / 0.5 %
summary  6,000 / 6,000       2.0 / 2.0 %  0.9 / 0.9 %   0.5 / 0.5 %
warning: the ledger has no start of the stage: only candidate and control are
  compared with their shares
HOLD  acceptance needs about 2,900 more calls (1,800 to 5,200), about 80 min at
  this rate
Look again in about 80 min: flowai canary-report --env prod
reports/canary/v2-25/report.md   report.html   report.json
"""


def undecided(forecast: CallForecast | None) -> CanaryReport:
    effect = Range(estimate=0.01, low=-0.01, high=0.03)
    acceptance = metric(
        "acceptance", status="inconclusive", candidate_value=0.4, control_value=0.39, effect=effect, forecast=forecast
    )
    return canary_record("hold", metrics=(metric("error_rate"), acceptance, ratio("latency")), reasons=("wait",))


def test_the_screen_fits_a_terminal_of_80_columns() -> None:
    held = undecided(LATE)
    report = canary_record(
        "hold",
        metrics=(*held.metrics, metric("slow_ttft", is_guardrail=False, status="inferior")),
        features=(feature("chat"), feature("summary")),
        warnings=("the ledger has no start of the stage: only candidate and control are compared with their shares",),
    )
    lines = list(screen_lines(report, "reports/canary/v2-25/report.md", 80))
    assert "\n".join(lines) + "\n" == SCREEN
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("width", [80, 120])
def test_the_widest_numbers_fit(width: int) -> None:
    effect = Range(estimate=-0.0188, low=-0.1414, high=-0.1033)
    facts = {"e_value_peak": 1e57, "safe_e_value_peak": 1e215, "status": "inconclusive", "alpha": 0.00285}
    metrics = [
        ratio(name, **facts) if name in RATIO_METRICS else metric(name, effect=effect, **facts) for name in METRICS
    ]
    lines = list(screen_lines(canary_record("hold", metrics=tuple(metrics)), "report.md", width))
    assert max(len(line) for line in lines if not line.startswith("To end it")) <= width


def test_without_a_terminal_no_sentence_is_broken() -> None:
    lines = list(screen_lines(undecided(LATE), "report.md"))
    assert lines[0].endswith("split ok")
    assert verdict_line(undecided(LATE)) in lines


@pytest.mark.parametrize(
    ("forecast", "text", "reason"),
    [
        (
            LATE,
            "about 2,900 more calls (1,800 to 5,200), about 80 min at this rate",
            "acceptance needs about 2,900 more calls (1,800 to 5,200), about 80 min at this rate",
        ),
        (
            CallForecast(calls=2850, low=1740, high=None, seconds=None),
            "about 2,900 more calls (1,800 or more)",
            "acceptance needs about 2,900 more calls (1,800 or more)",
        ),
        (
            HOPELESS,
            NEVER,
            f"acceptance {NEVER}",
        ),
        (
            CallForecast(calls=None, low=9701, high=None, seconds=None),
            f"{NEVER}; about 9,800 more calls if the true one is smaller",
            f"acceptance {NEVER}; about 9,800 more calls if the true one is smaller",
        ),
        (None, "not enough data yet", "not enough data yet for acceptance"),
    ],
)
def test_a_forecast_names_calls_time_and_its_uncertainty(forecast: CallForecast | None, text: str, reason: str) -> None:
    report = undecided(forecast)
    assert forecast_text(report.metrics[1]) == text
    assert forecast_rows(report) == [("acceptance", text)]
    assert verdict_line(report) == f"HOLD  {reason}"
    assert text in str(WRITERS[".md"](report))


def test_without_calls_the_reason_is_not_a_forecast() -> None:
    report = canary_record("hold", metrics=(metric("error_rate", **NOTHING),), reasons=("no calls of both arms yet",))
    assert verdict_line(report) == "HOLD  no calls of both arms yet"
    assert forecast_rows(report) == []


INFERIOR = (metric("error_rate", status="inferior"), metric("slow_calls", status="inferior"))


@pytest.mark.parametrize(
    ("report", "steps"),
    [
        (canary_record(), ["Then: flowai release promote --env prod"]),
        (canary_record(environment=None), ["Then: flowai release promote"]),
        (
            canary_record("rollback", metrics=INFERIOR),
            ["Then: flowai rollback --reason 'canary: error rate, slow calls' --env prod"],
        ),
        (undecided(LATE), ["Look again in about 80 min: flowai canary-report --env prod"]),
        (undecided(None), ["Look again in about 60 min: flowai canary-report --env prod"]),
        (
            undecided(CallForecast(calls=9, low=9, high=9, seconds=3.0)),
            ["Look again in about 10 min: flowai canary-report --env prod"],
        ),
        (
            undecided(CallForecast(calls=9, low=9, high=9, seconds=9e9)),
            ["Look again in about a day: flowai canary-report --env prod"],
        ),
        (
            undecided(HOPELESS),
            [
                "Look again in about 60 min: flowai canary-report --env prod",
                "To end it: flowai rollback --reason 'canary: acceptance' --env prod",
            ],
        ),
        (
            canary_record("hold", stage="dogfood"),
            ["After some calls with the flag: flowai release promote --env prod"],
        ),
        (
            canary_record("hold", stage="100"),
            ["During the soak: flowai watch --env prod", "After the soak: flowai release promote --env prod"],
        ),
        (
            canary_record("invalid", metrics=INFERIOR, reasons=("mixed versions: v7 served", "no data for latency")),
            [
                "Check processes with an old registry; prompts or releases that changed during the rollout",
                "Check whether calls can yield these data; if not, remove it from `policies.canary.guardrails`",
                "If in doubt: flowai rollback --reason 'canary: error rate, slow calls' --env prod",
                "Then: flowai canary-report --env prod",
            ],
        ),
        (canary_record(is_decisive=False), []),
    ],
)
def test_the_next_command_is_one_that_exists(report: CanaryReport, steps: list[str]) -> None:
    found = list(next_steps(report))
    assert list(map(str, found)) == steps
    for step in found:
        if step.command:
            parse_command(step.command)
    lines = list(screen_lines(report, "report.md", 80))
    assert all(str(step) in lines for step in found if step.command), "a command is never broken"
    page = str(WRITERS[".md"](report))
    assert all(step.command.split("'")[0] in page for step in found)


def test_the_environment_is_quoted() -> None:
    (step,) = next_steps(canary_record(environment="a b"))
    assert shlex.split(step.command)[-1] == "a b"


def test_names_from_the_log_are_escaped_everywhere() -> None:
    report = canary_record(
        features=(feature("chat"), feature(HOSTILE), feature("")), error_classes={HOSTILE: (3, 4)}, warnings=(HOSTILE,)
    )
    html, markdown = str(WRITERS[".html"](report)), str(WRITERS[".md"](report))
    screen = "\n".join(screen_lines(canary_record(features=report.features, error_classes=report.error_classes), "p"))
    assert "<script" not in html
    assert "<script" not in markdown
    for text in (html, markdown, screen):
        assert not {"\x1b", "\u202e"} & set(text)
    assert "| (none) " in markdown
    assert "&lt;script>alert(1)&lt;/script>\\|\\`\\*x\\*" in markdown


def test_pages_name_both_numbers_and_the_one_that_is_judged() -> None:
    page = str(WRITERS[".md"](canary_record()))
    assert re.search(r"\| metric +\| candidate, mean over users +\| baseline, mean over users +\|", page)
    assert re.search(r"\| failed calls: candidate +\| failed calls: control +\| affected users: candidate", page)
    assert "107 of 5,346 (2.0 %)" in page
    assert "90 of 3,000 (3.0 %)" in page


def test_pages_have_users_calls_and_shares_of_each_arm() -> None:
    page = str(WRITERS[".md"](canary_record()))
    assert re.search(r"\| +\| candidate +\| control +\| stable +\|", page)
    for title, value in (
        ("users with a name", "3,000"),
        ("calls without a user, each counts as one", "10"),
        ("answered by a cache", r"600 \(10.0 %\)"),
        ("cancelled by the caller", r"54 \(1.0 %\)"),
        ("fell back: another model or the last resort", r"47 \(0.9 %\)"),
        ("errors to callers", r"60 \(1.1 %\)"),
    ):
        assert re.search(rf"\| {title} +(\| {value} +){{3}}\|", page), title
    assert re.search(r"\| ServerError +\| 40 \(0.7 %\) +\| 38 \(0.7 %\) +\|", page)
    assert re.search(r"\| 25 % +\| candidate +\| 3,010 +\| 6,000 +\|", page)


def test_each_guardrail_has_its_own_thresholds() -> None:
    svgs = svgs_of(canary_record())
    assert list(svgs) == ["forest.svg", "evidence.svg", "latency.svg", "errors.svg"]
    texts = {name: [node.text for node in ET.fromstring(svg).iter() if node.text] for name, svg in svgs.items()}  # noqa: S314 - of flowai
    assert [text for text in texts["evidence.svg"] if text.startswith(("worse ", "safe "))] == [
        "worse 42",
        "safe 20",
    ] * 2
    assert {"difference in points", "ratio (log scale)", "error rate", "latency"} <= set(texts["forest.svg"])


def test_a_plot_of_nothing_is_left_out() -> None:
    empty = EvidencePlot(worse=(), worse_acts_at=1.62, safe=(), safe_acts_at=1.3)
    plots = Plots(evidence={"error_rate": empty}, latency={"candidate": ()}, errors={"control": ()})
    report = canary_record("hold", metrics=(metric("error_rate", **NOTHING),), plots=plots)
    assert svgs_of(report) == {}
    assert "<svg" not in str(WRITERS[".html"](report))


def test_an_interval_far_beyond_the_margin_is_cut() -> None:
    wide = metric("error_rate", effect=Range(estimate=0.0, low=-1.0, high=1.0), margin=0.005)
    forest = ET.fromstring(svgs_of(canary_record(metrics=(wide,)))["forest.svg"])  # noqa: S314 - of flowai
    assert len([node for node in forest.iter() if node.tag.endswith("path")]) == 2, "two heads of arrows"


def test_users_without_names_are_counted_apart() -> None:
    report = canary_record(arms={"candidate": arm("v2", anonymous_count=0), "control": arm("v1", anonymous_count=0)})
    assert not any("without a user" in line for line in screen_lines(report, "report.md"))
