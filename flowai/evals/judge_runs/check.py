"""`flowai judge check`: measures the error of a suite's judges on labelled answers, and writes their calibrations."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from flowai.analytics.call_list import range_until_now
from flowai.calibration import (
    Calibration,
    floor_problem,
    write_calibration,
)
from flowai.errors import CallError, ExitCode, InconclusiveError, SuiteError, UsageError, expected_one_of
from flowai.evals.assertions.graded import FACT_CHECK_NAME
from flowai.evals.judge_identity import fact_check_judge, preference_judge, suite_judges
from flowai.evals.judge_runs.answers import labelled_answers
from flowai.evals.judge_runs.costs import PRICE_HINT, VerdictBudget, VerdictCosts
from flowai.evals.judge_runs.labelled_calls import labelled_calls
from flowai.evals.judge_runs.labelled_pairs import labelled_pairs
from flowai.evals.judge_runs.labels import label_agreement, labels_file, read_labels
from flowai.evals.judge_runs.measures import (
    Judged,
    count_verdicts,
    group_reasons,
    label_kappa,
    measure_consistency,
    measure_length,
    measure_position,
    measure_rates,
)
from flowai.evals.judge_runs.measuring import (
    JudgeMeasurement,
    Questions,
    Recordings,
    answer_usd,
    assertion_of,
    pair_usd,
    plan_answers,
)
from flowai.evals.judge_runs.population import population_rate
from flowai.evals.judge_runs.records import JudgeCheck, JudgeCheckReport, LabelCounts, Misjudged
from flowai.evals.judges.default_grader import NO_GRADER_HINT
from flowai.evals.judges.pairwise import PREFERENCE_NAME, pairwise_model
from flowai.evals.runs.run_history import load_report
from flowai.evals.suites.loader import load_suite
from flowai.evals.suites.yaml_reader import LoadContext
from flowai.rendering.formatting import dollars
from flowai.timestamps import format_rfc3339
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from flowai.evals.judge_identity import JudgeIdentity
    from flowai.evals.judge_runs.answers import LabelledAnswer
    from flowai.evals.judge_runs.labelled_pairs import LabelledPair
    from flowai.evals.judge_runs.measuring import Measured
    from flowai.evals.judge_runs.records import JudgeStatus
    from flowai.evals.suites.records import Suite
    from flowai.workspace.workspace import CommandContext, Workspace

MIN_LABELS_PER_CLASS = 20
"""Labels of each kind below which a rate says too little: its 95 % interval is up to 0.45 wide."""
DEFAULT_REPEATS = 3
DEFAULT_PAIRS = 20
MAX_FAILED_SHARE = 0.2
"""Share of answers with a failed call above which the judge counts as down."""
MAX_MISJUDGED = 20
PAIR_HINT = "a case with `providerOutput: {A: TEXT, B: TEXT}` and `metadata: {label: A}` or `B` is one"


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeCheckOptions:
    """Options of `flowai judge check`."""

    suite: str
    """Path of the suite, as typed, or a feature: its labelled calls, by the fact check."""
    name: str | None = None
    """Only this judged property; `hallucination` for the fact check."""
    labels: tuple[Path, ...] = ()
    """Further files of labels."""
    since: str = "90d"
    """Start of a feature's calls, as typed."""
    run: str | None = None
    """Run whose answers are labelled; None for answers recorded in the suite."""
    repeats: int = DEFAULT_REPEATS
    max_pairs: int = DEFAULT_PAIRS
    concurrency: int = 4
    replay: Path | None = None
    record: Path | None = None
    judge: str | None = None
    """Model that compares labelled pairs; None for that of the feature `judge`."""
    max_cost_usd: float | None = None
    """Of this command; verdicts of one that was stopped are kept and cost nothing again."""
    writes: bool = True
    """Whether calibration files are written."""


