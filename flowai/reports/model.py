"""The records of a run: what one assertion, one trial and one whole run came to.

In: nothing. Out: frozen records that are written to run logs and report JSON. Must never know how they are computed or shown.
"""

from __future__ import annotations

from typing import Literal

import msgspec

SCHEMA_VERSION = 1

Outcome = Literal["pass", "fail", "error", "unscored"]
"""`pass`: every check that counts held. `fail`: one did not. `error`: the infrastructure failed, so nothing is known about
the prompt. `unscored`: an answer came, but nothing could judge it."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One assertion applied to one output.

    Args:
        type: as the suite spells it, with its `not-` (`not-contains`).
        passed: whether it held; None when it could not be judged (a cost limit where no price is known).
        score: 0 to 1; 1 when it held and the type has no finer scale. 0 when not judged.
        weight: its share in the trial's score, >= 0; 0 is looked at but never fails a trial.
        metric: name under which the suite collects its score; None when it collects none.
        reason: what was found and expected, one line; redacted; empty when it held.
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
    outcome: Outcome
    score: float | None
    checks: tuple[Check, ...]
    output: str | None
    json_valid: bool | None
    failure: Failure | None
    cache: Literal["exact", "miss", "replay"]
    call_id: str | None
    finish_reason: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    latency_ms: float | None
    ttft_ms: float | None
