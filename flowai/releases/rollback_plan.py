"""Plans a rollback: which releases are left, which one serves then, and what the registry shall say.

A rollback that is run again must find that it is done, whatever the first one reached before it was killed. So the plan
is made from what is left behind: the overlay (or, where what processes share is away, the ledger) says what was
decided, and all else is brought in line with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import RegistryError, UsageError, expected_one_of
from flowai.registry.resolve import resolve_release

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from flowai.registry import Registry
    from flowai.registry.writer import ManagedKeys
    from flowai.releases.ledger import LedgerEntry
    from flowai.state import Heartbeat, Overlay


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservedState:
    """What a plan is made from."""

    registry: Registry | None
    """The registry; None when it cannot be read."""
    environ: Mapping[str, str]
    """The variables."""
    overlay: Overlay | None = None
    """The live overlay; None when there is none, or it cannot be read."""
    heartbeats: Sequence[Heartbeat] = ()
    """The live processes; none when they cannot be read."""
    last: LedgerEntry | None = None
    """The newest step of the ledger; None when there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RollbackPlan:
    """What shall be so."""

    rolled_back: tuple[str, ...]
    """Releases that are left and marked bad; empty where there is nothing to leave."""
    serving: str
    """The release that serves."""
    release: str | None
    """What the overlay puts in front of `current`; None where only a rollout ends."""
    ends_rollout_of: str | None
    """The candidate whose rollout ends; None when none is on."""
    stage: int | str | None = None
    """The stage it had reached; None when it is not known."""
    bad: tuple[str, ...]
    """Every release that is never to be served again, those that are left last."""
    changed: bool
    """Whether this was decided now; False when it was before, and is only finished."""

    def holds(self, overlay: Overlay | None) -> bool:
        """Tell whether an overlay says this already."""
        return overlay is not None and overlay.serving == self.serving and set(self.rolled_back) <= set(overlay.bad)

    def own_keys(self, own: ManagedKeys) -> ManagedKeys:
        """Give the registry's keys as they shall be; what a person changed meanwhile and is not bad stays."""
        bad = (*own.bad, *(name for name in self.bad if name not in own.bad))
        rollout = None if own.rollout is None or own.rollout.candidate in bad else own.rollout
        moves = own.current is None or own.current in bad or (self.changed and self.release is not None)
        return msgspec.structs.replace(own, current=self.serving if moves else own.current, bad=bad, rollout=rollout)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Decided:
    """What the newest rollback decided, as it was left behind."""

    serving: str
    rolled_back: tuple[str, ...]
    release: str | None
    ends_rollout_of: str | None


def plan_rollback(seen: ObservedState, *, to: str | None, force: bool) -> RollbackPlan:
    """Decide what a rollback does; nothing is changed.

    Args:
        seen: how things stand.
        to: the release that shall serve; None for the newest known good.
        force: whether `to` may be a release that was never good.

    Raises:
        UsageError: `to` is no release, is bad, or was never good; or nothing known good is left.
        RegistryError: no release serves, and none is named.
    """
    if seen.registry is None:
        return _plan_without_state(seen, to=to, force=force)
    registry, decided = seen.registry, _decided(seen)
    bad = _combine(
        registry.bad, () if seen.overlay is None else seen.overlay.bad, decided.rolled_back if decided else ()
    )
    rollout = registry.rollout if registry.rollout and registry.rollout.candidate not in bad else None
    candidate = rollout.candidate if rollout else None
    serving = _serving(seen, bad if candidate is None else (*bad, candidate), candidate)
    candidate = candidate or _still_rolled_out(seen, {*bad, serving})
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
        )
    left_over = _still_served(seen, bad)
    if candidate is None and to in (None, serving) and left_over:
        return RollbackPlan(
            rolled_back=left_over,
            serving=serving,
            release=serving,
            ends_rollout_of=None,
            bad=_combine(bad, left_over),
            changed=True,
        )
    if candidate is None and to is not None and to == serving:
        return RollbackPlan(rolled_back=(), serving=to, release=None, ends_rollout_of=None, bad=bad, changed=False)
    if candidate is not None:
        leaves = (candidate,) if to in (None, serving) else (serving, candidate)
        target = to or serving
    else:
        leaves = (serving,)
        target = to or _latest_healthy(registry, serving=serving, bad=bad)
    return RollbackPlan(
        rolled_back=leaves,
        serving=target,
        release=None if candidate is not None and target == serving else target,
        ends_rollout_of=candidate,
        stage=rollout.stage if rollout else None,
        bad=_combine(bad, leaves),
        changed=True,
    )


def _decided(seen: ObservedState) -> _Decided | None:
    """Find what the newest rollback decided; the overlay knows best, the ledger stands in for it."""
    overlay, last = seen.overlay, seen.last
    if overlay is not None:
        if overlay.serving is None:
            return None  # a later release took it back
        left = (overlay.ends_rollout_of,) if overlay.ends_rollout_of else overlay.bad[-1:]
        if last is not None and last.action == "rollback" and last.serving == overlay.serving:
            left = last.rolled_back
        return _Decided(
            serving=overlay.serving, rolled_back=left, release=overlay.release, ends_rollout_of=overlay.ends_rollout_of
        )
    if last is None or last.action != "rollback" or last.serving is None:
        return None
    ended = last.release if last.from_stage is not None else None
    release = None if last.rolled_back == (ended,) else last.serving
    return _Decided(serving=last.serving, rolled_back=last.rolled_back, release=release, ends_rollout_of=ended)