def check_judges(
    context: CommandContext,
    options: JudgeCheckOptions,
    *,
    on_begin: Callable[[JudgeIdentity, LabelCounts, int], None] = lambda *_: None,
) -> JudgeCheckReport:
    """Measure the judges of a suite.

    Args:
        context: the project.
        options: see `JudgeCheckOptions`.
        on_begin: called before a judge is asked, with its labels and the number of answers to ask about, repeats and
            pairs included.

    Raises:
        UsageError: no such judged property or run; `max_cost_usd` is negative, or set and a price is not known.
        SuiteError: the suite is wrong, or no model grades.
        InconclusiveError: no answer is labelled.
    """
    if options.max_cost_usd is not None and not options.max_cost_usd >= 0:
        raise UsageError(f"--max-cost: found {options.max_cost_usd:g}, expected 0 or more")
    workspace = open_workspace(context, models=[options.judge] if options.judge is not None else ())
    project = workspace.project
    labels = read_labels((labels_file(project.root), *options.labels), root=project.root)
    time_range = range_until_now(context, options.since)
    is_log = options.suite in workspace.registry.features and not (project.root / options.suite).is_file()
    if is_log:
        suite = labelled_calls(workspace, options.suite, time_range, labels)
    else:
        suite = load_suite(project.root / options.suite, project, LoadContext(environ=workspace.environ))
    trials = () if options.run is None else load_report(project, options.run).trials
    answers, counts = labelled_answers(suite, trials, labels)
    pairs = labelled_pairs(suite)
    if not answers and not pairs:
        raise InconclusiveError(
            f"no answer of {suite.path} is labelled: {counts.unlabelled_count} without a label, "
            f"{counts.disputed_count} disputed",
            hint="set `metadata: {label: pass}` or `fail` of cases with `providerOutput`, or label a run: "
            "`flowai judge label RUN`, then `--run RUN`",
        )
    budget, costs = VerdictBudget(options.max_cost_usd), VerdictCosts(workspace)
    checks = []
    for identity in _chosen(workspace, suite, options, has_answers=bool(answers), has_pairs=bool(pairs)):
        questions, own_counts = _questions(identity, answers, counts, pairs, options)
        _check_price(identity, questions, suite, costs, options)
        on_begin(identity, own_counts, questions.count)
        measurement = JudgeMeasurement(
            workspace,
            suite,
            identity,
            budget=budget,
            costs=costs,
            recordings=Recordings(options.replay, options.record),
            concurrency=options.concurrency,
        )
        measured = asyncio.run(measurement.run(questions))
        check = _result(workspace, identity, own_counts, measured, questions, budget, options)
        if check.status not in {"judge_down", "stopped"}:
            measurement.finish()
            if is_log:
                rate = population_rate(workspace, time_range, options.suite, identity, measured.judged)
                check = msgspec.structs.replace(check, fault_rate=rate)
        checks.append(check)
    warnings = [
        f"{' and '.join(names)} gave the same label to {agreement.agreed_count} of {agreement.rated_by_both_count} "
        f"answers, kappa {'-' if agreement.kappa is None else f'{agreement.kappa:.2f}'}"
        for names, agreement in label_agreement(labels).items()
    ]
    return JudgeCheckReport(
        suite=suite.path,
        at=format_rfc3339(context.now(), whole_seconds=True),
        min_youden=workspace.registry.policies.judging.min_youden,
        judges=tuple(checks),
        warnings=(*suite.warnings, *warnings),
    )


def exit_code(report: JudgeCheckReport) -> ExitCode:
    """Return the exit status: the most severe of its judges."""
    statuses = {one.status for one in report.judges}
    if "judge_down" in statuses:
        return ExitCode.INFRASTRUCTURE
    if "below_floor" in statuses:
        return ExitCode.GATE_NOT_MET
    return ExitCode.INCONCLUSIVE if statuses & {"too_few_labels", "stopped"} else ExitCode.DONE


def _chosen(
    workspace: Workspace, suite: Suite, options: JudgeCheckOptions, *, has_answers: bool, has_pairs: bool
) -> tuple[JudgeIdentity, ...]:
    name = options.name
    if name == FACT_CHECK_NAME:
        return (fact_check_judge(workspace, suite),)
    judges = suite_judges(workspace, suite) if has_answers else ()
    if has_pairs and name in {None, PREFERENCE_NAME}:
        model = pairwise_model(workspace, options.judge)
        if model is None:
            raise SuiteError(
                "labelled pairs need a model that compares", hint=f"name it by `--judge`, or {NO_GRADER_HINT}"
            )
        judges = (*judges, preference_judge(workspace, model))
    elif name == PREFERENCE_NAME:
        raise UsageError(f"--name: {suite.path} has no labelled pair", hint=PAIR_HINT)
    if name is None:
        return judges or (fact_check_judge(workspace, suite),)
    chosen = tuple(one for one in judges if one.name == name)
    if not chosen:
        names = [*(one.name for one in judges), FACT_CHECK_NAME]
        raise UsageError(f"--name: {suite.path} has no judge `{name}`", hint=expected_one_of(names, found=name))
    return chosen


def _questions(
    identity: JudgeIdentity,
    answers: Sequence[LabelledAnswer],
    counts: LabelCounts,
    pairs: Sequence[LabelledPair],
    options: JudgeCheckOptions,
) -> tuple[Questions, LabelCounts]:
    """Return the questions to a judge, and the labels that they are about."""
    if identity.name == PREFERENCE_NAME:
        first = sum(pair.label == "A" for pair in pairs)
        own = LabelCounts(pass_count=first, fail_count=len(pairs) - first, disputed_count=0)
        return Questions(labelled_pairs=pairs), own
    fitting = [one for one in answers if identity.name == FACT_CHECK_NAME or assertion_of(one, identity.name)]
    planned = plan_answers(fitting, repeats=options.repeats, max_pairs=options.max_pairs)
    return planned, _counts_of(fitting, counts)


def _check_price(
    identity: JudgeIdentity, questions: Questions, suite: Suite, costs: VerdictCosts, options: JudgeCheckOptions
) -> None:
    """Raise UsageError if there is a limit of cost and a verdict has no known price."""
    if options.max_cost_usd is None or options.replay is not None:
        return
    estimates = [answer_usd(costs, suite, one, identity.name) for one in questions.answers]
    estimates += [pair_usd(costs, identity.judge, pair) for pair in questions.labelled_pairs]
    if None in estimates:
        raise UsageError(
            f"--max-cost needs the price of the judge `{identity.judge}`, which is not known", hint=PRICE_HINT
        )


