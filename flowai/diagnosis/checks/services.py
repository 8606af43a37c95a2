"""Checks of the shared state, its clock, the event log, the releases and the flag."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Literal

import msgspec

from flowai.diagnosis.records import error, ok, skipped, warning
from flowai.errors import FlowaiError, InfrastructureError
from flowai.events.lake.validate import validate
from flowai.registry.environment import fill
from flowai.registry.resolve import VERSION_VARIABLE
from flowai.rendering.formatting import size, span
from flowai.state import open_state
from flowai.state.factory import read_redis_facts
from flowai.state.sqlite_store import FILE_NAME
from flowai.state.urls import REDIS_SCHEMES, scheme_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from flowai.diagnosis.inspection import Inspection
    from flowai.diagnosis.records import Result
    from flowai.state import KnownProcess
    from flowai.state.factory import RedisFacts

STATE_TIMEOUT_S = 2.0
MAX_CLOCK_DIFFERENCE_S = 5.0
MAX_SAFE_DIFFERENCE_S = 60.0
"""Beyond it, days of budgets and events, and times of rollouts, are wrong."""
MAX_LOG_BYTES = 200_000_000
"""Of a log that is read as a whole; a longer one takes more than a few seconds."""
STUCK_S = 14 * 86_400.0
"""Age of a rollout that is no longer under way."""
MIN_REDIS_MAJOR = 6
VECTORS_REDIS_MAJOR = 8
FLAG_DAYS = 2
"""Days of the event log in which calls with the flag are looked for."""


def _redis_facts(inspection: Inspection) -> RedisFacts | None:
    """Return what the Redis of the state says of itself; None if the state is no Redis."""
    address = fill(inspection.registry.state, inspection.environ, owner="`state`")
    return read_redis_facts(address) if scheme_of(address) in REDIS_SCHEMES else None


def check_state(inspection: Inspection) -> Iterator[Result]:
    """Check that the shared state can be read, and what a Redis lacks."""
    facts = _redis_facts(inspection)
    address = fill(inspection.registry.state, inspection.environ, owner="`state`")
    if _is_unused(inspection, address):
        yield ok(f"`{address}` has no state yet")
        return
    warnings = asyncio.run(_read_state(inspection, address))
    for text in warnings:
        yield warning(text, "`redis-cli config set maxmemory-policy noeviction`, and in its configuration file")
    if facts is None:
        if scheme_of(address) == "memory":
            yield warning("`state: memory:` is not shared: each process has its own", "`state: .flowai`")
        else:
            yield ok(f"`{address}` can be read")
        return
    vectors = "vector sets" if facts.has_vectors else "no vector sets: processes search the vectors themselves"
    text = f"Redis {facts.version}, {vectors}"
    uses_vectors = any(inspection.registry.feature(name).cache.kind == "semantic" for name in inspection.chains)
    if facts.major < MIN_REDIS_MAJOR:
        yield warning(text, f"Redis {MIN_REDIS_MAJOR} or newer is what flowai is tested with")
    elif uses_vectors and not facts.has_vectors:
        yield warning(text, f"Redis {VECTORS_REDIS_MAJOR} searches them itself")
    else:
        yield ok(text)


def _is_unused(inspection: Inspection, address: str) -> bool:
    """Return whether a directory has no state yet, so that opening it would create one."""
    return not scheme_of(address) and not (inspection.project.root / address / FILE_NAME).exists()


async def _read_state(inspection: Inspection, address: str) -> Sequence[str]:
    state = open_state(address, inspection.project.root, clock_s=lambda: inspection.context.now().timestamp())
    try:
        async with asyncio.timeout(STATE_TIMEOUT_S):
            await state.shared(inspection.registry.environment or "")
            return await state.warnings()
    except TimeoutError:
        raise InfrastructureError(
            f"the state did not answer within {STATE_TIMEOUT_S:g} s", hint="check that it runs and is not overloaded"
        ) from None
    finally:
        await state.aclose()


def check_clock(inspection: Inspection) -> Iterator[Result]:
    """Compare the machine's clock with the store's."""
    try:
        facts = _redis_facts(inspection)
    except FlowaiError:  # the check of the state reports it
        yield skipped("not checked: the state cannot be read")
        return
    if facts is None:
        yield ok("the state has no clock of its own")
        return
    difference_s = inspection.context.now().timestamp() - facts.time_s
    text = f"{abs(difference_s):.1f} s {'ahead of' if difference_s > 0 else 'behind'} the clock of Redis"
    hint = "synchronise the clocks of both machines: `timedatectl status`"
    if abs(difference_s) > MAX_SAFE_DIFFERENCE_S:
        yield error(f"{span(abs(difference_s))} {text.split(' s ', 1)[1]}", hint, cause="infrastructure")
    elif abs(difference_s) > MAX_CLOCK_DIFFERENCE_S:
        yield warning(text, hint)
    else:
        yield ok(text)


def check_events(inspection: Inspection) -> Iterator[Result]:
    """Check the lines and files of the event log."""
    path = inspection.events
    shown = inspection.project.show(path)
    if not path.is_dir():
        yield ok(f"`{shown}` is not there yet: no call was made")
        return
    total_bytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    if total_bytes > MAX_LOG_BYTES:
        yield skipped(f"{size(total_bytes)} would take long; `flowai events validate` checks them")
        return
    from datetime import timedelta

    future = inspection.context.now() + timedelta(seconds=MAX_SAFE_DIFFERENCE_S)
    found = validate(path, future=future, shown=shown)
    for problem, number in found.problems.items():
        at = next(place for place in found.locations if place.problem == problem)
        where = at.file if at.line is None else f"{at.file}:{at.line}"
        yield warning(
            f"{problem.replace('_', ' ')}: {number:,}, the first at `{where}`; reports leave such lines out",
            "`flowai events validate` lists them",
        )
    if not found.problems:
        kinds = ", ".join(f"{name} {number:,}" for name, number in found.kinds.items()) or "no events"
        yield ok(f"{kinds}; no problems")


def check_releases(inspection: Inspection) -> Iterator[Result]:
    """Check for rollouts that stopped moving, processes with an old release, and locks without a release."""
    registry, rollout = inspection.registry, inspection.registry.rollout
    is_current = True
    pin = inspection.environ.get(VERSION_VARIABLE)
    if pin == inspection.release and pin != registry.current:
        is_current = False
        yield warning(
            f"{VERSION_VARIABLE} pins `{pin}`, while `current` is `{registry.current}`",
            f"unset {VERSION_VARIABLE}, or set it to the release that should serve",
        )
    if rollout is not None and rollout.started_at is not None:
        age_s = (inspection.context.now() - rollout.started_at).total_seconds()
        if age_s > STUCK_S:
            is_current = False
            yield warning(
                f"the rollout of `{rollout.candidate}` is at {rollout.stage} since {span(age_s)}",
                "`flowai canary-report` tells what it waits for; `flowai rollback` ends it",
            )
    for process in asyncio.run(_processes(inspection)):
        if process.is_live and process.heartbeat.release not in inspection.releases:
            is_current = False
            yield warning(
                f"process `{process.process}` on {process.heartbeat.host} serves `{process.heartbeat.release}`, "
                f"not `{inspection.release}`",
                "restart it, or check that it reads this registry and this state",
            )
    gone = sorted(set(inspection.lock.releases) - set(registry.releases))
    if gone:
        is_current = False
        names = ", ".join(f"`{name}`" for name in gone)
        yield warning(
            f"`prompts.lock` has {names}, which the registry has not", "restore the registry from version control"
        )
    if is_current:
        yield ok(
            f"`{inspection.release}` serves" + (f"; `{rollout.candidate}` is at {rollout.stage}" if rollout else "")
        )


async def _processes(inspection: Inspection) -> Sequence[KnownProcess]:
    """Return the processes that the state knows; none if it cannot be read, which its own check reports."""
    try:
        address = fill(inspection.registry.state, inspection.environ, owner="`state`")
        if _is_unused(inspection, address):
            return ()
        state = open_state(address, inspection.project.root, clock_s=time.time)
    except FlowaiError:
        return ()
    try:
        async with asyncio.timeout(STATE_TIMEOUT_S):
            return await state.processes(inspection.registry.environment or "")
    except (TimeoutError, FlowaiError):
        return ()
    finally:
        await state.aclose()


class _FlaggedCall(msgspec.Struct, tag_field="kind", tag="call"):
    release: str | None = None
    variant: Literal["dogfood", "canary", "control", "stable"] | None = None
    origin: str = ""


def check_flags(inspection: Inspection) -> Iterator[Result]:
    """Check that calls of a rollout carry its flag, where the stage depends on it."""
    registry = inspection.registry
    if registry.rollout is None:
        yield ok("no active rollout")
        return
    flag = f"`{registry.flag.header}: {registry.flag.value}`"
    calls = [call for call in _recent_calls(inspection.events) if call.origin in {"library", "serve"}]
    flagged = sum(call.variant == "dogfood" for call in calls)
    if not calls:
        yield skipped(f"no calls in the last {FLAG_DAYS} days")
    elif flagged:
        yield ok(f"{flagged:,} of {len(calls):,} recent calls sent {flag}")
    elif registry.rollout.stage == "dogfood":
        yield warning(
            f"none of {len(calls):,} recent calls sent {flag}, so `{registry.rollout.candidate}` gets none",
            "send the header in your own people's requests, or set `flag:` to the header that they send",
        )
    else:
        yield ok(f"no recent call sent {flag}; the stage does not need it")


def _recent_calls(directory: Path) -> Iterator[_FlaggedCall]:
    decoder = msgspec.json.Decoder(_FlaggedCall)
    days = sorted(directory.glob("dt=*"))[-FLAG_DAYS:]
    for path in (path for day in days for path in sorted(day.glob("*.jsonl"))):
        with path.open("rb") as lines:
            for line in lines:
                try:
                    yield decoder.decode(line)
                except msgspec.DecodeError:  # an event of another kind, or a damaged line, which another check reports
                    continue
