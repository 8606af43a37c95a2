"""Limits of a run: connection errors in a row, cost, and rules that end it early."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from flowai.errors import CallError, TimedOutError, UnreachableError
from flowai.rendering import formatting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from flowai.evals.reports import Trial
    from flowai.providers import Request

Waiting = TypeVar("Waiting")
"""A trial that is about to be run."""
MIN_CONNECTION_ERRORS = 10
CONNECTION_ERRORS_PER_SLOT = 2
MIN_MEAN_COUNT = 5
"""Calls after which their mean cost is a better estimate than the price table's, which assumes the longest answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StopReason:
    """Reason why a run ended before all its trials were run."""

    kind: Literal["fail_fast", "decided", "max_calls", "max_cost", "max_duration", "unreachable"]
    """`decided`: the result is certain. The others leave a run that can be resumed."""
    what: str
    """Follows `stopped`."""

    @property
    def is_complete(self) -> bool:
        """True if the trials that were run are all that the verdict needs."""
        return self.kind == "decided"


class RunStoppedError(Exception):
    """Raised to end the calls of a run early, without an error."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason.what)
        self.reason = reason


class StopRule(Protocol):
    """Ends a run as soon as its result is certain enough."""

    def stop_reason(self, trial: Trial) -> str | None:
        """Return the reason to stop after a finished trial, in words that follow `stopped`; None to go on.

        It is called for every trial in the order in which they finish; kept trials of a resumed run come first.
        """
        ...


class ConnectionErrors:
    """Counts calls in a row that reached no model; a dead endpoint ends the run."""

    def __init__(self, concurrency: int) -> None:
        self.max_count = max(MIN_CONNECTION_ERRORS, CONNECTION_ERRORS_PER_SLOT * concurrency)
        self._call_count = 0
        self._weight = 0

    def note(self, error: CallError | None) -> None:
        """Count the result of a call; None for an answer.

        Raises:
            RunStoppedError: `max_count` calls in a row reached no model; half as many if the address is silent.
        """
        if not isinstance(error, UnreachableError | TimedOutError):
            self._weight = self._call_count = 0
            return
        self._call_count += 1
        # a silent address was tried several times by TCP, for seconds: two rounds of calls would wait too long
        self._weight += 2 if isinstance(error, UnreachableError) and error.is_silent else 1
        if self._weight >= self.max_count:
            count = formatting.count(self._call_count, "call")
            raise RunStoppedError(
                StopReason(kind="unreachable", what=f"after {count} in a row without a connection: {error}")
            )


class CallLimit:
    """Number of trials that a run may call models for; the rest is left for a later run.

    Args:
        max_count: the limit, >= 1; None for no limit.
    """

    def __init__(self, max_count: int | None) -> None:
        self._left = max_count
        self.reached: StopReason | None = None
        """Set when a trial was left."""

    def take(self, trials: Iterable[Waiting]) -> Iterator[Waiting]:
        """Yield trials up to the limit."""
        for trial in trials:
            if self._left is not None:
                if not self._left:
                    self.reached = StopReason(kind="max_calls", what="at the limit of calls (--max-calls)")
                    return
                self._left -= 1
            yield trial


class CostLimit:
    """Money that a run may spend. A call reserves its estimate; calls in flight are all that can exceed the limit.

    Args:
        max_usd: the limit, >= 0.
        estimate: cost of a request in US dollars; None if its price is not known.
    """

    def __init__(self, max_usd: float, estimate: Callable[[Request], float | None]) -> None:
        self._max_usd = max_usd
        self._estimate = estimate
        self._reserved_usd = 0.0
        self._reserved_count = 0
        self.spent_usd = 0.0
        self._spent_count = 0

    def reserve(self, request: Request) -> float | None:
        """Reserve the cost of a call; None if calls in flight must finish first.

        Raises:
            RunStoppedError: the limit is reached.
        """
        cost_usd = self._expected_usd(request)
        if self.spent_usd + self._reserved_usd + cost_usd <= self._max_usd:
            self._reserved_usd += cost_usd
            self._reserved_count += 1
            return cost_usd
        if self._reserved_count:
            return None
        spent, limit = formatting.dollars(self.spent_usd), formatting.dollars(self._max_usd)
        raise RunStoppedError(
            StopReason(
                kind="max_cost",
                what=f"by --max-cost {limit}: {spent} spent, the next call costs about {formatting.dollars(cost_usd)}",
            )
        )

    def _expected_usd(self, request: Request) -> float:
        """Return what a call will probably cost: the mean of the calls so far, once there are some."""
        mean_usd = self.spent_usd / self._spent_count if self._spent_count else 0.0
        if self._spent_count >= MIN_MEAN_COUNT:
            return mean_usd
        return max(self._estimate(request) or 0.0, mean_usd)

    def settle(self, reserved_usd: float, cost_usd: float | None) -> None:
        """Replace a reservation by the cost of an answer; None for an unknown one, which counts as estimated."""
        self.release(reserved_usd, reserved_usd if cost_usd is None else cost_usd)
        self._spent_count += 1

    def release(self, reserved_usd: float, cost_usd: float = 0.0) -> None:
        """End the reservation of a call without an answer, which may have cost something."""
        self._reserved_usd -= reserved_usd
        self._reserved_count -= 1
        self.spent_usd += cost_usd


@dataclass(frozen=True, kw_only=True, slots=True)
class CallLimits:
    """Limits of the calls of a run."""

    concurrency: int
    """Most calls in flight, >= 1."""
    cost: CostLimit | None = None
    connection_errors: ConnectionErrors | None = None
    """None to go on whatever fails."""
    retries_rate_limits: bool = True
    """Whether a call that was answered by 429 is made again, later and with fewer others."""
    max_duration_s: float | None = None
    """Of all calls together; None for no limit."""
    case_timeout_s: float | None = None
    """Of one trial, its checks included; None for no limit."""
