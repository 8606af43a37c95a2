"""Texts about the way to a verdict: forecasts, reasons, and the commands to run next."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.comparison.metrics import label_of
from flowai.comparison.verdict import single_caller_text
from flowai.rendering.formatting import count, rounded, span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.canary.report_records import CanaryReport
    from flowai.comparison.records import CallForecast, MetricReport

_DEFAULT_WAIT_S = 3600.0
_MAX_WAIT_S = 24 * 3600.0
_MIN_WAIT_S = 600.0

_CHECKS = (
    ("users do not divide", "the assignment: an old process, a cache of assignments, a bot, calls that are not logged"),
    ("in both arms", "whether calls name the same user each time, and every process has the same stage"),
    ("unexpected traffic", "processes that did not receive the stage; critical features before `critical_from`"),
    ("mixed versions", "processes with an old registry; prompts or releases that changed during the rollout"),
    ("lines of the log are lost", "disks that are full, processes that were killed, a newer flowai beside this one"),
    ("one arm only", "whether processes of both arms write to this event log"),
    ("edited by hand", "the stage in the registry: only `flowai release promote` may change it"),
    ("no data for acceptance", "whether feedback is sent at all; if not, remove it from `policies.canary.guardrails`"),
    (
        "no data for hallucination",
        "whether scores are sent at all; if not, remove it from `policies.canary.guardrails`",
    ),
    ("no data for", "whether calls can yield these data; if not, remove it from `policies.canary.guardrails`"),
)
"""Reasons of `invalid` by a part of their text, and what to check; the first that fits counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NextStep:
    """A step after a report."""

    text: str
    command: str = ""
    """Empty if nothing is to be run."""

    def __str__(self) -> str:
        return f"{self.text}: {self.command}" if self.command else self.text


def next_steps(report: CanaryReport) -> Iterator[NextStep]:
    """Yield the steps after a report; none after a report that does not decide."""
    if not report.is_decisive:
        return
    env = f" --env {shlex.quote(report.environment)}" if report.environment else ""
    guardrails = [one for one in report.metrics if one.is_guardrail]
    inferior = [label_of(one.name) for one in guardrails if one.status == "inferior"]
    rollback = _rollback(inferior, env)
    if report.verdict == "promote":
        yield NextStep(text="Then", command=f"flowai release promote{env}")
    elif report.verdict == "rollback":
        yield NextStep(text="Then", command=rollback)
    elif report.verdict == "invalid":
        checks = dict.fromkeys(check for reason in report.reasons if (check := _check(reason)))
        yield from (NextStep(text=f"Check {check}") for check in checks)
        if inferior:
            yield NextStep(text="If in doubt", command=rollback)
        yield NextStep(text="Then", command=f"flowai canary-report{env}")
    elif report.stage == "dogfood":
        yield NextStep(text="After some calls with the flag", command=f"flowai release promote{env}")
    elif report.stage == "100":
        yield NextStep(text="During the soak", command=f"flowai watch{env}")
        yield NextStep(text="After the soak", command=f"flowai release promote{env}")
    else:
        waiting = undecided(report)
        yield NextStep(text=f"Look again in {_wait(waiting)}", command=f"flowai canary-report{env}")
        hopeless = [label_of(one.name) for one in waiting if one.forecast is not None and one.forecast.calls is None]
        if hopeless:
            yield NextStep(text="To end it", command=_rollback(hopeless, env))


def _rollback(labels: list[str], env: str) -> str:
    reason = shlex.quote(f"canary: {', '.join(labels)}")
    return f"flowai rollback --reason {reason}{env}"


def _check(reason: str) -> str:
    return next((check for part, check in _CHECKS if part in reason), "")


def _wait(waiting: list[MetricReport]) -> str:
    """Return how long to wait: until the last guardrail with a forecast is expected to be decided."""
    times = [one.forecast.seconds for one in waiting if one.forecast is not None and one.forecast.seconds is not None]
    seconds = max(times, default=_DEFAULT_WAIT_S)
    return "about a day" if seconds > _MAX_WAIT_S else f"about {span(max(seconds, _MIN_WAIT_S))}"


def forecast_text(metric: MetricReport) -> str:
    """Return how many more calls of the candidate a guardrail needs, with the forecast's uncertainty."""
    forecast = metric.forecast
    if forecast is None:
        return "not enough data yet"
    if forecast.calls is None:
        best = "" if forecast.low is None else f"; about {_more(forecast.low)} if the true one is smaller"
        return f"would not become non-inferior at this difference{best}"
    time = "" if forecast.seconds is None else f", about {span(max(forecast.seconds, 60))} at this rate"
    return f"about {_more(forecast.calls)}{_between(forecast)}{time}"


def _more(calls: int) -> str:
    return count(rounded(calls), "more call", "more calls")


def _between(forecast: CallForecast) -> str:
    if forecast.low is None:
        return ""
    if forecast.high is None:
        return f" ({rounded(forecast.low):,} or more)"
    return f" ({rounded(forecast.low):,} to {rounded(forecast.high):,})"


def reasons_of(report: CanaryReport) -> tuple[str, ...]:
    """Return the reasons of the verdict; for `hold` what each undecided guardrail needs."""
    if report.verdict != "hold" or report.stage in ("dogfood", "100") or not has_calls(report):
        return report.reasons
    return tuple(_need(one) for one in undecided(report)) or report.reasons


def undecided(report: CanaryReport) -> list[MetricReport]:
    """Return the guardrails that need more data."""
    return [one for one in report.metrics if one.is_guardrail and one.status == "inconclusive"]


def has_calls(report: CanaryReport) -> bool:
    """Return whether both arms have users with data."""
    return any(one.candidate.count and one.control.count for one in report.metrics)


def _need(metric: MetricReport) -> str:
    if metric.single_caller is not None:
        return single_caller_text(metric.name, metric.single_caller)
    label, text = label_of(metric.name), forecast_text(metric)
    if metric.forecast is None:
        return f"{text} for {label}"
    return f"{label} {text}" if metric.forecast.calls is None else f"{label} needs {text}"
