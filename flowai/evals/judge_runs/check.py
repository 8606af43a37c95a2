"""`flowai judge check`: measures the error of a suite's judges on labelled answers, and writes their calibrations."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from flowai.analytics.call_list import range_until_now
from flowai.calibration import (
    Calibration,
    floor_problem,
    write_calibration,
)
from flowai.errors import CallError, ExitCode, InconclusiveError, InfrastructureError, UsageError, expected_one_of
from flowai.evals.assertions.graded import FACT_CHECK_NAME, Grading, choose_best
from flowai.evals.judge_identity import fact_check_judge, graded_assertions, property_name, suite_judges
from flowai.evals.judge_runs.answers import labelled_answers
from flowai.evals.judge_runs.asking import JudgeSession, in_parallel
from flowai.evals.judge_runs.labelled_calls import labelled_calls
from flowai.evals.judge_runs.labels import label_agreement, labels_file, read_labels
from flowai.evals.judge_runs.measures import (
    Judged,
    JudgedPair,
    count_verdicts,
    group_reasons,
    label_kappa,
    measure_consistency,
    measure_length,
    measure_position,
    measure_rates,
)
from flowai.evals.judge_runs.records import JudgeCheck, JudgeCheckReport, Misjudged
from flowai.evals.runs.run_history import load_report
from flowai.evals.suites.loader import load_suite
from flowai.evals.suites.records import Assertion
from flowai.evals.suites.yaml_reader import LoadContext
from flowai.timestamps import format_rfc3339
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from flowai.evals.assertions.records import Answer
    from flowai.evals.judge_identity import JudgeIdentity
    from flowai.evals.judge_runs.answers import LabelledAnswer
    from flowai.evals.judge_runs.asking import Verdict
    from flowai.evals.judge_runs.records import JudgeStatus, LabelCounts
    from flowai.evals.suites.records import Suite
    from flowai.workspace.workspace import CommandContext, Workspace

MIN_LABELS_PER_CLASS = 20
"""Labels of each kind below which a rate says too little: its 95 % interval is up to 0.45 wide."""
MAX_REPEATED_ANSWERS = 50
"""Answers that are asked about several times."""
DEFAULT_REPEATS = 3
DEFAULT_PAIRS = 20
MAX_FAILED_SHARE = 0.2
"""Share of answers with a failed call above which the judge counts as down."""
MAX_MISJUDGED = 20
PAIR_CRITERION = "The answer is correct, and nothing in it is unsupported."


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
    writes: bool = True
    """Whether calibration files are written."""


@dataclass(kw_only=True)
class _Measured:
    judged: list[Judged] = field(default_factory=list)
    pairs: list[JudgedPair] = field(default_factory=list)


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
        UsageError: no such judged property or run.
        SuiteError: the suite is wrong, or no model grades.
        InconclusiveError: no answer is labelled.
    """
    workspace = open_workspace(context)
    project = workspace.project
    labels = read_labels((labels_file(project.root), *options.labels), root=project.root)
    if options.suite in workspace.registry.features and not (project.root / options.suite).is_file():
        suite = labelled_calls(workspace, options.suite, range_until_now(context, options.since), labels)
    else:
        suite = load_suite(project.root / options.suite, project, LoadContext(environ=workspace.environ))
    trials = () if options.run is None else load_report(project, options.run).trials
    answers, counts = labelled_answers(suite, trials, labels)
    if not answers:
        raise InconclusiveError(
            f"no answer of {suite.path} is labelled: {counts.unlabelled_count} without a label, "
            f"{counts.disputed_count} disputed",
            hint="set `metadata: {label: pass}` or `fail` of cases with `providerOutput`, or label a run: "
            "`flowai judge label RUN`, then `--run RUN`",
        )
    checks = []
    for identity in _chosen(workspace, suite, options.name):
        fitting = [one for one in answers if identity.name == FACT_CHECK_NAME or _assertion(one, identity.name)]
        own_counts = _counts_of(fitting, counts)
        repeated, pairs = _repeated(fitting, options.repeats), _pairs(fitting, options.max_pairs)
        on_begin(identity, own_counts, len(fitting) + len(repeated) * (options.repeats - 1) + 2 * len(pairs))
        measured = asyncio.run(_measure(workspace, suite, identity, fitting, repeated, pairs, options))
        checks.append(_result(workspace, identity, own_counts, measured, options))
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
    return ExitCode.INCONCLUSIVE if "too_few_labels" in statuses else ExitCode.DONE


def _chosen(workspace: Workspace, suite: Suite, name: str | None) -> tuple[JudgeIdentity, ...]:
    if name == FACT_CHECK_NAME:
        return (fact_check_judge(workspace, suite),)
    judges = suite_judges(workspace, suite)
    if name is None:
        return judges or (fact_check_judge(workspace, suite),)
    chosen = tuple(one for one in judges if one.name == name)
    if not chosen:
        names = [*(one.name for one in judges), FACT_CHECK_NAME]
        raise UsageError(f"--name: {suite.path} has no judge `{name}`", hint=expected_one_of(names, found=name))
    return chosen


def _assertion(one: LabelledAnswer, name: str) -> Assertion | None:
    return next((found for found in graded_assertions(one.case) if property_name(found) == name), None)


