"""Adds details to a finding: users, cost, symptoms, examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.analytics.records import NANO_USD
from flowai.postmortem.analysis.call_facts import BASELINE, INCIDENT
from flowai.postmortem.analysis.records import ATTRIBUTES, FAILURE_KINDS, KINDS, Example, Finding, Impact
from flowai.rendering.formatting import dollars, duration
from flowai.timestamps import format_us

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from flowai.analytics.event_query import Log

MAX_EXAMPLES = 2
MAX_SAMPLES = 6
"""Calls of a finding that may become regression cases."""
MAX_TEXT_CHARS = 600
_POOL = 2_000
_MIN_REPORTED_LIFT = 1.5
_MIN_SYMPTOM_SHARE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A bad call from the log. Its texts are hostile; they were redacted when they were written."""

    call_id: str
    at_us: int
    """Microseconds since 1970."""
    feature: str | None
    prompt: str | None
    """None for plain messages."""
    release: str | None
    messages: tuple[dict[str, Any], ...]
    """The request, OpenAI's chat format; empty if content was not kept."""
    output: str | None
    """None without an answer, or if it was not kept."""
    error: str | None
    """Class and message; None without an error."""


class _StoredContent(msgspec.Struct):
    messages: list[dict[str, Any]] = []
    output: str | None = None


def describe(log: Log, finding: Finding, condition: str) -> Finding:
    """Return a finding with its users, cost and symptoms."""
    bit = KINDS.index(finding.kind)
    impacted = f"era = {INCIDENT} AND bad >> {bit} & 1 = 1"
    ((users, sessions, cost),) = log.fetch(f"""
        SELECT count(DISTINCT person), count(DISTINCT chat), coalesce(sum(cost), 0)
        FROM facts WHERE {impacted} AND {condition}
    """)  # noqa: S608 - numbers of ours
    others = f"era = {INCIDENT} AND NOT ({condition})"
    before = others if finding.is_new else f"era = {BASELINE} AND {condition}"
    return msgspec.structs.replace(
        finding,
        user_count=users,
        session_count=sessions,
        cost_usd=int(cost) / NANO_USD,
        symptoms=tuple(_symptoms(log, finding, f"{impacted} AND {condition}", before)),
    )


def _symptoms(log: Log, finding: Finding, impacted: str, before: str) -> Iterable[str]:
    if finding.kind == "error":
        rows = log.fetch(f"SELECT error_class, count(*) FROM facts WHERE {impacted} GROUP BY 1 ORDER BY 2 DESC, 1")  # noqa: S608 - ours
        total = sum(count for _, count in rows)
        return [f"{name} {count / total:.0%}" for name, count in rows[:1]]
    medians = (f"median({name}) FILTER (NOT failed AND NOT hit)" for name in ("output_tokens", "latency_ms", "cost"))
    facts = f"count(*), count(*) FILTER (at_limit), {', '.join(medians)}"
    (here,), (then,) = (log.fetch(f"SELECT {facts} FROM facts WHERE {where}") for where in (impacted, before))  # noqa: S608 - ours
    found: list[str] = []
    if finding.kind != "truncated" and here[0] and here[1] >= _MIN_SYMPTOM_SHARE * here[0]:
        found.append(f"{here[1] / here[0]:.0%} ended at the token limit")
    spells: tuple[tuple[str, Callable[[float], str]], ...] = (
        ("output", lambda tokens: f"{tokens:,.0f} tokens"),
        ("latency", duration),
        ("cost", lambda nano: dollars(nano / NANO_USD)),
    )
    for (name, spell), now, usual in zip(spells, here[2:], then[2:], strict=True):
        if now is not None and usual and not 1 / _MIN_REPORTED_LIFT < now / usual < _MIN_REPORTED_LIFT:
            found.append(f"{name} {spell(now)} instead of {spell(usual)} (median)")
    return found


