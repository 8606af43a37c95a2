"""A post-mortem in words: findings, rates, the timeline, what to do next."""

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

KIND_WORDS: dict[FailureKind, str] = {
    "error": "failed",
    "bad_json": "invalid JSON",
    "truncated": "cut off",
    "unaccepted": "rejected",
    "judged_bad": "judged bad",
    "slow": "slow",
    "costly": "costly",
    "fell_back": "fell back",
    "degraded": "degraded",
}
FINDING_COLUMNS = ("", "what", "where", "went wrong", "others", "before", "more than expected", "users")
KIND_COLUMNS = ("what", "incident", "", "before", "")
CLUSTER_COLUMNS = ("calls", "before", "error", "message", "asked", "from", "to")
MAX_WHERE_CHARS = 100
_COARSE, _FINE = 0.1, 0.001

_ACTIONS: dict[FailureKind, str] = {
    "error": "Find why {where} failed; give the feature a fallback that does not share the cause.",
    "bad_json": "Make {where} give valid JSON again; add the cases below to a suite with `is-json`.",
    "truncated": "Raise the token limit of {where}, or ask for shorter answers.",
    "unaccepted": "Read the rejected answers of {where} with somebody who knows what users wanted.",
    "judged_bad": "Check the answers of {where} against their sources.",
    "slow": "Find what made {where} slow; hold it by a gate (`latency_p95`) before it is published again.",
    "costly": "Decide whether {where} may cost that much; hold it by a budget.",
    "fell_back": "Ask the provider of {where} what happened; watch the breaker's settings.",
    "degraded": "Find why {where} had to be served by the last resort.",
}


def condition_text(where: Sequence[Condition], *, most_chars: int = MAX_WHERE_CHARS) -> str:
    """Name the calls of a finding: `prompt prompts/chat_v2, language German`."""
    if not where:
        return "all calls"
    return ", ".join(f"{one.attribute} {one_line(one.value, most_chars)}" for one in where)


def share(tally: CountOfTotal) -> str:
    """Spell a rate with the digits its numbers carry; `-` without any."""
    if tally.rate is None:
        return MISSING_TEXT
    return f"{tally.rate * 100:.{0 if tally.rate >= _COARSE else 1 if tally.rate >= _FINE or not tally.rate else 2}f} %"


def finding_rows(findings: Sequence[Finding]) -> list[tuple[str, ...]]:
    """Give a row per finding; see `FINDING_COLUMNS`."""
    return [
        (
            str(number),
            KIND_WORDS[one.kind],
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
    """Say what else is known of a finding."""
    if finding.also:
        yield f"the same calls: {'; '.join(condition_text(one) for one in finding.also)}"
    yield from (one_line(symptom, 200) for symptom in finding.symptoms)
    if finding.is_new and finding.where:
        yield "there were too few such calls before to compare with"
    if finding.cost_usd:
        yield f"these calls cost {dollars(finding.cost_usd)}"


def kind_rows(found: Investigation) -> list[tuple[str, ...]]:
    """Give a row per way that calls could go wrong; see `KIND_COLUMNS`."""
    return [
        (
            KIND_WORDS[row.kind],
            share(row.incident),
            f"{row.incident.failure_count:,} of {row.incident.count:,}",
            share(row.baseline),
            f"{row.baseline.failure_count:,} of {row.baseline.count:,}",
        )
        for row in found.kinds
        if row.incident.count
    ]


def cluster_rows(found: Investigation, most: int) -> list[tuple[str, ...]]:
    """Give a row per cluster of error messages; see `CLUSTER_COLUMNS`."""
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
        for one in found.clusters[:most]
    ]


def clock(moment: str) -> str:
    """Give the time of the day of a moment."""
    return moment[11:19]


def spark_line(found: Investigation) -> str:
    """Draw the rate over time in a line; empty without any."""
    rates = [one.bad_count * 1000 // one.at_risk_count if one.at_risk_count else 0 for one in found.buckets]
    return sparkline(rates).rstrip()


def impact_line(found: Investigation) -> str:
    """Say who and what was met."""
    met = found.touched
    parts = [count(met.call_count, "bad call"), count(met.user_count, "user"), count(met.session_count, "session")]
    if met.anonymous_count:
        parts.append(f"{met.anonymous_count:,} of the calls name no user")
    wasted = f"{dollars(met.wasted_usd)} wasted"
    parts.append(wasted + (f" and {count(met.unpriced_count, 'call')} without a price" if met.unpriced_count else ""))
    if met.degraded_count:
        parts.append(count(met.degraded_count, "degraded answer"))
    if met.fell_back_count:
        parts.append(f"{met.fell_back_count:,} saved by a fallback")
    return "   ".join(parts)


def headline(report: PostmortemReport) -> str:
    """Give the first line: what it is about."""
    found = report.investigation
    about = one_line("the log" if report.release is None else report.release, 60)
    where = f" in {report.environment}" if report.environment else ""
    calls = f"{found.call_count:,} calls, {found.baseline_count:,} before"
    parts = [f"{about}{where}", f"{report.since} to {report.until}", calls]
    return "   ".join([*parts, f"only {one_line(report.feature, 60)}"] if report.feature else parts)


def conclusion(report: PostmortemReport) -> str:
    """Give the line that says what came out; where nothing stands out it says what that does not mean."""
    found = report.investigation
    if not found.call_count:
        return "NO CALLS  nothing can be said; is it the right stretch, environment and log?"
    if not found.findings:
        return f"NOTHING STANDS OUT  among {found.tested_count:,} subgroups; that is no proof that nothing broke"
    worst = found.findings[0]
    number = count(len(found.findings), "finding").upper()
    return f"{number}  first: {KIND_WORDS[worst.kind]}, {condition_text(worst.where)}"


def follow_ups(report_findings: Sequence[Finding], *, facts: Sequence[str]) -> tuple[str, ...]:
    """Draft what to do from the findings, one line each.

    Args:
        report_findings: the findings.
        facts: further lines that the timeline and the settings ask for.
    """
    drafted = [_ACTIONS[one.kind].format(where=condition_text(one.where)) for one in report_findings[:10]]
    return tuple(dict.fromkeys((*drafted, *facts)))