def _counts_of(answers: Sequence[LabelledAnswer], counts: LabelCounts) -> LabelCounts:
    fails = sum(one.label == "fail" for one in answers)
    return msgspec.structs.replace(counts, pass_count=len(answers) - fails, fail_count=fails)


def _repeated(answers: Sequence[LabelledAnswer], repeats: int) -> frozenset[int]:
    """Return which answers are asked about several times: a fixed choice that does not follow the suite's order."""
    if repeats < 2:  # noqa: PLR2004 - once is no repetition
        return frozenset()
    order = sorted(range(len(answers)), key=lambda index: _digest(answers[index]))
    return frozenset(order[:MAX_REPEATED_ANSWERS])


def _pairs(answers: Sequence[LabelledAnswer], max_count: int) -> list[tuple[LabelledAnswer, LabelledAnswer]]:
    """Return pairs of a sound and a faulty answer to the same request."""
    by_request: defaultdict[str, list[LabelledAnswer]] = defaultdict(list)
    for one in answers:
        by_request[one.request].append(one)
    pairs = []
    for group in by_request.values():
        sound = next((one for one in group if one.label == "pass"), None)
        faulty = next((one for one in group if one.label == "fail"), None)
        if sound is not None and faulty is not None:
            pairs.append((sound, faulty))
    return sorted(pairs, key=lambda pair: _digest(pair[0]))[:max_count]


def _digest(one: LabelledAnswer) -> str:
    return hashlib.sha256(f"{one.case.id}\n{one.answer.text}".encode(errors="surrogatepass")).hexdigest()


async def _measure(
    workspace: Workspace,
    suite: Suite,
    identity: JudgeIdentity,
    answers: Sequence[LabelledAnswer],
    repeated: frozenset[int],
    pairs: Sequence[tuple[LabelledAnswer, LabelledAnswer]],
    options: JudgeCheckOptions,
) -> _Measured:
    session = JudgeSession(workspace, suite, replay=options.replay, record=options.record)
    measured = _Measured()
    results: dict[int, Judged] = {}

    async def judge(index: int, one: LabelledAnswer) -> None:
        assertion = _assertion(one, identity.name)
        ask = session.asks_fact_check() if assertion is None else session.asks_assertion(assertion)
        count = options.repeats if index in repeated else 1
        verdicts: list[Verdict] = [await ask(one.answer) for _ in range(count)]
        results[index] = Judged(
            case=one.case.id, label=one.label, length=len(one.answer.text), verdicts=tuple(verdicts)
        )

    async def compare(sound: LabelledAnswer, faulty: LabelledAnswer) -> None:
        assertion = Assertion(type="select-best", value=_criterion(sound, identity.name))
        assert session.checks.models is not None  # noqa: S101 - a session always has them
        grading = Grading(assertion=assertion, models=session.checks.models, services=session.checks)
        measured.pairs.append(
            JudgedPair(
                sound_first=await _choice(grading, (sound.answer, faulty.answer)),
                sound_second=await _choice(grading, (faulty.answer, sound.answer)),
            )
        )

    work: list[Callable[[], Awaitable[None]]] = [partial(judge, index, one) for index, one in enumerate(answers)]
    work += [partial(compare, *pair) for pair in pairs]
    try:
        await in_parallel(work, 1 if options.replay is not None else options.concurrency)
    finally:
        await session.aclose()
    measured.judged = [results[index] for index in sorted(results)]
    return measured


def _criterion(one: LabelledAnswer, name: str) -> str:
    """Return the criterion of a comparison: the rubric, if it is a text that all cases share, and the request."""
    assertion = _assertion(one, name)
    is_rubric = assertion is not None and assertion.type in {"llm-rubric", "model-graded-closedqa", "g-eval"}
    criterion = str(assertion.value) if is_rubric and assertion is not None else PAIR_CRITERION
    parts = [criterion, f"Request: {one.answer.prompt}" if one.answer.prompt else ""]
    context = one.case.vars.get("context")
    if context:
        parts.append(f"Text: {context}")
    return "\n".join(filter(None, parts))


async def _choice(grading: Grading, answers: Sequence[Answer]) -> int | None:
    try:
        return (await choose_best(grading, answers)).position
    except InfrastructureError:
        return None


def _result(
    workspace: Workspace, identity: JudgeIdentity, labels: LabelCounts, measured: _Measured, options: JudgeCheckOptions
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
        at=now,
        source=options.suite,
        counts=counts,
        unscored_count=len(judged) - len(readable),
    )
    status, reason = _status(workspace, calibration, labels, failed, len(judged), now)
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
        consistency=measure_consistency(judged, options.repeats),
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
    missing = [
        f"{MIN_LABELS_PER_CLASS - count} more answers labelled `{label}` are needed (found {count}, expected "
        f"{MIN_LABELS_PER_CLASS})" + ("" if count else f": without one, its {rate} is unknown")
        for label, count, rate in (
            ("pass", labels.pass_count, "true negative rate"),
            ("fail", labels.fail_count, "true positive rate"),
        )
        if count < MIN_LABELS_PER_CLASS
    ]
    if missing:
        return "too_few_labels", "; ".join(missing)
    policy = workspace.registry.policies.judging
    problem = floor_problem(calibration, min_youden=policy.min_youden, max_age_s=policy.max_age_s, now=now)
    return ("above_floor", "") if problem is None else ("below_floor", problem)
