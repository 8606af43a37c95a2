"""Flaky cases: passed and failed in one run. A ledger remembers them: one line per case and run, append-only."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from flowai.evals.gates.case_results import case_passed
from flowai.evals.reports.gate_records import FlakyCase
from flowai.storage.jsonl import AppendLog, read_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from flowai.evals.gates.records import CaseResult
    from flowai.evals.reports.records import Gate

FILE_NAME = "flakes.jsonl"


class FlakeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the ledger: one flaky case of one run."""

    run_id: str
    at: str
    """UTC, RFC 3339."""
    suite: str
    case: str
    prompt: str
    model: str
    pass_count: int
    trial_count: int


def flaky_cases(
    results: Iterable[CaseResult], gates: Mapping[str, Gate], earlier: Mapping[tuple[str, str], int]
) -> tuple[FlakyCase, ...]:
    """Return the cases with passed and failed trials; `earlier` is the number of earlier runs by suite and case."""
    return tuple(
        FlakyCase(
            suite=result.suite,
            case=result.case,
            prompt=result.prompt,
            model=result.model,
            pass_count=round(sum(result.values)),
            trial_count=len(result.values),
            passed=case_passed(result, gates[result.suite]),
            earlier_count=earlier.get((result.suite, result.case), 0),
        )
        for result in results
        if 0 < sum(result.values) < len(result.values)
    )


def earlier_flakes(path: Path, *, run_id: str) -> Counter[tuple[str, str]]:
    """Count the other runs in which each case was flaky, by suite and case; damaged lines are left out."""
    lines = read_lines(path, FlakeRecord, name=str(path)).records
    runs = {(line.suite, line.case, line.run_id) for line in lines if line.run_id != run_id}
    return Counter((suite, case) for suite, case, _ in runs)


def record_flakes(path: Path, flaky: Iterable[FlakyCase], *, run_id: str, at: str) -> None:
    """Append the flaky cases of a run to the ledger."""
    cases = list(flaky)
    if not cases:
        return
    with AppendLog(path) as log:
        for item in cases:
            log.append(
                FlakeRecord(
                    run_id=run_id,
                    at=at,
                    suite=item.suite,
                    case=item.case,
                    prompt=item.prompt,
                    model=item.model,
                    pass_count=item.pass_count,
                    trial_count=item.trial_count,
                )
            )
