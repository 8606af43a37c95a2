"""Texts of `flowai watch`: subject, failure rate, attribution, guardrails, recovery."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from flowai.comparison.metrics import METRIC_KINDS, label_of
from flowai.rendering import formatting
from flowai.rendering.markdown import one_line
from flowai.watch.incidents import INCIDENT_EXPIRY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.analytics.records import Metric
    from flowai.comparison.counts import TopCaller
    from flowai.watch.attribution import Attribution
    from flowai.watch.causes import CauseKind, IncidentCause
    from flowai.watch.error_rates import AlertRule, CallCount
    from flowai.watch.incidents import Incident
    from flowai.watch.judgement import RolloutJudgement, WorseGuardrail
    from flowai.watch.session import ActiveRollout

MAX_NAME_LENGTH = 80
_MAX_ERRORS = 5
_FAILURES: dict[Metric, str] = {
    "error_rate": "calls failed",
    "json_valid": "calls have invalid JSON",
    "slow_calls": "calls are slow",
    "cancelled": "calls were cancelled",
    "degraded": "calls are degraded",
    "acceptance": "answers with feedback were not accepted",
    "hallucination": "judged answers have unsupported statements",
}


def subject(kind: CauseKind, name: str) -> str:
    """Name a cause: `provider openai`, `v2`."""
    shown = one_line(name, MAX_NAME_LENGTH)
    return shown if kind == "release" else "the service" if kind == "service" else f"{kind} {shown}"


def share(tally: CallCount) -> str:
    """Format counts: `12 of 80 calls failed (15.0 %)`."""
    calls = formatting.count(tally.call_count, "call")
    return f"{tally.failure_count:,} of {calls} failed ({formatting.rate(tally.rate)})"


def incident_summary(
    cause: IncidentCause, rule: AlertRule, rollout: ActiveRollout | None, attribution: Attribution | None
) -> str:
    """Return the text of an alert: counts, limit, errors, and the attribution to the rollout's candidate.

    If the only problem is a worse guardrail: its name, and its counts of candidate and control.
    """
    if not cause.has_failing_calls:
        return f"{cause.kind} {subject(cause.kind, cause.name)}: {guardrails_text(cause.worse)}"
    health = cause.health
    is_fast = health.window.call_count >= rule.min_calls and health.window.rate > rule.error_rate
    minutes, tally = (rule.window_minutes, health.window) if is_fast else (60, health.long)
    limit = formatting.format_number(round(rule.error_rate * 100, 2))
    line = f"{subject(cause.kind, cause.name)}: {share(tally)} in {minutes} min, limit {limit} %"
    errors = ", ".join(f"{one_line(name, 40)} {count:,}" for name, count in list(cause.errors.items())[:3])
    return "; ".join(part for part in (line, errors, _about_release(cause, rollout, attribution)) if part)


def _about_release(cause: IncidentCause, rollout: ActiveRollout | None, attribution: Attribution | None) -> str:
    if rollout is None or attribution is None:
        return ""
    release = rollout.suspect.release
    if cause.kind == "release":
        return _proof_text(cause, rollout, attribution)
    if attribution.verdict == "both_worse":
        return f"not caused by {release}: {_control_fails_text(rollout)} too"
    if cause.kind == "feature" and cause.name in rollout.suspect.changed and rollout.suspect.is_full:
        return f"{release}, at 100 %, changed it; the cause is not proven: if it is {release}, run `flowai rollback`"
    return ""


def _proof_text(cause: IncidentCause, rollout: ActiveRollout, attribution: Attribution) -> str:
    """Return the reason why a release is responsible, or why that is not proven."""
    if attribution.verdict == "candidate_worse":
        return attribution_text(rollout, attribution)
    if cause.worse:
        return guardrails_text(cause.worse)
    if attribution.top_caller is not None:
        return single_caller_text(attribution.top_caller)
    return f"not proven to be caused by {rollout.suspect.release}"


def _control_fails_text(rollout: ActiveRollout) -> str:
    return "features that it did not change fail" if rollout.suspect.is_full else f"{rollout.baseline} fails"


def attribution_text(rollout: ActiveRollout, attribution: Attribution) -> str:
    """Return the reason why a candidate is responsible."""
    control = "features that it did not change" if rollout.suspect.is_full else rollout.baseline
    return (
        f"{rollout.suspect.release} at {rollout.stage} % is worse: {_users(attribution.candidate)} failed, "
        f"with {control} {_users(attribution.control)}"
    )


def single_caller_text(top: TopCaller) -> str:
    """Return the reason why failures of a candidate demand no rollback: they are those of one caller."""
    failures = f"{top.failure_count:,} of {formatting.count(top.total_count, 'failure')}"
    return (
        f"one caller accounts for {failures}: no automatic rollback; send `user` with each call, so that users are "
        "counted"
    )


def judgement_text(judgement: RolloutJudgement) -> str:
    """Return the reason why a candidate's guardrails demand a rollback."""
    return f"{judgement.release} at {judgement.stage} %: {guardrails_text(judgement.worse)}"


