"""The records of a run: what one assertion, one trial and one whole run came to."""

from __future__ import annotations

from typing import Literal

import msgspec

SCHEMA_VERSION = 1

Outcome = Literal["pass", "fail", "error", "unscored"]
"""`pass`: every check that counts held. `fail`: one did not. `error`: the infrastructure failed, so nothing is known
about the prompt. `unscored`: an answer came, but nothing could judge it."""


class AssertionResult(msgspec.Struct, frozen=True, kw_only=True):
    """One assertion applied to one output."""

    type: str
    """As the suite spells it, with its `not-` (`not-contains`)."""
    passed: bool | None
    """Whether it held; None when it could not be judged (a cost limit where no price is known)."""
    score: float
    """0 to 1; 1 when it held and the type has no finer scale. 0 when not judged."""
    weight: float = 1.0
    """Its share in the trial's score, >= 0; 0 is looked at but never fails a trial."""
    metric: str | None = None
    """Name under which the suite collects its score; None when it collects none."""
    reason: str = ""
    """Type, what was found and expected, one line; redacted; empty when it held."""
    place: str = ""
    """`file:line` of the assertion."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a trial has no answer."""

    kind: str
    """Class of the error (`RateLimitedError`)."""
    message: str
    """One line, redacted."""
    provider: str | None = None
    """Who failed; None when no provider was asked."""
    status: int | None = None
    """HTTP status; None when there was none."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One case on one prompt and one model, once: a line of the run log."""

    key: str
    """Identity within a run and across runs: suite, case, prompt, model, repeat; never the prompt's hash."""
    suite: str
    """Path of the suite's file."""
    case: str
    """The case's id within its suite."""
    place: str
    """`file:line` of the case."""
    prompt: str
    """Prompt id."""
    prompt_hash: str
    """Hash of the prompt's bytes and its partials', hex."""
    model: str
    """The registry's name of the model."""
    repeat: int
    """0 for the first time, up to repeats - 1."""
    outcome: Outcome = "error"
    """What it came to."""
    score: float | None = None
    """Weighted mean of the checks' scores, 0 to 1; None for error and unscored."""
    checks: tuple[AssertionResult, ...] = ()
    """One per assertion, in the suite's order."""
    output: str | None = None
    """The model's answer, redacted; None for error."""
    json_valid: bool | None = None
    """Whether the answer parses as JSON, where the prompt or an assertion promises JSON; else None."""
    failure: Failure | None = None
    """Why there is no answer; only for error."""
    cache: Literal["exact", "miss", "replay"]
    """`exact` when the answer came from the cache, `miss` when a model was asked, `replay` from a recording."""
    call_id: str | None = None
    """Id of the call event; None when no model was asked."""
    finish_reason: str | None = None
    """As the provider gave it."""
    input_tokens: int | None = None
    """Tokens of the request; None when not reported."""
    output_tokens: int | None = None
    """Tokens of the answer; None when not reported."""
    cost_usd: float | None = None
    """US dollars of the call when it was made, >= 0; None when not known."""
    latency_ms: float | None = None
    """From the request to the whole answer when it was made; None for error."""
    ttft_ms: float | None = None
    """To the first token when it was made; None when not measured."""


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """A measured time, over the calls that measured it."""

    count: int
    """How many calls measured it, >= 0."""
    p50_ms: float | None
    """Median; None when count is 0."""
    p95_ms: float | None
    """95th percentile; None when count is 0."""


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What a set of trials came to."""

    trial_count: int
    """All of them."""
    pass_count: int
    """Trials that passed."""
    fail_count: int
    """Trials that failed."""
    error_count: int
    """Trials without an answer, because the infrastructure failed."""
    unscored_count: int
    """Trials with an answer that nothing could judge."""
    pass_rate: float | None
    """Passed among passed and failed, 0 to 1; None when there are none of either."""
    json_promised_count: int
    """Answers that were promised as JSON."""
    json_valid_count: int
    """Those of them that are JSON."""
    cached_count: int
    """Answers from the exact cache."""
    fresh_count: int
    """Answers a model gave in this run (or its recording)."""
    input_tokens: int
    """Of fresh answers."""
    output_tokens: int
    """Of fresh answers."""
    cost_usd: float
    """Of fresh answers whose price is known."""
    unpriced_count: int
    """Fresh answers whose price is not known."""
    latency: Distribution
    """Of all answers, each as measured when it was made."""
    ttft: Distribution
    """Of the answers that were streamed, as above."""
    metrics: dict[str, float]
    """Mean score by the suite's metric names, 0 to 1."""


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What a run must reach; a limit that is None is not asked for. No limit at all means: every trial passes."""

    pass_rate: float | None = None
    """Least share of passed among judged trials, 0 to 1."""
    json_valid_rate: float | None = None
    """Least share of valid among promised JSON answers, 0 to 1."""
    latency_p95_ms: float | None = None
    """Longest 95th percentile of latency."""
    ttft_p95_ms: float | None = None
    """Longest 95th percentile of the time to the first token."""
    cost_usd: float | None = None
    """Most that the fresh answers may cost together."""
    metrics: dict[str, float] = {}
    """Least mean score by metric name, 0 to 1."""


class GateCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One limit of the gate held against what was observed."""

    suite: str
    """Path of the suite whose gate it is."""
    metric: str
    """What is limited (`pass_rate`, `latency_p95_ms`, `metrics.tone`)."""
    observed: float | None
    """The figure; None when there was nothing to measure."""
    threshold: float
    """The limit, in the same unit."""
    direction: Literal["min", "max"]
    """`min` when the figure must be at least the limit, `max` when at most."""
    passed: bool | None
    """Whether it is; None when nothing was measured, which is never good news."""


