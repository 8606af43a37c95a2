"""An event log of judged calls."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NOON = datetime(2026, 5, 2, 12, 0, tzinfo=UTC)

TOPICS = ("the harbour", "a lighthouse", "winter wheat", "old bridges", "the night train", "river ferries", "bee hives")
VERBS = ("closes", "was painted", "grew", "needs repair", "was sold", "opened again", "is measured")


def sentence(number: int) -> str:
    """Return a sentence that is unique to the number."""
    topic, verb = TOPICS[number % len(TOPICS)], VERBS[number // len(TOPICS) % len(VERBS)]
    words = " ".join(f"item{(number * 7919 + place * 104729) % 100_003}" for place in range(12))
    return f"A note says {topic} {verb}, with {words}."


def call_line(number: int, **changes: Any) -> dict[str, Any]:
    """Return the log line of a call of the feature `chat`."""
    at = NOON + timedelta(seconds=number)
    request = changes.pop("request", f"Repeat this. {sentence(number)}")
    messages = changes.pop("messages", [{"role": "user", "content": request}])
    output = changes.pop("output", sentence(number))
    line = {
        "kind": "call",
        "schema_version": 1,
        "call_id": f"c{number}",
        "at": at.isoformat().replace("+00:00", "Z"),
        "origin": "library",
        "user_hash": f"u{number}",
        "feature": "chat",
        "release": "v1",
        "prompt_id": "prompts/echo_v1",
        "prompt_hash": "3fa91c",
        "requested_model": "m",
        "latency_ms": 100.0,
        "finish_reason": "stop",
        "content": {"messages": messages, "output": output},
    }
    return {**line, **changes}


def said_line(number: int, verdict: str, text: str | None = None, **changes: Any) -> dict[str, Any]:
    """Return the log line of a user's feedback on a call."""
    at = NOON + timedelta(seconds=number + 5)
    line = {
        "kind": "feedback",
        "schema_version": 1,
        "call_id": f"c{number}",
        "at": at.isoformat().replace("+00:00", "Z"),
        "origin": "library",
        "verdict": verdict,
        "text": text,
        "feature": "chat",
    }
    return {**line, **changes}


def write_log(directory: Path, lines: Iterable[dict[str, Any]], name: str = "one") -> None:
    """Write lines as a process would."""
    path = directory / f"dt={NOON.date().isoformat()}" / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(line) + "\n" for line in lines)
