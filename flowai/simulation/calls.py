"""Calls of a simulated rollout as columns of numbers: the input of an event log, and the truth about it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from flowai.events import Variant

VARIANTS: tuple[Variant, ...] = ("stable", "control", "canary", "dogfood")
"""Variant by code."""
STABLE, CONTROL, CANARY, DOGFOOD = range(len(VARIANTS))

MAX_RETRIES = 3
"""Calls that may repeat a failed one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedCalls:
    """Columns of equal length, one row per call, in order of the recorded time."""

    seed: int
    """Seed of users' names and call ids."""
    number: NDArray[np.int64]
    """Number of the call in its simulation, unique: 4 times the number of the visit, plus the number of the retry."""
    at_us: NDArray[np.int64]
    """Recorded time of the request, microseconds since 1970."""
    user: NDArray[np.int32]
    """Index of the user or bot; -1 without a user."""
    feature: NDArray[np.int16]
    """Index of the feature in the scenario."""
    variant: NDArray[np.int8]
    """Index of the variant in `VARIANTS`."""
    by_candidate: NDArray[np.bool_]
    """The candidate served, not the baseline."""
    error: NDArray[np.bool_]
    """The caller got an error."""
    cancelled: NDArray[np.bool_]
    """The caller left before the answer; never together with `error`."""
    primary_failed: NDArray[np.bool_]
    """The primary model failed and another one answered."""
    degraded: NDArray[np.bool_]
    """The last resort answered."""
    json_invalid: NDArray[np.int8]
    """1: the answer is not valid JSON; 0: it is; -1: no answer, or a feature without JSON."""
    latency_ms: NDArray[np.float64]
    ttft_ms: NDArray[np.float64]
    """nan without a streamed answer."""
    cost_usd: NDArray[np.float64]
    """0 for cached answers; nan without an answer."""
    cached: NDArray[np.bool_]
    """The exact cache answered."""
    feedback: NDArray[np.int8]
    """1: accepted; 0: rejected; -1: no feedback."""
    feedback_at_us: NDArray[np.int64]
    """Recorded time of the feedback; -1 without."""
    score: NDArray[np.int8]
    """1: no hallucination; 0: a hallucination; -1: no score."""
    score_at_us: NDArray[np.int64]
    """Recorded time of the score; -1 without."""
    process: NDArray[np.int16]
    """Index of the process that served and recorded the call."""

    def __len__(self) -> int:
        return len(self.at_us)

    def select(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> SimulatedCalls:
        """Return the calls of a mask or of row numbers, in their order."""
        return SimulatedCalls(seed=self.seed, **{name: getattr(self, name)[rows] for name in COLUMNS})


COLUMNS = tuple(field.name for field in fields(SimulatedCalls) if field.name != "seed")
"""Names of the columns."""


def join_calls(parts: Sequence[SimulatedCalls]) -> SimulatedCalls:
    """Return the calls of several parts of one simulation in order of the recorded time."""
    columns: dict[str, NDArray[Any]] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS
    }
    calls = SimulatedCalls(seed=parts[0].seed, **columns)
    return calls.select(np.argsort(calls.at_us, kind="stable"))


def user_name(seed: int, user: int) -> str:
    """Return the name of a user or bot, before it is hashed."""
    return f"user-{seed}-{user}"


def call_id(seed: int, number: int) -> str:
    """Return the id of a call."""
    return f"call-{seed}-{number:08d}"
