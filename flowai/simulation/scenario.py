"""Scenario of a simulated rollout: traffic, users, both releases' true behaviour, and what makes verdicts difficult.

Rates and shares are 0 to 1. All defaults together are a rollout without complications and without a difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from flowai.timestamps import to_us


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """True behaviour of a release, averaged over users; features, drift and outages change it per call."""

    error_rate: float = 0.02
    """Share of calls that fail; a cached answer does not."""
    bad_json_rate: float = 0.01
    """Share of answers to JSON features that are not valid JSON."""
    cancelled_rate: float = 0.005
    """Share of calls without error that the caller leaves before the answer."""
    primary_failure_rate: float = 0.01
    """Share of answers that came from a fallback model because the primary model failed."""
    degraded_rate: float = 0.0
    """Share of those that came from the last resort."""
    acceptance: float = 0.62
    """Share of feedback that accepts the answer."""
    hallucination_rate: float = 0.03
    """Share of scored answers that fail."""
    latency_ms: float = 800.0
    """Median time to the complete answer, failed attempts included, > 0."""
    latency_sigma: float = 0.5
    """Standard deviation of the latency's logarithm between calls of a user, >= 0."""
    ttft_ms: float | None = 200.0
    """Median time to the first token, > 0, never above the call's latency; None when answers are not streamed."""
    ttft_sigma: float = 0.4
    """Standard deviation of its logarithm between calls of a user, >= 0."""
    cost_usd: float = 0.001
    """Median cost of an answer in US dollars, >= 0."""
    cost_sigma: float = 0.5
    """Standard deviation of its logarithm between calls of a user, >= 0."""
    always_failing_user_rate: float = 0.0
    """Share of users whose every call fails, in addition to `error_rate`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureTraffic:
    """Traffic and difficulty of a feature."""

    name: str
    weight: float = 1.0
    """Share of the traffic at the start, relative to the other features, >= 0."""
    end_weight: float | None = None
    """The same at the end, reached linearly; None when it does not change."""
    failure_factor: float = 1.0
    """Factor of the rates of errors, invalid JSON, primary failures and hallucinations, >= 0. At most, a rate
    becomes 1."""
    latency_factor: float = 1.0
    """Factor of latency and time to the first token, > 0."""
    is_json: bool = True
    """Whether the feature asks for JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheTraffic:
    """Requests that were asked before, answered by the exact cache; each release has its own."""

    hit_rate: float
    """Share of calls that a warm cache answers. The control's is warm from the start."""
    warm_up_calls: float = 2000.0
    """Calls of the candidate after which its hit rate is 63 % of this; it starts at 0. 0: warm from the start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outage:
    """Failure of a provider that both releases use."""

    start_hour: float
    """Hours after the begin of the log."""
    hours: float
    failure_rate: float
    """Share of calls that fail which would not have failed otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bots:
    """Programs that call evenly, day and night, each as one user who never retries."""

    count: int
    calls_per_hour: float
    """Calls of each bot."""
    is_failing: bool = False
    """Every call fails; otherwise none, but in an outage."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageSpan:
    """Time range of a stage, by the true time."""

    percent: int
    """The candidate's share; 0 for dogfood."""
    since_us: int
    """Microseconds since 1970."""
    until_us: int
    """Microseconds since 1970, excluded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """A rollout and its traffic."""

    candidate: Arm = Arm()
    control: Arm = Arm()
    """True behaviour of the baseline, which serves the variants `control` and `stable`."""
    candidate_release: str = "v2"
    """Name of the candidate; the assignment depends on it."""
    baseline_release: str = "v1"
    seed: int = 0
    """Seed where no other is passed, >= 0; it determines users, calls and outcomes."""
    begin: datetime = datetime(2026, 5, 4, 8, 0, tzinfo=UTC)
    stages: tuple[tuple[int, float], ...] = ((0, 6), (1, 24), (5, 24), (25, 24), (100, 24))
    """Percentage and hours of each stage; at 0 (dogfood) all calls are `stable`."""

    calls_per_hour: float = 400.0
    """Mean number of calls of users, without retries and bots."""
    day_night: float = 0.0
    """Amplitude of the daily cycle of traffic, 0 to 1: at 1, no calls at 02:00 UTC and twice the mean at 14:00."""
    anonymous_rate: float = 0.0
    """Share of calls without user and session, each assigned by its call id."""
    calls_per_user: float = 8.0
    """Mean number of calls per user over the whole log, > 0; users without a call are included."""
    activity_exponent: float | None = 1.5
    """Exponent of the Pareto distribution of users' activity, > 1: lower is more unequal; None when all are equal."""
    user_concentration: float | None = None
    """Concentration of the beta distributions of users' own rates, with the arm's rate as the mean, > 0: lower is more
    unequal; None when all are equal. A user has the same quantile under both releases, independent between metrics."""
    user_sigma: float = 0.0
    """Standard deviation between users of the logarithm of latency, and of that of cost, >= 0; same for both arms."""
    features: tuple[FeatureTraffic, ...] = (FeatureTraffic(name="chat"),)
    """At least one."""
    drift: float = 1.0
    """Factor at the end, reached linearly, of the rates that a `failure_factor` changes, of both arms; >= 0."""
    retry_rate: float = 0.0
    """Share of failed calls that the user repeats within seconds, up to 3 times."""
    repeated_failure_rate: float = 0.0
    """Share of repeated calls that fail because the request itself is at fault, in addition to the usual failures."""
    cache: CacheTraffic | None = None
    outage: Outage | None = None
    bots: tuple[Bots, ...] = ()

    feedback_rate: float = 0.3
    """Share of answers that the user accepts or rejects."""
    feedback_delay_min: float = 2.0
    """Median minutes from call to feedback (lognormal, sigma 1)."""
    lost_feedback_rate: float = 0.0
    """Share of feedback that never reaches the log."""
    score_rate: float = 0.1
    """Share of answers that a judge scores for hallucinations."""
    score_delay_min: float = 10.0
    """Median minutes from call to score (lognormal, sigma 1)."""
    judge_hash: str | None = None
    """Hash of the judge that scores; None for scores without one."""

    process_count: int = 2
    """Processes that serve and write the log; each call is served by any of them."""
    clock_skew_s: float = 0.0
    """Each process records times with a constant offset of +- up to this many seconds; calls are assigned by the true
    time."""

    @property
    def hours(self) -> float:
        """Length of the rollout."""
        return sum(hours for _, hours in self.stages)

    def spans(self) -> tuple[StageSpan, ...]:
        """Return the time range of each stage, oldest first."""
        ends = [0.0, *accumulate(hours for _, hours in self.stages)]
        times = [to_us(self.begin + timedelta(hours=end)) for end in ends]
        return tuple(
            StageSpan(percent=percent, since_us=since_us, until_us=until_us)
            for (percent, _), since_us, until_us in zip(self.stages, times, times[1:], strict=False)
        )