def _serving(seen: ObservedState, bad: tuple[str, ...], candidate: str | None) -> str:
    """Find the baseline: what the files say, unless every live process was pinned to another release."""
    registry = seen.registry
    if registry is None:
        raise AssertionError("a registry is there")
    live = None if seen.overlay is None else seen.overlay.release
    try:
        serving = resolve_release(registry, seen.environ, live=live, bad=bad).name
    except RegistryError:
        if candidate is None:
            raise
        raise UsageError(
            f"nothing but the candidate `{candidate}` could serve", hint="name the release that shall: `--to RELEASE`"
        ) from None
    pinned = {beat.release for beat in seen.heartbeats}
    # who still rolls something out has not read the newest registry yet: that is no pin
    is_settled = candidate is None and not any(beat.candidate for beat in seen.heartbeats)
    if is_settled and len(pinned) == 1 and serving not in pinned:
        only = next(iter(pinned))
        if only in registry.releases and only not in bad:
            return only
    return serving


def _still_rolled_out(seen: ObservedState, others: Collection[str]) -> str | None:
    """Find a candidate that live processes roll out, though the registry, changed by hand, ended its rollout."""
    registry = seen.registry
    found = {beat.candidate for beat in seen.heartbeats if beat.candidate} - set(others)
    known = [name for name in found if registry is not None and name in registry.releases]
    return known[0] if len(known) == 1 else None


def _still_served(seen: ObservedState, bad: Sequence[str]) -> tuple[str, ...]:
    """Find releases that live processes serve, though the registry, changed by hand, calls them bad."""
    served = {name for beat in seen.heartbeats for name in (beat.release, beat.candidate)}
    told = () if seen.overlay is None else seen.overlay.bad  # of these they know, or are about to
    return tuple(name for name in bad if name in served and name not in told)


def _check_target(
    registry: Registry, to: str, *, bad: tuple[str, ...], candidate: str | None, serving: str, force: bool
) -> None:
    registry.release(to)
    if to in bad:
        raise UsageError(
            f"`{to}` is marked bad and is never served again",
            hint=f"name another release, or take it out of `bad` in `{registry.own_file}` by hand",
        )
    if to == candidate:
        raise UsageError(
            f"`{to}` is the release being rolled out", hint=f"`flowai release promote` moves it on, not `--to {to}`"
        )
    if to not in registry.history and to != serving and not force:
        raise UsageError(
            f"`{to}` never completed a rollout; known good: {_listed(registry, bad)}",
            hint="add --force to serve it all the same",
        )


def _latest_healthy(registry: Registry, *, serving: str, bad: tuple[str, ...]) -> str:
    for name in reversed(registry.history):
        if name != serving and name not in bad and name in registry.releases:
            return name
    raise UsageError(
        f"`{serving}` serves, and no other release is known good",
        hint=f"name one: `--to RELEASE --force`; {expected_one_of(set(registry.releases) - {serving, *bad})}",
    )


def _listed(registry: Registry, bad: tuple[str, ...]) -> str:
    good = [f"`{name}`" for name in registry.history if name not in bad]
    return ", ".join(good) or "none"


def _plan_without_state(seen: ObservedState, *, to: str | None, force: bool) -> RollbackPlan:
    """Plan without a registry, by what the live processes and the overlay say."""
    candidates = {beat.candidate for beat in seen.heartbeats if beat.candidate}
    serving = {beat.release for beat in seen.heartbeats}
    decided = _decided(seen)
    if decided is None and not seen.heartbeats:
        raise UsageError(
            "without the registry, and where no live process is seen, nobody knows what to leave",
            hint="name the registry (`--registry`), or look at `--state` and `--env`",
        )
    bad = _combine((), () if seen.overlay is None else seen.overlay.bad, decided.rolled_back if decided else ())
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
            "without the registry nobody knows which release to go back to", hint="name it: `--to RELEASE --force`"
        )
    if to is not None and not force and to not in serving:
        raise UsageError(f"without the registry nobody knows whether `{to}` was ever good", hint="add --force")
    target = to or next(iter(serving))
    candidate = next(iter(candidates), None)
    if target == candidate:
        raise UsageError(f"`{target}` is the release being rolled out", hint="name the release to go back to")
    leaves = (*sorted(serving - {target}), *((candidate,) if candidate else ()))
    return RollbackPlan(
        rolled_back=leaves,
        serving=target,
        release=None if serving == {target} else target,
        ends_rollout_of=candidate,
        bad=_combine(bad, leaves),
        changed=True,
    )


def _combine(*groups: Sequence[str]) -> tuple[str, ...]:
    """Give all names once; those of later groups last."""
    found: dict[str, None] = {}
    for group in groups:
        for name in group:
            found.pop(name, None)
            found[name] = None
    return tuple(found)
