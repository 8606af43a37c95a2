"""A rollback in words: what a process said last, what changed in a registry.

In: a heartbeat, a registry's own keys. Out: short texts. Must never know the screen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from flowai.registry.edit import OwnKeys
    from flowai.state import Heartbeat


def changed_keys(own: OwnKeys, wanted: OwnKeys) -> list[str]:
    """Say in words what changes in the registry."""
    told = ["rollout ended"] if own.rollout is not None and wanted.rollout is None else []
    told += [f"current: {wanted.current}"] if own.current != wanted.current else []
    added = [name for name in wanted.bad if name not in own.bad]
    return [*told, *([f"bad: {', '.join(added)}"] if added else [])]


def last_words(beat: Heartbeat, now: datetime) -> str:
    """Say who a process is, and what it said last."""
    serves = beat.release if beat.candidate is None else f"{beat.release} and {beat.candidate}"
    return f"{beat.process} on {beat.host} (pid {beat.pid}) serves {serves}, heard {_ago(now - beat.at)} ago"


def _ago(passed: timedelta) -> str:
    """Give a short span of time (`4 s`, `3 min`)."""
    passed_s = max(0.0, passed.total_seconds())
    return f"{passed_s:.0f} s" if passed_s < 100 else f"{passed_s / 60:.0f} min"  # noqa: PLR2004 - as people say it
