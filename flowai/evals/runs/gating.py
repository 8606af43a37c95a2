"""The gate of one run: its settings with the options applied, its baselines, its stop rule, its decision."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import InconclusiveError, UsageError
from flowai.evals.gate_judges import gating_judges
from flowai.evals.gates import GateInputs, judge_run
from flowai.evals.gates.baseline_file import baseline_path, write_baseline
from flowai.evals.gates.case_results import case_results
from flowai.evals.gates.flakes import FILE_NAME as FLAKES_FILE
from flowai.evals.gates.flakes import earlier_flakes, record_flakes
from flowai.evals.gates.quarantine import FILE_NAME as QUARANTINE_FILE
from flowai.evals.gates.quarantine import active_and_expired, read_quarantine
from flowai.evals.gates.records import CaseFacts
from flowai.evals.gates.sample_needs import unreachable
from flowai.evals.gates.self_comparison import compare_with_itself
from flowai.evals.gates.slices import unmatched_names
from flowai.evals.gates.stopping import CertainResult, early_order, trials_again
from flowai.evals.reports import Gate
from flowai.evals.reports.aggregate import no_metrics
from flowai.evals.runs.answers.identities import case_hash
from flowai.evals.runs.baselines import BaselineSource, earlier_results, resolve_baseline
from flowai.evals.runs.plan import EditedPlan, first_of_targets, planned_repeats
from flowai.evals.suites.gate_settings import MAX_TRIALS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from flowai.evals.execution.limits import StopReason, StopRule
    from flowai.evals.gates.baseline_file import BaselineChange
    from flowai.evals.gates.quarantine import QuarantineEntry
    from flowai.evals.gates.records import Baseline, CaseKey, GroupKey
    from flowai.evals.reports import Report, Trial
    from flowai.evals.reports.aggregate import Derive
    from flowai.evals.runs.plan import PlannedTrial, RunPlan
    from flowai.evals.suites.records import Case
    from flowai.workspace.workspace import Workspace

MAX_SELF_ROUNDS = 10_000
_NO_FACTS = CaseFacts()


@dataclass(frozen=True, kw_only=True, slots=True)
class GateOptions:
    """Options of `flowai eval` that concern the gate."""

    baseline: str | None = None
    """Results to compare with; overrides the suites' own."""
    margin: float | None = None
    """Accepted loss; overrides the suites' own."""
    retry_failing: int = 0
    """More trials of each case that fails."""
    max_calls: int | None = None
    """Stop after so many calls, or as soon as the result is certain; None for no limit."""
    self_rounds: int = 0
    """Comparisons of the run with itself."""
    interleaves_baseline: bool = False
    """Run the baseline's prompts too, call by call beside the candidate's."""
    new_baseline: str | None = None
    """Baseline to write from the results."""

    def __post_init__(self) -> None:
        """Check the ranges of the numbers."""
        for name, value, least, most in (
            ("--margin", self.margin, 0, 1),
            ("--retry-failing", self.retry_failing, 0, MAX_TRIALS - 1),
            ("--max-calls", self.max_calls, 1, math.inf),
            ("--aa", self.self_rounds, 0, MAX_SELF_ROUNDS),
        ):
            if value is not None and not least <= value <= most:
                span = f"{least} or more" if math.isinf(most) else f"{least} to {most:,}"
                raise UsageError(f"{name}: found {value}, expected {span}")


