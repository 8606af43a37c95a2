"""What processes share, and what every store of it promises.

Times are seconds since the epoch by the store's clock: the server's on Redis, so that machines agree; else this
machine's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from collections.abc import Sequence

BreakerStatus = Literal["closed", "open", "probing"]
"""`closed`: ask. `open`: leave it alone. `probing`: one process is trying it, all others leave it alone."""


class BreakerRule(msgspec.Struct, frozen=True, kw_only=True):
    """When a provider is left alone."""

    failure_count: int = 5
    """More failures than this within the window open the breaker, >= 1."""
    window_s: float = 60.0
    """Sliding window, seconds, > 0."""
    open_s: float = 300.0
    """Seconds it stays open before one probe, > 0."""
    lease_s: float = 60.0
    """Seconds a probe may take before another process may try, > 0."""


class BreakerView(msgspec.Struct, frozen=True, kw_only=True):
    """How one provider stands."""

    status: BreakerStatus = "closed"
    """See `BreakerStatus`."""
    failure_count: int = 0
    """Counted failures within the window, >= 0."""
    open_until_s: float = 0.0
    """When an open breaker lets a probe through; 0 when closed."""
    lease_until_s: float = 0.0
    """When a probe's lease ends; 0 when nobody probes."""
    rest_until_s: float = 0.0
    """Until when the provider asked to be left alone (Retry-After); 0 when it did not."""


class BreakerDecision(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one attempt may start."""

    is_admitted: bool
    """Whether to ask the provider now."""
    reason: Literal["open", "probing", "resting"] | None = None
    """Why not: `open`, `probing` or `resting`; None when admitted."""
    probe: str | None = None
    """The lease, when this attempt is the fleet's one probe: hand it back with `succeeded`, `failed` or `released`;
    None for ordinary attempts."""
    retry_in_s: float = 0.0
    """Seconds until it makes sense to ask again, >= 0; 0 when admitted."""


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """Money set aside for one call."""

    account: str
    """What it counts against (`summarization`)."""
    day: str
    """UTC day it counts against, `YYYY-MM-DD`."""
    amount_usd: Annotated[float, Meta(ge=0)]
    """US dollars set aside, >= 0."""
    held_by: str = ""
    """Which store, and which life of it, holds the money; another one cannot give it back."""


class Overlay(msgspec.Struct, frozen=True, kw_only=True):
    """What overrides the registry in running processes at once; written by a rollback."""

    schema_version: int = 1
    """Version of this format: 1."""
    release: str | None = None
    """The release that serves; None when only the rollout ends."""
    bad: tuple[str, ...] = ()
    """Releases never to be served again, whatever the registry still says."""
    ends_rollout_of: str | None = None
    """The candidate whose rollout is over; None when none was on."""
    serving: str | None = None
    """The release that serves by it, also where only a rollout ends: a rollback that is run again knows by it that it
    is done; None for an overlay that overrides nothing any more."""
    epoch: Annotated[int, Meta(ge=1)]
    """Rises with each overlay of an environment, so that heartbeats can acknowledge it, >= 1."""
    reason: str | None = None
    """Why, in a person's words."""
    at: datetime
    """When it was written (RFC 3339, UTC)."""


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """A live process and what it serves."""

    schema_version: int = 1
    """Version of this format: 1."""
    process: str
    """Name no other process has; the same as in the event log."""
    host: str
    """Machine."""
    pid: int
    """Process id, >= 1."""
    environment: str = ""
    """Whose registry it follows; empty for the plain one."""
    origin: str
    """`library` or `serve`."""
    release: str
    """The release it serves as baseline."""
    candidate: str | None = None
    """The release it rolls out; None when no rollout is on."""
    overlay_epoch: int = 0
    """The newest overlay it follows; 0 for none."""
    started_at: datetime
    """When the process began (RFC 3339, UTC)."""
    at: datetime
    """When it said this."""


class SharedState(msgspec.Struct, frozen=True, kw_only=True):
    """All that a call looks at before it starts, read in one go."""

    breakers: Mapping[str, BreakerView] = {}
    """Providers that are not simply closed and quiet; all others are."""
    overlay: Overlay | None = None
    """The live overlay of the environment; None when there is none."""
    read_at_s: float = 0.0
    """When, by the store's clock."""


class StateStore(Protocol):
    """A store that processes share.

    Every method is one round trip and atomic. A store that is away raises InfrastructureError within its own short
    limit.
    """

    async def shared(self, environment: str) -> SharedState:
        """Read what calls look at."""
        ...

    async def admit(self, provider: str, rule: BreakerRule) -> BreakerDecision:
        """Ask whether an attempt may start; takes the probe's lease where one is due."""
        ...

    async def failed(self, provider: str, rule: BreakerRule, *, probe: str | None = None) -> BreakerView:
        """Count a failure; opens the breaker above the limit, or again after a failed probe.

        A failure reported while the breaker is open, by an attempt that began earlier, changes nothing; nor does a
        probe whose lease has passed on.
        """
        ...

    async def succeeded(self, provider: str, *, probe: str) -> None:
        """Close the breaker after a good probe and forget its window; ordinary successes are not reported."""
        ...

    async def released(self, provider: str, *, probe: str) -> None:
        """Give a lease back without a verdict (the caller left): the next attempt probes."""
        ...

    async def back_off(self, provider: str, *, for_s: float) -> None:
        """Leave a provider alone for as long as it asked; a later end wins over an earlier one."""
        ...

    async def reserve(self, account: str, amount_usd: float, *, limit_usd: float) -> Reservation | None:
        """Set money aside for today (UTC); None when it would pass the limit. What is never settled stays spent."""
        ...

    async def settle(self, reservation: Reservation, *, actual_usd: float) -> None:
        """Replace what was set aside by what was paid, >= 0; a store that does not hold it only adds what was paid."""
        ...

    async def spent_usd(self, account: str) -> float:
        """Give what was spent and set aside today (UTC)."""
        ...

    async def write_overlay(self, environment: str, overlay: Overlay) -> None:
        """Put an overlay in force; one with an older epoch than the one in force changes nothing."""
        ...

    async def clear_overlay(self, environment: str) -> None:
        """Take the overlay away."""
        ...

    async def heartbeat(self, heartbeat: Heartbeat, *, lifetime_s: float) -> None:
        """Say that this process lives; it counts as gone when it has said nothing for its lifetime."""
        ...

    async def heartbeats(self, environment: str) -> Sequence[Heartbeat]:
        """List the live processes of an environment, by name."""
        ...

    async def deregister(self, environment: str, process: str) -> None:
        """Say that a process ended in good order."""
        ...

    async def aclose(self) -> None:
        """Give connections back; may be called twice."""
        ...
