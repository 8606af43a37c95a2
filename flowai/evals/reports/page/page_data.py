"""Data of the compare page: a row per case, a cell per prompt and model, repeats folded, every text once."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from flowai.evals.reports.page.text_table import TextTable
from flowai.evals.reports.slices import slice_rates, slices_of_trial
from flowai.evals.reports.turns import count_outcomes, turn_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.evals.reports.records import EarlierTrial, Report, Trial
    from flowai.evals.reports.turns import Turn

OUTCOMES = ("pass", "fail", "error", "unscored")
HASH_DIGITS = 16
MAX_NAME_CHARS = 1_000


def output_hash(output: str) -> str:
    """Return the identity of an answer in files of labels."""
    return hashlib.sha256(output.encode(errors="surrogatepass")).hexdigest()[:HASH_DIGITS]


def page_data(report: Report) -> dict[str, Any]:
    """Return what the page's script reads; `compare.js` describes its use."""
    return _PageBuilder(report).build()


class _PageBuilder:
    def __init__(self, report: Report) -> None:
        self._report = report
        self._texts = TextTable()
        self._columns: dict[tuple[str, str], int] = {}
        self._specs: dict[tuple[Any, ...], int] = {}
        self._results: dict[tuple[Any, ...], int] = {}
        self._slices = {item.name: number for number, item in enumerate(slice_rates(report.trials))}
        self._earlier = {item.key: item for item in report.earlier}
        changes = [*([report.changes] if report.changes else []), *report.against_baseline]
        self._regressions = frozenset(key for item in changes for key in item.regressions)
        self._fixes = frozenset(key for item in changes for key in item.fixes)

    def build(self) -> dict[str, Any]:
        rows: dict[tuple[str, str], dict[tuple[str, str], list[Trial]]] = defaultdict(lambda: defaultdict(list))
        for trial in self._report.trials:
            column = (trial.prompt, trial.model)
            self._columns.setdefault(column, len(self._columns))
            rows[trial.suite, trial.case][column].append(trial)  # all columns are known before the first row is built
        built = [self._row(cells) for cells in rows.values()]
        texts, left_out = self._texts.clipped(len(built))
        report = self._report
        return {
            "kind": report.kind,
            "run": report.run_id,
            "target": report.target,
            "started": report.started_at,
            "suites": list(report.suites),
            "columns": [{"prompt": prompt, "model": model} for prompt, model in self._columns],
            "specs": [list(spec) for spec in self._specs],
            "results": [list(result) for result in self._results],
            "slices": list(self._slices),
            "texts": texts,
            "left_out": left_out,
            "rows": built,
        }

    def _row(self, cells: dict[tuple[str, str], list[Trial]]) -> dict[str, Any]:
        first = next(iter(cells.values()))[0]
        row: dict[str, Any] = {
            "case": first.case[:MAX_NAME_CHARS],
            "suite": self._report.suites.index(first.suite),
            "place": first.place,
            "vars": self._inputs(first.vars),
            "cells": [None] * len(self._columns),
        }
        if first.description:
            row["about"] = self._input(first.description)
        if first.expected is not None:
            row["expected"] = self._input(first.expected)
        if first.metadata:
            row["metadata"] = self._inputs(first.metadata)
        if first.is_critical:
            row["critical"] = True
        slices = [self._slices[name] for name in slices_of_trial(first) if name in self._slices]
        if slices:
            row["slices"] = slices
        for column, trials in cells.items():
            row["cells"][self._columns[column]] = self._cell(trials)
        return row

    def _inputs(self, values: Mapping[str, Any]) -> list[tuple[int, int]]:
        return [(self._texts.add(name, "input"), self._input(value)) for name, value in values.items()]

    def _input(self, value: Any) -> int:  # noqa: ANN401 - JSON is anything
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1, default=str)
        return self._texts.add(text, "input")

    def _cell(self, trials: Sequence[Trial]) -> dict[str, Any]:
        earlier = [self._earlier[trial.key] for trial in trials if trial.key in self._earlier]
        cell: dict[str, Any] = {
            "counts": list(count_outcomes(trial.outcome for trial in trials)),
            "answers": self._answers(trials),
        }
        turn = self._turn(trials, earlier)
        if turn not in ("same", "new"):
            cell["turn"] = turn
        if trials[0].prompt_text is not None:
            cell["prompt"] = self._texts.add(trials[0].prompt_text, "prompt")
        if earlier:
            cell["baseline"] = self._baseline(trials, earlier)
        return cell

    def _turn(self, trials: Sequence[Trial], earlier: Sequence[EarlierTrial]) -> Turn:
        if earlier:
            before = count_outcomes(item.outcome for item in earlier)
            return turn_of(before, count_outcomes(trial.outcome for trial in trials))
        keys = {trial.key for trial in trials}
        if keys & self._regressions:
            return "worse"
        return "better" if keys & self._fixes else "new"

    def _answers(self, trials: Sequence[Trial]) -> list[dict[str, Any]]:
        """Return the distinct results of the repeats, each with its count, the most frequent first."""
        groups: dict[tuple[Any, ...], list[Trial]] = defaultdict(list)
        for trial in trials:
            failure = trial.failure.message if trial.failure else None
            groups[trial.outcome, trial.output, failure, self._result(trial)].append(trial)
        found = sorted(groups.items(), key=lambda item: -len(item[1]))
        return [self._answer(key[3], members) for key, members in found]

    def _answer(self, result: int, trials: Sequence[Trial]) -> dict[str, Any]:
        first = trials[0]
        facts: dict[str, Any] = {
            "outcome": OUTCOMES.index(first.outcome),
            "count": len(trials),
            "result": result,
            "stats": [
                _mean([trial.latency_ms for trial in trials], 1),
                _mean([trial.cost_usd for trial in trials], 8),
                first.input_tokens,
                first.output_tokens,
                first.cache,
                first.finish_reason,
            ],
        }
        if first.score is not None:
            facts["score"] = round(first.score, 4)
        if first.output is not None:
            facts["text"] = self._texts.add(first.output, "answer")
            facts["hash"] = output_hash(first.output)
        if first.failure is not None:
            facts["failure"] = self._texts.add(first.failure.message, "reason")
        return facts

    def _result(self, trial: Trial) -> int:
        """Return the number of the results of a trial's assertions; equal results have one number."""
        found = []
        for check in trial.checks:
            spec = (check.type, check.place, check.metric, check.weight)
            number = self._specs.setdefault(spec, len(self._specs))
            reason = self._texts.add(check.reason, "reason") if check.reason else None
            found.append((number, check.passed, round(check.score, 4), reason))
        return self._results.setdefault(tuple(found), len(self._results))

    def _baseline(self, trials: Sequence[Trial], earlier: Sequence[EarlierTrial]) -> dict[str, Any]:
        outputs = {trial.key: trial.output for trial in trials}
        groups: dict[tuple[str, str | None], int] = defaultdict(int)
        for item in earlier:
            output = outputs[item.key] if item.is_same_output else item.output
            groups[item.outcome, output] += 1
        answers = []
        for (outcome, output), count in sorted(groups.items(), key=lambda item: -item[1]):
            fact = {"outcome": OUTCOMES.index(outcome), "count": count}
            if output is not None:
                fact["text"] = self._texts.add(output, "answer")
            answers.append(fact)
        return {
            "run": earlier[0].run_id,
            "prompt": earlier[0].baseline,
            "counts": list(count_outcomes(item.outcome for item in earlier)),
            "answers": answers,
        }


def _mean(values: Sequence[float | None], digits: int) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), digits) if known else None
