"""A judge compares both answers to logged requests, in both orders; each comparison is kept at once."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from flowai.errors import CallError
from flowai.evals.assertions.graded.replies import GraderReplyError, reason_of, reply_object
from flowai.evals.judges.call_event import judge_call_event
from flowai.events import EventLog
from flowai.prompts import load_package_prompt, openai_messages
from flowai.providers import Request, create_client
from flowai.rendering.markdown import one_line
from flowai.statistics.paired_trials import PairedTrials
from flowai.storage.jsonl import AppendLog, read_lines
from flowai.upgrades.records import Evidence, WorstCase
from flowai.upgrades.verdict import judge_pairs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from flowai.evals.reports import Trial
    from flowai.providers import Client, Endpoint
    from flowai.upgrades.log.sample import LoggedRequest
    from flowai.upgrades.spending import Spending
    from flowai.workspace.workspace import Workspace

FILE_NAME = "preferences.jsonl"
CONCURRENCY = 8
MAX_WORST_COUNT = 5
NOT_CALIBRATED = "shown, not judged: the judge has no calibration"
_POINTS = {"new": 1.0, "equal": 0.0, "old": -1.0}
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
        endpoint = workspace.resolve_endpoint(judge)
        with closing(AppendLog(path)) as log:
            runner = _ComparisonRunner(workspace, endpoint, log, spending)
            added = asyncio.run(runner.run(waiting))
        kept |= {(item.digest, item.first): item for item in added}
    spending.add(item.cost_usd for item in kept.values())
    return list(kept.values())


def build_preference(
    pairs: Sequence[AnswerPair], comparisons: Sequence[JudgeReply], *, judge: str, margin: float, alpha: float
) -> Evidence:
    """Build the evidence of a judge: +1 for the new model, -1 for the old one, the mean of both orders."""
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
    found = judge_pairs(trials, margin=margin, alpha=alpha)
    used = scored[: found.pair_count]
    worse = [(pair, points) for pair, points in used if points < 0]
    wins = sum(points > 0 for _, points in used)
    return Evidence(
        kind="preference",
        source=f"judge {judge}",
        verdict=found.verdict,
        judged=False,
        note=NOT_CALIBRATED,
        planned_count=len(pairs),
        pair_count=found.pair_count,
        error_count=len(pairs) - len(scored),
        worse_count=len(worse),
        better_count=wins,
        old=len(worse) / len(used) if used else None,
        new=wins / len(used) if used else None,
        difference=found.interval.estimate,
        low=found.interval.low,
        high=found.interval.high,
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
        self._prompt = load_package_prompt(__package__, "prompts/compare_answers.prompt")

    async def run(self, waiting: Sequence[tuple[AnswerPair, Literal["old", "new"]]]) -> list[JudgeReply]:
        """Return the comparisons that were made."""
        context, workspace = self._workspace.context, self._workspace
        client = create_client(redactor=workspace.redactor)
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
                    comparison = await self._compare(client, events, pair, first)
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
        self, client: Client, events: EventLog, pair: AnswerPair, first: Literal["old", "new"]
    ) -> JudgeReply | None:
        answers = (pair.old, pair.new) if first == "old" else (pair.new, pair.old)
        values = {"request": pair.request, "first": answers[0], "second": answers[1]}
        request = Request(
            endpoint=self._endpoint,
            messages=tuple(openai_messages(self._prompt.render(values).messages)),
            params=dict(self._prompt.config),
            response_schema=self._prompt.output_schema,
        )
        try:
            completion = await client.complete(request)
        except CallError as error:
            events.append(judge_call_event(self._workspace.context, self._endpoint, error))
            return None
        events.append(judge_call_event(self._workspace.context, self._endpoint, completion))
        self._spent.append(completion.cost_usd or 0.0)
        better, reason = _read_reply(completion.text, first)
        return JudgeReply(
            call_id=pair.call_id,
            first=first,
            digest=pair.digest,
            better=better,
            reason=self._workspace.redactor.text(reason),
            cost_usd=completion.cost_usd,
        )


def _read_reply(text: str, first: Literal["old", "new"]) -> tuple[Literal["old", "new", "equal"] | None, str]:
    """Return the better model and the reason; None for a reply that names neither."""
    try:
        reply = reply_object(text)
    except GraderReplyError:
        return None, ""
    second: Literal["old", "new"] = "new" if first == "old" else "old"
    words: Mapping[str, Literal["old", "new", "equal"]] = {"first": first, "second": second, "equal": "equal"}
    return words.get(str(reply.get("better", "")).strip().lower()), reason_of(reply)