class RunGate:
    """The gate of one run."""

    def __init__(
        self, workspace: Workspace, plan: RunPlan, options: GateOptions, *, target: str, replays: bool
    ) -> None:
        self._workspace = workspace
        self._options = options
        self._target = target
        self._repeats = planned_repeats(plan)
        if options.new_baseline is not None:
            baseline_path(workspace.project.evals, options.new_baseline)  # a wrong name ends the run before any call
        own_gates = {suite.path: suite.gate for suite in plan.suites if suite.path in self._repeats}
        self._judges = gating_judges(workspace, plan.suites)
        self._gates = {
            suite: _with_options(gate, options, self._repeats[suite], is_corrected=suite in self._judges)
            for suite, gate in own_gates.items()
        }
        self._sources = self._resolve(plan)
        self._quarantine, self.warnings = self._read_quarantine()
        self.plan: RunPlan = self._order(plan, replays=replays)
        self._check_reachable()

    @property
    def stop_rules(self) -> tuple[StopRule, ...]:
        """The rules by which the run may stop before its end; empty if it may not."""
        if not any(gate is not None and gate.stops_early for gate in self._gates.values()):
            return ()
        counts = Counter(
            (trial.suite.path, trial.case.id)
            for trial in self.plan
            if (trial.suite.path, trial.case.id) not in self._quarantine
        )
        groups = {(trial.suite.path, trial.target.prompt, trial.target.model) for trial in self.plan}
        group_counts = Counter(suite for suite, _, _ in groups - self._baseline_groups)
        return (CertainResult(self._gates, counts, self._baselines({}), group_counts, self._baseline_groups),)

    def trials_again(self, trials: Iterable[Trial]) -> RunPlan | None:
        """Return the trials of cases that failed and are to be run again; None if there are none."""
        if not any(gate is not None and gate.max_trials is not None for gate in self._gates.values()):
            return None
        wanted = {
            (result.suite, result.case, result.prompt, result.model): (
                self._repeats[result.suite] + len(result.again),
                count,
            )
            for result, count in trials_again(case_results(trials, self._repeats), self._gates)
            if result.group not in self._baseline_groups and (result.suite, result.case) not in self._quarantine
        }
        again = []
        for trial in self.plan if wanted else ():
            key = (trial.suite.path, trial.case.id, trial.target.prompt, trial.target.model)
            start, count = wanted.pop(key, (0, 0))
            again += [replace(trial, repeat=start + number) for number in range(count)]
        return EditedPlan(self.plan, again) if again else None

    def judge(
        self,
        report: Report,
        run_trials: Mapping[str, Trial],
        stopped: StopReason | None,
        derive: Derive = no_metrics,
        *,
        is_partial: bool = False,
    ) -> Report:
        """Return the report with the gate's decision, and remember flaky cases."""
        ledger = self._workspace.project.local / FLAKES_FILE
        trials = report.trials
        facts, unchecked = self._case_facts(), self._unchecked()
        outcome = judge_run(
            trials,
            GateInputs(
                gates=self._gates,
                facts=facts,
                repeats=self._repeats,
                baselines=self._baselines(run_trials),
                baseline_groups=self._baseline_groups,
                quarantined=frozenset(self._quarantine),
                earlier_flakes=earlier_flakes(ledger, run_id=report.run_id),
                unchecked=unchecked,
                judges=self._judges,
                derive=derive,
                is_complete=stopped is None or stopped.kind in ("decided", "max_calls"),
                is_partial=is_partial or (stopped is not None and stopped.kind != "fail_fast"),
            ),
        )
        if trials and report.run_id.isdecimal():
            record_flakes(ledger, outcome.flaky, run_id=report.run_id, at=report.started_at)
        rounds = self._options.self_rounds
        return msgspec.structs.replace(
            report,
            decision=outcome.decision,
            comparison=outcome.comparison,
            slices=outcome.slices,
            flaky=outcome.flaky,
            quarantined=outcome.quarantined,
            self_comparison=compare_with_itself(trials, self._gates, rounds) if rounds else None,
            warnings=(
                *report.warnings,
                *self.warnings,
                *unmatched_names(self._gates, facts),
                *(f"{suite}: nothing was checked: no case has an assertion" for suite in sorted(unchecked)),
            ),
        )

    def _unchecked(self) -> frozenset[str]:
        """Return the suites with prompts of their own that have neither a gate nor an assertion."""
        return frozenset(
            suite.path
            for suite in self.plan.suites
            if suite.prompt_sources
            and self._gates.get(suite.path) is None
            and not any(case.assertions for case in suite.cases)
        )

    def _case_facts(self) -> dict[CaseKey, CaseFacts]:
        """Return the facts about cases that are critical or in a slice."""
        found = {}
        for trial in self.plan:
            facts = case_facts(trial.case, self._gates[trial.suite.path])
            if facts != _NO_FACTS:
                found[trial.suite.path, trial.case.id] = facts
        return found

    def write_new_baseline(self, report: Report) -> BaselineChange | None:
        """Write the baseline that the options name; None if they name none.

        Raises:
            InconclusiveError: a case has no result.
        """
        name = self._options.new_baseline
        if name is None:
            return None
        path = baseline_path(self._workspace.project.evals, name)
        counted = [
            trial for trial in report.trials if (trial.suite, trial.prompt, trial.model) not in self._baseline_groups
        ]
        results = case_results(counted, self._repeats)
        judged = {(result.suite, result.case, result.prompt, result.model) for result in results if result.first}
        missing = [
            trial.case.id
            for trial in self.plan
            if (trial.suite.path, trial.target.prompt, trial.target.model) not in self._baseline_groups
            and (trial.suite.path, trial.case.id, trial.target.prompt, trial.target.model) not in judged
        ]
        if missing:
            raise InconclusiveError(
                f"the baseline was not written: {len(set(missing))} cases have no result, the first is `{missing[0]}`",
                hint="`--retry-errors` runs what had an error",
            )
        hashes = {(trial.suite.path, trial.case.id): case_hash(trial.case) for trial in self.plan if not trial.repeat}
        return write_baseline(path, results, name=self._workspace.project.show(path), case_hashes=hashes)

    @property
    def _baseline_groups(self) -> frozenset[GroupKey]:
        """Suite, prompt and model of the baselines that are tried in this run."""
        planned = {(trial.suite.path, trial.target.prompt, trial.target.model) for trial in self.plan}
        tried = {
            (suite, before.prompt, before.model)
            for source in self._sources.values()
            for (suite, _, _), before in source.targets.items()
        }
        return frozenset(planned & tried)

    def _resolve(self, plan: RunPlan) -> dict[str, BaselineSource]:
        """Resolve the baselines before any call is paid for, by suite."""
        if self._options.interleaves_baseline and not any(gate and gate.baseline for gate in self._gates.values()):
            raise UsageError("--ab needs a baseline", hint="such as `--baseline prompts/summary_v1` or a release")
        sources = {}
        for suite, gate in self._gates.items():
            if gate is None or gate.baseline is None:
                continue
            own = first_of_targets(trial for trial in plan if trial.suite.path == suite)
            source = resolve_baseline(self._workspace, gate.baseline, own, self._target)
            planned_groups = {(suite, trial.target.prompt, trial.target.model) for trial in own}
            before = {(suite, item.prompt, item.model) for item in source.targets.values()}
            if self._options.interleaves_baseline and not source.targets:
                raise UsageError(
                    f"--ab cannot run the baseline `{gate.baseline}` again", hint="name a prompt or a release"
                )
            if before and planned_groups <= before:
                raise UsageError(
                    f"the baseline `{gate.baseline}` is the candidate itself",
                    hint="--aa N compares a run with itself; or name another baseline",
                )
            if source.targets and not self._options.interleaves_baseline and not before & planned_groups:
                source = BaselineSource(baseline=earlier_results(self._workspace, source), targets={})
            sources[suite] = source
        _check_overlap(sources, plan)
        return sources

    def _baselines(self, run_trials: Mapping[str, Trial]) -> dict[str, Baseline]:
        """Return the baselines by suite; of those that are tried in this run, the results so far."""
        found = {}
        for suite, source in self._sources.items():
            baseline = source.baseline
            if source.targets:
                groups = self._baseline_groups
                own = [item for item in run_trials.values() if (item.suite, item.prompt, item.model) in groups]
                baseline = replace(baseline, results=tuple(case_results(own, self._repeats)))
            found[suite] = baseline
        return found

    def _order(self, plan: RunPlan, *, replays: bool) -> RunPlan:
        """Return the plan: with the baseline's trials, twice as many for `--aa`, critical cases first, then by hash.

        Without these settings it is the plan itself, which is not held in memory.
        """
        stops_early = any(gate is not None and gate.stops_early for gate in self._gates.values())
        doubles = bool(self._options.self_rounds) and not replays
        if not (stops_early or doubles or self._options.interleaves_baseline):
            return plan
        trials = list(plan)
        if self._options.interleaves_baseline:
            trials = self._with_baselines(trials)
        if doubles:
            trials = [twin for trial in trials for twin in self._doubled(trial)]
            self._repeats = {suite: 2 * count for suite, count in self._repeats.items()}
        if stops_early:
            trials.sort(
                key=lambda trial: (
                    not case_facts(trial.case, self._gates[trial.suite.path]).is_critical,
                    early_order((trial.suite.path, trial.case.id)),
                )
            )
        return EditedPlan(plan, trials)

    def _doubled(self, trial: PlannedTrial) -> list[PlannedTrial]:
        return [trial, replace(trial, repeat=trial.repeat + self._repeats[trial.suite.path])]

    def _with_baselines(self, trials: Sequence[PlannedTrial]) -> list[PlannedTrial]:
        """Add the baseline's twin beside each trial, before and after it in turn, so that drift hits both alike."""
        ordered = sorted(
            enumerate(trials), key=lambda item: (item[1].suite.path, item[1].case.id, item[1].repeat, item[0])
        )
        found: dict[str, PlannedTrial] = {}
        for number, (_, trial) in enumerate(ordered):
            source = self._sources.get(trial.suite.path)
            key = (trial.suite.path, trial.target.prompt, trial.target.model)
            before = source.targets.get(key) if source is not None else None
            twins = [trial] if before is None else [replace(trial, target=before), trial]
            for twin in twins if number % 2 else reversed(twins):
                found.setdefault(twin.key, twin)
        return list(found.values())

    def _check_reachable(self) -> None:
        """Refuse options with which the gate could never be met, or never fail."""
        if self._options.baseline is None and self._options.margin is None:
            return  # the suite's own gate was checked when it was read
        for suite, gate in self._gates.items():
            cases = {trial.case.id for trial in self.plan if trial.suite.path == suite}
            problem = None if gate is None else unreachable(gate, len(cases))
            if problem is not None:
                raise UsageError(f"{suite}: {problem}", hint="add cases, or raise --margin")

    def _read_quarantine(self) -> tuple[dict[CaseKey, QuarantineEntry], list[str]]:
        path: Path = self._workspace.project.evals / QUARANTINE_FILE
        entries = read_quarantine(path, name=self._workspace.project.show(path))
        today = dt.date.fromisoformat(self._workspace.context.timestamp()[:10])
        return active_and_expired(entries, today)


