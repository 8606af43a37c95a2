"""Records of a run: assertion results, trials, totals, the gate decision and the report."""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec

from flowai.evals.reports.drift_records import DriftResult
from flowai.evals.reports.gate_records import FlakyCase, PairedComparison, SelfComparison, SliceResult

SCHEMA_VERSION = 1
MAX_INPUT_CHARS = 200
"""Of each variable in `Trial.input_text`."""

Outcome = Literal["pass", "fail", "error", "unscored"]
"""`pass`: every check that counts passed. `fail`: at least one failed. `error`: infrastructure failed, so there is no
answer. `unscored`: there is an answer, but it could not be judged."""


class AssertionResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one assertion for one answer."""

    type: str
    """As in the suite, with `not-` (`not-contains`)."""
    passed: bool | None
    """None if it could not be judged (a cost limit without a known price)."""
    score: float
    """0 to 1; types without a finer scale: 1 if passed, 0 if failed. 0 if not judged."""
    weight: float = 1.0
    """Share in the trial's score, >= 0; a check of weight 0 never fails a trial."""
    metric: str | None = None
    """Metric that collects the score; None for none."""
    reason: str = ""
    """Type, found and expected value, one line, redacted; empty if passed."""
    place: str = ""
    """`file:line` of the assertion."""
    metrics: dict[str, float] = {}
    """Named scores that the assertion computed besides its own."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Reason why a trial has no answer."""

    kind: str
    """Error class (`RateLimitedError`)."""
    message: str
    """One line, redacted."""
    provider: str | None = None
    """Provider that failed; None if none was called."""
    status: int | None = None
    """HTTP status; None if there was no response."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one case on one prompt and one model, once: a line of the run log."""

    key: str
    """Identity within a run and across runs: suite, case, prompt, model, repeat; without the prompt's hash."""
    suite: str
    """Path of the suite file."""
    case: str
    """Case id within its suite."""
    place: str
    """`file:line` of the case."""
    prompt: str
    """Prompt id."""
    prompt_hash: str
    """SHA-256 over the prompt's bytes and its partials', hex."""
    model: str
    """Name in the registry."""
    repeat: int
    """From 0 to repeats - 1."""
    outcome: Outcome = "error"
    score: float | None = None
    """Weighted mean of the checks' scores, 0 to 1; None for error and unscored."""
    checks: tuple[AssertionResult, ...] = ()
    """One per assertion, in the suite's order."""
    output: str | None = None
    """The model's answer, redacted; None for error."""
    json_valid: bool | None = None
    """Whether the answer is JSON; None unless the prompt or an assertion promises JSON."""
    failure: Failure | None = None
    cache: Literal["exact", "miss", "replay"]
    """`exact`: from the cache; `miss`: a model was called; `replay`: from a recording."""
    call_id: str | None = None
    """Id of the call event; None if no model was called."""
    finish_reason: str | None = None
    """As reported by the provider."""
    input_tokens: int | None = None
    """None if not reported."""
    output_tokens: int | None = None
    """None if not reported."""
    cost_usd: float | None = None
    """Cost of the call, when it was made; None if not known."""
    latency_ms: float | None = None
    """From the request to the complete answer, when it was generated; None for error."""
    ttft_ms: float | None = None
    """From the request to the first token, when it was generated; None if not measured."""
    description: str | None = None
    """The case's description, redacted."""
    vars: dict[str, Any] = {}
    """The case's variables, redacted, long texts clipped."""
    prompt_text: str | None = None
    """The rendered prompt as it was sent, redacted and clipped; None if it was not rendered."""
    expected: str | None = None
    """The text that the case expects (`equals`, `contains`, `similar` ...), redacted and clipped; None without one."""
    metadata: dict[str, Any] = {}
    """The case's metadata, redacted, long texts clipped."""
    tags: tuple[str, ...] = ()
    """Names of the slices that the case belongs to."""
    is_critical: bool = False
    """Whether the gate requires the case to pass."""
    metrics: dict[str, float] = {}
    """Named scores of the suite's hooks."""
    called_model: str | None = None
    """LiteLLM's name of the model that was called; None for a program and without an answer."""
    served_model: str | None = None
    """The name that the provider reported; may carry a date."""
    fingerprint: str | None = None
    """The provider's id of its configuration (`system_fingerprint`); None when not reported."""
    request_hash: str | None = None
    """Hash of what was asked: model, messages, parameters; None for a program and if it depends on other cases."""

    @property
    def input_text(self) -> str:
        """The variables in short; with their names if there are several."""
        texts = [(name, variable_text(value)[:MAX_INPUT_CHARS]) for name, value in self.vars.items()]
        return texts[0][1] if len(texts) == 1 else "  ".join(f"{name}: {text}" for name, text in texts)