def guardrails_text(worse: Sequence[WorseGuardrail]) -> str:
    """Return names and figures: `error rate is worse than the control's (a: 9.0 % against 0.6 % of calls failed)`."""
    return ", ".join(f"{label_of(one.name)} is worse than the control's{_figures(one)}" for one in worse)


def _figures(worse: WorseGuardrail) -> str:
    """Return the counts or means of candidate and control in parentheses; nothing if they are unknown."""
    where = "" if worse.feature is None else f"{one_line(worse.feature, MAX_NAME_LENGTH)}: "
    if METRIC_KINDS[worse.name].scale == "ratio":
        value = formatting.dollars if worse.name == "cost" else formatting.duration
        return f" ({where}mean {value(worse.candidate_value)} against {value(worse.control_value)})"
    if not worse.candidate.count:
        return ""
    rates = (worse.candidate_value, worse.control_value) if worse.is_corrected else _shares(worse)
    candidate, control = map(formatting.rate, rates)
    corrected = ", corrected by the judge's calibration" if worse.is_corrected else ""
    return f" ({where}{candidate} against {control} of {_FAILURES[worse.name]}{corrected})"


def _shares(worse: WorseGuardrail) -> tuple[float | None, float | None]:
    return worse.candidate.rate, worse.control.rate


def _users(tally: CallCount) -> str:
    return f"{tally.failure_count:,} of {formatting.count(tally.call_count, 'user')}"


def details(cause: IncidentCause, attribution: Attribution | None) -> dict[str, object]:
    """Return the figures of an alert."""
    health = cause.health
    calls = {
        name: {"call_count": one.call_count, "failure_count": one.failure_count}
        for name, one in (("window", health.window), ("5m", health.short), ("60m", health.long))
    }
    figures: dict[str, object] = {
        "kind": cause.kind,
        "name": one_line(cause.name, MAX_NAME_LENGTH),
        "calls": calls,
        "errors": {one_line(name, 40): count for name, count in list(cause.errors.items())[:_MAX_ERRORS]},
    }
    if cause.worse:
        figures["guardrails"] = [
            {
                "name": one.name,
                "feature": None if one.feature is None else one_line(one.feature, MAX_NAME_LENGTH),
                "candidate": {"call_count": one.candidate.count, "failure_count": one.candidate.failure_count},
                "control": {"call_count": one.control.count, "failure_count": one.control.failure_count},
            }
            for one in cause.worse
        ]
    if attribution is not None:
        figures["verdict"], figures["log_e"] = attribution.verdict, round(attribution.log_e, 2)
    return figures


def recovery_text(incident: Incident, now: datetime) -> str:
    """Return the text about the end of an incident and its duration."""
    minutes = max(1, round((now - incident.opened_at) / timedelta(minutes=1)))
    serving = f"; {incident.rolled_back_to} serves" if incident.rolled_back_to else ""
    how = "no calls for a day" if now - incident.last_call_at >= INCIDENT_EXPIRY else "recovered"
    return f"{subject(incident.kind, incident.name)}: {how}, after {minutes} min{serving}"
