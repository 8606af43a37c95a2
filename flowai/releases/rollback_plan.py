"""Plans a rollback: which releases stop serving, which one serves, and how the registry changes.

A second run must complete the first, wherever that one was killed. So the plan starts from the earlier decision, in the
overlay or, if the shared state is unreachable, in the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import RegistryError, UsageError, expected_one_of
from flowai.registry.resolve import resolve_release
from flowai.releases.ledger_steps import is_in_registry

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from flowai.registry import Registry
    from flowai.registry.writer import ManagedKeys
    from flowai.releases.ledger import LedgerEntry
    from flowai.state import Heartbeat, Overlay


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservedState:
    """State from which a rollback is planned."""

    registry: Registry | None
    """None if it cannot be read."""
    environ: Mapping[str, str]
    overlay: Overlay | None = None
    """None if there is none, or it cannot be read."""
    heartbeats: Sequence[Heartbeat] = ()
    """Of the live processes; empty if they cannot be read."""
    last_step: LedgerEntry | None = None
    """Newest step of the ledger, done or started."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RollbackPlan:
    """Target state of a rollback."""

    rolled_back: tuple[str, ...]
    """Releases that stop serving and are marked bad; empty if there are none."""
    serving: str
    """Release that serves afterwards."""
    release: str | None
    """Release in the overlay that overrides `current`; None if only a rollout ends."""
    ends_rollout_of: str | None
    """Candidate whose rollout ends; None without an active rollout."""
    stage: int | str | None = None
    """Stage of that rollout; None if unknown."""
    bad: tuple[str, ...]
    """All bad releases, those of this rollback last."""
    changed: bool
    """Whether this run decides; False if an earlier run did and this one completes it."""
    is_undone: bool = False
    """Whether an earlier run recorded this decision, but neither overlay nor registry shows it."""

    def matches(self, overlay: Overlay | None) -> bool:
        """Return whether an overlay already contains this plan."""
        return overlay is not None and overlay.serving == self.serving and set(self.rolled_back) <= set(overlay.bad)

    def is_followed_by(self, heartbeat: Heartbeat) -> bool:
        """Return whether a process serves the release of this plan, and no bad one."""
        return heartbeat.release == self.serving and heartbeat.candidate not in self.bad

    def update_keys(self, own: ManagedKeys) -> ManagedKeys:
        """Return the registry's new keys; keep concurrent edits of releases that are not bad."""
        bad = (*own.bad, *(name for name in self.bad if name not in own.bad))
        rollout = None if own.rollout is None or own.rollout.candidate in bad else own.rollout
        decides = self.changed or self.is_undone
        moves = own.current is None or own.current in bad or (decides and self.release is not None)
        return msgspec.structs.replace(own, current=self.serving if moves else own.current, bad=bad, rollout=rollout)


@dataclass(frozen=True, kw_only=True, slots=True)
class _EarlierDecision:
    """Decision of the newest rollback."""

    serving: str
    rolled_back: tuple[str, ...]
    release: str | None
    ends_rollout_of: str | None
    is_undone: bool = False
    """Whether only the ledger contains it."""


def plan_rollback(observed: ObservedState, *, to: str | None, force: bool) -> RollbackPlan:
    """Plan a rollback; change nothing.

    Args:
        observed: registry, overlay, processes and ledger.
        to: release that should serve; None for the newest known good one.
        force: whether `to` may be a release that was never known good.

    Raises:
        UsageError: `to` is unknown, bad or never was good; or no other known good release exists.
        RegistryError: no release serves, and none is named.
    """
    if observed.registry is None:
        return _plan_without_registry(observed, to=to, force=force)
    registry, decided = observed.registry, _earlier_decision(observed, to=to)
    bad = _combine(
        registry.bad, () if observed.overlay is None else observed.overlay.bad, decided.rolled_back if decided else ()
    )
    rollout = registry.rollout if registry.rollout and registry.rollout.candidate not in bad else None
    candidate = rollout.candidate if rollout else None
    serving = _find_baseline(observed, decided, bad if candidate is None else (*bad, candidate), candidate)
    candidate = candidate or _still_rolled_out(observed, {*bad, serving})
    if to is not None:
        _check_target(registry, to, bad=bad, candidate=candidate, serving=serving, force=force)
    if candidate is None and to in (None, serving) and decided is not None and decided.serving == serving:
        return RollbackPlan(
            rolled_back=decided.rolled_back,
            serving=serving,
            release=decided.release,
            ends_rollout_of=decided.ends_rollout_of,
            bad=bad,
            changed=False,
            is_undone=decided.is_undone,
        )
    still_served = _still_served(observed, bad)
    if candidate is None and to in (None, serving) and still_served:
        return RollbackPlan(
            rolled_back=still_served,
            serving=serving,
            release=serving,
            ends_rollout_of=None,
            bad=_combine(bad, still_served),
            changed=True,
        )
    if candidate is None and to is not None and to == serving:
        return RollbackPlan(rolled_back=(), serving=to, release=None, ends_rollout_of=None, bad=bad, changed=False)
    if candidate is not None:
        stopped = (candidate,) if to in (None, serving) else (serving, candidate)
        target = to or serving
    else:
        stopped = (serving,)
        target = to or _newest_known_good(registry, serving=serving, bad=bad)
    return RollbackPlan(
        rolled_back=stopped,
        serving=target,
        release=None if candidate is not None and target == serving else target,
        ends_rollout_of=candidate,
        stage=rollout.stage if rollout else None,
        bad=_combine(bad, stopped),
        changed=True,
    )