GateVerdict = Literal["pass", "fail", "error", "undecided"]
"""`pass`: the gate is met. `fail`: it is not. `error`: trials are missing because something broke, so run again.
`undecided`: nothing to judge by."""


class GateDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from a report."""

    verdict: GateVerdict
    """The outcome."""
    checks: tuple[GateCheck, ...]
    """The limits that led to it, so that it can be redone by hand."""


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What differs from an earlier run on the same target, or from a suite's baseline prompt."""

    run_id: str
    """The run that is compared with."""
    baseline: str | None = None
    """The prompt that is compared with; None where each prompt is compared with itself."""
    regressions: tuple[str, ...]
    """Keys of trials that passed there and fail here."""
    fixes: tuple[str, ...]
    """Keys of trials that failed there and pass here."""
    shared_count: int
    """How many trials could be compared."""


class PromptVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Which bytes of a prompt were run."""

    id: str
    """Prompt id."""
    hash: str
    """Hex SHA-256 over its bytes and its partials'."""
    state: Literal["released", "changed", "unpublished"]
    """`released` (the locked bytes), `changed` (differs from the lock), `unpublished` (not in the lock)."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The totals of one prompt on one model."""

    suite: str
    """Path of the suite."""
    prompt: str
    """Prompt id."""
    model: str
    """The registry's name of the model."""
    totals: Totals
    """Its figures."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run, whole: what `reports/<run>/report.json` holds."""

    schema_version: int = SCHEMA_VERSION
    """Of this format."""
    kind: Literal["eval", "smoke"]
    """Which command made it."""
    run_id: str
    """Number of the run."""
    target: str
    """What was asked for, as typed; empty for everything."""
    flowai_version: str
    """Version of the program."""
    started_at: str
    """UTC, RFC 3339."""
    elapsed_s: float
    """Wall time of the run; of its last part only where it was resumed."""
    concurrency_limit: int
    """Most calls allowed in flight."""
    concurrency_achieved: float | None
    """Mean number of calls in flight while models were asked; None when none was."""
    prompts: tuple[PromptVersion, ...]
    """The prompts that were run."""
    suites: tuple[str, ...]
    """Paths of the suites."""
    totals: Totals
    """All trials together."""
    groups: tuple[Group, ...]
    """By suite, prompt and model."""
    decision: GateDecision
    """What follows."""
    changes: Changes | None
    """Against the last finished run; None when there is none."""
    against_baseline: tuple[Changes, ...] = ()
    """Against the suites' baseline prompts, one per prompt; empty where no suite names one."""
    warnings: tuple[str, ...]
    """What a reader should know before believing the figures."""
    trials: tuple[Trial, ...]
    """In the plan's order."""
