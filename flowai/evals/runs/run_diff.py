"""Comparison of two runs, paired by case, prompt and model."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from flowai.errors import InconclusiveError
from flowai.evals.reports import Changes, Report, earlier_trials
from flowai.evals.reports.turns import Turn, count_outcomes, turn_of
from flowai.statistics.paired import mcnemar_p

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flowai.evals.reports import Trial


class TurnedCase(msgspec.Struct, frozen=True, kw_only=True):
    """A case on one prompt and model whose result changed."""

    suite: str
    case: str
    prompt: str
    model: str
    turn: Turn
    passed_before: int
    """Repeats that passed in the earlier run."""
    judged_before: int
    passed: int
    judged: int
    reason: str
    """Why it does not pass, in the run where it does not; empty if it passed in both."""
    place: str
    """`file:line` of the assertion; empty without one."""
    input: str
    """Variables, in short."""
    output_before: str | None
    output: str | None


class PairedCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Cases that both runs judged, by their results; repeats are folded."""

    both_passed: int
    worse: int
    better: int
    both_failed: int
    noise: int
    """Their share of passed repeats changed, but not by more than repeats differ."""


class RunDiff(msgspec.Struct, frozen=True, kw_only=True):
    """Differences of a run from an earlier one."""

    base: str
    """The earlier run."""
    run: str
    pairs: PairedCounts
    p_value: float | None
    """Of McNemar's exact test, two-sided; None if no case turned."""
    only_in_base_count: int
    """Cases on a prompt and model that only the earlier run has."""
    only_in_run_count: int
    turned: tuple[TurnedCase, ...]
    """Worse first, then better, then noise."""


class _Cell(NamedTuple):
    """Identity of a case on one prompt and model; parts that the two runs do not share are empty."""

    suite: str
    case: str
    prompt: str
    model: str


def diff_runs(base: Report, run: Report) -> RunDiff:
    """Compare two runs case by case.

    A run's only prompt and only model are paired with the other's, so that two prompts or models can be compared.

    Raises:
        InconclusiveError: the runs share no case.
    """
    name = _pairing(base, run)
    before, now = _cells(base, name), _cells(run, name)
    shared = [cell for cell in now if cell in before]
    if not shared:
        raise InconclusiveError(
            f"runs {base.run_id} and {run.run_id} have no case in common",
            hint="cases are paired by suite and id; runs with several prompts or models also by these",
        )
    counts: dict[str, int] = defaultdict(int)
    turned: list[TurnedCase] = []
    for cell in shared:
        earlier, later = (count_outcomes(trial.outcome for trial in side[cell]) for side in (before, now))
        turn = turn_of(earlier, later)
        if turn == "same":
            counts["both_passed" if later.passed > later.failed else "both_failed"] += 1
        elif turn != "new":
            counts[turn] += 1
            turned.append(_turned_case(turn, before[cell], now[cell]))
    order = ("worse", "better", "noise")
    return RunDiff(
        base=base.run_id,
        run=run.run_id,
        pairs=PairedCounts(**{field: counts[field] for field in PairedCounts.__struct_fields__}),
        p_value=mcnemar_p(counts["worse"], counts["better"]) if counts["worse"] + counts["better"] else None,
        only_in_base_count=len(before.keys() - now.keys()),
        only_in_run_count=len(now.keys() - before.keys()),
        turned=tuple(sorted(turned, key=lambda item: order.index(item.turn))),
    )


def with_baseline(run: Report, base: Report) -> Report:
    """Return the run's report compared with another run, as if that had been the last one on its target."""
    name = _pairing(base, run)
    earlier = {(name(trial), trial.repeat): trial for trial in base.trials}
    before = {trial.key: found for trial in run.trials if (found := earlier.get((name(trial), trial.repeat)))}
    diff = diff_runs(base, run)
    keys: dict[str, list[str]] = defaultdict(list)
    for trial in run.trials:
        other = before.get(trial.key)
        if other is not None and {other.outcome, trial.outcome} == {"pass", "fail"}:
            keys["regressions" if trial.outcome == "fail" else "fixes"].append(trial.key)
    changes = Changes(
        run_id=diff.base,
        regressions=tuple(keys["regressions"]),
        fixes=tuple(keys["fixes"]),
        shared_count=len(before),
    )
    return msgspec.structs.replace(
        run,
        changes=changes,
        against_baseline=(),
        earlier=tuple(earlier_trials(base.run_id, before, run.trials)),
    )


def _pairing(base: Report, run: Report) -> Callable[[Trial], _Cell]:
    """Return the function that names a trial's cell; equal names are paired."""
    sides = [base.trials, run.trials]
    is_one_prompt = all(len({trial.prompt for trial in trials}) <= 1 for trials in sides)
    is_one_model = all(len({trial.model for trial in trials}) <= 1 for trials in sides)
    return lambda trial: _Cell(
        trial.suite, trial.case, "" if is_one_prompt else trial.prompt, "" if is_one_model else trial.model
    )


def _cells(report: Report, name: Callable[[Trial], _Cell]) -> Mapping[_Cell, list[Trial]]:
    cells: dict[_Cell, list[Trial]] = defaultdict(list)
    for trial in report.trials:
        cells[name(trial)].append(trial)
    return dict(cells)


def _turned_case(turn: Turn, before: list[Trial], now: list[Trial]) -> TurnedCase:
    earlier, later = (count_outcomes(trial.outcome for trial in trials) for trials in (before, now))
    failing = next((trial for trial in (*now, *before) if trial.outcome == "fail"), now[0])
    counting = (check for check in failing.checks if check.passed is not True and check.weight > 0)
    check = next(counting, None)
    reason = failing.failure.message if failing.failure else check.reason if check else ""
    shown = next((trial for trial in now if trial.outcome == "fail"), now[0])
    return TurnedCase(
        suite=shown.suite,
        case=shown.case,
        prompt=shown.prompt,
        model=shown.model,
        turn=turn,
        passed_before=earlier.passed,
        judged_before=earlier.judged,
        passed=later.passed,
        judged=later.judged,
        reason=reason,
        place=check.place if check else "",
        input=shown.input_text,
        output_before=before[0].output,
        output=shown.output,
    )