def _earlier_decision(observed: ObservedState, *, to: str | None) -> _EarlierDecision | None:
    """Return the decision of the newest rollback: from the overlay, else from the ledger."""
    overlay, last = observed.overlay, observed.last_step
    recorded = None if last is None or last.action != "rollback" or last.serving is None else last
    if overlay is not None and (recorded is None or not _is_newer(recorded, overlay)):
        if overlay.serving is None:
            return None  # a later release cleared it
        stopped = (overlay.ends_rollout_of,) if overlay.ends_rollout_of else overlay.bad[-1:]
        if recorded is not None and recorded.serving == overlay.serving:
            stopped = recorded.rolled_back
        return _EarlierDecision(
            serving=overlay.serving,
            rolled_back=stopped,
            release=overlay.release,
            ends_rollout_of=overlay.ends_rollout_of,
        )
    if recorded is None or recorded.serving is None:
        return None
    is_undone = observed.registry is not None and not is_in_registry(recorded, observed.registry)
    if is_undone and not (to in (None, recorded.serving) and _can_be_finished(recorded, observed)):
        return None
    ended = recorded.release if recorded.from_stage is not None else None
    return _EarlierDecision(
        serving=recorded.serving,
        rolled_back=recorded.rolled_back,
        release=None if recorded.rolled_back == (ended,) else recorded.serving,
        ends_rollout_of=ended,
        is_undone=is_undone,
    )


def _is_newer(recorded: LedgerEntry, overlay: Overlay) -> bool:
    """Return whether a rollback was recorded after an overlay was written, while the store was unreachable."""
    return recorded.at > overlay.at and not set(recorded.rolled_back) <= set(overlay.bad)


def _can_be_finished(recorded: LedgerEntry, observed: ObservedState) -> bool:
    """Return whether a rollback that took place nowhere still fits: a release of it serves, and its target may serve.

    Otherwise people have moved on since, and the record is history.
    """
    registry, overlay = observed.registry, observed.overlay
    if registry is None:
        return True
    live, bad = (None, ()) if overlay is None else (overlay.release, overlay.bad)
    if recorded.serving not in registry.releases or recorded.serving in {*registry.bad, *bad}:
        return False
    if registry.rollout is not None and registry.rollout.candidate in recorded.rolled_back:
        return True
    try:
        serving = resolve_release(registry, observed.environ, live=live, bad=bad).name
    except RegistryError:
        return True
    return serving in {*recorded.rolled_back, recorded.serving}


def _find_baseline(
    observed: ObservedState, decided: _EarlierDecision | None, bad: tuple[str, ...], candidate: str | None
) -> str:
    """Return the baseline: that of the files, unless every live process is pinned to another release."""
    registry = observed.registry
    if registry is None:
        raise AssertionError("called without a registry")
    live = None if observed.overlay is None else observed.overlay.release
    if decided is not None and decided.is_undone:
        live = decided.release or live
    try:
        serving = resolve_release(registry, observed.environ, live=live, bad=bad).name
    except RegistryError:
        if candidate is None:
            raise
        raise UsageError(
            f"no release except the candidate `{candidate}` can serve", hint="name one: `--to RELEASE`"
        ) from None
    pinned = {beat.release for beat in observed.heartbeats}
    # a process with a candidate has not read the newest registry yet: that is no pin
    is_settled = candidate is None and not any(beat.candidate for beat in observed.heartbeats)
    if is_settled and len(pinned) == 1 and serving not in pinned:
        only = next(iter(pinned))
        if only in registry.releases and only not in bad:
            return only
    return serving


