"""The records of a canary report: what was counted, what it says, and everything its plots are drawn from.

In: nothing. Out: frozen records. Must never know where events come from or how a report looks.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec

SCHEMA_VERSION = 1

Metric = Literal["error_rate", "json_valid", "slow_calls", "slow_ttft", "acceptance", "save_rate", "hallucination"]
"""What evidence is gathered on. `slow_calls`, `slow_ttft`: above the baseline's frozen p95. `acceptance`: of answers
that users judged. `save_rate`: of all answers. `hallucination`: of answers that were judged for it."""

Says = Literal["safe", "undecided", "worse", "missing", "none"]
"""`safe`: not worse than the margin allows. `worse`: worse than the control. `missing`: a guardrail without data.
`none`: it does not apply (no answer promised JSON)."""

CanaryVerdict = Literal["promote", "hold", "rollback", "invalid"]
"""`promote`: every guardrail is safe. `rollback`: one is worse. `hold`: neither yet. `invalid`: the comparison itself
is not to be trusted, or a guardrail has no data."""

ProblemKind = Literal["unreadable", "unknown_version", "broken", "future", "duplicated", "conflicting"]
"""`unreadable`: no JSON. `unknown_version`: of a format this flowai does not know. `broken`: a field is missing or of
the wrong type. `future`: later than the clock allows. `duplicated`: the same line again. `conflicting`: the same
call, told differently."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What all records here share: they are frozen, and their fields are named."""


Digested = TypeVar("Digested", bound=msgspec.Struct)


class Tally(Record, frozen=True, kw_only=True):
    """Failures among what was counted.

    Args:
        count: how many were counted, >= 0.
        failure_count: how many of them failed, 0 to `count`.
    """

    count: int = 0
    failure_count: int = 0

    @property
    def rate(self) -> float | None:
        """Share that failed; None when nothing was counted."""
        return self.failure_count / self.count if self.count else None


class Range(Record, frozen=True, kw_only=True):
    """A 95 % interval.

    Args:
        estimate: the best single value; None when nothing was measured.
        low: lower bound; None for none.
        high: upper bound; None for none.
    """

    estimate: float | None
    low: float | None
    high: float | None


NOT_MEASURED = Range(estimate=None, low=None, high=None)


class MetricReport(Record, frozen=True, kw_only=True):
    """What was found about one metric.

    Args:
        name: the metric.
        is_guardrail: whether the verdict hangs on it.
        candidate: users at risk and those who met a failure, in this stage; a failure is an invalid answer, a slow
            call, an answer that was not accepted.
        control: the same of the control.
        candidate_calls: calls and failed calls in this stage, not collapsed.
        control_calls: the same of the control.
        difference: of the failure rates, candidate minus control, -1 to 1.
        margin: how much more often the candidate may fail, 0 to 1.
        alpha: chance of calling it worse when it is not.
        e_value: evidence that it is worse than the control, over the whole rollout, now.
        e_value_peak: the largest so far; acts at 1 / alpha.
        safe_e_value: evidence that it is not worse by the margin, now; acts at 1 / the rollout's alpha.
        says: what follows.
        needed_count: more candidate units until it is safe, at the rates and pace so far; None when not known or not
            needed.
    """

    name: Metric
    is_guardrail: bool
    candidate: Tally
    control: Tally
    candidate_calls: Tally
    control_calls: Tally
    difference: Range
    margin: float
    alpha: float
    e_value: float
    e_value_peak: float
    safe_e_value: float
    says: Says
    needed_count: int | None = None


class ArmReport(Record, frozen=True, kw_only=True):
    """One side of the comparison, in this stage.

    Args:
        release: what served it.
        unit_count: users (or sessions).
        call_count: calls.
        latency: p50, p95, p99 of answers by a model, milliseconds; None for none.
        ttft: the same of the time to the first token.
        cost_usd: of its calls by a model; None when no price is known.
        priced_count: calls by a model whose price is known.
    """

    release: str
    unit_count: int
    call_count: int
    latency: tuple[float | None, float | None, float | None]
    ttft: tuple[float | None, float | None, float | None]
    cost_usd: float | None
    priced_count: int

    @property
    def usd_per_call(self) -> float | None:
        """US dollars of a call by a model; None when no price is known."""
        return None if self.cost_usd is None or not self.priced_count else self.cost_usd / self.priced_count


