"""Builds the evidence of a feature from the trials of both models: verdict, worst cases, slices that became worse."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from flowai.evals.gates.comparing import pair_results
from flowai.evals.gates.slices import slice_results
from flowai.evals.reports.records import Gate
from flowai.evals.runs.gating import case_facts
from flowai.rendering.markdown import one_line
from flowai.upgrades.records import Evidence, WorseSlice, WorstCase
from flowai.upgrades.verdict import judge_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from flowai.evals.gates.records import CaseKey
    from flowai.evals.reports import Trial
    from flowai.evals.runs.plan import PlannedTrial
    from flowai.evals.suites.records import Suite
    from flowai.upgrades.judged_margin import JudgedMargin
    from flowai.upgrades.pairs import CaseOutcome
    from flowai.upgrades.records import EvidenceKind

MAX_WORST_COUNT = 5
MAX_SHOWN_CHARS = 1_500
MAX_SLICE_VALUES = 12
"""A metadata field with more values is no slice."""
MIN_SLICE_CASES = 5


class EvidenceNames(NamedTuple):
    """Names of what is compared."""

    kind: EvidenceKind
    source: str
    old: str
    """Name of the old model."""


def build_evidence(
    names: EvidenceNames,
    outcomes: Sequence[CaseOutcome],
    trials: Iterable[Trial],
    *,
    planned_count: int,
    margin: float,
    alpha: float,
    is_complete: bool,
) -> Evidence:
    """Build the evidence of paired trials.

    Args:
        names: what is compared.
        outcomes: finished cases in their order.
        trials: all finished trials.
        planned_count: cases that were planned.
        margin: accepted loss.
        alpha: chance of a false verdict of each kind.
        is_complete: whether every planned trial was run.
    """
    paired = [(outcome, pair) for outcome in outcomes if (pair := outcome.pair) is not None]
    found = judge_pairs([pair for _, pair in paired], margin=margin, alpha=alpha, is_complete=is_complete)
    used = paired[: found.pair_count]
    by_case: dict[CaseKey, list[Trial]] = defaultdict(list)
    error_count = 0
    for trial in trials:
        by_case[trial.suite, trial.case].append(trial)
        error_count += trial.outcome in {"error", "unscored"}
    worse = sorted((item for item in used if item[1].difference < 0), key=lambda item: item[1].difference)
    return Evidence(
        kind=names.kind,
        source=names.source,
        verdict=found.verdict,
        planned_count=planned_count,
        pair_count=found.pair_count,
        error_count=error_count,
        worse_count=len(worse),
        better_count=sum(pair.difference > 0 for _, pair in used),
        old=_mean([_mean(pair.before) or 0.0 for _, pair in used]),
        new=_mean([_mean(pair.after) or 0.0 for _, pair in used]),
        difference=found.interval.estimate,
        low=found.interval.low,
        high=found.interval.high,
        confidence=found.confidence,
        margin=margin,
        stopped_early=found.stopped_early,
        needed_count=found.needed_count,
        worst=tuple(
            _worst(by_case[outcome.key], pair.difference, names.old)
            for outcome, pair in worse[:MAX_WORST_COUNT]
            if by_case[outcome.key]
        ),
    )


def worse_slices(
    plan: Sequence[PlannedTrial], outcomes: Sequence[CaseOutcome], *, alpha: float
) -> tuple[WorseSlice, ...]:
    """Return the slices in which the new model is shown to be worse: those that gates name, else tags and metadata."""
    cases = {(trial.suite.path, trial.case.id): trial for trial in plan}
    suites = {trial.suite.path: trial.suite for trial in plan}
    found = []
    for path, suite in suites.items():
        own = [outcome for outcome in outcomes if outcome.key[0] == path and outcome.old and outcome.new]
        gated = suite.gate.slices if suite.gate is not None else ()
        gate = Gate(slices=gated or tuple(_slice_names(suite, cases, own)))
        if not gate.slices or not own:
            continue
        results = [outcome.new for outcome in own if outcome.new is not None]
        before = {outcome.key[1]: outcome.old for outcome in own if outcome.old is not None}
        facts = {key: case_facts(trial.case, gate) for key, trial in cases.items()}
        slices = slice_results(path, results, pair_results(results, before), facts, gate, alpha=alpha)
        found += [
            WorseSlice(
                suite=path,
                name=item.name,
                case_count=item.case_count,
                difference=item.difference,
                p_value=item.p_value,
                is_gated=bool(gated),
            )
            for item in slices
            if not item.passed
        ]
    return tuple(found)


def _slice_names(suite: Suite, cases: Mapping[CaseKey, PlannedTrial], outcomes: Sequence[CaseOutcome]) -> Iterator[str]:
    """Yield tags and metadata fields that divide a suite into a few parts of some cases each."""
    counts: dict[str, int] = defaultdict(int)
    values: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for outcome in outcomes:
        case = cases[suite.path, outcome.key[1]].case
        for tag in case.tags:
            counts[tag] += 1
        for name, value in case.metadata.items():
            if isinstance(value, str | int | bool):
                values[name][str(value)] += 1
    yield from (tag for tag, count in counts.items() if count >= MIN_SLICE_CASES)
    for name, found in values.items():
        if 1 < len(found) <= MAX_SLICE_VALUES and max(found.values()) >= MIN_SLICE_CASES:
            yield name


def _worst(trials: Sequence[Trial], difference: float, old: str) -> WorstCase:
    """Return a case with the answers that show the loss."""
    before = next((trial for trial in trials if trial.model == old and trial.outcome == "pass"), None)
    before = before or next((trial for trial in trials if trial.model == old), None)
    after = next((trial for trial in trials if trial.model != old and trial.outcome == "fail"), trials[-1])
    return WorstCase(
        case=after.case,
        place=after.place,
        difference=difference,
        input=one_line(after.input_text or after.prompt_text or "", 300),
        old_output=None if before is None else _cut(before.output),
        new_output=_cut(after.output),
        reason=failure_reason(after),
    )


def failure_reason(trial: Trial) -> str:
    """Return why a trial failed, in one line."""
    if trial.failure is not None:
        return one_line(f"{trial.failure.kind}: {trial.failure.message}", 200)
    check = next((check for check in trial.checks if check.passed is False), None)
    return "" if check is None else one_line(check.reason or check.type, 200)


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}..."


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def as_judged(evidence: Evidence, judging: JudgedMargin) -> Evidence:
    """Return evidence with what the judge's error means for it; it does not count if the judge must not decide."""
    return msgspec.structs.replace(evidence, judged=judging.is_judged, note=judging.note)