def _still_rolled_out(observed: ObservedState, others: Collection[str]) -> str | None:
    """Return a candidate that live processes still serve although an edit of the registry ended its rollout."""
    registry = observed.registry
    candidates = {beat.candidate for beat in observed.heartbeats if beat.candidate} - set(others)
    known = [name for name in candidates if registry is not None and name in registry.releases]
    return known[0] if len(known) == 1 else None


def _still_served(observed: ObservedState, bad: Sequence[str]) -> tuple[str, ...]:
    """Return releases that live processes serve although an edit of the registry marked them bad."""
    served = {name for beat in observed.heartbeats for name in (beat.release, beat.candidate)}
    already_shared = (
        () if observed.overlay is None else observed.overlay.bad
    )  # processes stop serving these by themselves
    return tuple(name for name in bad if name in served and name not in already_shared)


def _check_target(
    registry: Registry, to: str, *, bad: tuple[str, ...], candidate: str | None, serving: str, force: bool
) -> None:
    registry.release(to)
    if to in bad:
        raise UsageError(
            f"`{to}` is marked bad and is never served again",
            hint=f"name another release, or remove it from `bad` in `{registry.own_file}` by hand",
        )
    if to == candidate:
        raise UsageError(f"`{to}` is the candidate of the rollout", hint="use `flowai release promote` to serve it")
    if to not in registry.history and to != serving and not force:
        raise UsageError(
            f"`{to}` never completed a rollout; known good: {_known_good_text(registry, bad)}",
            hint="add --force to serve it anyway",
        )


def _newest_known_good(registry: Registry, *, serving: str, bad: tuple[str, ...]) -> str:
    for name in reversed(registry.history):
        if name != serving and name not in bad and name in registry.releases:
            return name
    raise UsageError(
        f"`{serving}` serves, and no other release is known good",
        hint=f"name one: `--to RELEASE --force`; {expected_one_of(set(registry.releases) - {serving, *bad})}",
    )


def _known_good_text(registry: Registry, bad: tuple[str, ...]) -> str:
    good = [f"`{name}`" for name in registry.history if name not in bad]
    return ", ".join(good) or "none"


def _plan_without_registry(observed: ObservedState, *, to: str | None, force: bool) -> RollbackPlan:
    """Plan without a registry, from the live processes and the overlay."""
    candidates = {beat.candidate for beat in observed.heartbeats if beat.candidate}
    serving = {beat.release for beat in observed.heartbeats}
    decided = _earlier_decision(observed, to=to)
    if decided is None and not observed.heartbeats:
        raise UsageError(
            "neither the registry nor a live process can be read, so the serving release is unknown",
            hint="name the registry (`--registry`), or check `--state` and `--env`",
        )
    bad = _combine((), () if observed.overlay is None else observed.overlay.bad, decided.rolled_back if decided else ())
    if decided is not None and not candidates - set(bad) and to in (None, decided.serving):
        return RollbackPlan(
            rolled_back=decided.rolled_back,
            serving=decided.serving,
            release=decided.release,
            ends_rollout_of=decided.ends_rollout_of,
            bad=bad,
            changed=False,
        )
    if len(candidates) > 1 or (to is None and (not candidates or len(serving) != 1)):
        raise UsageError(
            "the release to return to is unknown without the registry", hint="name it: `--to RELEASE --force`"
        )
    if to is not None and not force and to not in serving:
        raise UsageError(f"without the registry, it is unknown whether `{to}` was ever good", hint="add --force")
    target = to or next(iter(serving))
    candidate = next(iter(candidates), None)
    if target == candidate:
        raise UsageError(f"`{target}` is the candidate of the rollout", hint="name the release to return to")
    stopped = (*sorted(serving - {target}), *((candidate,) if candidate else ()))
    return RollbackPlan(
        rolled_back=stopped,
        serving=target,
        release=None if serving == {target} else target,
        ends_rollout_of=candidate,
        bad=_combine(bad, stopped),
        changed=True,
    )


def _combine(*groups: Sequence[str]) -> tuple[str, ...]:
    """Return all names once; those of later groups last."""
    names: dict[str, None] = {}
    for group in groups:
        for name in group:
            names.pop(name, None)
            names[name] = None
    return tuple(names)