class Point(Record, frozen=True, kw_only=True, array_like=True):
    """A point of a line: when, and how much.

    Args:
        at_s: seconds since 1970 (UTC).
        value: what the line is about.
    """

    at_s: int
    value: float


class Plots(Record, frozen=True, kw_only=True):
    """What the plots are drawn from.

    Args:
        evidence: by guardrail, log10 of the evidence that it is worse, at the end of blocks.
        latency: by arm, share of calls by upper edge in milliseconds (10 % steps).
        errors: by arm, error rate of calls by hour.
    """

    evidence: dict[str, tuple[Point, ...]]
    latency: dict[str, tuple[tuple[float, float], ...]]
    errors: dict[str, tuple[Point, ...]]


class Place(Record, frozen=True, kw_only=True):
    """Where a line stands.

    Args:
        file: path below the log's directory.
        line: its number, from 1 on.
    """

    file: str
    line: int


class Problem(Record, frozen=True, kw_only=True):
    """Lines that could not be used as they stand.

    Args:
        kind: what is wrong with them.
        count: how many, >= 1.
        places: where the first few of them stand, where files have lines.
    """

    kind: ProblemKind
    count: int
    places: tuple[Place, ...] = ()


class Split(Record, frozen=True, kw_only=True):
    """Whether users divide as the shares say.

    Args:
        stage: percentage of the stage.
        counts: users by variant.
        e_value: evidence of a mismatch; acts at 1,000.
    """

    stage: str
    counts: dict[str, int]
    e_value: float


class HourlyVerdict(Record, frozen=True, kw_only=True):
    """What the verdict would have been at an hour.

    Args:
        at: the hour's end (RFC 3339, UTC).
        verdict: what it would have been.
        reason: why.
    """

    at: str
    verdict: CanaryVerdict
    reason: str


class CanaryReport(Record, frozen=True, kw_only=True):
    """A candidate against its control: a public format.

    Args:
        schema_version: version of this format: 1.
        verdict: what follows.
        reasons: why, the weightiest first.
        candidate: the release that is rolled out.
        baseline: the release that serves otherwise.
        environment: where; None where there are no environments.
        stage: `dogfood` or the percentage.
        since: begin of the stage's stretch (RFC 3339, UTC).
        until: its end.
        unit: what counts once: `user` (or session), or `call` where no call names one.
        arms: `candidate` and `control`.
        metrics: guardrails first.
        splits: by stage.
        problems: lines that could not be used.
        warnings: what else a person should know.
        latency_p95: ratio of the candidate's p95 to the control's.
        ttft_p95: the same of the time to the first token.
        usd_per_call: the same of the mean cost of a call by a model.
        looked_at: calls by side whose users the evidence looked at; all of them, unless there are very many.
        slow_above: by feature, the frozen p95 in milliseconds.
        needed_count: more candidate units until the last guardrail is safe; None when not known or not needed.
        needed_s: seconds that takes at this pace.
        replay: verdicts by hour, where they were asked for.
        plots: what the plots are drawn from.
        digest: SHA-256 of the report's JSON without this field, hex.
    """

    schema_version: int = SCHEMA_VERSION
    verdict: CanaryVerdict
    reasons: tuple[str, ...]
    candidate: str
    baseline: str
    environment: str | None
    stage: str
    since: str
    until: str
    unit: Literal["user", "call"]
    arms: dict[str, ArmReport]
    metrics: tuple[MetricReport, ...]
    splits: tuple[Split, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]
    latency_p95: Range
    ttft_p95: Range
    slow_above: dict[str, float]
    needed_count: int | None
    needed_s: float | None
    replay: tuple[HourlyVerdict, ...]
    plots: Plots
    usd_per_call: Range = NOT_MEASURED
    looked_at: dict[str, int] = {}
    digest: str = ""


def sealed(report: Digested) -> Digested:
    """Return a report with its digest: the hash of all its other fields."""
    import hashlib

    bare = msgspec.structs.replace(report, digest="")
    digest = hashlib.sha256(msgspec.json.encode(bare, order="deterministic")).hexdigest()
    return msgspec.structs.replace(report, digest=digest)
