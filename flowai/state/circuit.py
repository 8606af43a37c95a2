"""The law of the breaker: how one provider's record changes; no clock, no store, no waiting.

A record that does not change is given back as the same object, so that stores can skip the write. `breaker.lua` is the
same law for Redis, over the same record; the property test in tests/state holds both against a third, simpler model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from flowai.state.store import BreakerDecision, BreakerView

if TYPE_CHECKING:
    from typing import Literal

    from flowai.state.store import BreakerRule

MAX_BACK_OFF_S = 86_400.0
"""A provider cannot send itself away for longer than a day, whatever its Retry-After says."""


class CircuitWindow(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What is known of one provider; written as an array, in this order, which `breaker.lua` shares."""

    failures_at_s: tuple[float, ...] = ()
    """Counted failures of the last window, oldest first."""
    window_s: float = 0.0
    """The window they were counted by, seconds."""
    open_until_s: float = 0.0
    """When an open breaker lets a probe through; 0 when closed."""
    probe: str = ""
    """The lease of the probe that is under way; empty when there is none."""
    lease_until_s: float = 0.0
    """When that lease ends; 0 when there is none."""
    rest_until_s: float = 0.0
    """Until when the provider asked to be left alone; 0 when it never did."""


EMPTY_WINDOW = CircuitWindow()


def admit(
    window: CircuitWindow, rule: BreakerRule, *, now_s: float, lease: str
) -> tuple[CircuitWindow, BreakerDecision]:
    """Ask whether an attempt may start.

    Args:
        window: the provider's record.
        rule: when it is left alone.
        now_s: the time, seconds.
        lease: a name no other lease has, taken where a probe is due.

    Returns:
        The next record, which changes only where the lease was taken, and the answer.
    """
    blocked_until_s = max(window.open_until_s, window.lease_until_s, window.rest_until_s)
    if blocked_until_s > now_s:
        return window, BreakerDecision(
            is_admitted=False, reason=_reason(window, now_s=now_s), retry_in_s=blocked_until_s - now_s
        )
    if not window.open_until_s:
        return window, BreakerDecision(is_admitted=True)
    return (
        replace(window, probe=lease, lease_until_s=now_s + rule.lease_s),
        BreakerDecision(is_admitted=True, probe=lease),
    )


def _reason(window: CircuitWindow, *, now_s: float) -> Literal["open", "probing", "resting"]:
    if window.open_until_s > now_s:
        return "open"
    return "probing" if window.lease_until_s > now_s else "resting"


def failed(window: CircuitWindow, rule: BreakerRule, *, now_s: float, probe: str | None = None) -> CircuitWindow:
    """Count a failure: a probe's opens the breaker again, any other one counts only while it is closed.

    A failure is in the window from when it is counted until `window_s` later, that moment excluded.
    """
    if probe is not None:
        return _reopened(window, rule, now_s=now_s) if _holds_probe(window, probe) else window
    if window.open_until_s:
        return window
    recent = (*(at_s for at_s in window.failures_at_s if at_s > now_s - rule.window_s), now_s)
    opens = len(recent) > rule.failure_count
    return replace(
        window,
        failures_at_s=recent,
        window_s=rule.window_s,
        open_until_s=now_s + rule.open_s if opens else 0.0,
    )


def _holds_probe(window: CircuitWindow, probe: str) -> bool:
    return probe != "" and window.probe == probe


def _reopened(window: CircuitWindow, rule: BreakerRule, *, now_s: float) -> CircuitWindow:
    return replace(window, open_until_s=now_s + rule.open_s, probe="", lease_until_s=0.0)


def succeeded(window: CircuitWindow, *, probe: str) -> CircuitWindow:
    """Close the breaker after a good probe and forget its failures; a rest the provider asked for stays."""
    return CircuitWindow(rest_until_s=window.rest_until_s) if _holds_probe(window, probe) else window


def released(window: CircuitWindow, *, probe: str) -> CircuitWindow:
    """Give a lease back without a verdict."""
    return replace(window, probe="", lease_until_s=0.0) if _holds_probe(window, probe) else window


def back_off(window: CircuitWindow, *, now_s: float, for_s: float) -> CircuitWindow:
    """Leave the provider alone for as long as it asked, a day at most; never for less than it asked before."""
    if not for_s > 0:  # a Retry-After of zero, in the past, or not a number
        return window
    until_s = now_s + min(for_s, MAX_BACK_OFF_S)
    return replace(window, rest_until_s=until_s) if until_s > window.rest_until_s else window


def view(window: CircuitWindow, *, now_s: float) -> BreakerView | None:
    """Show how the provider stands; None when it is closed and quiet."""
    failure_count = sum(at_s > now_s - window.window_s for at_s in window.failures_at_s)
    rest_until_s = window.rest_until_s if window.rest_until_s > now_s else 0.0
    if not (window.open_until_s or failure_count or rest_until_s):
        return None
    is_probing = window.lease_until_s > now_s
    return BreakerView(
        status="probing" if is_probing else "open" if window.open_until_s else "closed",
        failure_count=failure_count,
        open_until_s=window.open_until_s,
        lease_until_s=window.lease_until_s if is_probing else 0.0,
        rest_until_s=rest_until_s,
    )
