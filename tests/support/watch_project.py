"""A project whose calls are made up, a watch over it whose clock stands, and a receiver of its alerts.

In: calls as counts. Out: what each look found, what was posted. Must never know what is right.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from flowai.events import Attempt, CallEvent, EventLog
from flowai.redaction import Redactor
from flowai.watch.records import WatchOptions
from flowai.watch.watcher import Watcher
from flowai.workspace.workspace import CommandContext
from support.release_project import NOON, ReleaseProject

if TYPE_CHECKING:
    from flowai.watch.records import WatchEvent, WatchTick
    from support.alert_receiver import AlertReceiver

RECEIVERS = 'alerts: {pagerduty: "${PD_KEY}", webhook: "${HOOK}"}'
KEY = "r0ut1ngk3y5e6f7a8b9c0d1e2f3a4b5c"


def environ_of(receiver: AlertReceiver) -> dict[str, str]:
    """Give the variables by which alerts reach a receiver."""
    return {"PD_KEY": KEY, "HOOK": receiver.url, "PAGERDUTY_EVENTS_URL": receiver.url}


@dataclass(kw_only=True)
class World:
    """What a watch sees.

    Args:
        project: the project.
        receiver: where alerts arrive.
        now: the time.
        options: of the watches that `tick` opens.
    """

    project: ReleaseProject
    receiver: AlertReceiver
    now: datetime = NOON
    options: WatchOptions = field(default_factory=WatchOptions)
    happened: list[WatchEvent] = field(default_factory=list)
    _watch: Watcher | None = None
    _count: int = 0

    def log(self, process: str = "web-1") -> EventLog:
        """Give the log of a process."""
        return EventLog(self.project.root / ".flowai" / "events", process, Redactor(()), lambda: self.now)

    def calls(self, count: int, *, failed: int = 0, ago_s: float = 1.0, **changes: Any) -> None:
        """Log calls, each of a user of its own; the first ones fail."""
        facts = {"provider": "openai", "feature": "chat", "release": "v1", **changes}
        with self.log() as log:
            for number in range(count):
                self._count += 1
                log.append(self.event(number < failed, ago_s, **facts))

    def event(self, is_failed: bool, ago_s: float, **facts: Any) -> CallEvent:
        """Give a call."""
        status: Any = "error" if is_failed else "ok"
        attempt = Attempt(model="m", provider=facts["provider"], status=status)
        return CallEvent(
            call_id=f"call-{self._count}",
            at=self.now - timedelta(seconds=ago_s),
            requested_model="m",
            latency_ms=800.0,
            attempts=(attempt,),
            error_class="ServerError" if is_failed else None,
            **{"origin": "library", "user_hash": f"user-{self._count}", **facts},
        )

    def both_arms(self, *, canary: tuple[int, int], stable: tuple[int, int], **changes: Any) -> None:
        """Log calls of a rollout: how many, and how many of them failed."""
        self.calls(canary[0], failed=canary[1], **{"release": "v2", "variant": "canary", **changes})
        self.calls(stable[0], failed=stable[1], **{"release": "v1", "variant": "stable", **changes})

    @property
    def context(self) -> CommandContext:
        """Give where the watch stands."""
        return CommandContext(
            directory=self.project.root,
            user="ann@h1",
            environ=environ_of(self.receiver),
            now=lambda: self.now,
            clock_s=self._clock_s,
        )

    def _clock_s(self) -> float:
        return self.now.timestamp()

    def tick(self, *, later_s: float = 0.0, restarted: bool = False) -> WatchTick:
        """Let time pass, and look."""
        self.now += timedelta(seconds=later_s)
        if restarted:
            self.close()
        if self._watch is None:
            self._watch = Watcher(self.context, self.options)
        tick = self._watch.tick()
        self.happened += tick.events
        return tick

    def close(self) -> None:
        """End the watch."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def said(self, *what: str) -> list[str]:
        """Give what happened so far, in words."""
        return [one.message for one in self.happened if one.event in what]

    @property
    def paged(self) -> list[tuple[str, str]]:
        """What PagerDuty got: action and key."""
        return [
            (one["event_action"], one["dedup_key"]) for one in self.receiver.posted if one.get("routing_key") == KEY
        ]
