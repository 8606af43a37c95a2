"""A watch in words: what fails, how much of it, and who is to blame."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from flowai.rendering import formatting
from flowai.rendering.markdown import one_line
from flowai.watch.incidents import INCIDENT_EXPIRY

if TYPE_CHECKING:
    from flowai.watch.attribution import Attribution
    from flowai.watch.causes import CauseKind, IncidentCause
    from flowai.watch.error_rates import AlertRule, CallCount
    from flowai.watch.incidents import Incident
    from flowai.watch.session import ActiveRollout

MAX_NAME_LENGTH = 80
_MAX_ERRORS = 5


def subject(kind: CauseKind, name: str) -> str:
    """Name what fails: `provider openai`, `v2`."""
    shown = one_line(name, MAX_NAME_LENGTH)
    return shown if kind == "release" else "the service" if kind == "service" else f"{kind} {shown}"


def share(tally: CallCount) -> str:
    """Say how many of how many: `12 of 80 calls failed (15.0 %)`."""
    calls = formatting.count(tally.call_count, "call")
    return f"{tally.failure_count:,} of {calls} failed ({formatting.rate(tally.rate)})"


def incident_summary(
    cause: IncidentCause, rule: AlertRule, rolled: ActiveRollout | None, blame: Attribution | None
) -> str:
    """Say what burns, since when it counts as too much, and what the release being rolled out has to do with it."""
    health = cause.health
    is_fast = health.window.call_count >= rule.min_calls and health.window.rate > rule.error_rate
    minutes, tally = (rule.window_minutes, health.window) if is_fast else (60, health.long)
    limit = formatting.format_number(round(rule.error_rate * 100, 2))
    line = f"{subject(cause.kind, cause.name)}: {share(tally)} in {minutes} min, limit {limit} %"
    errors = ", ".join(f"{one_line(name, 40)} {count:,}" for name, count in list(cause.errors.items())[:3])
    return "; ".join(part for part in (line, errors, _about_release(cause, rolled, blame)) if part)


def _about_release(cause: IncidentCause, rolled: ActiveRollout | None, blame: Attribution | None) -> str:
    if rolled is None or blame is None:
        return ""
    release = rolled.suspect.release
    if cause.kind == "release":
        return blame_text(rolled, blame) if blame.verdict == "to_blame" else f"not proven to be {release}"
    if blame.verdict == "both_suffer":
        return f"{release} is not to blame: {_against(rolled)} too"
    if cause.kind == "feature" and cause.name in rolled.suspect.changed and rolled.suspect.is_whole:
        return f"{release}, at 100 %, changed it, and nothing says whether it is to blame: `flowai rollback` if it is"
    return ""


def _against(rolled: ActiveRollout) -> str:
    return "features that it did not change fail" if rolled.suspect.is_whole else f"{rolled.baseline} fails"


def blame_text(rolled: ActiveRollout, blame: Attribution) -> str:
    """Say why a release is to blame."""
    against = "features that it did not change" if rolled.suspect.is_whole else rolled.baseline
    return (
        f"{rolled.suspect.release} at {rolled.stage} % is to blame: {_users(blame.accused)} failed, "
        f"with {against} {_users(blame.witness)}"
    )


def _users(tally: CallCount) -> str:
    return f"{tally.failure_count:,} of {formatting.count(tally.call_count, 'user')}"


def details(cause: IncidentCause, blame: Attribution | None) -> dict[str, object]:
    """Give the figures that go with an alert."""
    health = cause.health
    calls = {
        name: {"call_count": one.call_count, "failure_count": one.failure_count}
        for name, one in (("window", health.window), ("5m", health.short), ("60m", health.long))
    }
    found: dict[str, object] = {
        "kind": cause.kind,
        "name": one_line(cause.name, MAX_NAME_LENGTH),
        "calls": calls,
        "errors": {one_line(name, 40): count for name, count in list(cause.errors.items())[:_MAX_ERRORS]},
    }
    if blame is not None:
        found["verdict"], found["log_e"] = blame.verdict, round(blame.log_e, 2)
    return found


def recovery_text(incident: Incident, now: datetime) -> str:
    """Say that an incident ended, how, and after what time."""
    minutes = max(1, round((now - incident.opened_at) / timedelta(minutes=1)))
    serves = f"; {incident.rolled_back_to} serves" if incident.rolled_back_to else ""
    how = "no calls for a day" if now - incident.called_at >= INCIDENT_EXPIRY else "well again"
    return f"{subject(incident.kind, incident.name)}: {how}, after {minutes} min{serves}"
