"""Texts and tables of a post-mortem: findings, rates, impact, follow-ups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.analytics.usage_tables import sparkline
from flowai.rendering.formatting import MISSING_TEXT, count, dollars
from flowai.rendering.markdown import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowai.analytics.records import CountOfTotal
    from flowai.postmortem.analysis.records import Condition, FailureKind, Finding, Investigation
    from flowai.postmortem.report_records import PostmortemReport

KIND_LABELS: dict[FailureKind, str] = {
    "error": "failed",
    "invalid_json": "invalid JSON",
    "truncated": "cut off",
    "rejected_by_user": "rejected",
    "failed_evaluation": "failed evaluation",
    "slow": "slow",
    "expensive": "expensive",
    "fallback_used": "fallback used",
    "degraded": "degraded",
}
FINDING_COLUMNS = ("", "failure", "where", "failed", "others", "before", "above expected", "users")
KIND_COLUMNS = ("failure", "incident", "", "before", "")
CLUSTER_COLUMNS = ("calls", "before", "error", "message", "provider", "from", "to")
MAX_WHERE_CHARS = 100
_COARSE, _FINE = 0.1, 0.001

_ACTIONS: dict[FailureKind, str] = {
    "error": "Find why {where} failed; give the feature a fallback that does not share the cause.",
    "invalid_json": "Fix the JSON of {where}; add the cases below to a suite with `is-json`.",
    "truncated": "Raise the token limit of {where}, or ask for shorter answers.",
    "rejected_by_user": "Read the rejected answers of {where} with a person who knows what users need.",
    "failed_evaluation": "Check the answers of {where} against their sources.",
    "slow": "Find what made {where} slow; limit it by a gate (`latency_p95`) before it is published again.",
    "expensive": "Decide whether {where} may cost that much; limit it by a budget.",
    "fallback_used": "Ask the provider of {where} what happened; watch the breaker's settings.",
    "degraded": "Find why the last resort answered {where}.",
}


def condition_text(where: Sequence[Condition], *, max_chars: int = MAX_WHERE_CHARS) -> str:
    """Return the conditions of a finding as text: `prompt prompts/chat_v2, language German`."""
    if not where:
        return "all calls"
    return ", ".join(f"{one.attribute} {one_line(one.value, max_chars)}" for one in where)


def share(tally: CountOfTotal) -> str:
    """Format a rate with the digits that its counts support; `-` without counts."""
    if tally.rate is None:
        return MISSING_TEXT
    return f"{tally.rate * 100:.{0 if tally.rate >= _COARSE else 1 if tally.rate >= _FINE or not tally.rate else 2}f} %"


def finding_rows(findings: Sequence[Finding]) -> list[tuple[str, ...]]:
    """Return a row per finding; see `FINDING_COLUMNS`."""
    return [
        (
            str(number),
            KIND_LABELS[one.kind],
            condition_text(one.where),
            f"{one.inside.failure_count:,} of {one.inside.count:,} ({share(one.inside)})",
            share(one.outside),
            "new" if one.is_new and one.where else share(one.baseline),
            f"+{one.excess_count:,}",
            f"{one.user_count:,}",
        )
        for number, one in enumerate(findings, start=1)
    ]


def finding_notes(finding: Finding) -> Iterator[str]:
    """Yield further facts about a finding."""
    if finding.also:
        yield f"same calls: {'; '.join(condition_text(one) for one in finding.also)}"
    yield from (one_line(symptom, 200) for symptom in finding.symptoms)
    if finding.is_new and finding.where:
        yield "too few such calls before the incident to compare with"
    if finding.cost_usd:
        yield f"these calls cost {dollars(finding.cost_usd)}"


def kind_rows(investigation: Investigation) -> list[tuple[str, ...]]:
    """Return a row per failure kind; see `KIND_COLUMNS`."""
    return [
        (
            KIND_LABELS[row.kind],
            share(row.incident),
            f"{row.incident.failure_count:,} of {row.incident.count:,}",
            share(row.baseline),
            f"{row.baseline.failure_count:,} of {row.baseline.count:,}",
        )
        for row in investigation.kinds
        if row.incident.count
    ]


def cluster_rows(investigation: Investigation, max_rows: int) -> list[tuple[str, ...]]:
    """Return a row per cluster of error messages; see `CLUSTER_COLUMNS`."""
    return [
        (
            f"{one.count:,}",
            f"{one.baseline_count:,}",
            one_line(one.error_class, 60),
            one_line(one.pattern, 160),
            one_line(", ".join(one.providers), 60),
            clock(one.first_at),
            clock(one.last_at),
        )
        for one in investigation.clusters[:max_rows]
    ]


def clock(moment: str) -> str:
    """Return the time of day of a timestamp."""
    return moment[11:19]


def spark_line(investigation: Investigation) -> str:
    """Render the rate over time as a sparkline; empty without data."""
    rates = [one.bad_count * 1000 // one.at_risk_count if one.at_risk_count else 0 for one in investigation.buckets]
    return sparkline(rates).rstrip()


def impact_line(investigation: Investigation) -> str:
    """Return the impact: calls, users, cost."""
    impact = investigation.impact
    parts = [
        count(impact.call_count, "bad call"),
        count(impact.user_count, "user"),
        count(impact.session_count, "session"),
    ]
    if impact.anonymous_count:
        parts.append(f"{impact.anonymous_count:,} calls without a user")
    unpriced = f" and {count(impact.unpriced_count, 'call')} without a price" if impact.unpriced_count else ""
    parts.append(f"{dollars(impact.wasted_usd)} wasted{unpriced}")
    if impact.degraded_count:
        parts.append(count(impact.degraded_count, "degraded answer"))
    if impact.fallback_used_count:
        parts.append(f"{impact.fallback_used_count:,} answered by a fallback")
    return "   ".join(parts)


def headline(report: PostmortemReport) -> str:
    """Return the first line: release, time range, calls."""
    investigation = report.investigation
    about = one_line("the log" if report.release is None else report.release, 60)
    where = f" in {report.environment}" if report.environment else ""
    calls = f"{investigation.call_count:,} calls, {investigation.baseline_count:,} before"
    parts = [f"{about}{where}", f"{report.since} to {report.until}", calls]
    return "   ".join([*parts, f"only {one_line(report.feature, 60)}"] if report.feature else parts)


def conclusion(report: PostmortemReport) -> str:
    """Return the result; without findings it states the limits of that."""
    investigation = report.investigation
    if not investigation.call_count:
        return "NO CALLS  not enough data: check time range, environment and log"
    if not investigation.findings:
        return f"NO FINDING  among {investigation.tested_count:,} subgroups; this does not prove that nothing failed"
    worst = investigation.findings[0]
    number = count(len(investigation.findings), "finding").upper()
    return f"{number}  first: {KIND_LABELS[worst.kind]}, {condition_text(worst.where)}"


def follow_ups(findings: Sequence[Finding], *, facts: Sequence[str]) -> tuple[str, ...]:
    """Return suggested actions without duplicates; `facts` are further ones from the timeline and the settings."""
    drafted = [_ACTIONS[one.kind].format(where=condition_text(one.where)) for one in findings[:10]]
    return tuple(dict.fromkeys((*drafted, *facts)))
