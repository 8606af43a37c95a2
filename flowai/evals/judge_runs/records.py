"""The report of `flowai judge check`: a public format."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from flowai.calibration import JudgeCounts

CHECK_SCHEMA_VERSION = 1

JudgeStatus = Literal["above_floor", "below_floor", "too_few_labels", "judge_down", "stopped"]
"""`above_floor`: the judge decides. `below_floor`: it is shown only. `too_few_labels`: its error is not known.
`judge_down`: too many of its calls failed. `stopped`: at `--max-cost`; the same command continues."""


class RateWithInterval(Struct, frozen=True, kw_only=True):
    """A measured value with its 95 % interval."""

    value: float | None
    """None if it could not be measured."""
    low: float | None
    high: float | None
    total_count: int
    """Answers, or pairs of answers, that it is a share or a correlation of."""


class LabelCounts(Struct, frozen=True, kw_only=True):
    """Labels of the answers; of pairs, `pass` is the label `A` and `fail` the label `B`."""

    pass_count: int
    fail_count: int
    disputed_count: int
    """Answers whose labels disagree; they are left out."""
    missing_answer_count: int = 0
    """Labelled answers whose text is not known; they are left out."""
    unlabelled_count: int = 0
    """Answers without a label; they are left out."""


class UnscoredReason(Struct, frozen=True, kw_only=True):
    """A reason why the judge gave no readable verdict."""

    reason: str
    count: int


class Consistency(Struct, frozen=True, kw_only=True):
    """Answers that the judge was asked about several times."""

    asked_count: int
    """Times that it was asked about each."""
    same: RateWithInterval
    """Answers with the same readable verdict every time."""


class PositionBias(Struct, frozen=True, kw_only=True):
    """Pairs of a sound and a faulty answer to the same request, asked in both orders."""

    pair_count: int
    unread_count: int
    """Pairs without two readable choices."""
    same_choice: RateWithInterval
    """Pairs with the same choice in both orders."""
    first_chosen: RateWithInterval
    """Choices of the first answer; 0.5 without a bias."""
    right: RateWithInterval
    """Choices of the sound answer."""


class LengthBias(Struct, frozen=True, kw_only=True):
    """Correlation with the logarithm of the answer's length."""

    verdict: RateWithInterval
    """Of the verdict `pass`."""
    label: RateWithInterval
    """Of the label `pass`: what a judge without error has."""


class Misjudged(Struct, frozen=True, kw_only=True):
    """An answer that the judge judged otherwise than people."""

    case: str
    label: str
    verdict: str
    reason: str


class JudgeCheck(Struct, frozen=True, kw_only=True):
    """The measured error of one judge; positive is the fault that it flags."""

    name: str
    """Judged property."""
    judge: str
    judge_hash: str
    status: JudgeStatus
    status_reason: str
    labels: LabelCounts
    counts: JudgeCounts
    true_positive_rate: RateWithInterval
    """Share of faulty answers that it flags."""
    true_negative_rate: RateWithInterval
    """Share of sound answers that it passes."""
    youden: RateWithInterval
    """True positive rate plus true negative rate minus 1."""
    kappa: float | None
    """Cohen's kappa with the labels; None if all labels and verdicts are equal."""
    base_rate: float | None
    """Share of faulty answers among those with a verdict."""
    accuracy: float | None
    constant_accuracy: float | None
    """Accuracy of a judge that always gives the more frequent label; its kappa is 0."""
    fault_rate: RateWithInterval | None = None
    """Rate of the fault among all calls that this judge scored, labels and verdicts together (prediction-powered); None
    for a suite, and without scored calls."""
    consistency: Consistency
    position: PositionBias | None
    """None if there is no pair of a sound and a faulty answer to the same request."""
    length: LengthBias
    unscored_count: int
    unscored_reasons: tuple[UnscoredReason, ...]
    """The most frequent first."""
    failed_call_count: int
    """Answers for which a call of the judge failed."""
    calls_per_answer: float | None
    usd_per_thousand: float | None
    """US dollars per 1,000 answers; None if a price is not known."""
    misjudged: tuple[Misjudged, ...]
    """At most 20."""
    calibration: str | None
    """File that was written; None if the labels were too few, the judge was down, or the check was stopped."""


class JudgeCheckReport(Struct, frozen=True, kw_only=True):
    """The result of `flowai judge check`."""

    schema_version: int = CHECK_SCHEMA_VERSION
    suite: str
    at: str
    """End of the measurement, RFC 3339, UTC."""
    min_youden: float
    """The floor, `policies.judging.min_youden`."""
    judges: tuple[JudgeCheck, ...]
    warnings: tuple[str, ...] = ()
