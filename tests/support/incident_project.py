"""A project after an incident: its releases, its ledger, and an event log in which something broke.

In: what broke. Out: files on disk. Must never know how it is found.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.events import CallEvent, FeedbackEvent
from flowai.events.records import Attempt, Content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flowai.events import Event

BEGIN = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)
"""When the rollout began; the log begins three hours earlier."""
LEFT = BEGIN + timedelta(hours=1)
"""When it was rolled back; the log ends an hour later."""

REGISTRY = """\
schema_version: 1
models:
  mini: {model: openai/gpt-4o-mini}
  haiku: {model: anthropic/claude-haiku}
features:
  chat: {log_content: redacted}
  extract: {log_content: redacted}
releases:
  v1:
    chat: {prompt: prompts/chat_v1, model: mini}
    extract: {prompt: prompts/extract_v1, model: mini}
  v2:
    extends: v1
    extract: {prompt: prompts/extract_v2, params: {temperature: 0.7}}
current: v1
history: [v1]
bad: [v2]
"""
PROMPT = """\
---
input: {{schema: {{text: string}}}}
---
{{{{role "system"}}}}Version {version}.{{{{role "user"}}}}{{{{text}}}}"""

Facts = dict[str, Any]


def no_change(_facts: Facts, _rng: random.Random) -> None:
    """Break nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Day:
    """A log.

    Args:
        calls_count: calls of its five hours.
        breaks: changes the facts of a call of the incident; `text` is what its user says.
        everywhere: changes the facts of every call.
        has_content: whether content is kept.
        has_baseline: whether there are calls before the incident.
        feedback_rate: share of answers that are judged.
        seed: of its chance.
    """

    calls_count: int = 6000
    breaks: Callable[[Facts, random.Random], None] = no_change
    everywhere: Callable[[Facts, random.Random], None] = no_change
    has_content: bool = True
    has_baseline: bool = True
    feedback_rate: float = 0.0
    seed: int = 1
    rates: dict[str, float] = field(default_factory=lambda: {"error": 0.01, "bad_json": 0.01})


def events_of(day: Day) -> Iterator[Event]:
    """Give the events of a log, in order of time."""
    rng = random.Random(day.seed)  # noqa: S311 - a simulation
    begin = BEGIN - timedelta(hours=3)
    for number in range(day.calls_count):
        at = begin + number * timedelta(hours=5) / day.calls_count
        facts = _facts(rng, at, day)
        if BEGIN <= at < LEFT:
            day.breaks(facts, rng)
        day.everywhere(facts, rng)
        if at < BEGIN and not day.has_baseline:
            continue
        call = _call(f"call-{day.seed}-{number:06d}", at, facts, has_content=day.has_content)
        yield call
        if call.error_class is None and rng.random() < day.feedback_rate:
            verdict: Any = "rejected" if facts["is_rejected"] else "accepted"
            yield FeedbackEvent(call_id=call.call_id, at=at + timedelta(seconds=30), origin="library", verdict=verdict)


def _facts(rng: random.Random, at: datetime, day: Day) -> Facts:
    feature = rng.choice(("chat", "extract"))
    release = "v2" if BEGIN <= at < LEFT and rng.random() < 0.3 else "v1"
    has_failed = rng.random() < day.rates["error"]
    return {
        "feature": feature,
        "release": release,
        "variant": {"v1": "stable", "v2": "canary"}[release] if BEGIN <= at < LEFT else None,
        "prompt_id": f"prompts/{feature}_{release if feature == 'extract' else 'v1'}",
        "requested_model": rng.choice(("mini", "haiku")),
        "tenant": f"t{rng.randrange(8)}",
        "user_hash": f"u{rng.randrange(4000)}",
        "session": f"s{rng.randrange(6000)}",
        "input_tokens": round(rng.lognormvariate(6, 0.8)),
        "output_tokens": round(rng.lognormvariate(5, 0.4)),
        "latency_ms": rng.lognormvariate(6.8, 0.4),
        "finish_reason": "stop",
        "json_valid": None if feature == "chat" else rng.random() >= day.rates["bad_json"],
        "error_class": "ServerError" if has_failed else None,
        "error_message": f"upstream said 503, request {rng.randrange(10**6)}" if has_failed else None,
        "text": f"the order {rng.randrange(10**5)} of a customer and the rest of it",
        "output": '{"total": 12}',
        "is_rejected": rng.random() < 0.3,
    }


def _call(call_id: str, at: datetime, facts: Facts, *, has_content: bool) -> CallEvent:
    shown = {key: value for key, value in facts.items() if key not in {"text", "output", "is_rejected", "provider"}}
    provider = facts.get("provider") or {"mini": "openai", "haiku": "anthropic"}[facts["requested_model"]]
    if facts["error_class"]:
        shown |= {"json_valid": None, "finish_reason": None, "output_tokens": None}
    version = "2" if str(facts["prompt_id"]).endswith("v2") else "1"
    messages = ({"role": "system", "content": f"Version {version}."}, {"role": "user", "content": facts["text"]})
    output = None if facts["error_class"] else facts["output"]
    status: Any = "error" if facts["error_class"] else "ok"
    attempt = Attempt(model=facts["requested_model"], provider=provider, status=status, at_ms=0.0, latency_ms=1.0)
    tokens = facts["input_tokens"] / 4 + (0 if facts["error_class"] else facts["output_tokens"])
    return CallEvent(
        call_id=call_id,
        at=at,
        **{
            "cost_usd": tokens * 1e-6,
            "origin": "library",
            "attempts": (attempt,),
            "provider": provider,
            "is_sticky": True,
        }
        | {"content": Content(messages=messages, output=output) if has_content else None}
        | shown,
    )


def write_log(directory: Path, day: Day, *, process: str = "web-1") -> Path:
    """Write a log of one file."""
    path = directory / f"dt={BEGIN.date()}" / f"{process}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in events_of(day)))
    return path


def ledger_lines() -> list[Facts]:
    """Give the ledger: published, and rolled back an hour later."""
    steps: list[Facts] = [
        {"id": "a", "at": BEGIN, "actor": "ann@build", "action": "publish", "to_stage": 30},
        {
            "id": "b",
            "at": LEFT,
            "actor": "bob@host",
            "action": "rollback",
            "serving": "v1",
            "rolled_back": ["v2"],
            "from_stage": 30,
            "reason": "INC-7",
        },
    ]
    return [{"schema_version": 1, "release": "v2", **step, "at": step["at"].isoformat()} for step in steps]


def write_project(root: Path) -> None:
    """Write the project without its log."""
    (root / "prompts").mkdir(parents=True, exist_ok=True)
    (root / "registry.yaml").write_text(REGISTRY, encoding="utf-8")
    for name, version in (("chat_v1", 1), ("extract_v1", 1), ("extract_v2", 2)):
        (root / f"prompts/{name}.prompt").write_text(PROMPT.format(version=version), encoding="utf-8")
    ledger = root / ".flowai/ledger/default.jsonl"
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_text("".join(json.dumps(line) + "\n" for line in ledger_lines()), encoding="utf-8")