def variable_text(value: object) -> str:
    """Return a variable as people read it: a text unchanged, any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


class EarlierTrial(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a trial in the run that this run is compared with."""

    key: str
    """Key of the trial in this report."""
    run_id: str
    """The earlier run."""
    baseline: str | None = None
    """The baseline prompt that was tried there; None if it was the same prompt."""
    outcome: Outcome
    output: str | None = None
    """Its answer, redacted; None for error, and if it is the answer here (`is_same_output`)."""
    is_same_output: bool = False
    """Whether both answers are equal."""
    cost_usd: float | None = None
    latency_ms: float | None = None


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """Count and quantiles of a measured time."""

    count: int
    """Calls that measured it."""
    p50_ms: float | None
    """Median; None if count is 0."""
    p95_ms: float | None
    """95th percentile; None if count is 0."""


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of a set of trials."""

    trial_count: int
    pass_count: int
    fail_count: int
    error_count: int
    """Trials without an answer, because infrastructure failed."""
    unscored_count: int
    """Trials with an answer that could not be judged."""
    pass_rate: float | None
    """Passed among passed and failed, 0 to 1; None if there are neither."""
    json_promised_count: int
    """Answers of prompts or assertions that promise JSON."""
    json_valid_count: int
    """Those of them that are JSON."""
    cached_count: int
    """Answers from the exact cache."""
    fresh_count: int
    """Answers generated in this run (or its recording)."""
    input_tokens: int
    """Of fresh answers."""
    output_tokens: int
    """Of fresh answers."""
    cost_usd: float
    """Of fresh answers with a known price."""
    unpriced_count: int
    """Fresh answers without a known price."""
    latency: Distribution
    """Of all answers, as measured when each was generated."""
    ttft: Distribution
    """Of streamed answers, as measured when each was generated."""
    metrics: dict[str, float]
    """Mean score by metric name, 0 to 1 for those of assertions; derived metrics as the suite computes them."""


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """Limits that a run must meet; None for no limit. Without any limit, every trial must pass."""

    pass_rate: float | None = None
    """Minimum share of passed among judged trials, 0 to 1."""
    json_valid_rate: float | None = None
    """Minimum share of valid among promised JSON answers, 0 to 1."""
    latency_p95_ms: float | None = None
    """Maximum 95th percentile of latency."""
    ttft_p95_ms: float | None = None
    """Maximum 95th percentile of the time to first token."""
    cost_usd: float | None = None
    """Maximum total cost of the fresh answers."""
    metrics: dict[str, float] = {}
    """Minimum mean score by metric name, 0 to 1."""
    alpha: float | None = None
    """Chance of a false "not met", and of a false "met", of a decision with confidence, above 0 and below 0.5. None:
    limits are compared with the observed values, and comparisons use 0.05."""
    power: float = 0.8
    """Chance of a decision at the number of cases that a report says is needed."""
    margin: float | None = None
    """Loss of pass rate that is accepted, 0 to 1: against the baseline (None for 0.05) and, with `alpha`, below
    `pass_rate` (None for 0)."""
    baseline: str | None = None
    """Results to compare with: `last`, a run, a release, a prompt or a file; None for no comparison."""
    passes_needed: int | None = None
    """Passed trials that a case needs, of `max_trials`; None: more than half."""
    max_trials: int | None = None
    """Trials of a case that fails at first; None: failing cases are not run again."""
    stops_early: bool = False
    """Whether the run stops as soon as the result is certain."""
    max_error_rate: float | None = None
    """Largest share of trials without an answer or a judgement; None: none is accepted."""
    max_error_count: int | None = None
    """Largest number of them; None: none is accepted."""
    slices: tuple[str, ...] = ()
    """Metadata fields or tags; each value of a field, and each tag, is a slice that is checked on its own."""
    critical_rate: float = 1.0
    """Minimum share of critical cases that pass, 0 to 1."""
    critical_tags: tuple[str, ...] = ()
    """Tags whose cases are critical, beside cases with `critical: true`."""


class GateCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison of one limit of the gate with the observed value."""

    suite: str
    """Path of the suite that declares the gate."""
    metric: str
    """Name of the limit (`pass_rate`, `latency_p95_ms`, `metrics.tone`)."""
    observed: float | None
    """None if there was nothing to measure."""
    threshold: float
    """The limit, in the unit of `observed`."""
    direction: Literal["min", "max"]
    """`min`: `observed` must be at least the limit; `max`: at most."""
    passed: bool | None
    """None if it is undecided: nothing, or too little, was measured; the gate is then inconclusive."""
    low: float | None = None
    """Lower end of the interval of `observed`; None for a limit that is compared without confidence."""
    high: float | None = None
    """Upper end of the interval of `observed`."""
    p_value: float | None = None
    """One-sided p-value of "worse than the baseline" or "below the limit"; of slices after Holm's correction."""
    case_count: int | None = None
    """Cases that were compared; repeats of a case count once."""
    needed_case_count: int | None = None
    """Cases that would probably decide; None if it is decided, or no number would."""
    note: str | None = None
    """The calibration that corrected a judged rate, or why it is shown and not judged; None for other limits."""


