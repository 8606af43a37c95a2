"""Where the registry and the ledger tell different stories: a rollout was begun, moved or ended by hand, or elsewhere.

In: a registry, its ledger. Out: what differs, in words. Must never know which of the two is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowai.registry import Registry
    from flowai.releases.ledger import Ledger

_WHY = "by hand, or elsewhere"


def contradictions(registry: Registry, ledger: Ledger) -> tuple[str, ...]:
    """Say where the registry's rollout is not what the ledger says; nothing where there is no ledger yet."""
    rollout, last = registry.rollout, ledger.last
    if last is None:
        return ()
    if rollout is None:
        if last.action in ("publish", "promote") and last.release not in (registry.current, *registry.bad):
            return (f"the rollout of `{last.release}` is in `{ledger.file}`, but not in the registry: ended {_WHY}",)
        return ()
    step = ledger.newest(rollout.candidate, "publish", "promote")
    if step is None:
        return (f"`{ledger.file}` knows nothing of the rollout of `{rollout.candidate}`: begun {_WHY}",)
    if step.to_stage != rollout.stage:
        said = f"`{ledger.file}` has `{rollout.candidate}` at `{step.to_stage}`, the registry at `{rollout.stage}`"
        return (f"{said}: moved {_WHY}",)
    return ()
