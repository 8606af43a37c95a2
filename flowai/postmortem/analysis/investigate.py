"""Investigates an incident in the event log: subgroups of calls that failed more often than before and than others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import msgspec

from flowai.analytics.records import CountOfTotal
from flowai.postmortem.analysis.call_facts import (
    _FIRST_ATTEMPT_SQL,
    AFTER,
    BASELINE,
    INCIDENT,
    build_call_facts,
    rates_by_kind,
    slice_us_of,
)
from flowai.postmortem.analysis.error_clusters import MessageCount, cluster
from flowai.postmortem.analysis.finding_details import (
    MAX_EXAMPLES,
    Sample,
    describe,
    example_of,
    first_bad_at,
    impact_of,
    samples,
)
from flowai.postmortem.analysis.records import (
    ATTRIBUTES,
    KINDS,
    Bucket,
    Condition,
    ContentAvailability,
    Finding,
    Investigation,
    KindRow,
    TimelineEvent,
)
from flowai.postmortem.analysis.subgroup_counts import PHRASE, SubgroupCounter, count_by_mask, key_sql, kinds_in
from flowai.postmortem.analysis.subgroup_scan import MIN_FAILURES, find_subgroups, same_subgroup
from flowai.postmortem.analysis.text_features import distinctive_terms, term_sql
from flowai.timestamps import format_us

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.analytics.event_query import Log
    from flowai.postmortem.analysis.call_facts import CallFacts, ValueCodes
    from flowai.postmortem.analysis.records import Cluster, FailureKind, IncidentQuestion
    from flowai.postmortem.analysis.subgroup_scan import Subgroup, SubgroupCounts, SubgroupFinding

MAX_BUCKETS = 61
MAX_ALSO = 4
MAX_MOMENTS = 50
MAX_PHRASES = 100
_FEATURE, _TIME = ATTRIBUTES.index("feature"), ATTRIBUTES.index("time")
_MAX_TERM_TEXTS = 2_000
_TERM_TEXTS_SQL = (
    "SELECT number, words FROM term_texts JOIN texts USING (call) WHERE words IS NOT NULL ORDER BY number, call"
)
_MAX_MESSAGES = 50_000
_MAX_MESSAGE_USERS = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class _InvestigationContext:
    """Arguments that all steps of an investigation share."""

    log: Log
    question: IncidentQuestion
    codes: ValueCodes
    redact: Callable[[str], str]

    def spell(self, key: Subgroup, phrases: list[str]) -> tuple[Condition, ...]:
        return tuple(
            Condition(attribute="phrase", value=phrases[low - 1])
            if attribute == PHRASE
            else Condition(attribute=ATTRIBUTES[attribute], value=self.codes.label_of(attribute, low, high))
            for attribute, low, high in key
        )


def investigate(
    log: Log, question: IncidentQuestion, *, redact: Callable[[str], str]
) -> tuple[Investigation, list[tuple[Sample, ...]]]:
    """Investigate an incident; return the result, and the shortest calls of each finding.

    The log must be opened with `call_facts.COLUMNS` over the time range of `question`. `redact` removes secrets from a
    text.
    """
    facts = build_call_facts(log, question)
    context = _InvestigationContext(log=log, question=question, codes=facts.codes, redact=redact)
    counts = count_by_mask(log)
    incident, baseline = rates_by_kind(counts, INCIDENT), rates_by_kind(counts, BASELINE)
    met, tested_count = _findings(context, kinds_in(incident.items(), MIN_FAILURES))
    samples_by_finding = samples(log, met)
    findings = tuple(
        msgspec.structs.replace(one, examples=tuple(example_of(sample, redact) for sample in some[:MAX_EXAMPLES]))
        for (one, _), some in zip(met, samples_by_finding, strict=True)
    )
    timeline_kind = findings[0].kind if findings else "error"
    bucket_s, buckets = _buckets(context, timeline_kind)
    clusters, unclustered_count = _clusters(context)
    report = Investigation(
        call_count=_count_of(counts, INCIDENT),
        baseline_count=_count_of(counts, BASELINE),
        releases=_releases(log, INCIDENT),
        baseline_releases=_releases(log, BASELINE),
        kinds=tuple(
            KindRow(kind=kind, incident=_tally(*incident[kind]), baseline=_tally(*baseline[kind])) for kind in KINDS
        ),
        findings=findings,
        tested_count=tested_count,
        clusters=clusters,
        unclustered_count=unclustered_count,
        timeline_kind=timeline_kind,
        bucket_s=bucket_s,
        buckets=buckets,
        first_bad_at=first_bad_at(log, *met[0]) if met else None,
        moments=_moments(context),
        impact=impact_of(log, met),
        content=_content(log),
        problems=facts.problems,
        warnings=_warnings(facts, unclustered_count),
    )
    return report, samples_by_finding


def _tally(count: int, failure_count: int) -> CountOfTotal:
    return CountOfTotal(count=count, failure_count=failure_count)


def _count_of(counts: dict[tuple[int, int], int], era: int) -> int:
    return sum(count for (here, _), count in counts.items() if here == era)


def _releases(log: Log, era: int) -> dict[str, int]:
    query = "SELECT of_release, count(*) FROM calls WHERE era = $era AND of_release IS NOT NULL GROUP BY 1"
    return dict(log.fetch(f"{query} ORDER BY 2 DESC, 1 LIMIT 20", {"era": era}))


def _warnings(facts: CallFacts, unclustered_count: int) -> tuple[str, ...]:
    if not unclustered_count:
        return facts.warnings
    return (*facts.warnings, f"{unclustered_count:,} failed calls are not in clusters: too many messages")


def _findings(context: _InvestigationContext, kinds: tuple[FailureKind, ...]) -> tuple[list[tuple[Finding, str]], int]:
    """Scan every kind; return the findings with the condition of their calls, and the number of tested subgroups."""
    log = context.log
    phrases, term_count = _phrases(context, kinds)
    cube = SubgroupCounter(log=log, kinds=kinds, codes=context.codes)
    counted = cube.count()
    tested_count = term_count + sum(len(cells) for cells in counted.values())
    picked: list[tuple[FailureKind, SubgroupFinding, list[Subgroup], str]] = []
    for kind, cells in counted.items():
        if () not in cells:
            continue
        original = {key: list(counts) for key, counts in cells.items()}

        def without(key: Subgroup, kind: FailureKind = kind) -> SubgroupCounts:
            return cube.count((kind,), inside=key)[kind]

        earlier = ""
        for pick in find_subgroups(cells, tested_count=tested_count, strata=_FEATURE, timely=_TIME, without=without):
            also = same_subgroup(original, pick.key) if pick.key else []
            picked.append((kind, pick, also, f"{key_sql(pick.key)}{earlier}"))
            earlier += f" AND NOT ({key_sql(pick.key)})"
    picked.sort(key=lambda one: (-one[1].excess, one[1].log_p, KINDS.index(one[0])))
    met = []
    for kind, pick, also, condition in picked:
        others = tuple(context.spell(key, phrases) for key in also[:MAX_ALSO])
        finding = _finding(kind, pick, context.spell(pick.key, phrases), tested_count)
        finding = msgspec.structs.replace(finding, also=others)
        met.append((describe(log, finding, condition), condition))
    return met, tested_count


def _finding(kind: FailureKind, pick: SubgroupFinding, where: tuple[Condition, ...], tested_count: int) -> Finding:
    at_risk, failures, before, failures_before = pick.counts
    all_count, all_failures = pick.totals[:2]
    return Finding(
        kind=kind,
        where=where,
        also=(),
        inside=_tally(at_risk, failures),
        outside=_tally(all_count - at_risk, all_failures - failures),
        baseline=_tally(before, failures_before),
        expected_rate=pick.expected_rate,
        excess_count=round(pick.excess),
        log10_p=min(0.0, (pick.log_p + math.log(tested_count)) / math.log(10)),
        is_new=pick.is_new,
    )


def _phrases(context: _InvestigationContext, kinds: tuple[FailureKind, ...]) -> tuple[list[str], int]:
    """Build the table `phrases`, the calls of each distinctive phrase; return phrases and tested terms."""
    log = context.log
    log.fetch("CREATE TEMP TABLE phrases (call UBIGINT, phrase UTINYINT)")
    log.fetch("CREATE TEMP TABLE term_texts (number UTINYINT, call UBIGINT)")
    for number, (kind, has_failed) in enumerate(product(kinds, (1, 0))):
        bit = KINDS.index(kind)
        log.fetch(f"""
            INSERT INTO term_texts SELECT {number}, call FROM facts
            WHERE era = {INCIDENT} AND has_content AND mask >> {bit} & 1 = 1
                AND mask >> {bit + len(KINDS)} & 1 = {has_failed}
            ORDER BY hash(call) LIMIT {_MAX_TERM_TEXTS}
        """)  # noqa: S608 - numbers of ours
    texts: list[list[str]] = [[] for _ in range(2 * len(kinds))]
    for number, words in log.fetch(_TERM_TEXTS_SQL):
        texts[number].append(words)
    terms: list[str] = []
    tested_count = 0
    for bad, good in zip(texts[::2], texts[1::2], strict=True):
        found_terms, count = distinctive_terms(bad, good)
        terms += [term for term in found_terms if term not in terms]
        tested_count += count
    terms = terms[:MAX_PHRASES]
    if terms:
        tests = ", ".join(f"CASE WHEN {term_sql(one)} THEN {number} END" for number, one in enumerate(terms, 1))
        log.fetch(f"""
            INSERT INTO phrases
            SELECT DISTINCT call, unnest(list_filter([{tests}], lambda one: one IS NOT NULL)) FROM texts
        """)  # noqa: S608 - terms are quoted
    return terms, tested_count


def _buckets(context: _InvestigationContext, kind: FailureKind) -> tuple[int, tuple[Bucket, ...]]:
    """Count calls by time slice, from shortly before the incident to the time after it."""
    question = context.question
    span_us = question.incident.until_us - question.incident.since_us
    begin_us = max(question.baseline.since_us, question.incident.since_us - span_us // 4)
    end_us = question.after.until_us
    width_us = slice_us_of(end_us - begin_us, MAX_BUCKETS)
    bit = KINDS.index(kind)
    rows = context.log.fetch(f"""
        SELECT at_us // {width_us} AS slice, count(*), count(*) FILTER (failed), count(*) FILTER (bad >> {bit} & 1 = 1),
            count(*) FILTER (risk >> {bit} & 1 = 1)
        FROM facts WHERE at_us BETWEEN {begin_us} AND {end_us - 1} GROUP BY 1
    """)  # noqa: S608 - numbers of ours
    by_slice = {row[0]: row[1:] for row in rows}
    buckets = []
    for number in range(begin_us // width_us, -(-end_us // width_us)):
        calls, failed, bad, at_risk = by_slice.get(number, (0, 0, 0, 0))
        buckets.append(
            Bucket(
                at_s=number * width_us // 1_000_000,
                call_count=calls,
                failed_count=failed,
                bad_count=bad,
                at_risk_count=at_risk,
            )
        )
    return width_us // 1_000_000, tuple(buckets)


def _clusters(context: _InvestigationContext) -> tuple[tuple[Cluster, ...], int]:
    rows = context.log.fetch(f"""
        SELECT coalesce(lines.error_class, 'first attempt'), coalesce(error_message, {_FIRST_ATTEMPT_SQL}.message, ''),
            coalesce({_FIRST_ATTEMPT_SQL}.provider, provider, '?'), count(*) FILTER (era = {INCIDENT}) AS here,
            count(*) FILTER (era = {BASELINE}),
            (list(DISTINCT person) FILTER (era = {INCIDENT} AND person IS NOT NULL))[1:{_MAX_MESSAGE_USERS}],
            min(facts.at_us) FILTER (era = {INCIDENT}), max(facts.at_us) FILTER (era = {INCIDENT})
        FROM lines JOIN (
            SELECT DISTINCT ON (call) * FROM facts WHERE (failed OR fallback_used) AND era < {AFTER}
        ) AS facts ON hash(call_id) = call
        WHERE kind = 'call' GROUP BY 1, 2, 3 ORDER BY here DESC, 1, 2, 3
    """)  # noqa: S608 - numbers of ours
    messages = (
        MessageCount(error_class, message, provider, count, baseline_count, tuple(users or ()), first_us, last_us)
        for error_class, message, provider, count, baseline_count, users, first_us, last_us in rows[:_MAX_MESSAGES]
    )
    return cluster(messages, redact=context.redact), sum(row[3] for row in rows[_MAX_MESSAGES:])


def _content(log: Log) -> ContentAvailability:
    rows = log.fetch(f"""
        SELECT coalesce(of_feature, '-'), count(*), count(*) FILTER (has_content) FROM calls
        WHERE era = {INCIDENT} GROUP BY 1 ORDER BY 2 DESC, 1
    """)  # noqa: S608 - numbers of ours
    return ContentAvailability(
        kept_count=sum(kept for _, _, kept in rows), missing=tuple(feature for feature, _, kept in rows if not kept)
    )


def _moments(context: _InvestigationContext) -> tuple[TimelineEvent, ...]:
    rows = context.log.fetch(
        f"""
        SELECT at_us, kind, coalesce(cause, action, '?'),
            coalesce(message, concat_ws(' ', "release", 'serving', serving))
        FROM lines WHERE kind IN ('alert', 'release') AND cause IS DISTINCT FROM 'retirement'
            AND at_us BETWEEN $since AND $until
        ORDER BY at_us, kind, 3, 4 LIMIT {MAX_MOMENTS}
        """,  # noqa: S608 - a number of ours
        {"since": context.question.incident.since_us, "until": context.question.after.until_us},
    )
    return tuple(
        TimelineEvent(
            at=format_us(at_us), what=kind, detail=context.redact(f"{cause}: {message}" if message else cause)
        )
        for at_us, kind, cause, message in rows
    )
