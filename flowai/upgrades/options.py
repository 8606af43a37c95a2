"""Options of `flowai upgrade`, and the combinations of them that contradict each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowai.errors import UsageError
from flowai.upgrades.verdict import DEFAULT_ALPHA

if TYPE_CHECKING:
    from pathlib import Path

MAX_LOGGED_COUNT = 10_000
MAX_ALPHA = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class UpgradeOptions:
    """Options of `flowai upgrade`."""

    old: str
    new: str
    features: tuple[str, ...] = ()
    """Only these features; empty for all that use the old model."""
    from_log: int = 0
    """Logged requests per feature that both models answer; 0 for none."""
    since: str = "30d"
    """Start of the time range of logged requests, as typed."""
    judge: str | None = None
    """Model that compares the answers to logged requests; None for the feature `judge`."""
    baseline: str | None = None
    """Earlier results of the old model, instead of calling it: a run or a file."""
    first_n: int | None = None
    """Only the first n cases of each suite."""
    margin: float | None = None
    """Accepted loss; None for that of the suites' gates, else 0.05."""
    alpha: float = DEFAULT_ALPHA
    concurrency: int | None = None
    max_cost_usd: float | None = None
    replay: Path | None = None
    """Recording, or directory of recordings, to use instead of models."""
    runs_code: bool = True
    release: str | None = None
    """Name of the new release; None for the next free one."""
    env: str | None = None
    writes: bool = False
    publishes: bool = False
    smoke: bool = True
    """Whether smoke must pass before the rollout starts."""
    forces: bool = False
    """Publish although a feature is worse or undecided."""
    reason: str | None = None
    adapts: str | None = None
    """Model that rewrites prompts for the new model; None to keep the prompts."""
    outputs: tuple[Path, ...] = ()


def check_options(options: UpgradeOptions) -> None:
    """Check the options.

    Raises:
        UsageError: they are out of range or contradict each other.
    """
    for name, value, low, high in (
        ("--from-log", options.from_log, 0, MAX_LOGGED_COUNT),
        ("--margin", options.margin, 0.001, 1),
        ("--alpha", options.alpha, 0.0001, MAX_ALPHA),
        ("--max-cost", options.max_cost_usd, 0, float("inf")),
    ):
        if value is not None and not low <= value <= high:
            span = f"{low:g} or more" if high == float("inf") else f"{low:g} to {high:,g}"
            raise UsageError(f"{name}: found {value:g}, expected {span}")
    if options.forces and not options.publishes:
        raise UsageError("--force needs --publish", hint="without it, the report says which features are worse")
    if options.forces and not options.reason:
        raise UsageError("--force needs --reason", hint="the ledger records why a worse model was published")
    if options.replay is not None and options.from_log:
        raise UsageError("--replay and --from-log exclude each other", hint="logged requests are not recorded")
    if options.replay is not None and options.adapts is not None:
        raise UsageError("--replay and --adapt exclude each other", hint="a new prompt has no recorded answers")
    if options.judge is not None and not options.from_log:
        raise UsageError("--judge needs --from-log", hint="the judges of suites are set in the suites")
