"""`flowai judge sample`: checks logged answers against the texts they were made from, and logs the scores."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from flowai.analytics.call_list import range_until_now
from flowai.errors import ExitCode, InconclusiveError, UsageError
from flowai.evals.assertions import Answer
from flowai.evals.assertions.graded import FACT_CHECK_RUBRIC
from flowai.evals.assertions.graded.fact_rules import unsupported
from flowai.evals.execution.limits import StopReason
from flowai.evals.judge_identity import fact_check_judge
from flowai.evals.judge_runs.asking import JudgeSession, in_parallel
from flowai.evals.judge_runs.costs import PRICE_HINT, VerdictBudget, VerdictCosts
from flowai.evals.judge_runs.logged_answers import read_sample
from flowai.evals.judge_runs.measures import share
from flowai.evals.judge_runs.records import RateWithInterval, UnscoredReason
from flowai.evals.suites.records import Suite
from flowai.events import EventLog, ScoreEvent
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flowai.evals.judge_identity import JudgeIdentity
    from flowai.evals.judge_runs.asking import Verdict
    from flowai.evals.judge_runs.logged_answers import LoggedAnswer, LoggedSample, Stratum
    from flowai.workspace.workspace import CommandContext, Workspace

SAMPLE_SCHEMA_VERSION = 1
MAX_FAILURES = 10
"""Failed calls in a row that end a run."""
LOG_CONTENT_HINT = "set `log_content: redacted` of the feature; answers from then on can be judged"


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleOptions:
    """Options of `flowai judge sample`."""

    since: str = "24h"
    """As typed."""
    max_count: int = 200
    feature: str | None = None
    max_cost_usd: float | None = None
    dry_run: bool = False
    concurrency: int = 4


class StratumResult(Struct, frozen=True, kw_only=True):
    """Verdicts on the answers of one feature and release."""

    feature: str
    release: str
    call_count: int
    """Answered calls in the time range."""
    unlogged_count: int
    """Those without logged content: they cannot be judged."""
    sampled_count: int
    scored_before_count: int
    """Sampled answers that this judge had scored already; they are not judged again."""
    textless_count: int
    """Sampled answers without text, or whose request has none."""
    flagged_by_rule_count: int
    """Flagged for a number, date or name that the text lacks, without a call."""
    flagged_by_judge_count: int
    passed_count: int
    unscored_count: int
    rate: RateWithInterval
    """Share of flagged answers of this run, as judged: not corrected by the judge's error."""


class SampleResult(Struct, frozen=True, kw_only=True):
    """The result of `flowai judge sample`: a public format."""

    schema_version: int = SAMPLE_SCHEMA_VERSION
    name: str
    judge: str
    judge_hash: str
    is_dry_run: bool
    strata: tuple[StratumResult, ...]
    waiting_count: int
    """Answers to judge when the command began."""
    call_count: int
    """Answers that need a call of the judge."""
    estimated_cost_usd: float | None
    """Of these calls; None if a price is not known."""
    cost_usd: float | None
    """Of this run; None if a price is not known."""
    unscored_reasons: tuple[UnscoredReason, ...] = ()
    stopped: str | None = None
    """Reason why answers are left; None if none are."""
    is_judge_down: bool = False
    warnings: tuple[str, ...] = ()


class _Counts:
    def __init__(self) -> None:
        self.by_rule: dict[Stratum, int] = {}
        self.by_judge: dict[Stratum, int] = {}
        self.passed: dict[Stratum, int] = {}
        self.unscored: dict[Stratum, int] = {}
        self.reasons: dict[str, int] = {}


