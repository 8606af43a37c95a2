"""`flowai events compact`, `sync` and `validate`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from flowai.errors import InconclusiveError, UsageError
from flowai.events.lake.compact import Compaction, CompactionSettings, compact
from flowai.events.lake.object_store import is_address, open_store
from flowai.events.lake.sync import SyncReport, sync
from flowai.events.lake.validate import Validation, validate, validate_store
from flowai.registry import environment_of, events_directory, events_store, load_registry
from flowai.workspace.event_source import name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flowai.events.lake.compact import DayResult
    from flowai.registry import Registry
    from flowai.workspace.workspace import CommandContext

CLOCK_SKEW = timedelta(minutes=5)
"""Tolerated clock skew between machines."""

OPEN_DAYS = 2
"""Today and yesterday stay JSONL: running gateways search there for the call of a feedback."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactOptions:
    """Options of `flowai events compact`."""

    before: str | None = None
    """First day that is not compacted, as typed; None for yesterday."""
    keep: bool = False
    """Keep the JSONL files in `compacted/` instead of removing them."""


def run_compact(context: CommandContext, options: CompactOptions, on_day: Callable[[DayResult], None]) -> Compaction:
    """Compact the local event log.

    Raises:
        UsageError: the date is invalid or in the future.
        ProjectError: the registry is invalid.
        InfrastructureError: another compaction is running, or the disk is full; nothing is lost.
    """
    today = context.now().date()
    before = today - timedelta(days=OPEN_DAYS - 1) if options.before is None else _date(options.before)
    if before > today:
        raise UsageError(
            f"--before: found `{before}`, and today is {today} (UTC)",
            hint="only past days can be compacted; the latest valid date is today",
        )
    registry, _ = _registry(context)
    settings = CompactionSettings(before=before, should_back_up=options.keep, clock_s=context.clock_s, on_day=on_day)
    return compact(events_directory(registry, context.project), settings)


def run_sync(context: CommandContext, target: str | None, on_copied: Callable[[str, int], None]) -> SyncReport:
    """Copy compacted files to an object store or another directory.

    Args:
        context: directory, user, variables and clocks.
        target: address or directory, as typed; None for the store of the registry.
        on_copied: called with each file and its size in bytes.

    Raises:
        UsageError: the target is missing or invalid.
        ProjectError: the registry is invalid.
        InfrastructureError: the target is unreachable or refuses; copied files stay there.
    """
    registry, environ = _registry(context)
    address = target or events_store(registry, context.project)
    if address is None:
        raise UsageError(
            "no target: the registry names no object store",
            hint="`flowai events sync s3://bucket/prefix`, or `events: s3://bucket/prefix` in the registry",
        )
    directory = events_directory(registry, context.project)
    if not is_address(address):
        address = str(Path(address).expanduser().resolve())
        if Path(address) == directory.resolve():
            raise UsageError("the target is the event log itself")
    record = context.project.lake / f"{name_of(address)}.synced.jsonl"
    return sync(directory, open_store(address, environ), record=record, on_copied=on_copied)


def run_validate(context: CommandContext, place: str | None) -> Validation:
    """Validate an event log.

    Args:
        context: directory, user, variables and clocks.
        place: directory, JSONL file or address, as typed; None for the local event log.

    Raises:
        UsageError: the file or directory does not exist.
        InconclusiveError: the event log is empty.
        ProjectError: the registry is invalid.
        InfrastructureError: a file cannot be read, or the store is unreachable.
    """
    if place is not None and is_address(place):
        return validate_store(open_store(place, environment_of(context.project, context.environ)))
    if place is None:
        registry, _ = _registry(context)
        path = events_directory(registry, context.project)
        if not path.is_dir():
            hint = "calls through `Gateway` and `flowai serve` write it"
            raise InconclusiveError(f"there is no event log at `{context.project.show(path)}` yet", hint=hint)
    else:
        path = Path(place)
        if not path.exists():
            raise UsageError(f"no file and no directory `{place}`")
    return validate(path, future=context.now() + CLOCK_SKEW, shown=place or context.project.show(path))


def _registry(context: CommandContext) -> tuple[Registry, Mapping[str, str]]:
    environ = environment_of(context.project, context.environ)
    return load_registry(context.project, env=context.env, environ=environ), environ


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--before: found `{text}`, expected a date, such as `2026-05-02`") from None
