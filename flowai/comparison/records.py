"""Records of a comparison of two arms: arms, metrics, verdict."""

from __future__ import annotations

from typing import Literal

from flowai.analytics.records import NOT_MEASURED, CountOfTotal, Metric, Range, ReportRecord

MetricStatus = Literal["non_inferior", "inconclusive", "inferior", "no_data", "not_tested", "not_judged"]
"""`non_inferior`: not worse than the control by the margin. `inferior`: worse than the control. `inconclusive`: neither
is shown yet. `no_data`: enough users, but no measurement. `not_tested`: the metric does not apply (no answer had to be
JSON). `not_judged`: shown, and decides nothing: its judge has no fresh calibration above the floor."""

CanaryVerdict = Literal["promote", "hold", "rollback", "invalid"]
"""`promote`: every guardrail is non-inferior. `rollback`: a guardrail is inferior. `hold`: neither yet. `invalid`: the
comparison itself cannot be trusted, or a guardrail has no data."""


class MetricReport(ReportRecord, frozen=True, kw_only=True):
    """Result for one metric in this stage; the evidence of harm is over the whole rollout."""

    name: Metric
    is_guardrail: bool
    """Whether the verdict depends on it."""
    scale: Literal["difference", "ratio"]
    """`difference`: a rate; a failure is an error, invalid JSON, a slow call or an answer that was not accepted.
    `ratio`: a mean: of latency or time to the first token in milliseconds, or of cost in US dollars."""
    candidate: CountOfTotal
    """Users with data, and users with at least one failure."""
    control: CountOfTotal
    """The same of the baseline: the control and the rest of the traffic, which the same release serves."""
    candidate_calls: CountOfTotal
    """Calls and failed calls, not collapsed by user; nothing for a mean."""
    control_calls: CountOfTotal
    """The same of the control alone."""
    candidate_value: float | None
    """Mean over users of the share of each user's calls that failed, or of each user's mean; None without data. Of a
    calibrated judge, corrected by its measured error."""
    control_value: float | None
    effect: Range
    """Difference of the values (-1 to 1), or their ratio; the interval is valid at every time. Of a calibrated judge,
    corrected by its measured error."""
    margin: float
    """Tolerated difference (0 to 1), or ratio (at least 1)."""
    alpha: float
    """Chance of a false `inferior`."""
    safe_alpha: float
    """Chance of a false `non_inferior`."""
    e_value: float
    """Evidence that the candidate is worse than the control, over the whole rollout, now."""
    e_value_peak: float
    """Largest e-value so far; it decides at 1 / alpha."""
    safe_e_value: float
    """Evidence that the candidate is not worse by the margin, now."""
    safe_e_value_peak: float
    """Largest such e-value in this stage; it decides at 1 / safe_alpha."""
    status: MetricStatus
    single_caller: CountOfTotal | None = None
    """Failures of the candidate (of a mean: calls), and those of one caller, if it is not shown to be worse without
    that caller; else None."""
    judged: JudgedRates | None = None
    """How judges measured it; None for other metrics, and for scores without a judge's hash."""
    forecast: CallForecast | None = None
    """More calls of the candidate until it is non-inferior; None if that is unknown or not needed."""


class JudgedRates(ReportRecord, frozen=True, kw_only=True):
    """Rates that a judge measured, and its own error. Positive is the fault: the judge flags an answer."""

    judge_hashes: tuple[str, ...]
    """Judges of the scores, most scores first; empty text for scores without a hash."""
    problem: str | None = None
    """Why the metric is shown and decides nothing; None if it decides."""
    calibrated_at: str | None = None
    """Time of the judge's calibration (RFC 3339, UTC); None without one: then nothing is corrected."""
    true_positive_rate: Range = NOT_MEASURED
    """Share of faulty answers that the judge flags."""
    true_negative_rate: Range = NOT_MEASURED
    """Share of sound answers that it passes."""
    flagged_candidate: float | None = None
    """Mean over users of the flagged share, not corrected; None without data."""
    flagged_control: float | None = None
    flagged_margin: float | None = None
    """Difference of flagged shares that the margin causes at least; it decides. None without a calibration."""
    candidate: Range = NOT_MEASURED
    """Corrected rate; the interval is for this moment, and includes the error of the calibration."""
    control: Range = NOT_MEASURED
    bias_per_point: float | None = None
    """Bias of the corrected difference at most, for each point by which the judge's rates differ between the arms."""


class CallForecast(ReportRecord, frozen=True, kw_only=True):
    """Forecast of how many more calls of the candidate a metric needs, at the differences and the pace so far."""

    calls: int | None
    """None if it would not become non-inferior at the difference seen."""
    low: int | None
    high: int | None
    """In 3 of 5 cases the number is between these."""
    seconds: float | None
    """Time until then at this pace."""


class CallShares(ReportRecord, frozen=True, kw_only=True):
    """Calls of an arm by their outcome."""

    calls: int
    """All calls, answers of a cache included."""
    cached: int
    """Answered by a cache; no metric counts them."""
    unsent: int = 0
    """Failed before a provider was asked; no metric counts them."""
    cancelled: int
    """The caller left."""
    failed: int
    """The release's own model failed, whatever the caller got."""
    errors: int
    """The caller got an error."""
    fell_back: int
    """Another model or the last resort answered."""


class FeatureReport(ReportRecord, frozen=True, kw_only=True):
    """Calls of a feature in this stage."""

    feature: str
    candidate: CallShares
    control: CallShares
    candidate_bad_json: CountOfTotal
    control_bad_json: CountOfTotal


class ArmReport(ReportRecord, frozen=True, kw_only=True):
    """Result for an arm in this stage."""

    release: str
    unit_count: int
    """Users (or sessions), and calls without either, each of which counts as a user."""
    anonymous_count: int
    """Calls without user and session among them."""
    shares: CallShares
    call_count: int
    latency: tuple[float | None, float | None, float | None]
    """P50, p95, p99 of answers by a model, milliseconds."""
    ttft: tuple[float | None, float | None, float | None]
    """P50, p95, p99 of the time to the first token, milliseconds."""
    cost_usd: float | None
    """Of calls by a model; None if no price is known."""
    priced_count: int
    """Calls by a model whose price is known."""

    @property
    def usd_per_call(self) -> float | None:
        """US dollars of a call by a model; None if no price is known."""
        return None if self.cost_usd is None or not self.priced_count else self.cost_usd / self.priced_count