def impact_of(log: Log, impacted: Sequence[tuple[Finding, str]]) -> Impact:
    """Count calls, users and cost of all findings (with their SQL conditions), each call once; failed calls too."""
    any_of = [f"(bad >> {KINDS.index(one.kind)} & 1 = 1 AND {condition})" for one, condition in impacted]
    where = f"era = {INCIDENT} AND (failed OR {' OR '.join(any_of) or 'FALSE'})"
    useless = " | ".join(str(1 << KINDS.index(kind)) for kind in sorted(FAILURE_KINDS))
    ((calls, users, sessions, anonymous, wasted, unpriced),) = log.fetch(f"""
        SELECT count(*), count(DISTINCT person), count(DISTINCT chat), count(*) FILTER (person IS NULL),
            coalesce(sum(cost) FILTER (bad & ({useless}) <> 0), 0), count(*) FILTER (cost IS NULL AND NOT failed)
        FROM facts WHERE {where}
    """)  # noqa: S608 - numbers of ours
    ((degraded, fallback_used),) = log.fetch(f"""
        SELECT count(*) FILTER (degraded), count(*) FILTER (fallback_used) FROM facts WHERE era = {INCIDENT}
    """)  # noqa: S608 - a number of ours
    return Impact(
        call_count=calls,
        user_count=users,
        session_count=sessions,
        anonymous_count=anonymous,
        wasted_usd=int(wasted) / NANO_USD,
        unpriced_count=unpriced,
        degraded_count=degraded,
        fallback_used_count=fallback_used,
    )


def first_bad_at(log: Log, finding: Finding, condition: str) -> str | None:
    """Return the time of a finding's first bad call (RFC 3339, UTC)."""
    bit = KINDS.index(finding.kind)
    ((first,),) = log.fetch(f"""
        SELECT min(at_us) FROM facts WHERE era = {INCIDENT} AND bad >> {bit} & 1 = 1 AND {condition}
    """)  # noqa: S608 - numbers of ours
    return None if first is None else format_us(first)


def samples(log: Log, impacted: Sequence[tuple[Finding, str]]) -> list[tuple[Sample, ...]]:
    """Return the shortest calls of each finding (with its SQL condition); those with content first."""
    log.fetch("CREATE TEMP TABLE pool (finding UTINYINT, call UBIGINT)")
    for number, (one, condition) in enumerate(impacted):
        bit = KINDS.index(one.kind)
        log.fetch(f"""
            INSERT INTO pool SELECT {number}, call FROM facts
            WHERE era = {INCIDENT} AND bad >> {bit} & 1 = 1 AND {condition}
            ORDER BY has_content DESC, a{ATTRIBUTES.index("input")}, hash(call) LIMIT {_POOL}
        """)  # noqa: S608 - numbers of ours
    rows = log.fetch(f"""
        SELECT finding, call_id, at_us, feature, prompt_id, "release", content::VARCHAR, error_class, error_message
        FROM lines JOIN pool ON hash(call_id) = call WHERE kind = 'call'
        QUALIFY row_number() OVER (
            PARTITION BY finding ORDER BY content IS NULL, length(content::VARCHAR), call_id
        ) <= {MAX_SAMPLES}
        ORDER BY finding, content IS NULL, length(content::VARCHAR), call_id
    """)  # noqa: S608 - a number of ours
    found: list[list[Sample]] = [[] for _ in impacted]
    for row in rows:
        found[row[0]].append(_sample(row))
    return [tuple(one) for one in found]


def _sample(row: tuple[Any, ...]) -> Sample:
    _, call_id, at_us, feature, prompt, release, content, error_class, message = row
    try:
        kept = msgspec.json.decode(content, type=_StoredContent) if content else _StoredContent()
    except (msgspec.DecodeError, UnicodeDecodeError):
        kept = _StoredContent()  # content of another shape counts as missing
    return Sample(
        call_id=call_id,
        at_us=at_us,
        feature=feature,
        prompt=prompt,
        release=release,
        messages=tuple(kept.messages),
        output=kept.output,
        error=f"{error_class}: {message}" if error_class else None,
    )


def example_of(sample: Sample, redact: Callable[[str], str]) -> Example:
    """Return a call for a report: cut, and redacted once more."""
    request = sample.messages[-1].get("content") if sample.messages else None
    if request is not None and not isinstance(request, str):
        request = msgspec.json.encode(request).decode()
    return Example(
        call_id=sample.call_id,
        at=format_us(sample.at_us),
        request=_shown(request, redact),
        output=_shown(sample.output, redact),
        error=_shown(sample.error, redact),
    )


def _shown(text: str | None, redact: Callable[[str], str]) -> str | None:
    if text is None:
        return None
    clean = redact(text)  # redacted before it is cut: half a key has no recognizable shape
    return clean if len(clean) <= MAX_TEXT_CHARS else f"{clean[:MAX_TEXT_CHARS]}..."
