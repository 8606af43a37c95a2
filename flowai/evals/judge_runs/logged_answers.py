"""Logged answers that a judge has not judged yet: a fixed sample, the same number from each feature and release."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.analytics.call_list import open_calls
from flowai.analytics.event_query import IS_CALL, IS_SCORE, literal
from flowai.events import Content

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flowai.analytics.event_query import Log, TimeRange
    from flowai.workspace.workspace import Workspace

_COLUMNS = ("feature", "release", "error_class", "content", "name", "passed", "judge_hash")
_ANSWERS = f"{IS_CALL} AND origin IN ('library', 'serve') AND error_class IS NULL"
_BATCH = 200
_CONTEXT_ROLES = frozenset({"system", "developer", "user", "tool"})

Stratum = tuple[str, str]
"""Feature and release; `-` for none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedAnswer:
    """An answer with the text that it was made from."""

    call_id: str
    stratum: Stratum
    context: str
    """All texts of the request but earlier answers."""
    request: str
    """The last message of the user."""
    output: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedSample:
    """Answers to judge, and counts by stratum."""

    answers: tuple[LoggedAnswer, ...]
    call_counts: Mapping[Stratum, int]
    """Answered calls."""
    unlogged_counts: Mapping[Stratum, int]
    """Those whose content was not logged."""
    sampled_counts: Mapping[Stratum, int]
    scored_counts: Mapping[Stratum, int]
    """Sampled answers that this judge has scored before."""
    textless_counts: Mapping[Stratum, int]
    """Sampled answers without text, or whose request has none."""


def read_sample(
    workspace: Workspace, time_range: TimeRange, *, name: str, judge_hash: str, max_count: int, feature: str | None
) -> LoggedSample:
    """Choose answers of the event log.

    The choice depends on the call ids alone, so that the same command continues an interrupted one.

    Raises:
        InfrastructureError: the log cannot be read.
    """
    with open_calls(workspace, time_range, _COLUMNS) as log:
        calls: dict[Stratum, list[str]] = defaultdict(list)
        counts: Counter[Stratum] = Counter()
        unlogged: Counter[Stratum] = Counter()
        for call_id, stratum, has_content in _calls(log, feature):
            counts[stratum] += 1
            if has_content:
                calls[stratum].append(call_id)
            else:
                unlogged[stratum] += 1
        chosen = choose(calls, max_count)
        scored = _scored(log, name, judge_hash)
        waiting = {call_id: stratum for stratum, ids in chosen.items() for call_id in ids if call_id not in scored}
        textless: Counter[Stratum] = Counter()
        answers = []
        for call_id, content in _contents(log, list(waiting)):
            answer = _logged_answer(call_id, waiting[call_id], content)
            if answer is None:
                textless[waiting[call_id]] += 1
            else:
                answers.append(answer)
    return LoggedSample(
        answers=tuple(sorted(answers, key=lambda one: _order(one.call_id))),
        call_counts=counts,
        unlogged_counts=unlogged,
        sampled_counts={stratum: len(ids) for stratum, ids in chosen.items()},
        scored_counts={stratum: sum(one in scored for one in ids) for stratum, ids in chosen.items()},
        textless_counts=textless,
    )


def choose(calls: Mapping[Stratum, Iterable[str]], max_count: int) -> dict[Stratum, list[str]]:
    """Choose about as many calls of each stratum; what a small stratum lacks goes to the others."""
    ordered = {stratum: sorted(set(ids), key=_order) for stratum, ids in calls.items()}
    chosen: dict[Stratum, list[str]] = {}
    left = max_count
    for index, (stratum, ids) in enumerate(sorted(ordered.items(), key=lambda item: (len(item[1]), item[0]))):
        share = -(-left // (len(ordered) - index))
        chosen[stratum] = ids[: min(share, left)]
        left -= len(chosen[stratum])
    return dict(sorted(chosen.items()))


def _order(call_id: str) -> bytes:
    return hashlib.sha256(call_id.encode(errors="surrogatepass")).digest()


def _calls(log: Log, feature: str | None) -> Iterable[tuple[str, Stratum, bool]]:
    condition = "" if feature is None else f" AND feature = {literal(feature)}"
    rows = log.fetch(
        "SELECT call_id, any_value(feature), any_value(release), bool_or(content IS NOT NULL AND content <> 'null') "  # noqa: S608 - conditions of ours
        f"FROM lines WHERE {_ANSWERS}{condition} GROUP BY call_id"
    )
    for call_id, name, release, has_content in rows:
        yield call_id, (name or "-", release or "-"), bool(has_content)


def _scored(log: Log, name: str, judge_hash: str) -> frozenset[str]:
    rows = log.fetch(
        f"SELECT DISTINCT call_id FROM lines WHERE {IS_SCORE} AND name = $name AND judge_hash = $judge_hash",  # noqa: S608 - a condition of ours
        {"name": name, "judge_hash": judge_hash},
    )
    return frozenset(row[0] for row in rows)


def scored_calls(
    workspace: Workspace, time_range: TimeRange, *, feature: str, name: str, judge_hash: str
) -> dict[str, bool]:
    """Return whether each call of a feature passed, by the last score of this very judge.

    Raises:
        InfrastructureError: the log cannot be read.
    """
    with open_calls(workspace, time_range, _COLUMNS) as log:
        rows = log.fetch(
            f'SELECT call_id, arg_max(passed, "at") FROM lines WHERE {IS_SCORE} AND name = $name'  # noqa: S608 - conditions of ours
            f" AND judge_hash = $judge_hash AND call_id IN (SELECT call_id FROM lines WHERE {_ANSWERS}"
            " AND feature = $feature) GROUP BY call_id",
            {"name": name, "judge_hash": judge_hash, "feature": feature},
        )
        return {str(call_id): bool(passed) for call_id, passed in rows}


def _contents(log: Log, call_ids: list[str]) -> Iterable[tuple[str, str]]:
    for start in range(0, len(call_ids), _BATCH):
        names = ", ".join(map(literal, call_ids[start : start + _BATCH]))
        yield from log.fetch(
            f"SELECT call_id, any_value(content) FROM lines WHERE {_ANSWERS} AND call_id IN ({names}) "  # noqa: S608 - quoted above
            "AND content IS NOT NULL GROUP BY call_id"
        )


def _logged_answer(call_id: str, stratum: Stratum, raw: str) -> LoggedAnswer | None:
    try:
        content = msgspec.json.decode(raw, type=Content)
    except msgspec.DecodeError:  # a log that another program wrote
        return None
    texts = [(message.get("role"), _text(message.get("content"))) for message in content.messages]
    context = "\n\n".join(text for role, text in texts if role in _CONTEXT_ROLES and text)
    output = (content.output or "").strip()
    if not output or not context:
        return None
    request = next((text for role, text in reversed(texts) if role == "user" and text), "")
    return LoggedAnswer(call_id=call_id, stratum=stratum, context=context, request=request, output=output)


def _text(content: Any) -> str:  # noqa: ANN401 - a text, or OpenAI's list of parts
    if isinstance(content, str):
        return content.strip()
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, dict))
    return "\n".join(part for part in parts if isinstance(part, str)).strip()