def sample_answers(
    context: CommandContext,
    options: SampleOptions,
    *,
    on_forecast: Callable[[SampleResult], None] = lambda _: None,
    on_score: Callable[[int, int], None] = lambda *_: None,
) -> SampleResult:
    """Judge a sample of logged answers; each score is in the log as soon as it is known.

    Args:
        context: the project.
        options: see `SampleOptions`.
        on_forecast: called with the counts and the estimated cost before anything is spent.
        on_score: called after each answer with the number of judged answers and that of all.

    Raises:
        UsageError: an option is wrong, or `max_cost_usd` is set and a price is not known.
        SuiteError: no model judges.
        InconclusiveError: there is no answer to judge.
        InfrastructureError: the log cannot be read or written.
    """
    workspace = open_workspace(context)
    if options.feature is not None:
        workspace.registry.feature(options.feature)
    identity = fact_check_judge(workspace)
    sample = read_sample(
        workspace,
        range_until_now(context, options.since),
        name=identity.name,
        judge_hash=identity.judge_hash,
        max_count=options.max_count,
        feature=options.feature,
    )
    _check_sample(sample, options)
    run = _SampleRun(workspace, options, identity, sample, on_score)
    forecast = run.result(is_dry_run=True)
    if options.max_cost_usd is not None and forecast.estimated_cost_usd is None:
        raise UsageError(
            f"--max-cost needs the price of the judge `{identity.judge}`, which is not known",
            hint=PRICE_HINT,
        )
    on_forecast(forecast)
    if options.dry_run:
        return forecast
    run.judge()
    return run.result(is_dry_run=False)


def exit_code(result: SampleResult) -> ExitCode:
    """Return the exit status of a sample."""
    if result.is_judge_down:
        return ExitCode.INFRASTRUCTURE
    return ExitCode.DONE if result.stopped is None else ExitCode.INCONCLUSIVE


def _check_sample(sample: LoggedSample, options: SampleOptions) -> None:
    call_count, unlogged = sum(sample.call_counts.values()), sum(sample.unlogged_counts.values())
    of = "" if options.feature is None else f" of `{options.feature}`"
    if not call_count:
        raise InconclusiveError(f"no answered call{of} since {options.since}", hint="start earlier: `--since 30d`")
    if unlogged == call_count:
        names = ", ".join(sorted({f"`{feature}`" for feature, _ in sample.unlogged_counts}))
        raise InconclusiveError(
            f"the content of none of the {call_count:,} calls{of} was logged: {names}", hint=LOG_CONTENT_HINT
        )


