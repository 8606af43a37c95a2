"""Samples logged production requests of a feature: stratified by release, variant and day, content as logged."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from flowai.analytics.call_list import open_calls, parse_attempts, range_until_now
from flowai.analytics.event_query import IS_CALL
from flowai.events import Content
from flowai.providers.endpoint_price import CHARACTERS_PER_TOKEN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowai.analytics.event_query import Log
    from flowai.providers.client import ChatMessage
    from flowai.workspace.workspace import Workspace

_KEYS = ("call_id", "feature", "release", "variant")
_COLUMNS = (*_KEYS, "attempts", "degraded", "cache", "input_tokens", "error_class", "content")
_HAS_CONTENT = f"{IS_CALL} AND origin IN ('library', 'serve') AND feature = $feature AND content IS NOT NULL"
"""Calls of users whose request is stored."""


class LoggedRequest(NamedTuple):
    """A logged request, and its answer if the old model gave it."""

    call_id: str
    release: str
    variant: str
    day: str
    messages: tuple[ChatMessage, ...]
    old_output: str | None
    """Answer of the old model; None if another model, a cache or nothing answered."""
    input_tokens: int
    """As reported, else estimated."""


class RequestSample(NamedTuple):
    """Sample of a feature's logged requests."""

    requests: tuple[LoggedRequest, ...]
    total_count: int
    """Requests with content in the time range."""


def sample_requests(workspace: Workspace, feature: str, old: str, *, count: int, since: str) -> RequestSample:
    """Return a sample; the same log gives the same sample.

    Args:
        workspace: the project.
        feature: the feature.
        old: name of the old model in the registry.
        count: number of requests.
        since: start of the time range, as typed.

    Raises:
        UsageError: `since` is no time.
        InfrastructureError: the log cannot be read.
    """
    time_range = range_until_now(workspace.context, since)
    with open_calls(workspace, time_range, _COLUMNS) as log:
        keys = log.fetch(
            f"SELECT DISTINCT call_id, coalesce(release, '-'), coalesce(variant, '-'), strftime(\"at\", '%Y-%m-%d')"  # noqa: S608 - conditions of ours
            f" FROM lines WHERE {_HAS_CONTENT}",
            {"feature": feature},
        )
        chosen = stratified_sample({str(key[0]): tuple(map(str, key[1:])) for key in keys}, count)
        requests = _read(log, feature, old, chosen)
    return RequestSample(tuple(requests[call_id] for call_id in chosen if call_id in requests), len(keys))


def stratified_sample(strata: Mapping[str, tuple[str, ...]], count: int) -> tuple[str, ...]:
    """Return ids, from each stratum as many as its share; by a hash of the ids, so that no result decides.

    Every stratum gives one before any gives its second, as far as `count` allows.
    """
    members: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for call_id in sorted(strata, key=_hash):
        members[strata[call_id]].append(call_id)
    total = len(strata)
    shares = {name: count * len(ids) / total for name, ids in members.items()}
    taken = {name: min(len(members[name]), max(1, int(share))) for name, share in shares.items()}
    by_size = sorted(members, key=lambda name: (shares[name] - taken[name], _hash("".join(name))))
    while sum(taken.values()) > count:
        largest = max(taken, key=lambda name: (taken[name], name))
        taken[largest] -= 1
    for name in reversed(by_size):
        if sum(taken.values()) >= min(count, total):
            break
        taken[name] += min(1, len(members[name]) - taken[name])
    for name, ids in members.items():  # rounding may leave some
        missing = min(count, total) - sum(taken.values())
        taken[name] += max(0, min(missing, len(ids) - taken[name]))
    return tuple(sorted((call_id for name, ids in members.items() for call_id in ids[: taken[name]]), key=_hash))


def _read(log: Log, feature: str, old: str, chosen: Sequence[str]) -> dict[str, LoggedRequest]:
    rows = log.fetch(
        "SELECT call_id, coalesce(release, '-'), coalesce(variant, '-'), strftime(\"at\", '%Y-%m-%d'), attempts,"  # noqa: S608 - conditions of ours
        f" degraded, cache, input_tokens, error_class, content FROM lines WHERE {_HAS_CONTENT}"
        " AND list_contains($ids, call_id)",
        {"feature": feature, "ids": list(chosen)},
    )
    found = {}
    for call_id, release, variant, day, attempts, degraded, cache, input_tokens, error_class, raw in rows:
        content = msgspec.json.decode(raw, type=Content)
        answered = [attempt.model for attempt in parse_attempts(attempts) if attempt.status == "ok"]
        is_old = answered[-1:] == [old] and not degraded and cache == "miss" and error_class is None
        characters = sum(len(str(message.get("content", ""))) for message in content.messages)
        found[call_id] = LoggedRequest(
            call_id=call_id,
            release=release,
            variant=variant,
            day=day,
            messages=content.messages,
            old_output=content.output if is_old else None,
            input_tokens=input_tokens or int(characters / CHARACTERS_PER_TOKEN),
        )
    return found


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
