"""Slices of a suite: the collapse of one is not hidden by the mean. Holm's correction over all of them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from flowai.evals.gates.rates import below_p, rate_values
from flowai.evals.reports.gate_records import SliceResult
from flowai.statistics import bounded_mean_interval, holm
from flowai.statistics.paired_trials import PairedTrials

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.evals.gates.comparing import CasePair
    from flowai.evals.gates.records import CaseFacts, CaseKey, CaseResult
    from flowai.evals.reports.records import Gate


class _Slice(NamedTuple):
    name: str
    values: list[float]
    pairs: list[PairedTrials]
    p_value: float


def slice_results(
    suite: str,
    results: Sequence[CaseResult],
    pairs: Sequence[CasePair],
    facts: Mapping[CaseKey, CaseFacts],
    gate: Gate,
    *,
    alpha: float,
) -> list[SliceResult]:
    """Compare each slice with the baseline (`pairs`) or, without one, with the limit of the pass rate.

    A case on several prompts or models is one case of its slice.
    """
    by_case: dict[str, list[CaseResult]] = defaultdict(list)
    members: dict[str, list[str]] = defaultdict(list)
    for result in results:
        if result.case not in by_case:
            fact = facts.get((suite, result.case))
            for name in fact.slices if fact else ():
                members[name].append(result.case)
        by_case[result.case].append(result)
    paired: dict[str, list[CasePair]] = defaultdict(list)
    for pair in pairs:
        paired[pair.case].append(pair)
    slices = []
    for name, cases in sorted(members.items()):
        values = rate_values([result for case in cases for result in by_case[case]], gate)
        joined = [_join(paired[case]) for case in cases if case in paired]
        p_value = _worse_p(joined) if pairs else below_p(values, gate.pass_rate) if gate.pass_rate is not None else 1.0
        slices.append(_Slice(name=name, values=values, pairs=joined, p_value=p_value))
    adjusted = holm([item.p_value for item in slices])
    return [_result(suite, item, p_value, alpha) for item, p_value in zip(slices, adjusted, strict=True)]


def _worse_p(pairs: Sequence[PairedTrials]) -> float:
    from flowai.statistics.paired import worse_p  # numpy, which a run alone needs not

    return worse_p(pairs)


def _join(pairs: Sequence[CasePair]) -> PairedTrials:
    return PairedTrials(
        before=tuple(value for pair in pairs for value in pair.first.before),
        after=tuple(value for pair in pairs for value in pair.first.after),
    )


def _result(suite: str, item: _Slice, p_value: float, alpha: float) -> SliceResult:
    interval = bounded_mean_interval(item.values, low=0, high=1)
    differences = [pair.difference for pair in item.pairs]
    return SliceResult(
        suite=suite,
        name=item.name,
        case_count=len(item.values),
        pass_rate=interval.estimate,
        low=interval.low,
        high=interval.high,
        difference=sum(differences) / len(differences) if differences else None,
        p_value=p_value,
        passed=p_value > alpha,
    )


def unmatched_names(gates: Mapping[str, Gate | None], facts: Mapping[CaseKey, CaseFacts]) -> list[str]:
    """Return a line for each slice and set of critical tags, by suite path, that no case of the run belongs to."""
    lines: list[str] = []
    for suite, gate in gates.items():
        if gate is None:
            continue
        own = [item for (path, _), item in facts.items() if path == suite]
        known = {name for item in own for slice_name in item.slices for name in (slice_name, slice_name.split("=")[0])}
        lines += [
            f"{suite}: slice `{name}` of the gate: no case of this run has this tag or metadata"
            for name in gate.slices
            if name not in known
        ]
        if gate.critical_tags and not any(item.is_critical for item in own):
            tags = ", ".join(f"`{tag}`" for tag in gate.critical_tags)
            lines.append(f"{suite}: critical cases of the gate: no case of this run has one of the tags {tags}")
    return lines
