"""Notices of models that are retired soon: one for each model, and another one when it becomes an error.

They are stored with the incidents, so that a restarted watch does not repeat them.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from flowai.errors import FlowaiError
from flowai.events import AlertEvent, EventLog
from flowai.events.lake.catalog import has_file_for_day
from flowai.notifications.records import Alert
from flowai.notifications.routing import deliveries
from flowai.providers import PriceTable
from flowai.registry.retirement import retirements

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from flowai.notifications.outbox import Outbox
    from flowai.registry.retirement import Retirement
    from flowai.watch.session import ObservedRelease

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")


class RetirementNotice(msgspec.Struct, frozen=True, kw_only=True):
    """A notice of one model."""

    model: str
    """Name in the registry."""
    litellm_model: str
    end_date: str
    """`2027-01-14`."""
    severity: Literal["warn", "fail"]
    """By `policies.retirement`, at the time of the notice."""
    text: str
    """Secrets redacted."""
    at: datetime
    """RFC 3339, UTC."""
    is_queued: bool = False
    """Whether its message is queued and in the event log."""
    is_over: bool = False
    """Whether the release no longer has the model, or the model no end date; kept until its message is queued."""

    def is_of(self, found: Retirement) -> bool:
        """Return whether this notice is about a retirement, at its severity."""
        return self == msgspec.structs.replace(
            self,
            model=found.model,
            litellm_model=found.litellm_model,
            end_date=found.end_date.isoformat(),
            severity=found.severity,
        )


class NoticeChanges(NamedTuple):
    """Notices after a check, and the new ones among them."""

    notices: tuple[RetirementNotice, ...]
    new: tuple[RetirementNotice, ...]


class RetirementCheck:
    """Finds the models of the serving release and of a rollout's candidate that are retired soon.

    Args:
        prices: LiteLLM's price table; default the installed one.
    """

    def __init__(self, prices: PriceTable | None = None) -> None:
        self._prices = prices or PriceTable()
        self._key: tuple[int, tuple[str, ...], date] | None = None
        self._found: tuple[Retirement, ...] = ()
        self._observed: ObservedRelease | None = None

    def update(self, notices: Iterable[RetirementNotice], observed: ObservedRelease, now: datetime) -> NoticeChanges:
        """Compare the notices with the models of today."""
        known = [notice for notice in notices if not notice.is_over]
        over = [notice for notice in notices if notice.is_over]
        found = self._find(observed, now.date())
        kept, new = [], []
        for retirement in found:
            same = next((notice for notice in known if notice.is_of(retirement)), None)
            if same is None:
                new.append(_notice(retirement, observed, now))
            kept.append(same or new[-1])
        models = {notice.model for notice in kept}
        over += [msgspec.structs.replace(one, is_over=True) for one in known if one.model not in models]
        return NoticeChanges(notices=(*kept, *over), new=tuple(new))

    def _find(self, observed: ObservedRelease, today: date) -> tuple[Retirement, ...]:
        """Return the models, found anew when registry, releases or day change."""
        key = (id(observed.registry), observed.releases, today)
        if key != self._key:
            self._found = retirements(observed.registry, observed.releases, today=today, prices=self._prices)
            self._key, self._observed = key, observed  # held, so that another registry has another identity
        return self._found


class NoticeQueue:
    """Queues the messages of notices and writes them to the event log, each once, even if a watch is killed."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def queue(self, observed: ObservedRelease, notices: Iterable[RetirementNotice], now: datetime) -> tuple[str, ...]:
        """Queue all messages that are not queued yet; return the problems."""
        problems: dict[str, None] = {}
        for notice in notices:
            try:
                if not notice.is_queued:
                    self._send(observed, notice, "trigger", notice.at)
                    _log(observed, notice)
                if notice.is_over:
                    self._send(observed, notice, "resolve", now)
            except FlowaiError as error:
                problems[f"the notice of a retired model is not queued yet: {error}"] = None
        return tuple(problems)

    def _send(
        self, observed: ObservedRelease, notice: RetirementNotice, action: Literal["trigger", "resolve"], at: datetime
    ) -> None:
        is_over = action == "resolve"
        alert = Alert(
            cause=_cause(observed, notice),
            action=action,
            summary=f"no longer used, or no longer retired: {notice.text}" if is_over else notice.text,
            severity="error" if notice.severity == "fail" else "warning",
            source=f"flowai {observed.source.environment or 'default'}",
            at=at,
            details={"model": notice.litellm_model, "end_date": notice.end_date, "severity": notice.severity},
        )
        name = f"{_name(observed, notice)}/{action}"
        self._outbox.queue(deliveries(alert, observed.registry.alerts, id=name))


def after_queueing(notices: Iterable[RetirementNotice]) -> tuple[RetirementNotice, ...]:
    """Return the notices to keep once all messages are queued."""
    return tuple(msgspec.structs.replace(notice, is_queued=True) for notice in notices if not notice.is_over)


def _notice(found: Retirement, observed: ObservedRelease, now: datetime) -> RetirementNotice:
    return RetirementNotice(
        model=found.model,
        litellm_model=found.litellm_model,
        end_date=found.end_date.isoformat(),
        severity=found.severity,
        text=observed.redactor.text(found.text),
        at=now,
    )


def _cause(observed: ObservedRelease, notice: RetirementNotice) -> str:
    return observed.redactor.text(f"flowai/{observed.source.environment or 'default'}/model/{notice.model}")


def _name(observed: ObservedRelease, notice: RetirementNotice) -> str:
    """Return the id of a notice's messages: a later notice of the same model has another one."""
    cause = _NOT_IN_NAMES.sub("-", _cause(observed, notice))[:100]
    return f"watch-{cause}-{notice.severity}-{notice.at:%Y%m%dT%H%M%S.%fZ}"


def _log(observed: ObservedRelease, notice: RetirementNotice) -> None:
    """Write a notice into a file of its own in the event log; the next process sees by the file that it is there."""
    name = _name(observed, notice)
    if has_file_for_day(observed.events, name, notice.at):
        return
    release = observed.releases[0] if observed.releases else None
    event = AlertEvent(at=notice.at, cause="retirement", message=notice.text, model=notice.model, release=release)
    with EventLog(observed.events, name, observed.redactor, lambda: notice.at) as log:
        log.append(event)
