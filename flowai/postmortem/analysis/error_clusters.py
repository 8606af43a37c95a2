"""Joins error messages that differ only in numbers, ids and names into clusters."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowai.postmortem.analysis.records import Cluster
from flowai.timestamps import format_us

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_PATTERN_CHARS = 240
_MASKS = re.compile(
    r"""(?P<quoted>"[^"\n]{0,400}"|'[^'\n]{1,400}'(?!\w)|`[^`\n]{1,400}`)
    |(?P<url>\bhttps?://[^\s"'<>]+)
    |(?P<id>\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b|\b[A-Za-z]{2,12}[-_](?=\w*\d)[A-Za-z0-9_-]{6,}\b)
    |(?P<hex>\b0x[0-9a-fA-F]+\b|\b(?=[0-9a-fA-F]*\d)(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{6,}\b)
    |(?P<number>[-+]?\d+(?:[.,:]\d+)*)""",
    re.VERBOSE,
)
_MARKS = {"quoted": "<text>", "url": "<url>", "id": "<id>", "hex": "<hex>", "number": "<n>"}


@dataclass(frozen=True, slots=True)
class MessageCount:
    """Frequency of an error message."""

    error_class: str
    message: str
    """Empty if the error has none."""
    provider: str
    """Provider of the first attempt."""
    count: int
    baseline_count: int
    users: tuple[int, ...]
    """Hashes of users of the incident."""
    first_us: int | None
    """First call of the incident, microseconds since 1970; None if the baseline alone has the message."""
    last_us: int | None


@dataclass(slots=True)
class _ClusterBuilder:
    example: str
    count: int = 0
    baseline_count: int = 0
    users: set[int] = field(default_factory=set)
    providers: dict[str, int] = field(default_factory=dict)
    moments: list[int] = field(default_factory=list)


def mask(message: str) -> str:
    """Replace the variable parts of a message: quoted text, addresses, ids, hexadecimals, numbers."""
    text = " ".join(message[: 4 * MAX_PATTERN_CHARS].split())
    masked = _MASKS.sub(lambda match: _MARKS[match.lastgroup or "number"], text)
    return masked if len(masked) <= MAX_PATTERN_CHARS else masked[: MAX_PATTERN_CHARS - 3] + "..."


def cluster(messages: Iterable[MessageCount], *, redact: Callable[[str], str]) -> tuple[Cluster, ...]:
    """Join messages into clusters, without secrets; those of the baseline alone are left out."""
    builders: dict[tuple[str, str], _ClusterBuilder] = {}
    for one in messages:
        message = redact(one.message)
        builder = builders.setdefault((one.error_class, mask(message)), _ClusterBuilder(example=message))
        builder.count += one.count
        builder.baseline_count += one.baseline_count
        builder.users.update(one.users)
        builder.moments += [moment for moment in (one.first_us, one.last_us) if moment is not None]
        if one.count:
            builder.providers[one.provider] = builder.providers.get(one.provider, 0) + one.count
            if not builder.example or 0 < len(message) < len(builder.example):
                builder.example = message
    clusters = [_build_cluster(key, builder) for key, builder in builders.items() if builder.count]
    return tuple(sorted(clusters, key=lambda one: (-one.count, one.error_class, one.pattern)))


def _build_cluster(key: tuple[str, str], builder: _ClusterBuilder) -> Cluster:
    error_class, pattern = key
    return Cluster(
        error_class=error_class,
        pattern=pattern,
        count=builder.count,
        baseline_count=builder.baseline_count,
        user_count=len(builder.users),
        providers=tuple(sorted(builder.providers, key=lambda name: (-builder.providers[name], name))),
        first_at=format_us(min(builder.moments)),
        last_at=format_us(max(builder.moments)),
        example=builder.example[: 4 * MAX_PATTERN_CHARS],
    )
