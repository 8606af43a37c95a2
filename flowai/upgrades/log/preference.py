"""A judge compares both answers to logged requests, in both orders; each comparison is kept at once."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from flowai.analytics.judged_usage import judging_rules
from flowai.errors import CallError
from flowai.evals.judge_identity import preference_judge
from flowai.evals.judges.call_event import judge_call_event
from flowai.evals.judges.pairwise import PREFERENCE_NAME, PairwiseJudge, read_preference
from flowai.events import EventLog
from flowai.providers import create_client
from flowai.rendering.markdown import one_line
from flowai.statistics.corrected_rates import corrected_gap, flagged_margin
from flowai.statistics.paired_trials import PairedTrials
from flowai.storage.jsonl import AppendLog, read_lines
from flowai.upgrades.records import Evidence, WorstCase
from flowai.upgrades.verdict import judge_pairs

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from flowai.calibration import JudgeCounts
    from flowai.evals.reports import Trial
    from flowai.providers import Endpoint
    from flowai.upgrades.log.sample import LoggedRequest
    from flowai.upgrades.spending import Spending
    from flowai.workspace.workspace import Workspace

FILE_NAME = "preferences.jsonl"
CONCURRENCY = 8
MAX_WORST_COUNT = 5
_POINTS = {"new": 1.0, "equal": 0.0, "old": -1.0}
_MODELS: dict[tuple[str, str], Literal["old", "new", "equal"]] = {
    ("first", "old"): "old",
    ("first", "new"): "new",
    ("second", "old"): "new",
    ("second", "new"): "old",
    ("equal", "old"): "equal",
    ("equal", "new"): "equal",
}
"""Better model by the judge's word and the model whose answer came first."""
ORDERS: tuple[Literal["old", "new"], ...] = ("old", "new")
"""Model whose answer comes first."""


class JudgeReply(msgspec.Struct, frozen=True, kw_only=True):
    """Reply of the judge: a line of the file."""

    call_id: str
    first: Literal["old", "new"]
    """Model whose answer came first."""
    digest: str
    """Hash of judge and answers."""
    better: Literal["old", "new", "equal"] | None = None
    """None if the reply cannot be read."""
    reason: str = ""
    cost_usd: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerPair:
    """Both answers to a logged request."""

    call_id: str
    request: str
    old: str
    new: str
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PreferenceJudge:
    """The judge of an upgrade, and whether its comparisons may decide."""

    model: str
    counts: JudgeCounts | None = None
    """Of its calibration; None if its comparisons are shown and decide nothing."""
    problem: str | None = None
    """Why they decide nothing; None if they do."""

    @property
    def note(self) -> str | None:
        """Return why the evidence is not judged; None if it is."""
        return None if self.problem is None else f"shown, not judged: {self.problem}"


def preference_standing(workspace: Workspace, model: str, compared: Collection[str], margin: float) -> PreferenceJudge:
    """Return the judge with its calibration, if that is fresh and above the floor.

    Args:
        workspace: the project.
        model: the judge.
        compared: the two models; the judge prefers its own answers by an unknown amount if it is one of them.
        margin: the accepted loss; the calibration must be able to exclude it.

    Raises:
        ProjectError: a file in `evals/judges` is not a calibration.
    """
    identity = preference_judge(workspace, model)
    standing = judging_rules(workspace).standing(PREFERENCE_NAME, {identity.judge_hash: 1})
    if standing is None or standing.calibration is None:
        reason = "" if standing is None else f" ({standing.problem})"
        return PreferenceJudge(
            model=model,
            problem=f"the judge has no calibration{reason}; measure it on labelled pairs: "
            f"`flowai judge check SUITE --name {PREFERENCE_NAME} --judge {model}`",
        )
    if standing.problem is not None:
        return PreferenceJudge(model=model, problem=f"judge `{model}`: {standing.problem}")
    if model in compared:
        return PreferenceJudge(model=model, problem=f"the judge `{model}` is one of the two models")
    counts = standing.calibration.counts
    if flagged_margin(margin, counts) <= 0:
        return PreferenceJudge(model=model, problem=f"judge `{model}`: too few labels to exclude a loss of the margin")
    return PreferenceJudge(model=model, counts=counts)


def answer_pairs(
    requests: Sequence[LoggedRequest], trials: Sequence[Trial], *, old: str, judge: str
) -> tuple[AnswerPair, ...]:
    """Return the requests that both models answered, in their order."""
    outputs = {(trial.case, trial.model == old): trial.output for trial in trials if trial.output is not None}
    found = []
    for request in requests:
        before, after = outputs.get((request.call_id, True)), outputs.get((request.call_id, False))
        if before is None or after is None:
            continue
        text = "\n\n".join(f"{item.get('role')}: {item.get('content')}" for item in request.messages)
        digest = hashlib.sha256(repr((judge, text, before, after)).encode()).hexdigest()[:16]
        found.append(AnswerPair(call_id=request.call_id, request=text, old=before, new=after, digest=digest))
    return tuple(found)


