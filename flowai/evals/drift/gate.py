"""Stop rule and decision of a drift run. A run that could not be read is an error, never drift."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from flowai.evals.drift import sentences
from flowai.evals.drift.evidence import ALPHA, EARLY_SHARE, DriftEvidence, decide_group
from flowai.evals.gates.case_results import case_results
from flowai.evals.gates.comparing import pair_results
from flowai.evals.reports.aggregate import no_metrics
from flowai.evals.reports.drift_records import DriftResult
from flowai.evals.reports.records import GateCheck, GateDecision

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from flowai.evals.drift.baseline_plan import DriftPlan
    from flowai.evals.execution.limits import StopReason, StopRule
    from flowai.evals.gates.baseline_file import BaselineChange
    from flowai.evals.gates.records import Baseline, CaseResult, GroupKey
    from flowai.evals.reports.aggregate import Derive
    from flowai.evals.reports.drift_records import DriftVerdict
    from flowai.evals.reports.records import GateVerdict, Report, Trial
    from flowai.evals.runs.plan import PlannedTrial, RunPlan

CaseOfGroup = tuple["GroupKey", str]
_VERDICTS: dict[DriftVerdict, GateVerdict] = {"drifted": "fail", "not_drifted": "pass", "undecided": "inconclusive"}


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftRule:
    """Settings of the comparison of a run with its baseline."""

    name: str
    """Of the baseline."""
    baseline: Mapping[GroupKey, Mapping[str, CaseResult]]
    """Results by prompt and model, then by case."""
    planned: Mapping[CaseOfGroup, int]
    """Trials of each case, in the order in which cases are bet on."""
    margin: float
    max_error_rate: float

    @property
    def alpha(self) -> float:
        """Chance of a false "drifted" of one prompt and model: they share it."""
        return ALPHA / len({group for group, _ in self.planned})


class DriftGate:
    """The decision of a drift run; see `TaskGate`."""

    def __init__(self, plan: DriftPlan, name: str, baseline: Baseline, *, margin: float, max_error_rate: float) -> None:
        self.plan: RunPlan = plan.plan
        self._left_out = plan.left_out
        self._warnings = plan.warnings
        results: dict[GroupKey, dict[str, CaseResult]] = defaultdict(dict)
        for result in baseline.results:
            results[result.group][result.case] = result
        self._rule = DriftRule(
            name=name,
            baseline=results,
            planned=Counter((_group(trial), trial.case.id) for trial in plan.plan),
            margin=margin,
            max_error_rate=max_error_rate,
        )

    @property
    def stop_rules(self) -> tuple[StopRule, ...]:
        """The rule that ends the run as soon as the decision is certain, or the run cannot be read."""
        return (CertainDrift(self._rule),)

    def trials_again(self, trials: Iterable[Trial]) -> RunPlan | None:  # noqa: ARG002 - see `TaskGate`
        """Return None: every case has its planned trials, whatever they show."""
        return None

    def write_new_baseline(self, report: Report) -> BaselineChange | None:  # noqa: ARG002 - see `TaskGate`
        """Return None: drift never moves its own baseline."""
        return None

    def judge(
        self,
        report: Report,
        run_trials: Mapping[str, Trial],  # noqa: ARG002 - see `TaskGate`
        stopped: StopReason | None,
        derive: Derive = no_metrics,  # noqa: ARG002 - as above
        *,
        is_partial: bool = False,  # noqa: ARG002 - as above
    ) -> Report:
        """Return the report with the decision."""
        results = tuple(self._result(group, report.trials, stopped) for group in self._left_out)
        unread = self._unread_sentence(report, stopped)
        checks = tuple(_check(result) for result in results)
        verdict: GateVerdict = "error"
        if unread is None:
            found = {_VERDICTS[result.verdict] for result in results}
            verdict = "fail" if "fail" in found else "inconclusive" if "inconclusive" in found else "pass"
        sentence = unread or sentences.drift_sentence(results, len(self.plan), report.totals.trial_count)
        return msgspec.structs.replace(
            report,
            decision=GateDecision(verdict=verdict, checks=checks, sentence=sentence),
            drift=results,
            warnings=(*report.warnings, *self._warnings, *sentences.change_warnings(results)),
        )

    def _result(self, group: GroupKey, trials: Sequence[Trial], stopped: StopReason | None) -> DriftResult:
        rule = self._rule
        own = [trial for trial in trials if (trial.suite, trial.prompt, trial.model) == group]
        by_case = {result.case: result for result in case_results(own, {group[0]: max(rule.planned.values())})}
        tried = Counter(trial.case for trial in own)
        kept: list[CaseResult] = []
        for (of, case), count in rule.planned.items():
            if of != group:
                continue
            if stopped is not None and tried[case] < count:
                break  # later cases that are finished came fast, which may depend on their answers
            if case in by_case:
                kept.append(by_case[case])
        before = rule.baseline[group]
        pairs = [pair.first for pair in pair_results(kept, before)]
        decision = decide_group(pairs, margin=rule.margin, alpha=rule.alpha, is_complete=stopped is None)
        pairs = pairs[: decision.case_count]
        differences = [pair.difference for pair in pairs]
        earlier = [result.identity for result in before.values()]
        return DriftResult(
            suite=group[0],
            prompt=group[1],
            model=group[2],
            baseline=rule.name,
            verdict=decision.verdict,
            direction=decision.direction,
            is_early=decision.is_early,
            case_count=decision.case_count,
            worse_count=sum(difference < 0 for difference in differences),
            better_count=sum(difference > 0 for difference in differences),
            before=_mean([sum(pair.before) / len(pair.before) for pair in pairs]),
            after=_mean([sum(pair.after) / len(pair.after) for pair in pairs]),
            difference=decision.interval.estimate,
            low=decision.interval.low,
            high=decision.interval.high,
            confidence=decision.confidence,
            p_value=decision.p_value,
            alpha=rule.alpha,
            margin=rule.margin,
            smallest_shift=decision.smallest_shift,
            needed_case_count=decision.needed_case_count,
            served_before=_names(identity.served_model for identity in earlier),
            served_now=_names(trial.served_model for trial in own),
            fingerprints_before=_names(identity.fingerprint for identity in earlier),
            fingerprints_now=_names(trial.fingerprint for trial in own),
            left_out=self._left_out[group],
        )

    def _unread_sentence(self, report: Report, stopped: StopReason | None) -> str | None:
        """Return why the run says nothing about drift; None if it was read."""
        totals = report.totals
        unread_count = totals.error_count + totals.unscored_count
        is_read = totals.trial_count > 0 and unread_count <= self._rule.max_error_rate * totals.trial_count
        if is_read and (stopped is None or stopped.kind != "unreachable"):
            return None
        if stopped is not None and not totals.trial_count:
            return None  # the limit of cost or time came before the first call
        return sentences.unread_sentence(self._rule.name, report)


class CertainDrift:
    """Ends a run as soon as one prompt and model has drifted, all have not, or too many calls failed."""

    def __init__(self, rule: DriftRule) -> None:
        self._rule = rule
        self._trials: dict[CaseOfGroup, list[Trial]] = defaultdict(list)
        self._counts = Counter[str]()
        self._plan_count = sum(rule.planned.values())
        waiting: dict[GroupKey, list[str]] = defaultdict(list)
        for group, case in rule.planned:
            waiting[group].append(case)
        self._waiting = {group: list(reversed(cases)) for group, cases in waiting.items()}
        self._evidence = {group: DriftEvidence(margin=rule.margin, alpha=rule.alpha) for group in waiting}
        self._verdicts: dict[GroupKey, DriftVerdict | None] = dict.fromkeys(waiting)

    def stop_reason(self, trial: Trial) -> str | None:
        """Return why the run may stop after this trial, in words that follow `stopped`; None to go on."""
        group = (trial.suite, trial.prompt, trial.model)
        self._trials[group, trial.case].append(trial)
        self._counts["trial"] += 1
        self._counts["unread"] += trial.outcome not in ("pass", "fail")
        rate = self._rule.max_error_rate
        if self._counts["unread"] > rate * self._plan_count:
            return "because too many calls failed"
        if self._verdicts[group] is None:
            self._bet(group)
        found = set(self._verdicts.values())
        is_certain = "drifted" in found or found == {"not_drifted"}
        if is_certain and self._counts["unread"] <= rate * self._counts["trial"]:
            return "because the result is certain"
        return None

    def _bet(self, group: GroupKey) -> None:
        """Bet on the finished cases that are next in order."""
        waiting, planned = self._waiting[group], self._rule.planned
        while waiting and len(self._trials[group, waiting[-1]]) >= planned[group, waiting[-1]]:
            results = case_results(self._trials.pop((group, waiting.pop())), {group[0]: max(planned.values())})
            for pair in pair_results(results, self._rule.baseline[group]):
                if self._verdicts[group] is None and self._evidence[group].add(pair.first.difference):
                    self._verdicts[group] = self._evidence[group].verdict


def _check(result: DriftResult) -> GateCheck:
    """Return the decision as a check of the p-value: it is below its limit if the model drifted."""
    passed = {"drifted": False, "not_drifted": True, "undecided": None}[result.verdict]
    return GateCheck(
        suite=result.suite,
        metric=f"p-value of {result.prompt} on {result.model}",
        observed=None if result.difference is None else result.p_value,
        threshold=result.alpha * (EARLY_SHARE if result.is_early and passed is False else 1 - EARLY_SHARE),
        direction="min",
        passed=passed,
        p_value=result.p_value,
        case_count=result.case_count,
        needed_case_count=result.needed_case_count,
    )


def _group(trial: PlannedTrial) -> GroupKey:
    return trial.suite.path, trial.target.prompt, trial.target.model


def _names(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({value for value in values if value}))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