def _with_options(gate: Gate | None, options: GateOptions, repeats: int, *, is_corrected: bool) -> Gate | None:
    """Return a suite's gate with the options of the command; None if there is neither.

    Corrected rates have no test that may stop early: the labels' error does not shrink with the cases.
    """
    changed = gate or Gate()
    if options.baseline is not None:
        changed = msgspec.structs.replace(changed, baseline=options.baseline)
    if options.margin is not None:
        changed = msgspec.structs.replace(changed, margin=options.margin)
    if options.retry_failing:
        changed = msgspec.structs.replace(changed, max_trials=repeats + options.retry_failing)
    if options.max_calls is not None and (changed.alpha is not None or changed.baseline is not None):
        changed = msgspec.structs.replace(changed, stops_early=True)
    if is_corrected:
        changed = msgspec.structs.replace(changed, stops_early=False)
    return gate if changed == Gate() else changed


def _check_overlap(sources: Mapping[str, BaselineSource], plan: RunPlan) -> None:
    """Refuse earlier results of which none is of a case of this run: a wrong file, or another suite's run."""
    recorded = {suite: source.baseline for suite, source in sources.items() if not source.targets}
    if not recorded or len(recorded) < len(sources):
        return
    known = {(suite, item.suite, item.case) for suite, source in recorded.items() for item in source.results}
    if any((trial.suite.path, trial.suite.path, trial.case.id) in known for trial in plan):
        return
    suite, baseline = next(iter(recorded.items()))
    others = sorted({item.suite for item in baseline.results})
    raise UsageError(
        f"the baseline {baseline.name} has no result of a case of {suite}",
        hint=f"it has results of {', '.join(others[:3])}" if others else "it has no results at all",
    )


def case_facts(case: Case, gate: Gate | None) -> CaseFacts:
    """Return whether a case is critical, and its slices among those that the gate names."""
    slices = []
    for name in gate.slices if gate is not None else ():
        if name in case.tags:
            slices.append(name)
        if name in case.metadata:
            value = case.metadata[name]
            slices += [f"{name}={part}" for part in (value if isinstance(value, list) else [value])]
    critical_tags = gate.critical_tags if gate is not None else ()
    return CaseFacts(
        is_critical=case.is_critical or any(tag in critical_tags for tag in case.tags),
        slices=tuple(dict.fromkeys(slices)),
    )