def _counts_of(answers: Sequence[LabelledAnswer], counts: LabelCounts) -> LabelCounts:
    fails = sum(one.label == "fail" for one in answers)
    return msgspec.structs.replace(counts, pass_count=len(answers) - fails, fail_count=fails)


def _result(
    workspace: Workspace,
    identity: JudgeIdentity,
    labels: LabelCounts,
    measured: Measured,
    questions: Questions,
    budget: VerdictBudget,
    options: JudgeCheckOptions,
) -> JudgeCheck:
    judged = measured.judged
    counts = count_verdicts(judged)
    positive, negative, youden = measure_rates(counts)
    readable = [one for one in judged if one.passed is not None]
    right = sum(bool(one.passed) == (one.label == "pass") for one in readable)
    faulty = sum(one.label == "fail" for one in readable)
    asked = [verdict for one in judged for verdict in one.verdicts]
    costs = [verdict.cost_usd for verdict in asked]
    failed = [one.verdicts[0].failure for one in judged if one.verdicts[0].failure is not None and one.passed is None]
    now = workspace.context.now()
    calibration = Calibration(
        name=identity.name,
        judge=identity.judge,
        judge_hash=identity.judge_hash,
        rubric_hash=identity.rubric_hash,
        at=now,
        source=options.suite,
        counts=counts,
        unscored_count=len(judged) - len(readable),
    )
    if measured.stopped is None:
        status, reason = _status(workspace, calibration, labels, failed, len(judged), now)
    else:
        spent = "-" if budget.spent_usd is None else dollars(budget.spent_usd)
        status, reason = (
            "stopped",
            f"{measured.stopped}: {measured.verdict_count:,} of {questions.count:,} verdicts, {spent} spent; "
            + ("a recording starts over" if options.record else "run it again to continue"),
        )
    is_written = options.writes and status in {"above_floor", "below_floor"}
    path = write_calibration(workspace.project.root, calibration) if is_written else None
    redact = workspace.redactor.text
    return JudgeCheck(
        name=identity.name,
        judge=identity.judge,
        judge_hash=identity.judge_hash,
        status=status,
        status_reason=redact(reason),
        labels=labels,
        counts=counts,
        true_positive_rate=positive,
        true_negative_rate=negative,
        youden=youden,
        kappa=label_kappa(judged),
        base_rate=faulty / len(readable) if readable else None,
        accuracy=right / len(readable) if readable else None,
        constant_accuracy=max(faulty, len(readable) - faulty) / len(readable) if readable else None,
        consistency=measure_consistency(judged, questions.repeats),
        position=measure_position(measured.pairs),
        length=measure_length(judged),
        unscored_count=len(judged) - len(readable),
        unscored_reasons=group_reasons(judged),
        failed_call_count=len(failed),
        calls_per_answer=sum(verdict.call_count for verdict in asked) / len(asked) if asked else None,
        usd_per_thousand=None
        if not asked or any(cost is None for cost in costs)
        else 1000 * math.fsum(cost or 0.0 for cost in costs) / len(asked),
        misjudged=tuple(_misjudged(one, redact) for one in readable if bool(one.passed) != (one.label == "pass"))[
            :MAX_MISJUDGED
        ],
        calibration=None if path is None else workspace.project.show(path),
    )


def _misjudged(one: Judged, redact: Callable[[str], str]) -> Misjudged:
    verdict = one.verdicts[0]
    return Misjudged(
        case=one.case, label=one.label, verdict="pass" if one.passed else "fail", reason=redact(verdict.reason)
    )


def _status(
    workspace: Workspace,
    calibration: Calibration,
    labels: LabelCounts,
    failed: Sequence[Exception],
    asked_count: int,
    now: datetime,
) -> tuple[JudgeStatus, str]:
    if len(failed) > MAX_FAILED_SHARE * asked_count:
        cause = failed[-1]
        hint = f"; {cause.hint}" if isinstance(cause, CallError) and cause.hint else ""
        return "judge_down", f"{len(failed)} of {asked_count} answers could not be judged: {cause}{hint}"
    sound, faulty = ("A", "B") if calibration.name == PREFERENCE_NAME else ("pass", "fail")
    missing = [
        f"{MIN_LABELS_PER_CLASS - count} more answers labelled `{label}` are needed (found {count}, expected "
        f"{MIN_LABELS_PER_CLASS})" + ("" if count else f": without one, its {rate} is unknown")
        for label, count, rate in (
            (sound, labels.pass_count, "true negative rate"),
            (faulty, labels.fail_count, "true positive rate"),
        )
        if count < MIN_LABELS_PER_CLASS
    ]
    if missing:
        return "too_few_labels", "; ".join(missing)
    policy = workspace.registry.policies.judging
    problem = floor_problem(calibration, min_youden=policy.min_youden, max_age_s=policy.max_age_s, now=now)
    return ("above_floor", "") if problem is None else ("below_floor", problem)
