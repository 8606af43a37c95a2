"""Circuit breaker of one provider as a pure state machine: the caller passes the time and stores the result.

An unchanged window is returned as the same object, so that stores can skip the write. `breaker.lua` implements the same
rules over the same record; a property test compares both with a third, simpler model. Failures are kept one by one,
calls in buckets: a window of calls is up to a bucket shorter than the rule's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from flowai.state.store import NO_CALLS, BreakerDecision, BreakerView

if TYPE_CHECKING:
    from typing import Literal

    from flowai.state.store import AnsweredCalls, BreakerRule

MAX_BACK_OFF_S = 300.0
"""Upper limit of a back-off, whatever the provider's Retry-After says: five minutes, as long as an open breaker."""
MAX_DOUBLINGS = 30
"""More doublings of any open time exceed every maximum."""
BUCKET_COUNT = 12
"""Buckets of a window of calls: five seconds each in a minute."""


class CallBucket(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Calls of one twelfth of the window."""

    number: int
    """Time since the epoch in widths of a bucket."""
    call_count: int = 0
    """Answered and failed calls."""
    failure_count: int = 0
    slow_count: int = 0
    retry_count: int = 0
    """Admitted repeats."""


class CircuitWindow(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """State of one provider, stored as an array in this order; `breaker.lua` reads and writes the same array."""

    failures_at_s: tuple[float, ...] = ()
    """Counted failures of the last window, oldest first."""
    window_s: float = 0.0
    """Window by which they were counted, seconds."""
    open_until_s: float = 0.0
    """When an open breaker allows a probe; 0 when closed."""
    probe: str = ""
    """Lease of the running probe; empty for none."""
    lease_until_s: float = 0.0
    """When that lease ends; 0 for none."""
    back_offs: tuple[tuple[str, float], ...] = ()
    """Models in back-off, each with its end, in order of their last change."""
    failed_probe_count: int = 0
    """Failed probes since the breaker opened."""
    buckets: tuple[CallBucket, ...] = ()
    """Calls of the last window; empty unless the rule counts calls."""

    def back_off_until_s(self, model: str) -> float:
        """Return the end of a model's back-off; 0 for none."""
        return next((until_s for name, until_s in self.back_offs if name == model), 0.0)


EMPTY_WINDOW = CircuitWindow()
CLOSED_VIEW = BreakerView()


def open_time_s(rule: BreakerRule, *, failed_probe_count: int) -> float:
    """Return how long a breaker stays open until the next probe.

    Each failed probe doubles the time since the breaker opened, so that the waits are open_s, open_s, 2 open_s,
    4 open_s and so on, up to max_open_s: no outage lasts twice as long for callers as it did.
    """
    doublings = min(max(0, failed_probe_count - 1), MAX_DOUBLINGS)
    return float(min(rule.open_s * 2**doublings, max(rule.open_s, rule.max_open_s)))


def admit(
    window: CircuitWindow, rule: BreakerRule, *, model: str, now_s: float, lease: str
) -> tuple[CircuitWindow, BreakerDecision]:
    """Return the next window, which changes only where a probe's lease is taken, and whether the attempt may start."""
    blocked_until_s = max(window.open_until_s, window.lease_until_s, window.back_off_until_s(model))
    if blocked_until_s > now_s:
        return window, BreakerDecision(
            is_admitted=False, reason=_blocked_reason(window, now_s=now_s), retry_in_s=blocked_until_s - now_s
        )
    if not window.open_until_s:
        return window, BreakerDecision(is_admitted=True)
    return (
        replace(window, probe=lease, lease_until_s=now_s + rule.lease_s),
        BreakerDecision(is_admitted=True, probe=lease),
    )


def _blocked_reason(window: CircuitWindow, *, now_s: float) -> Literal["open", "probing", "backing_off"]:
    if window.open_until_s > now_s:
        return "open"
    return "probing" if window.lease_until_s > now_s else "backing_off"


def record_failure(
    window: CircuitWindow,
    rule: BreakerRule,
    *,
    now_s: float,
    probe: str | None = None,
    answered: AnsweredCalls = NO_CALLS,
) -> CircuitWindow:
    """Count a failure: a probe's opens the breaker again, any other counts only while it is closed.

    A failure is in the window for `window_s` seconds, the end excluded.
    """
    if probe is not None:
        if not _holds_probe(window, probe):
            return window
        count = window.failed_probe_count + 1
        open_until_s = now_s + open_time_s(rule, failed_probe_count=count)
        return replace(window, open_until_s=open_until_s, probe="", lease_until_s=0.0, failed_probe_count=count)
    if window.open_until_s:
        return window
    recent = (*(at_s for at_s in window.failures_at_s if at_s > now_s - rule.window_s), now_s)
    buckets = _add_calls(window, rule, now_s=now_s, answered=answered, failure_count=1)
    if buckets:
        recent = recent[-rule.failure_count - 1 :]  # a busy provider may fail often without opening
    return _opened_by_calls(replace(window, failures_at_s=recent, window_s=rule.window_s, buckets=buckets), rule, now_s)


def record_calls(window: CircuitWindow, rule: BreakerRule, *, now_s: float, answered: AnsweredCalls) -> CircuitWindow:
    """Count answered calls while the breaker is closed; too many slow ones open it."""
    if window.open_until_s or not rule.counts_calls or not answered.call_count:
        return window
    buckets = _add_calls(window, rule, now_s=now_s, answered=answered)
    return _opened_by_calls(replace(window, window_s=rule.window_s, buckets=buckets), rule, now_s)


def admit_retry(
    window: CircuitWindow, rule: BreakerRule, *, now_s: float, answered: AnsweredCalls
) -> tuple[CircuitWindow, bool]:
    """Return the next window, and whether a call may be repeated: a share of the calls, but at least `min_retries`."""
    if rule.retry_rate is None:
        return window, True
    if window.open_until_s:
        return window, False
    buckets = _add_calls(window, rule, now_s=now_s, answered=answered)
    calls, retries = sum(each.call_count for each in buckets), sum(each.retry_count for each in buckets)
    is_admitted = retries + 1 <= max(rule.min_retries, rule.retry_rate * calls)
    counted = replace(window, window_s=rule.window_s, buckets=buckets)
    if is_admitted:
        counted = replace(counted, buckets=_add_calls(counted, rule, now_s=now_s, answered=NO_CALLS, retry_count=1))
    return counted, is_admitted


def _add_calls(
    window: CircuitWindow,
    rule: BreakerRule,
    *,
    now_s: float,
    answered: AnsweredCalls,
    failure_count: int = 0,
    retry_count: int = 0,
) -> tuple[CallBucket, ...]:
    """Return the buckets of the last window with more calls in the current one."""
    if not rule.counts_calls:
        return ()
    number = math.floor(now_s / (rule.window_s / BUCKET_COUNT))
    known = window.buckets if window.window_s == rule.window_s else ()
    current = next((each for each in known if each.number == number), CallBucket(number=number))
    current = CallBucket(
        number=number,
        call_count=current.call_count + answered.call_count + failure_count,
        failure_count=current.failure_count + failure_count,
        slow_count=current.slow_count + answered.slow_count,
        retry_count=current.retry_count + retry_count,
    )
    return (*(each for each in known if each.number > number - BUCKET_COUNT and each.number != number), current)


def _opened_by_calls(window: CircuitWindow, rule: BreakerRule, now_s: float) -> CircuitWindow:
    """Open a closed breaker if its failures or its slow calls are too many."""
    call_count = sum(each.call_count for each in window.buckets)
    failure_count = sum(each.failure_count for each in window.buckets)
    slow_count = sum(each.slow_count for each in window.buckets)
    has_rate = call_count >= rule.min_calls
    is_slow = rule.slow_rate is not None and has_rate and slow_count >= rule.slow_rate * call_count
    recent_count = sum(at_s > now_s - rule.window_s for at_s in window.failures_at_s)
    fails = recent_count > rule.failure_count and (
        rule.failure_rate is None or not has_rate or failure_count >= rule.failure_rate * call_count
    )
    return replace(window, open_until_s=now_s + rule.open_s) if fails or is_slow else window


def _holds_probe(window: CircuitWindow, probe: str) -> bool:
    return probe != "" and window.probe == probe


def record_success(window: CircuitWindow, *, probe: str) -> CircuitWindow:
    """Close the breaker after a successful probe and clear its failures; back-offs stay."""
    return CircuitWindow(back_offs=window.back_offs) if _holds_probe(window, probe) else window


def release_probe(window: CircuitWindow, *, probe: str) -> CircuitWindow:
    """Return a lease without a result."""
    return replace(window, probe="", lease_until_s=0.0) if _holds_probe(window, probe) else window


def back_off(window: CircuitWindow, *, model: str, now_s: float, for_s: float) -> CircuitWindow:
    """Start or extend a model's back-off of at most MAX_BACK_OFF_S; a shorter one never replaces a longer one."""
    if not for_s > 0:  # a Retry-After of zero, in the past, or not a number
        return window
    until_s = now_s + min(for_s, MAX_BACK_OFF_S)
    if until_s <= window.back_off_until_s(model):
        return window
    others = (item for item in window.back_offs if item[0] != model and item[1] > now_s)
    return replace(window, back_offs=(*others, (model, until_s)))


def is_quiet(window: CircuitWindow, *, now_s: float) -> bool:
    """Return whether a window is the same as no window."""
    return view(window, now_s=now_s) is None and not _recent_buckets(window, now_s)


def _recent_buckets(window: CircuitWindow, now_s: float) -> tuple[CallBucket, ...]:
    if not window.buckets:
        return ()
    oldest = math.floor(now_s / (window.window_s / BUCKET_COUNT)) - BUCKET_COUNT
    return tuple(each for each in window.buckets if each.number > oldest)


def merge(one: CircuitWindow, other: CircuitWindow) -> CircuitWindow:
    """Return the stricter of two windows of a provider, the failures and the lease are those of the first."""
    back_offs = dict(other.back_offs)
    for model, until_s in one.back_offs:
        back_offs[model] = max(until_s, back_offs.get(model, 0.0))
    return replace(
        one,
        open_until_s=max(one.open_until_s, other.open_until_s),
        lease_until_s=max(one.lease_until_s, other.lease_until_s),
        back_offs=tuple(back_offs.items()),
        failed_probe_count=max(one.failed_probe_count, other.failed_probe_count),
    )


def merge_views(one: BreakerView, other: BreakerView, *, ahead_s: float) -> BreakerView:
    """Return the stricter of two views of a provider; the other's clock is `ahead_s` seconds ahead."""
    shifted = BreakerView(
        status=other.status,
        failure_count=other.failure_count,
        open_until_s=other.open_until_s - ahead_s if other.open_until_s else 0.0,
        lease_until_s=other.lease_until_s - ahead_s if other.lease_until_s else 0.0,
        back_offs={model: until_s - ahead_s for model, until_s in other.back_offs.items()},
    )
    stricter = max((one, shifted), key=lambda view: (view.status != "closed", view.open_until_s, view.lease_until_s))
    back_offs = dict(one.back_offs)
    for model, until_s in shifted.back_offs.items():
        back_offs[model] = max(until_s, back_offs.get(model, 0.0))
    return replace(stricter, failure_count=max(one.failure_count, other.failure_count), back_offs=back_offs)


def view(window: CircuitWindow, *, now_s: float) -> BreakerView | None:
    """Return the provider's public state; None when it is closed, without failures and without back-off."""
    failure_count = sum(at_s > now_s - window.window_s for at_s in window.failures_at_s)
    if failure_count:  # of a busy provider, only the newest are kept one by one
        failure_count = max(failure_count, sum(each.failure_count for each in _recent_buckets(window, now_s)))
    back_offs = {model: until_s for model, until_s in window.back_offs if until_s > now_s}
    if not (window.open_until_s or failure_count or back_offs):
        return None
    is_probing = window.lease_until_s > now_s
    return BreakerView(
        status="probing" if is_probing else "open" if window.open_until_s else "closed",
        failure_count=failure_count,
        open_until_s=window.open_until_s,
        lease_until_s=window.lease_until_s if is_probing else 0.0,
        back_offs=back_offs,
    )
