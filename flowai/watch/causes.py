"""Groups problems by cause (release, provider, feature, service), so that each raises one alert."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flowai.watch.attribution import Attribution, CandidateRelease
    from flowai.watch.error_rates import AlertRule, BurnWindows, CountKey, Health
    from flowai.watch.judgement import RolloutJudgement, WorseGuardrail

CauseKind = Literal["release", "provider", "feature", "service"]
"""`service`: calls fail, and no single feature or provider explains them."""

MIN_FAILED_COUNT = 3
"""A provider is the cause if this many of its calls failed outside of the feature with the most failures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IncidentCause:
    """A cause of too many failing calls, or of a worse guardrail."""

    kind: CauseKind
    name: str = ""
    """Name of the release, provider or feature; empty for the service."""
    features: tuple[str, ...] = ()
    """For a release: the features that it changed."""
    health: Health
    """Counts of its calls."""
    errors: Mapping[str, int] = field(default_factory=dict)
    """Failures in the window by error class, most frequent first."""
    worse: tuple[WorseGuardrail, ...] = ()
    """For a release: guardrails that are worse, with a verdict to roll back."""
    has_failing_calls: bool = True
    """False if the only problem is a worse guardrail."""


def is_caused_by(kind: CauseKind, name: str, features: tuple[str, ...], cell: CountKey) -> bool:
    """Return whether a call belongs to a cause."""
    if kind == "release":
        return cell.release == name and cell.feature in features
    if kind == "provider":
        return cell.provider == name
    return kind == "service" or cell.feature == name


def find_causes(
    windows: BurnWindows,
    rule: AlertRule,
    suspect: CandidateRelease | None,
    attribution: Attribution | None,
    judgement: RolloutJudgement | None = None,
) -> tuple[IncidentCause, ...]:
    """Find the causes of too many failures and worse guardrails; each call is explained by at most one.

    Args:
        windows: calls without those of open incidents.
        rule: alert rule.
        suspect: candidate of the rollout; None without one.
        attribution: its attribution.
        judgement: judgement of its guardrails; None without one.

    Returns:
        The causes, a release first.
    """
    causes: list[IncidentCause] = []
    if suspect is not None:
        fails_more = attribution is not None and attribution.verdict in ("candidate_worse", "single_caller")
        has_failing_calls = fails_more or _is_suspected(windows, rule, suspect)
        worse = judgement.worse if judgement is not None and judgement.demands_rollback else ()
        if has_failing_calls or worse:
            cause = _cause(windows, "release", suspect.release, suspect.is_own_call, tuple(sorted(suspect.changed)))
            causes.append(replace(cause, worse=worse, has_failing_calls=has_failing_calls))
            windows = windows.without(suspect.is_own_call)
    while (kind_name := _exceeding(windows, rule)) is not None:
        kind, name = kind_name

        def accepts(cell: CountKey, kind: CauseKind = kind, name: str = name) -> bool:
            return is_caused_by(kind, name, (), cell)

        causes.append(_cause(windows, kind, name, accepts))
        windows = windows.without(accepts)
    return tuple(causes)


def _cause(
    windows: BurnWindows,
    kind: CauseKind,
    name: str,
    accepts: Callable[[CountKey], bool],
    features: tuple[str, ...] = (),
) -> IncidentCause:
    return IncidentCause(
        kind=kind, name=name, features=features, health=windows.of(accepts), errors=windows.errors(accepts)
    )


def _is_suspected(windows: BurnWindows, rule: AlertRule, suspect: CandidateRelease) -> bool:
    """Return whether a changed feature fails and its control does not; this is no proof yet."""
    windows = windows.without(lambda cell: not cell.was_tried)
    for feature in sorted(suspect.changed):
        whole = _of_feature(windows, feature)
        own = whole.of(suspect.is_own_call)
        if not own.is_elevated(rule) or not (own.exceeds_threshold(rule) or whole.of(_any).exceeds_threshold(rule)):
            continue
        if _control_calls(windows, suspect, feature).is_healthy(rule):
            return True
    return False


def _control_calls(windows: BurnWindows, suspect: CandidateRelease, feature: str) -> Health:
    """Return the counts of the control of a feature."""
    if not suspect.is_full:
        return _of_feature(windows, feature).of(lambda cell: suspect.side(cell) == "control")
    providers = {cell.provider for cell in windows.window if suspect.is_own_call(cell) and cell.feature == feature}
    return windows.of(lambda cell: cell.provider in providers and suspect.side(cell) == "control")


def _exceeding(windows: BurnWindows, rule: AlertRule) -> tuple[CauseKind, str] | None:
    """Return a cause that exceeds the threshold, providers first; None if there is none."""
    cells = windows.cells()
    for provider in sorted({cell.provider for cell in cells} - {""}):
        provider_calls = _of_provider(windows, provider)
        if not provider_calls.of(_any).exceeds_threshold(rule):
            continue
        feature = _only_feature(provider_calls, rule)
        return ("provider", provider) if feature is None else ("feature", feature)
    for feature in sorted({cell.feature for cell in cells} - {""}):
        if _of_feature(windows, feature).of(_any).exceeds_threshold(rule):
            return "feature", feature
    return ("service", "") if windows.of(_any).exceeds_threshold(rule) else None


def _only_feature(windows: BurnWindows, rule: AlertRule) -> str | None:
    """Return the only feature that fails at a provider; None if others fail too."""
    failures: dict[str, int] = {}
    for cell, count in windows.long.items():
        if cell.error:
            failures[cell.feature] = failures.get(cell.feature, 0) + count
    worst = max(sorted(failures), key=failures.__getitem__, default="")
    others = windows.of(lambda cell: cell.feature != worst)
    for tally in (others.window, others.long):
        if tally.rate > rule.error_rate and tally.failure_count >= MIN_FAILED_COUNT:
            return None
    return worst or None


def _of_feature(windows: BurnWindows, feature: str) -> BurnWindows:
    return windows.without(lambda cell: cell.feature != feature)


def _of_provider(windows: BurnWindows, provider: str) -> BurnWindows:
    return windows.without(lambda cell: cell.provider != provider)


def _any(_: CountKey) -> bool:
    return True
