"""Finds the causes behind failing calls, so that one trouble is told once: a release, a provider, a feature."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flowai.watch.attribution import Attribution, CandidateRelease
    from flowai.watch.error_rates import AlertRule, BurnWindows, CountKey, Health

CauseKind = Literal["release", "provider", "feature", "service"]
"""`service`: calls fail, and neither one feature nor one provider stands out."""

MIN_FAILED_COUNT = 3
"""A provider is the cause when so many calls failed besides those of the feature that suffers most from it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IncidentCause:
    """One trouble."""

    kind: CauseKind
    """What fails."""
    name: str = ""
    """Which; empty for the service."""
    features: tuple[str, ...] = ()
    """Of a release: those it changed."""
    health: Health
    """How its calls go."""
    errors: Mapping[str, int] = field(default_factory=dict)
    """Failures in the window by class, the most frequent first."""


def is_caused_by(kind: CauseKind, name: str, features: tuple[str, ...], cell: CountKey) -> bool:
    """Tell whether a call belongs to a cause."""
    if kind == "release":
        return cell.release == name and cell.feature in features
    if kind == "provider":
        return cell.provider == name
    return kind == "service" or cell.feature == name


def find_causes(
    spans: BurnWindows, rule: AlertRule, suspect: CandidateRelease | None, blame: Attribution | None
) -> tuple[IncidentCause, ...]:
    """Find what burns, and name each cause once.

    Calls that a cause explains are taken away before the next is looked for.

    Args:
        spans: calls, without those that an open incident explains.
        rule: when failures are too many.
        suspect: the release being rolled out; None where none is.
        blame: what the evidence says of it.

    Returns:
        The causes, a release first; none where nothing burns.
    """
    found: list[IncidentCause] = []
    if suspect is not None and (_is_suspected(spans, rule, suspect) or (blame and blame.verdict == "to_blame")):
        cause = _cause(spans, "release", suspect.release, suspect.is_own_call, tuple(sorted(suspect.changed)))
        found.append(cause)
        spans = spans.without(suspect.is_own_call)
    while (kind_name := _exceeding(spans, rule)) is not None:
        kind, name = kind_name

        def accepts(cell: CountKey, kind: CauseKind = kind, name: str = name) -> bool:
            return is_caused_by(kind, name, (), cell)

        found.append(_cause(spans, kind, name, accepts))
        spans = spans.without(accepts)
    return tuple(found)


def _cause(
    spans: BurnWindows, kind: CauseKind, name: str, accepts: Callable[[CountKey], bool], features: tuple[str, ...] = ()
) -> IncidentCause:
    return IncidentCause(
        kind=kind, name=name, features=features, health=spans.of(accepts), errors=spans.errors(accepts)
    )


def _is_suspected(spans: BurnWindows, rule: AlertRule, suspect: CandidateRelease) -> bool:
    """Tell whether a feature burns that would be well without the release; that is no proof yet."""
    for feature in sorted(suspect.changed):
        whole = _of_feature(spans, feature)
        own = whole.of(suspect.is_own_call)
        if not own.is_elevated(rule) or not (own.exceeds_threshold(rule) or whole.of(_any).exceeds_threshold(rule)):
            continue
        if _control_calls(spans, suspect, feature).is_healthy(rule):
            return True
    return False


def _control_calls(spans: BurnWindows, suspect: CandidateRelease, feature: str) -> Health:
    """Give the calls that stand against a feature of the release."""
    if not suspect.is_whole:
        return _of_feature(spans, feature).of(lambda cell: suspect.side(cell) == "witness")
    providers = {cell.provider for cell in spans.window if suspect.is_own_call(cell) and cell.feature == feature}
    return spans.of(lambda cell: cell.provider in providers and suspect.side(cell) == "witness")


def _exceeding(spans: BurnWindows, rule: AlertRule) -> tuple[CauseKind, str] | None:
    """Name one cause of what burns, the widest first; None where nothing does."""
    cells = spans.cells()
    for provider in sorted({cell.provider for cell in cells} - {""}):
        its = _of_provider(spans, provider)
        if not its.of(_any).exceeds_threshold(rule):
            continue
        feature = _only_feature(its, rule)
        return ("provider", provider) if feature is None else ("feature", feature)
    for feature in sorted({cell.feature for cell in cells} - {""}):
        if _of_feature(spans, feature).of(_any).exceeds_threshold(rule):
            return "feature", feature
    return ("service", "") if spans.of(_any).exceeds_threshold(rule) else None


def _only_feature(spans: BurnWindows, rule: AlertRule) -> str | None:
    """Name the one feature that fails among a provider's calls; None where others do too."""
    failures: dict[str, int] = {}
    for cell, count in spans.long.items():
        if cell.error:
            failures[cell.feature] = failures.get(cell.feature, 0) + count
    worst = max(sorted(failures), key=failures.__getitem__, default="")
    others = spans.of(lambda cell: cell.feature != worst)
    for tally in (others.window, others.long):
        if tally.rate > rule.error_rate and tally.failure_count >= MIN_FAILED_COUNT:
            return None
    return worst or None


def _of_feature(spans: BurnWindows, feature: str) -> BurnWindows:
    return spans.without(lambda cell: cell.feature != feature)


def _of_provider(spans: BurnWindows, provider: str) -> BurnWindows:
    return spans.without(lambda cell: cell.provider != provider)


def _any(_: CountKey) -> bool:
    return True
