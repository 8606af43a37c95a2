"""`flowai rollback --drill`: sends an id on the way that a rollback takes, and checks what a rollback writes to.

No release changes, and no call is affected: processes read the id beside the overlay and repeat it in a heartbeat.
"""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import FlowaiError, describe_error
from flowai.releases.fleet import Fleet
from flowai.releases.ledger import ledger_file
from flowai.releases.registry_source import RegistrySource, open_source
from flowai.releases.version_targets import short_name
from flowai.rollouts.records import RollbackStep, last_heartbeat_text
from flowai.state import shown_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from flowai.releases.fleet import Confirmation
    from flowai.rollouts.records import RollbackOptions, StepStatus
    from flowai.state import KnownProcess
    from flowai.workspace.workspace import CommandContext

MAX_CLOCK_SKEW_S = 300.0
"""Difference of two clocks up to which canary stages and post-mortems still fit together: five minutes."""
MIN_FREE_BYTES = 1 << 20
"""Free space that a rollback needs for the ledger and a new registry file."""


class DrillResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a drill."""

    schema_version: int = 1
    environment: str | None
    """Environment; None for the plain registry."""
    steps: tuple[RollbackStep, ...]
    """What a rollback needs, in its order."""
    process_count: int
    """Processes that have not deregistered."""
    unanswered: tuple[str, ...]
    """Live processes that did not answer, with their last heartbeat."""
    silent: tuple[str, ...]
    """Processes without a heartbeat that did not deregister, with their last one."""

    @property
    def is_passed(self) -> bool:
        """Return whether a rollback would reach every process and could write everything."""
        return not any(step.status == "failed" for step in self.steps)


def run_drill(
    context: CommandContext, options: RollbackOptions, on_step: Callable[[RollbackStep], None] = lambda _: None
) -> DrillResult:
    """Check that a rollback would reach every process; nothing that serves is changed.

    Args:
        context: directory, user, variables and clocks.
        options: environment, state, registry and processes to ignore.
        on_step: called with each completed step.

    Raises:
        UsageError: there are several environments and none is named.
    """
    with (
        open_source(context.directory, named=options.registry, env=options.env, environ=context.environ) as source,
        closing(Fleet(options.state, context.directory, now=context.now, clock_s=context.clock_s)) as fleet,
    ):
        return _Drill(context, options, source, fleet, on_step).run()


class _Drill:
    """A running drill; opens `fleet`."""

    def __init__(
        self,
        context: CommandContext,
        options: RollbackOptions,
        source: RegistrySource,
        fleet: Fleet,
        on_step: Callable[[RollbackStep], None],
    ) -> None:
        self._context = context
        self._options = options
        self._source = source
        self._fleet = fleet
        self._on_step = on_step
        self._steps: list[RollbackStep] = []

    def run(self) -> DrillResult:
        """Do all steps, in order."""
        found = self._ask_processes()
        self._check_registry()
        self._check_ledger()
        self._check_targets()
        unanswered = () if found is None else tuple(map(last_heartbeat_text, found.unconfirmed))
        silent = () if found is None else tuple(map(last_heartbeat_text, found.silent))
        return DrillResult(
            environment=self._source.environment,
            steps=tuple(self._steps),
            process_count=0 if found is None else found.count,
            unanswered=unanswered,
            silent=silent,
        )

    def _ask_processes(self) -> Confirmation | None:
        """Send the id; return the processes by whether they answered, None if the state is unreachable."""
        start_s = self._context.clock_s()
        try:
            self._fleet.open(self._source)
            found = self._fleet.drill(self._context.new_id(), ignored=self._options.ignored_processes)
        except Exception as error:  # noqa: BLE001 - a store that cannot be used is away; the rest is checked all the same
            self._add("shared state", "failed", describe_error(error), start_s)
            return None
        self._add("shared state", "done", shown_address(self._fleet.address))
        answered = f"{len(found.confirmed)} of {found.count} answer"
        if not found.count:
            where = self._source.environment or "the plain registry"
            self._add("processes", "failed", f"none is known for {where}; is it the right environment and state?")
        elif not found.are_known:
            self._add("processes", "failed", f"{answered}; the state has just come back empty: others may be missing")
        else:
            self._add("processes", "done" if found.is_complete else "failed", answered, start_s)
        self._check_clocks((*found.confirmed, *found.unconfirmed))
        return found

    def _check_clocks(self, processes: Sequence[KnownProcess]) -> None:
        now = self._context.now()
        wrong = [text for process in processes if (text := _skew_text(process, now)) is not None]
        if wrong:
            self._add("clocks", "failed", "; ".join(wrong))
        elif processes:
            self._add("clocks", "done", f"within {MAX_CLOCK_SKEW_S / 60:.0f} min of each other")

    def _check_registry(self) -> None:
        source = self._source
        if source.registry is None:
            self._add(source.own_file, "failed", str(source.error or "cannot be read"))
        elif source.is_remote or not source.is_writable:
            self._add(source.own_file, "skipped", "read-only here: a rollback changes the shared state only")
        else:
            self._check_file(source.own_file, source.project.root / source.own_file)

    def _check_ledger(self) -> None:
        if self._source.is_remote:
            self._add("ledger", "skipped", "on another machine")
        else:
            self._check_file("ledger", ledger_file(self._source.project, self._source.environment))

    def _check_targets(self) -> None:
        registry = None if self._source.is_remote else self._source.registry
        for target in () if registry is None else registry.version_targets:
            kind, _, rest = target.partition(":")
            if kind == "dotenv":
                self._check_file(short_name(target), self._source.project.root / Path(rest).expanduser())
            elif kind == "command" and rest.split():
                program = shutil.which(rest.split()[0], path=self._source.environ.get("PATH"))
                status: StepStatus = "failed" if program is None else "done"
                self._add(short_name(target), status, "no such program" if program is None else "not run")

    def _check_file(self, name: str, path: Path) -> None:
        problem = next(_write_problems(path), None)
        self._add(name, "done" if problem is None else "failed", problem or "can be written")

    def _add(self, name: str, status: StepStatus, detail: str, start_s: float | None = None) -> None:
        elapsed_ms = None if start_s is None else (self._context.clock_s() - start_s) * 1000
        detail = self._source.redactor.text(detail)
        step = RollbackStep(name=name, status=status, detail=detail, elapsed_ms=elapsed_ms)
        self._steps.append(step)
        self._on_step(step)


def _skew_text(process: KnownProcess, now: datetime) -> str | None:
    """Return by how much a process's clock differs from this machine's; None if both fit together."""
    skew_s = (process.heartbeat.at - (now - timedelta(seconds=process.silent_s))).total_seconds()
    if abs(skew_s) <= MAX_CLOCK_SKEW_S:
        return None
    side = "ahead of" if skew_s > 0 else "behind"
    return f"{process.process} on {process.heartbeat.host} is {abs(skew_s) / 60:,.0f} min {side} this machine"


def _write_problems(path: Path) -> Iterator[str]:
    """Yield why a file cannot be replaced or appended to."""
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    try:
        if path.exists() and not os.access(path, os.W_OK):
            yield "cannot be written"
        if not os.access(folder, os.W_OK):
            yield "its directory cannot be written"
        if shutil.disk_usage(folder).free < MIN_FREE_BYTES:
            yield "its disk is full"
    except (OSError, FlowaiError) as error:
        yield describe_error(error)