def compare_answers(
    workspace: Workspace, judge: str, pairs: Sequence[AnswerPair], directory: Path, spending: Spending
) -> list[JudgeReply]:
    """Ask the judge about each pair in both orders; comparisons of an interrupted upgrade are kept.

    Equal answers are not asked about. Calls that fail are left out; the same command makes them again.

    Raises:
        MissingKeyError: the judge's key is not set.
    """
    path = directory / FILE_NAME
    digests = {pair.digest for pair in pairs}
    kept = {
        (item.digest, item.first): item
        for item in read_lines(path, JudgeReply, name=str(path)).records
        if item.digest in digests
    }
    waiting = [
        (pair, first) for pair in pairs for first in ORDERS if pair.old != pair.new and (pair.digest, first) not in kept
    ]
    if waiting:
        endpoint = workspace.with_models((judge,)).resolve_endpoint(judge)
        with closing(AppendLog(path)) as log:
            runner = _ComparisonRunner(workspace, endpoint, log, spending)
            added = asyncio.run(runner.run(waiting))
        kept |= {(item.digest, item.first): item for item in added}
    spending.add(item.cost_usd for item in kept.values())
    return list(kept.values())


def build_preference(
    pairs: Sequence[AnswerPair],
    comparisons: Sequence[JudgeReply],
    *,
    judge: PreferenceJudge,
    margin: float,
    alpha: float,
) -> Evidence:
    """Build the evidence of a judge: +1 for the new model, -1 for the old one, the mean of both orders.

    A calibrated judge decides: the margin is translated into its own preferences, and the difference is corrected by
    its error (decision 0158).
    """
    replies: dict[str, dict[str, JudgeReply]] = defaultdict(dict)
    for item in comparisons:
        if item.better is not None:
            replies[item.digest][item.first] = item
    scored: list[tuple[AnswerPair, float]] = []
    for pair in pairs:
        own = replies[pair.digest]
        if pair.old == pair.new:
            scored.append((pair, 0.0))
        elif len(own) == len(ORDERS):
            scored.append((pair, sum(_POINTS[str(item.better)] for item in own.values()) / len(ORDERS)))
    trials = [PairedTrials(before=((1 - points) / 2,), after=((1 + points) / 2,)) for _, points in scored]
    counts = judge.counts
    found = judge_pairs(trials, margin=margin if counts is None else flagged_margin(margin, counts), alpha=alpha)
    difference = found.interval
    if counts is not None:
        difference = corrected_gap(difference, counts, alpha=1 - found.confidence)
    used = scored[: found.pair_count]
    worse = [(pair, points) for pair, points in used if points < 0]
    wins = sum(points > 0 for _, points in used)
    return Evidence(
        kind="preference",
        source=f"judge {judge.model}",
        verdict=found.verdict,
        judged=counts is not None,
        note=judge.note,
        planned_count=len(pairs),
        pair_count=found.pair_count,
        error_count=len(pairs) - len(scored),
        worse_count=len(worse),
        better_count=wins,
        old=len(worse) / len(used) if used else None,
        new=wins / len(used) if used else None,
        difference=difference.estimate,
        low=difference.low,
        high=difference.high,
        confidence=found.confidence,
        margin=margin,
        stopped_early=False,
        needed_count=found.needed_count,
        worst=tuple(
            WorstCase(
                case=pair.call_id,
                place="event log",
                difference=points,
                input=one_line(pair.request, 300),
                old_output=pair.old,
                new_output=pair.new,
                reason=one_line(next(iter(replies[pair.digest].values())).reason, 200),
            )
            for pair, points in sorted(worse, key=lambda item: item[1])[:MAX_WORST_COUNT]
        ),
    )


class _ComparisonRunner:
    """Calls the judge, several times at once."""

    def __init__(self, workspace: Workspace, endpoint: Endpoint, log: AppendLog, spending: Spending) -> None:
        self._workspace = workspace
        self._endpoint = endpoint
        self._log = log
        self._spending = spending
        self._spent: list[float] = []

    async def run(self, waiting: Sequence[tuple[AnswerPair, Literal["old", "new"]]]) -> list[JudgeReply]:
        """Return the comparisons that were made."""
        context, workspace = self._workspace.context, self._workspace
        client = create_client(redactor=workspace.redactor)
        judge = PairwiseJudge(client, self._endpoint)
        found: list[JudgeReply] = []
        pending = iter(waiting)
        with closing(
            EventLog(
                workspace.events,
                process=f"judge-{context.new_id()[:12]}",
                redactor=workspace.redactor,
                clock=context.now,
            )
        ) as events:

            async def work() -> None:
                for pair, first in pending:
                    if not self._can_pay():
                        return
                    comparison = await self._compare(judge, events, pair, first)
                    if comparison is not None:
                        self._log.append(comparison)
                        found.append(comparison)

            try:
                await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
            finally:
                await client.aclose()
        return found

    def _can_pay(self) -> bool:
        left = self._spending.left_usd
        if left is None:
            return True
        mean = sum(self._spent) / len(self._spent) if self._spent else 0.0
        return sum(self._spent) + mean * CONCURRENCY < left

    async def _compare(
        self, judge: PairwiseJudge, events: EventLog, pair: AnswerPair, first: Literal["old", "new"]
    ) -> JudgeReply | None:
        answers = (pair.old, pair.new) if first == "old" else (pair.new, pair.old)
        try:
            completion = await judge.ask(pair.request, *answers)
        except CallError as error:
            events.append(judge_call_event(self._workspace.context, self._endpoint, error))
            return None
        events.append(judge_call_event(self._workspace.context, self._endpoint, completion))
        self._spent.append(completion.cost_usd or 0.0)
        reply = read_preference(completion.text)
        return JudgeReply(
            call_id=pair.call_id,
            first=first,
            digest=pair.digest,
            better=None if reply.better is None else _MODELS[reply.better, first],
            reason=self._workspace.redactor.text(reply.reason),
            cost_usd=completion.cost_usd,
        )
