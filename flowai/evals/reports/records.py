"""The records of a run: what one assertion, one trial and one whole run came to.

In: nothing. Out: frozen records for run logs and report JSON. Must never know how they are computed or shown.
"""

from __future__ import annotations

from typing import Literal

import msgspec

SCHEMA_VERSION = 1

Outcome = Literal["pass", "fail", "error", "unscored"]
"""`pass`: every check that counts held. `fail`: one did not. `error`: the infrastructure failed, so nothing is known
about the prompt. `unscored`: an answer came, but nothing could judge it."""


class AssertionResult(msgspec.Struct, frozen=True, kw_only=True):
    """One assertion applied to one output.

    Args:
        type: as the suite spells it, with its `not-` (`not-contains`).
        passed: whether it held; None when it could not be judged (a cost limit where no price is known).
        score: 0 to 1; 1 when it held and the type has no finer scale. 0 when not judged.
        weight: its share in the trial's score, >= 0; 0 is looked at but never fails a trial.
        metric: name under which the suite collects its score; None when it collects none.
        reason: type, what was found and expected, one line; redacted; empty when it held.
        place: `file:line` of the assertion.
    """

    type: str
    passed: bool | None
    score: float
    weight: float = 1.0
    metric: str | None = None
    reason: str = ""
    place: str = ""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a trial has no answer.

    Args:
        kind: class of the error (`RateLimitedError`).
        message: one line, redacted.
        provider: who failed; None when no provider was asked.
        status: HTTP status; None when there was none.
    """

    kind: str
    message: str
    provider: str | None = None
    status: int | None = None


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One case on one prompt and one model, once: a line of the run log.

    Args:
        key: identity within a run and across runs: suite, case, prompt, model, repeat; never the prompt's hash.
        suite: path of the suite's file.
        case: the case's id within its suite.
        place: `file:line` of the case.
        prompt: prompt id.
        prompt_hash: hash of the prompt's bytes and its partials', hex.
        model: the registry's name of the model.
        repeat: 0 for the first time, up to repeats - 1.
        outcome: what it came to.
        score: weighted mean of the checks' scores, 0 to 1; None for error and unscored.
        checks: one per assertion, in the suite's order.
        output: the model's answer, redacted; None for error.
        json_valid: whether the answer parses as JSON, where the prompt or an assertion promises JSON; else None.
        failure: why there is no answer; only for error.
        cache: `exact` when the answer came from the cache, `miss` when a model was asked, `replay` from a recording.
        call_id: id of the call event; None when no model was asked.
        finish_reason: as the provider gave it.
        input_tokens: tokens of the request; None when not reported.
        output_tokens: tokens of the answer; None when not reported.
        cost_usd: US dollars of the call when it was made, >= 0; None when not known.
        latency_ms: from the request to the whole answer when it was made; None for error.
        ttft_ms: to the first token when it was made; None when not measured.
    """

    key: str
    suite: str
    case: str
    place: str
    prompt: str
    prompt_hash: str
    model: str
    repeat: int
    outcome: Outcome = "error"
    score: float | None = None
    checks: tuple[AssertionResult, ...] = ()
    output: str | None = None
    json_valid: bool | None = None
    failure: Failure | None = None
    cache: Literal["exact", "miss", "replay"]
    call_id: str | None = None
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    latency_ms: float | None = None
    ttft_ms: float | None = None


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """A measured time, over the calls that measured it.

    Args:
        count: how many calls measured it, >= 0.
        p50_ms: median; None when count is 0.
        p95_ms: 95th percentile; None when count is 0.
    """

    count: int
    p50_ms: float | None
    p95_ms: float | None


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What a set of trials came to.

    Args:
        trial_count: all of them.
        pass_count: trials that passed.
        fail_count: trials that failed.
        error_count: trials without an answer, because the infrastructure failed.
        unscored_count: trials with an answer that nothing could judge.
        pass_rate: passed among passed and failed, 0 to 1; None when there are none of either.
        json_promised_count: answers that were promised as JSON.
        json_valid_count: those of them that are JSON.
        cached_count: answers from the exact cache.
        fresh_count: answers a model gave in this run (or its recording).
        input_tokens: of fresh answers.
        output_tokens: of fresh answers.
        cost_usd: of fresh answers whose price is known.
        unpriced_count: fresh answers whose price is not known.
        latency: of all answers, each as measured when it was made.
        ttft: of the answers that were streamed, as above.
        metrics: mean score by the suite's metric names, 0 to 1.
    """

    trial_count: int
    pass_count: int
    fail_count: int
    error_count: int
    unscored_count: int
    pass_rate: float | None
    json_promised_count: int
    json_valid_count: int
    cached_count: int
    fresh_count: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    unpriced_count: int
    latency: Distribution
    ttft: Distribution
    metrics: dict[str, float]


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What a run must reach; a limit that is None is not asked for. No limit at all means: every trial passes.

    Args:
        pass_rate: least share of passed among judged trials, 0 to 1.
        json_valid_rate: least share of valid among promised JSON answers, 0 to 1.
        latency_p95_ms: longest 95th percentile of latency.
        ttft_p95_ms: longest 95th percentile of the time to the first token.
        cost_usd: most that the fresh answers may cost together.
        metrics: least mean score by metric name, 0 to 1.
    """

    pass_rate: float | None = None
    json_valid_rate: float | None = None
    latency_p95_ms: float | None = None
    ttft_p95_ms: float | None = None
    cost_usd: float | None = None
    metrics: dict[str, float] = {}


class GateCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One limit of the gate held against what was observed.

    Args:
        suite: path of the suite whose gate it is.
        metric: what is limited (`pass_rate`, `latency_p95_ms`, `metrics.tone`).
        observed: the figure; None when there was nothing to measure.
        threshold: the limit, in the same unit.
        direction: `min` when the figure must be at least the limit, `max` when at most.
        held: whether it is; None when nothing was measured, which is never good news.
    """

    suite: str
    metric: str
    observed: float | None
    threshold: float
    direction: Literal["min", "max"]
    passed: bool | None


GateVerdict = Literal["pass", "fail", "error", "undecided"]
"""`pass`: the gate is met. `fail`: it is not. `error`: trials are missing because something broke, so run again.
`undecided`: nothing to judge by."""


class GateDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from a report.

    Args:
        verdict: the outcome.
        checks: the limits that led to it, so that it can be redone by hand.
    """

    verdict: GateVerdict
    checks: tuple[GateCheck, ...]


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What differs from an earlier run on the same target, or from a suite's baseline prompt.

    Args:
        run_id: the run that is compared with.
        baseline: the prompt that is compared with; None where each prompt is compared with itself.
        broke: keys of trials that passed there and fail here.
        fixed: keys of trials that failed there and pass here.
        shared_count: how many trials could be compared.
    """

    run_id: str
    baseline: str | None = None
    regressions: tuple[str, ...]
    fixes: tuple[str, ...]
    shared_count: int


class PromptVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Which bytes of a prompt were run.

    Args:
        id: prompt id.
        hash: hex SHA-256 over its bytes and its partials'.
        state: `released` (the locked bytes), `changed` (differs from the lock), `unpublished` (not in the lock).
    """

    id: str
    hash: str
    state: Literal["released", "changed", "unpublished"]


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The totals of one prompt on one model.

    Args:
        suite: path of the suite.
        prompt: prompt id.
        model: the registry's name of the model.
        totals: its figures.
    """

    suite: str
    prompt: str
    model: str
    totals: Totals


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run, whole: what `reports/<run>/report.json` holds.

    Args:
        schema_version: of this format.
        kind: which command made it.
        run_id: number of the run.
        target: what was asked for, as typed; empty for everything.
        flowai_version: version of the program.
        started_at: UTC, RFC 3339.
        elapsed_s: wall time of the run; of its last part only where it was resumed.
        concurrency_limit: most calls allowed in flight.
        concurrency_achieved: mean number of calls in flight while models were asked; None when none was.
        prompts: the prompts that were run.
        suites: paths of the suites.
        totals: all trials together.
        groups: by suite, prompt and model.
        decision: what follows.
        changes: against the last finished run; None when there is none.
        against_baseline: against the suites' baseline prompts, one per prompt; empty where no suite names one.
        warnings: what a reader should know before believing the figures.
        trials: in the plan's order.
    """

    schema_version: int = SCHEMA_VERSION
    kind: Literal["eval", "smoke"]
    run_id: str
    target: str
    flowai_version: str
    started_at: str
    elapsed_s: float
    concurrency_limit: int
    concurrency_achieved: float | None
    prompts: tuple[PromptVersion, ...]
    suites: tuple[str, ...]
    totals: Totals
    groups: tuple[Group, ...]
    decision: GateDecision
    changes: Changes | None
    against_baseline: tuple[Changes, ...] = ()
    warnings: tuple[str, ...]
    trials: tuple[Trial, ...]
