"""Records and protocol of the state that processes share.

Times are seconds by the store's clock, whose zero is its own: the server's on Redis, so that machines agree; otherwise
`machine_clock_s`, which cannot be set. Days are those of the server's clock on Redis, otherwise of the wall clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from flowai.errors import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LEASE_S = 86_400.0
"""Longest time for which money stays reserved: a day."""
SILENT_KEPT_S = 86_400.0
"""A process that fell silent without deregistering is known for this time after its last heartbeat: a day, in which a
machine that was cut off is found or given up."""

BreakerStatus = Literal["closed", "open", "probing"]
"""`closed`: call it. `open`: do not call it. `probing`: one process tests it, the others do not call it."""


class StateRefusedError(InfrastructureError):
    """The store answered and refused an operation (read-only, no memory, disk or replica): it may still be read."""


class BreakerRule(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a circuit breaker."""

    failure_count: int = 5
    """More failures than this within the window open the breaker, >= 1."""
    window_s: float = 60.0
    """Sliding window, seconds, > 0."""
    open_s: float = 300.0
    """Seconds until an open breaker allows a probe, > 0."""
    max_open_s: float = 0.0
    """Longest time between two probes: each failed one doubles the time since the breaker opened. With at most open_s,
    the time is always open_s."""
    lease_s: float = 60.0
    """Seconds until another process may probe instead, > 0."""
    failure_rate: float | None = None
    """From `min_calls` calls within the window, too many failures open the breaker only if they are at least this share
    of the calls, > 0 to 1; None: their number alone decides."""
    slow_rate: float | None = None
    """From `min_calls` calls within the window, this share of slow ones opens the breaker, > 0 to 1; None: never."""
    slow_s: float = 5.0
    """Seconds until the first token above which a call is slow, > 0."""
    min_calls: int = 20
    """Minimum number of calls within the window for a share of them, >= 1."""
    retry_rate: float | None = None
    """Maximum share of repeated calls among the calls within the window, 0 to 1; None: no limit."""
    min_retries: int = 10
    """Repeated calls that are allowed within the window, however few calls there are, >= 0."""

    @property
    def counts_calls(self) -> bool:
        """A share of calls matters, so that answered calls are counted too."""
        return self.failure_rate is not None or self.slow_rate is not None or self.retry_rate is not None


class AnsweredCalls(msgspec.Struct, frozen=True, kw_only=True):
    """Answered calls of one provider that a process has not reported yet."""

    call_count: int = 0
    slow_count: int = 0
    """Those among them that were slow."""


NO_CALLS = AnsweredCalls()


class BreakerView(msgspec.Struct, frozen=True, kw_only=True):
    """Public state of one provider and its models."""

    status: BreakerStatus = "closed"
    failure_count: int = 0
    """Counted failures within the window."""
    open_until_s: float = 0.0
    """When an open breaker allows a probe; 0 when closed."""
    lease_until_s: float = 0.0
    """When the running probe's lease ends; 0 for none."""
    back_offs: Mapping[str, float] = {}
    """Models that the provider asked not to call (Retry-After), and the end of each back-off."""


class BreakerDecision(msgspec.Struct, frozen=True, kw_only=True):
    """Permission or refusal of one attempt."""

    is_admitted: bool
    reason: Literal["open", "probing", "backing_off"] | None = None
    """Why the attempt is refused; None when admitted."""
    probe: str | None = None
    """Lease of the fleet's only probe: return it with `record_success`, `record_failure` or `release_probe`. None for
    ordinary attempts."""
    retry_in_s: float = 0.0
    """Seconds until the next attempt makes sense, >= 0; 0 when admitted."""


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """Money reserved for one call."""

    account: str
    """The feature it counts against."""
    day: str
    """UTC day it counts against, `YYYY-MM-DD`."""
    amount_usd: Annotated[float, Meta(ge=0)]
    id: str
    """Name of the reservation in the store that holds it; a store that does not know it has nothing to return."""


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """Money of an account today (UTC)."""

    spent_usd: float
    """Cost of the calls that have ended."""
    reserved_usd: float
    """Reserved by calls under way."""
    day_ends_in_s: float
    """Seconds until the day ends by the store's clock, >= 0."""

    @property
    def total_usd(self) -> float:
        """Spent and reserved money together."""
        return self.spent_usd + self.reserved_usd


class Overlay(msgspec.Struct, frozen=True, kw_only=True):
    """Override of the registry for all running processes; a rollback writes it."""

    schema_version: int = 1
    """Version of this format: 1."""
    release: str | None = None
    """The release that serves; None when only the rollout ends."""
    bad: tuple[str, ...] = ()
    """Releases that must never serve again, whatever the registry says."""
    ends_rollout_of: str | None = None
    """The candidate whose rollout ends; None for no active rollout."""
    serving: str | None = None
    """The release that serves after it, also where only a rollout ends; a repeated rollback reads it to see that it is
    done. None for an overlay that overrides nothing any more."""
    epoch: Annotated[int, Meta(ge=1)]
    """Increases with each overlay of an environment, so that heartbeats can acknowledge it, >= 1."""
    reason: str | None = None
    at: datetime
    """When it was written (RFC 3339, UTC)."""


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """Message of a live process about the release it serves."""

    schema_version: int = 1
    """Version of this format: 1."""
    process: str
    """Unique name, the same as in the event log."""
    host: str
    pid: int
    environment: str = ""
    """Environment of its registry; empty for the base registry."""
    origin: str
    """`library` or `serve`."""
    release: str
    """The release it serves as baseline."""
    candidate: str | None = None
    """The release it rolls out; None for no active rollout."""
    overlay_epoch: int = 0
    """The newest overlay it follows; 0 for none."""
    drill: str = ""
    """Id of the newest drill that it read; empty for none."""
    machine: str = ""
    """`machine_id()` of its machine: where it is equal, the pid can be checked; empty if unknown."""
    process_start: str = ""
    """`process_start()` of the pid; empty if unknown."""
    started_at: datetime
    """When the process started (RFC 3339, UTC)."""
    at: datetime
    """When it was sent (RFC 3339, UTC, by its machine's clock: not to be compared with another's)."""


class KnownProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A process that sent a heartbeat and has not deregistered."""

    heartbeat: Heartbeat
    """Its last one."""
    silent_s: float
    """Seconds since then, by the store's clock."""
    is_live: bool
    """Whether the heartbeat's lifetime has not passed."""

    @property
    def process(self) -> str:
        """Its unique name."""
        return self.heartbeat.process


class SharedState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a call reads before it starts, in one round trip."""

    breakers: Mapping[str, BreakerView] = {}
    """Providers that are not closed and quiet."""
    overlay: Overlay | None = None
    overlay_clear_count: int = 0
    """How often the overlay was cleared on purpose: a store that lost its data has a lower count."""
    drill: str = ""
    """Id of the newest drill, which processes repeat in their heartbeats; empty for none."""
    processes_id: str = ""
    """Changes when the store has lost the processes that it knew."""
    read_at_s: float = 0.0
    """When it was read, by the store's clock."""


class StateStore(Protocol):
    """Store that processes share.

    Every method is atomic and one round trip. An unreachable store raises InfrastructureError within its own short
    timeout; one that refuses, StateRefusedError.
    """

    async def shared(self, environment: str) -> SharedState:
        """Read what every call reads."""

    async def admit(self, provider: str, model: str, rule: BreakerRule) -> BreakerDecision:
        """Return whether an attempt may start; takes the probe's lease if one is due."""

    async def record_failure(
        self, provider: str, rule: BreakerRule, *, probe: str | None = None, answered: AnsweredCalls = NO_CALLS
    ) -> BreakerView:
        """Count a failure, and the `answered` calls; opens the breaker above the limit, or again after a failed probe.

        Nothing changes for a failure of an earlier attempt while the breaker is open, or of a probe that lost its
        lease.
        """

    async def record_calls(self, provider: str, rule: BreakerRule, answered: AnsweredCalls) -> BreakerView:
        """Count answered calls if the rule has a share of them; opens the breaker above the share of slow ones."""

    async def admit_retry(self, provider: str, rule: BreakerRule, answered: AnsweredCalls) -> bool:
        """Count a repeated call, and the `answered` calls; return False above the rule's share of repeated calls."""

    async def record_success(self, provider: str, *, probe: str) -> None:
        """Close the breaker after a successful probe and clear its window; ordinary successes are not reported."""

    async def release_probe(self, provider: str, *, probe: str) -> None:
        """Return a lease without a result (the caller left): the next attempt probes."""

    async def back_off(self, provider: str, model: str, *, for_s: float) -> None:
        """Start a back-off of a provider's model; the later end of two counts."""

    async def reset_breaker(self, provider: str) -> bool:
        """Close a provider's breaker and end the back-offs of its models; return whether there was any."""

    async def reserve(
        self, account: str, amount_usd: float, *, limit_usd: float, lease_s: float = MAX_LEASE_S
    ) -> Reservation | None:
        """Reserve money for today (UTC); None above the limit.

        A reservation that is not settled within `lease_s` seconds (its process has died) is returned to the account.
        """

    async def settle(self, reservation: Reservation, *, actual_usd: float) -> None:
        """Replace a reservation by the real cost, >= 0; a store that does not hold it any more only adds the cost."""

    async def balance(self, account: str) -> Balance:
        """Return what is spent and what is reserved today (UTC)."""

    async def write_overlay(self, environment: str, overlay: Overlay, *, clear_count: int = 0) -> None:
        """Write an overlay; an older epoch than the current one changes nothing.

        `clear_count` restores the count of a store that lost it; a lower one changes nothing.
        """

    async def clear_overlay(self, environment: str) -> None:
        """Remove the overlay on purpose: processes forget its bad releases."""

    async def write_drill(self, environment: str, drill: str) -> None:
        """Write the id of a drill on the way that an overlay takes."""

    async def heartbeat(self, heartbeat: Heartbeat, *, lifetime_s: float) -> None:
        """Announce that this process is alive; without another heartbeat it counts as silent after its lifetime."""

    async def processes(self, environment: str) -> Sequence[KnownProcess]:
        """List the processes of an environment that have not deregistered, by name; silent ones for SILENT_KEPT_S."""

    async def processes_known_for_s(self, environment: str) -> float:
        """Return for how many seconds the store has known processes; infinity if it does not lose them unnoticed."""

    async def heartbeats(self, environment: str) -> Sequence[Heartbeat]:
        """List the live processes of an environment, by name."""

    async def deregister(self, environment: str, process: str) -> None:
        """Remove a process that exits, or is known to be dead."""

    async def warnings(self) -> Sequence[str]:
        """Return the settings of the store that endanger what it keeps, one line each."""

    async def aclose(self) -> None:
        """Close files and connections; may be called twice."""