GateVerdict = Literal["pass", "fail", "error", "inconclusive"]
"""`pass`: the gate is met. `fail`: it is not. `error`: trials have no answer, so run again. `inconclusive`:
not enough could be measured or judged."""


class GateDecision(msgspec.Struct, frozen=True, kw_only=True):
    """Decision of a report's gate."""

    verdict: GateVerdict
    checks: tuple[GateCheck, ...]
    """The limits that led to it."""
    sentence: str = ""
    """The verdict with its reasons: observed values, intervals, number of cases, cases that are needed."""


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """Differences from an earlier run on the same target, or from a suite's baseline prompt."""

    run_id: str
    """The earlier run."""
    baseline: str | None = None
    """The prompt to compare with; None if each prompt is compared with itself."""
    regressions: tuple[str, ...]
    """Keys of trials that passed there and fail here."""
    fixes: tuple[str, ...]
    """Keys of trials that failed there and pass here."""
    shared_count: int
    """Trials that both runs judged."""


class PromptVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Identity and state of a prompt that was run."""

    id: str
    hash: str
    """SHA-256 over its bytes and its partials', hex."""
    state: Literal["released", "changed", "unpublished"]
    """`released`: as in the lock; `changed`: differs from the lock; `unpublished`: not in the lock."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of one prompt on one model."""

    suite: str
    """Path of the suite file."""
    prompt: str
    """Prompt id."""
    model: str
    """Name in the registry."""
    totals: Totals


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A complete run: the content of `reports/<run>/report.json`."""

    schema_version: int = SCHEMA_VERSION
    """Version of this format."""
    kind: Literal["eval", "smoke", "drift"]
    """Command that wrote it."""
    run_id: str
    target: str
    """Target as typed; empty for all suites."""
    flowai_version: str
    started_at: str
    """UTC, RFC 3339."""
    elapsed_s: float
    """Wall time of the run; if it was resumed, of its last part."""
    concurrency_limit: int
    """Maximum number of calls in flight."""
    concurrency_achieved: float | None
    """Mean number of calls in flight while models were called; None if none was."""
    prompts: tuple[PromptVersion, ...]
    """The prompts that were run."""
    suites: tuple[str, ...]
    """Paths of the suites."""
    totals: Totals
    """Of all trials."""
    groups: tuple[Group, ...]
    """By suite, prompt and model."""
    decision: GateDecision
    comparison: tuple[PairedComparison, ...] = ()
    """Paired comparisons with the gate's baseline; empty without one."""
    slices: tuple[SliceResult, ...] = ()
    """Slices that the gate names."""
    flaky: tuple[FlakyCase, ...] = ()
    """Cases with passed and failed trials."""
    quarantined: tuple[str, ...] = ()
    """Cases that the gate leaves out, by suite and id."""
    self_comparison: SelfComparison | None = None
    """Result of `--aa`; None without it."""
    drift: tuple[DriftResult, ...] = ()
    """Results of `flowai drift`, one per prompt and model; empty for every other command."""
    changes: Changes | None
    """Since the last finished run on this target; None if there is none."""
    against_baseline: tuple[Changes, ...] = ()
    """Compared with the suites' baseline prompts, one per prompt; empty if no suite names one."""
    earlier: tuple[EarlierTrial, ...] = ()
    """The trials of the compared runs: of `against_baseline` where it has them, else of `changes`."""
    warnings: tuple[str, ...]
    """Reasons to read the totals with care."""
    trials: tuple[Trial, ...]
    """In the order of the plan; those of a large run are read from its log each time: iterate, rather than index."""
