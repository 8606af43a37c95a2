"""Applies the comparisons of `differential_cases` with promptfoo and with flowai.

`PYTHONPATH=tests python -m support.promptfoo.differential` records promptfoo's verdicts beside this file; it needs
promptfoo (`python benchmarks/install_peers.py promptfoo`).
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from flowai.errors import SuiteError
from flowai.evals.assertions import Answer, compile_check
from flowai.evals.suites.records import Assertion
from support.promptfoo.differential_cases import Comparison, comparisons

FOLDER = Path(__file__).parent
VERDICTS = FOLDER / "promptfoo_verdicts.json"
PACKAGE = Path(__file__).parents[3] / ".bench-peers" / "promptfoo" / "node_modules" / "promptfoo"
LIMIT_S = 300
SCORE_TOLERANCE = 1e-6


class Verdict(NamedTuple):
    """Result of one assertion for one answer."""

    passed: bool | None
    """None if it could not be judged."""
    score: float | None
    reason: str = ""


class Case(NamedTuple):
    """One assertion and one answer."""

    assertion: dict[str, Any]
    answer: dict[str, Any]


def cases_of(items: list[Comparison]) -> list[Case]:
    """Return every pair of assertion and answer."""
    return [
        Case(assertion, answer if isinstance(answer, dict) and "output" in answer else {"output": answer})
        for assertion, answers in items
        for answer in answers
    ]


def digest(cases: list[Case]) -> str:
    """Return a hash of the cases, which tells recorded verdicts of other cases apart."""
    return hashlib.sha256(json.dumps(cases, sort_keys=True).encode()).hexdigest()


def promptfoo_version() -> str | None:
    """Return the installed version; None if it is not installed."""
    try:
        version: str = json.loads((PACKAGE / "package.json").read_text())["version"]
    except FileNotFoundError:
        return None
    return version


def run_promptfoo(cases: list[Case]) -> list[Verdict]:
    """Return promptfoo's verdicts; one process applies all."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cases.json").write_text(json.dumps([case._asdict() for case in cases]))
        environment = {**os.environ, "PROMPTFOO_CONFIG_DIR": name}
        environment |= dict.fromkeys(("PROMPTFOO_DISABLE_TELEMETRY", "PROMPTFOO_DISABLE_UPDATE"), "1")
        command: list[str | Path] = [
            "node",
            FOLDER / "promptfoo_runner.mjs",
            PACKAGE,
            folder / "cases.json",
            folder / "verdicts.json",
        ]
        subprocess.run(command, env=environment, check=True, timeout=LIMIT_S, cwd=name, capture_output=True)
        verdicts = json.loads((folder / "verdicts.json").read_text())
    return [Verdict(passed, None, detail) if passed is None else Verdict(passed, detail) for passed, detail in verdicts]


def run_flowai(cases: list[Case]) -> list[Verdict]:
    """Return flowai's verdicts; a wrong assertion is not judged, with the error as reason."""
    compiled: dict[str, Any] = {}
    verdicts = []
    for case in cases:
        key = json.dumps(case.assertion, sort_keys=True)
        if key not in compiled:
            compiled[key] = _compile(case.assertion)
        check = compiled[key]
        if isinstance(check, str):
            verdicts.append(Verdict(None, None, check))
        else:
            result = check(_answer(case.answer))
            verdicts.append(Verdict(result.passed, result.score, result.reason))
    return verdicts


def _compile(fields: dict[str, Any]) -> Any:
    name = fields["type"].removeprefix("not-")
    assertion = Assertion(**{**fields, "type": name, "negated": name != fields["type"]})
    try:
        return compile_check(assertion)
    except SuiteError as error:
        return error.what


def _answer(fields: dict[str, Any]) -> Answer:
    output = fields["output"]
    logprobs = fields.get("logProbs")
    return Answer(
        text=output if isinstance(output, str) else json.dumps(output),
        output=None if isinstance(output, str) else output,
        latency_ms=fields.get("latencyMs"),
        cost_usd=fields.get("cost"),
        finish_reason=fields.get("finishReason"),
        logprobs=None if logprobs is None else tuple(logprobs),
        guardrails=fields.get("guardrails"),
        declared_tools={key: fields[key] for key in ("tools", "functions") if key in fields},
    )


def read_recorded(cases: list[Case]) -> tuple[str, list[Verdict]]:
    """Return the recorded version and verdicts; raise ValueError if they belong to other cases."""
    recorded = json.loads(VERDICTS.read_text())
    if recorded["cases"] != digest(cases):
        raise ValueError("the recorded verdicts belong to other cases: record them anew")
    return recorded["promptfoo"], [Verdict(*verdict) for verdict in recorded["verdicts"]]


def is_same(promptfoo: Verdict, flowai: Verdict) -> bool:
    """Return whether two verdicts are the same: both failed to judge, or passed and score are equal."""
    if promptfoo.passed != flowai.passed:
        return False
    return promptfoo.passed is None or abs((promptfoo.score or 0.0) - (flowai.score or 0.0)) <= SCORE_TOLERANCE


def main() -> None:
    """Record promptfoo's verdicts."""
    cases = cases_of(comparisons())
    verdicts = [list(verdict) for verdict in run_promptfoo(cases)]
    recorded = {"promptfoo": promptfoo_version(), "cases": digest(cases), "verdicts": verdicts}
    VERDICTS.write_text(json.dumps(recorded, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
