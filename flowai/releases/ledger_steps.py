"""Records a step in the ledger around its effects: as started before them, as done after them.

A command that is killed in between leaves a started step. Whether its effects took place is read from the registry.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import InfrastructureError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.registry import Registry
    from flowai.releases.ledger import Ledger, LedgerEntry
    from flowai.storage.jsonl import AppendLog

_MANUAL = "by hand, or on another machine"


@contextmanager
def recorded_step(ledger: AppendLog, entry: LedgerEntry) -> Iterator[list[str]]:
    """Record a step as started, run the block, record it as done; yield a list that gets warnings.

    Raises:
        InfrastructureError: the ledger cannot be written, and the block did not run.
    """
    warnings: list[str] = []
    ledger.append(msgspec.structs.replace(entry, progress="started"))
    try:
        yield warnings
    except (UsageError, InfrastructureError):  # of an edit that changed nothing
        with suppress(InfrastructureError):
            ledger.append(msgspec.structs.replace(entry, progress="withdrawn"))
        raise
    try:
        ledger.append(entry)
    except InfrastructureError as error:
        warnings.append(
            f"the step is done, but the ledger contains only its start: {error}; the next release command adds it"
        )


def is_in_registry(entry: LedgerEntry, registry: Registry) -> bool:
    """Return whether a registry shows the effect of a step."""
    rollout = registry.rollout
    is_rolled_out = rollout is not None and rollout.candidate == entry.release
    if entry.experiment is not None:
        return entry.experiment not in registry.experiments
    if entry.action == "rollback":
        known = [name for name in entry.rolled_back if name in registry.releases]
        return set(known) <= set(registry.bad)
    if entry.action == "complete":
        return registry.current == entry.release and entry.release in registry.history and not is_rolled_out
    return is_rolled_out and rollout is not None and rollout.stage == entry.to_stage


def find_unrecorded(registry: Registry, ledger: Ledger) -> tuple[LedgerEntry, ...]:
    """Return the started steps that took place, as done: commands were killed before they could record that."""
    return tuple(
        msgspec.structs.replace(step, progress="done") for step in ledger.unfinished if is_in_registry(step, registry)
    )


def find_inconsistencies(registry: Registry, ledger: Ledger) -> tuple[str, ...]:
    """Return warnings about rollout steps on which registry and ledger disagree; empty without a ledger."""
    return _describe_unrecorded(registry, ledger) or _find_disagreements(registry, ledger)


def _describe_unrecorded(registry: Registry, ledger: Ledger) -> tuple[str, ...]:
    return tuple(
        f"`{ledger.file}` has the step `{step.action}` of `{step.experiment or step.release}` by {step.actor} only"
        " as started, but it took place: the next release command records it"
        for step in find_unrecorded(registry, ledger)
    )


def _find_disagreements(registry: Registry, ledger: Ledger) -> tuple[str, ...]:
    rollout, last = registry.rollout, ledger.last_step
    if last is None:
        return ()
    if rollout is None:
        if last.action in ("publish", "promote") and last.release not in (registry.current, *registry.bad):
            return (f"the rollout of `{last.release}` is in `{ledger.file}`, but not in the registry: ended {_MANUAL}",)
        return ()
    step = ledger.latest(rollout.candidate, "publish", "promote")
    if step is None:
        return (
            f"the rollout of `{rollout.candidate}` is in the registry, but not in `{ledger.file}`: started {_MANUAL}",
        )
    if step.to_stage != rollout.stage:
        stages = f"`{ledger.file}` has `{rollout.candidate}` at `{step.to_stage}`, the registry at `{rollout.stage}`"
        return (f"{stages}: changed {_MANUAL}",)
    return ()
