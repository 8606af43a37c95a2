"""Trials and reports for several tests."""

from __future__ import annotations

from typing import Any

from flowai.evals.gates import decide
from flowai.evals.reports import AssertionResult, Failure, Gate, PromptVersion, Report, Trial, groups_of, totals_of


def trial(case: str = "a", outcome: str = "pass", **changes: Any) -> Trial:
    """Build a trial; other fields have plain defaults."""
    facts: dict[str, Any] = {
        "key": f"evals/s.yaml::{case}::prompts/p_v1::m::0",
        "suite": "evals/s.yaml",
        "case": case,
        "place": "evals/s.yaml:7",
        "prompt": "prompts/p_v1",
        "prompt_hash": "ab" * 32,
        "model": "m",
        "repeat": 0,
        "outcome": outcome,
        "cache": "miss",
        "call_id": "c1",
    }
    if outcome == "error":
        facts["failure"] = Failure(
            kind="RateLimitedError", message="openai: 429 slow down", provider="openai", status=429
        )
    else:
        facts |= {"output": "hello", "latency_ms": 800.0, "ttft_ms": 200.0, "cost_usd": 0.001, "score": 1.0}
        facts |= {"input_tokens": 10, "output_tokens": 5, "finish_reason": "stop"}
    if outcome == "fail":
        facts["score"] = 0.0
        facts["checks"] = (
            AssertionResult(type="contains", passed=False, score=0.0, reason='contains "x"', place="evals/s.yaml:9"),
        )
    return Trial(**(facts | changes))


def report(trials: list[Trial], gate: Gate | None = None, **changes: Any) -> Report:
    """Build a report of trials of one suite."""
    totals = totals_of(trials)
    facts: dict[str, Any] = {
        "kind": "eval",
        "run_id": "0007",
        "target": "prompts/p_v1",
        "flowai_version": "0.1.0",
        "started_at": "2026-05-02T10:00:00Z",
        "elapsed_s": 8.4,
        "concurrency_limit": 8,
        "concurrency_achieved": 5.5,
        "prompts": (PromptVersion(id="prompts/p_v1", hash="ab" * 32, state="unpublished"),),
        "suites": ("evals/s.yaml",),
        "totals": totals,
        "groups": groups_of(trials),
        "decision": decide({"evals/s.yaml": totals}, {"evals/s.yaml": gate}),
        "changes": None,
        "warnings": (),
        "trials": tuple(trials),
    }
    return Report(**(facts | changes))