class _SampleRun:
    def __init__(
        self,
        workspace: Workspace,
        options: SampleOptions,
        identity: JudgeIdentity,
        sample: LoggedSample,
        on_score: Callable[[int, int], None],
    ) -> None:
        self._workspace = workspace
        self._options = options
        self._identity = identity
        self._sample = sample
        self._on_score = on_score
        self._flagged = {one.call_id for one in sample.answers if unsupported(one.output, one.context)}
        self._costs = VerdictCosts(workspace)
        self._budget = VerdictBudget(options.max_cost_usd)
        self._counts = _Counts()
        self._failed_in_a_row = 0
        self._unreachable: StopReason | None = None
        self._done_count = 0

    def judge(self) -> None:
        """Judge all answers of the sample."""
        asyncio.run(self._judge())

    async def _judge(self) -> None:
        workspace, context = self._workspace, self._workspace.context
        answers = sorted(self._sample.answers, key=lambda one: one.call_id not in self._flagged)  # the free ones first
        log = EventLog(
            workspace.events,
            process=f"judge-{context.new_id()[:12]}",
            redactor=workspace.redactor,
            clock=context.now,
        )
        with closing(log):
            session = JudgeSession(workspace, Suite(path="judge sample", cases=()))
            ask = session.asks_fact_check()

            async def judge(one: LoggedAnswer) -> None:
                if self._unreachable is not None:
                    return
                estimated = 0.0 if one.call_id in self._flagged else self._estimated_usd(one) or 0.0
                reserved = self._budget.reserve(estimated)
                if reserved is None:
                    return
                answer = Answer(text=one.output, variables={"context": one.context}, prompt=one.request)
                verdict = await ask(answer)
                self._budget.settle(reserved, verdict.cost_usd)
                self._record(one, verdict, log)

            try:
                await in_parallel([partial(judge, one) for one in answers], self._options.concurrency)
            finally:
                await session.aclose()

    def _estimated_usd(self, one: LoggedAnswer) -> float | None:
        return self._costs.usd(len(FACT_CHECK_RUBRIC) + len(one.context) + len(one.output) + len(one.request))

    def _record(self, one: LoggedAnswer, verdict: Verdict, log: EventLog) -> None:
        self._done_count += 1
        if verdict.passed is None:
            self._record_unscored(one, verdict)
        else:
            self._failed_in_a_row = 0
            log.append(
                ScoreEvent(
                    call_id=one.call_id,
                    at=self._workspace.context.now(),
                    origin="judge",
                    name=self._identity.name,
                    passed=verdict.passed,
                    score=verdict.score,
                    judge=self._identity.judge,
                    judge_hash=self._identity.judge_hash,
                )
            )
            counts = self._counts
            by_rule = one.call_id in self._flagged
            side = counts.passed if verdict.passed else counts.by_rule if by_rule else counts.by_judge
            side[one.stratum] = side.get(one.stratum, 0) + 1
        self._on_score(self._done_count, len(self._sample.answers))

    def _record_unscored(self, one: LoggedAnswer, verdict: Verdict) -> None:
        counts = self._counts
        counts.unscored[one.stratum] = counts.unscored.get(one.stratum, 0) + 1
        reason = verdict.reason.removeprefix(" could not be judged: ")
        counts.reasons[reason] = counts.reasons.get(reason, 0) + 1
        if verdict.failure is None:
            self._failed_in_a_row = 0
            return
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= MAX_FAILURES and self._unreachable is None:
            self._unreachable = StopReason(
                kind="unreachable", what=f"after {MAX_FAILURES} failed calls of the judge in a row: {verdict.failure}"
            )

    def result(self, *, is_dry_run: bool) -> SampleResult:
        """Return the counts so far."""
        sample, counts = self._sample, self._counts
        asked = [one for one in sample.answers if one.call_id not in self._flagged]
        estimates = [self._estimated_usd(one) for one in asked]
        unlogged = sum(sample.unlogged_counts.values())
        warnings = []
        if unlogged:
            names = ", ".join(sorted({f"`{feature}`" for feature, _ in sample.unlogged_counts}))
            warnings.append(f"the content of {unlogged:,} calls was not logged: {names}")
            warnings.append(LOG_CONTENT_HINT)
        redact = self._workspace.redactor.text
        stopped = self._unreachable or self._budget.stopped
        return SampleResult(
            name=self._identity.name,
            judge=self._identity.judge,
            judge_hash=self._identity.judge_hash,
            is_dry_run=is_dry_run,
            strata=tuple(self._stratum(stratum) for stratum in sorted(sample.call_counts)),
            waiting_count=len(sample.answers),
            call_count=len(asked),
            estimated_cost_usd=_sum(estimates),
            cost_usd=0.0 if is_dry_run else self._budget.spent_usd,
            unscored_reasons=tuple(
                UnscoredReason(reason=redact(reason), count=count)
                for reason, count in sorted(counts.reasons.items(), key=lambda item: -item[1])[:5]
            ),
            stopped=None if stopped is None else redact(stopped.what),
            is_judge_down=stopped is not None and stopped.kind == "unreachable",
            warnings=tuple(warnings),
        )

    def _stratum(self, stratum: Stratum) -> StratumResult:
        sample, counts = self._sample, self._counts
        flagged = counts.by_rule.get(stratum, 0) + counts.by_judge.get(stratum, 0)
        passed = counts.passed.get(stratum, 0)
        return StratumResult(
            feature=stratum[0],
            release=stratum[1],
            call_count=sample.call_counts[stratum],
            unlogged_count=sample.unlogged_counts.get(stratum, 0),
            sampled_count=sample.sampled_counts.get(stratum, 0),
            scored_before_count=sample.scored_counts.get(stratum, 0),
            textless_count=sample.textless_counts.get(stratum, 0),
            flagged_by_rule_count=counts.by_rule.get(stratum, 0),
            flagged_by_judge_count=counts.by_judge.get(stratum, 0),
            passed_count=passed,
            unscored_count=counts.unscored.get(stratum, 0),
            rate=share(flagged, flagged + passed),
        )


def _sum(costs: Sequence[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None
