"""Records of an upgrade's report: a public format."""

from __future__ import annotations

from datetime import date
from typing import Literal

import msgspec

SCHEMA_VERSION = 1

Verdict = Literal["better", "equal", "worse", "undecided"]
"""`equal`: a loss of more than the margin is excluded. `undecided`: neither that nor a loss is shown."""

EvidenceKind = Literal["suites", "logged_checks", "preference"]
"""`suites`: the feature's suites. `logged_checks`: assertions on answers to logged requests. `preference`: a judge
compared both answers to logged requests."""


class UpgradeModel(msgspec.Struct, frozen=True, kw_only=True):
    """Old or new model."""

    name: str
    """Name in the registry; of a new entry, the name it gets."""
    model: str
    """LiteLLM's name."""
    provider: str
    is_new_entry: bool = False
    """Whether the registry has no entry for it yet."""
    input_usd_per_million_tokens: float | None = None
    """None if the price is not known."""
    output_usd_per_million_tokens: float | None = None
    """None if the price is not known."""
    max_input_tokens: int | None = None
    """None if not listed."""
    max_output_tokens: int | None = None
    """None if not listed."""
    end_date: date | None = None
    """Day from which the provider no longer promises to serve it; None if none is known."""


class ParameterChange(msgspec.Struct, frozen=True, kw_only=True):
    """A sampling parameter that the new model does not take as the old one did."""

    name: str
    effect: Literal["removed", "renamed", "not_sent"]
    """`removed`: the new model refuses it, the new release leaves it out. `renamed`: it is sent under another name.
    `not_sent`: it is not sent to this provider."""
    sent_as: str | None = None
    """Name under which it is sent; None unless it is renamed."""
    source: str
    """Evidence: the provider data, or the provider's answer to the probe."""


class WorstCase(msgspec.Struct, frozen=True, kw_only=True):
    """A case or logged call whose answer became worse."""

    case: str
    """Case id, or call id."""
    place: str
    """`file:line` of a case, or `event log`."""
    difference: float
    """Result of the new model minus that of the old one, -1 to 1."""
    input: str
    """Variables or messages in short, redacted."""
    old_output: str | None
    """Answer of the old model, redacted; None if it is not stored."""
    new_output: str | None
    reason: str
    """First failed assertion, or the judge's reason."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Paired comparison of the two models in one feature."""

    kind: EvidenceKind
    source: str
    """Suites, or number of logged calls."""
    verdict: Verdict
    judged: bool = True
    """Whether it counts for the feature's verdict."""
    note: str | None = None
    """Why it does not count, or why it is incomplete."""
    planned_count: int
    """Cases or calls that could be compared."""
    pair_count: int
    """Cases or calls of which both answers were judged and that the verdict uses."""
    error_count: int
    """Calls of either model without an answer or a judgement."""
    worse_count: int
    better_count: int
    old: float | None
    """Mean result of the old model, 0 to 1; of a preference, the share of calls in which it won."""
    new: float | None
    """The same of the new model."""
    difference: float | None
    """`new` minus `old`; None without a pair."""
    low: float
    """Lower end of the interval of the difference."""
    high: float
    """Upper end of the interval of the difference."""
    confidence: float
    """Of the interval, two-sided."""
    margin: float
    """Loss that is accepted."""
    stopped_early: bool = False
    """Whether the verdict was certain before all cases were run."""
    needed_count: int | None = None
    """Pairs that would probably decide; None if it is decided, or no number would."""
    worst: tuple[WorstCase, ...] = ()


class WorseSlice(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a suite in which the new model is shown to be worse."""

    suite: str
    name: str
    """`field=value` of metadata, or a tag."""
    case_count: int
    difference: float | None
    p_value: float
    """One-sided, after Holm's correction over the suite's slices."""
    is_gated: bool
    """Whether the suite's gate names it, so that it makes the feature worse."""


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """Latency, length and cost of one model's fresh answers."""

    answer_count: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    ttft_p95_ms: float | None
    """None if answers were not streamed."""
    mean_output_tokens: float | None
    usd_per_1000_calls: float | None
    """None if the price is not known."""


class FeatureUpgrade(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one feature."""

    feature: str
    prompt: str
    verdict: Verdict
    reason: str
    """One sentence."""
    needed_count: int | None = None
    """More pairs that would probably decide; None if it is decided, or no number would."""
    parameters: tuple[ParameterChange, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    slices: tuple[WorseSlice, ...] = ()
    """Slices that became worse."""
    old_speed: Speed
    new_speed: Speed
    findings: tuple[str, ...] = ()
    """Other changes that a person should know: cost, length, limits."""
    proposed_prompt: str | None = None
    """File of the prompt that `--adapt` wrote for the new model; None without one."""
    call_count: int = 0
    """Calls of models for this feature, earlier parts of a resumed upgrade included."""
    cost_usd: float | None = 0.0
    """Cost of these calls; None if a price is not known."""


class FeatureForecast(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that one feature needs at most."""

    feature: str
    case_count: int
    suite_call_count: int
    logged_call_count: int
    judge_call_count: int
    cost_usd: float | None
    """Estimate; None if a price is not known."""
    note: str | None = None


class UpgradeReport(msgspec.Struct, frozen=True, kw_only=True):
    """Report of `flowai upgrade`."""

    schema_version: int = SCHEMA_VERSION
    at: str
    """Start, RFC 3339, UTC."""
    environment: str | None
    serving: str
    """The serving release."""
    candidate: str
    """The new release."""
    old: UpgradeModel
    new: UpgradeModel
    verdict: Verdict
    """`worse` if a feature is, else `undecided` if a feature is, else `better` if every feature is, else `equal`."""
    features: tuple[FeatureUpgrade, ...]
    other_uses: tuple[str, ...]
    """Keys of the registry that still name the old model and that no release changes."""
    registry_diff: str
    """Unified diff of the registry's files."""
    registry_changes: Literal["none", "written", "published"] = "none"
    """`none`: the diff is a proposal."""
    stages: tuple[str, ...]
    """Stages of the rollout."""
    publish_command: str
    rollback_command: str
    alpha: float
    """Chance of a false "worse", and of a false "equal", per feature."""
    call_count: int
    """Calls of models, those of earlier, interrupted commands included."""
    kept_call_count: int = 0
    """Calls of earlier commands whose answers were kept."""
    cost_usd: float | None
    warnings: tuple[str, ...] = ()


class UpgradeForecast(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `flowai upgrade --dry-run`."""

    schema_version: int = SCHEMA_VERSION
    serving: str
    candidate: str
    old: UpgradeModel
    new: UpgradeModel
    features: tuple[FeatureForecast, ...]
    probe_call_count: int
    call_count: int
    """Most calls that are made; fewer if a verdict is certain earlier."""
    cost_usd: float | None
    """Estimate; None if a price is not known."""
    done_call_count: int
    """Answers that an earlier, interrupted upgrade has already."""
    registry_diff: str
    warnings: tuple[str, ...] = ()
