"""The ledger of a rollback: earlier steps, and the entry of this one."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import FlowaiError
from flowai.releases.ledger import Ledger, LedgerEntry, entry_id, open_ledger, read_ledger
from flowai.rollouts.release_event import log_step

if TYPE_CHECKING:
    from flowai.releases.fleet import Confirmation
    from flowai.releases.ledger import StepProgress
    from flowai.releases.registry_source import RegistrySource
    from flowai.releases.rollback_plan import RollbackPlan
    from flowai.rollouts.records import RollbackOptions
    from flowai.state import Overlay
    from flowai.workspace.workspace import CommandContext


class RollbackLedger:
    """Reads and writes the ledger for one rollback; a fetched registry has no ledger on this machine."""

    def __init__(self, context: CommandContext, source: RegistrySource) -> None:
        self._context = context
        self._source = source
        self._at = context.now()
        self._ledger: Ledger | None = None

    @property
    def last_step(self) -> LedgerEntry | None:
        """Newest step of the ledger, done or started; None if unknown."""
        return None if self._ledger is None else self._ledger.unfinished_step or self._ledger.last_step

    def read(self) -> tuple[str, ...]:
        """Read the ledger; return warnings."""
        if self._source.is_remote:
            return ()
        try:
            self._ledger = read_ledger(self._source.project, self._source.environment)
        except FlowaiError as error:
            return (f"the ledger cannot be read: {error}",)
        return self._ledger.warnings

    def good_since(self, release: str) -> str | None:
        """Return the day on which a release completed its rollout; None if unknown."""
        entry = None if self._ledger is None else self._ledger.latest(release, "complete")
        return None if entry is None else f"{entry.at:%Y-%m-%d}"

    def since(self, plan: RollbackPlan, entry: LedgerEntry | None = None) -> str:
        """Return the start for a post-mortem: that of the rolled back release, else an hour before the rollback."""
        if entry is not None and "since" in entry.evidence:
            return str(entry.evidence["since"])
        registry, started_at = self._source.registry, None
        if registry is not None and registry.rollout is not None and registry.rollout.candidate in plan.rolled_back:
            started_at = registry.rollout.started_at
        if started_at is None and self._ledger is not None and plan.rolled_back:
            step = self._ledger.latest(plan.rolled_back[-1], "publish", "promote", "complete")
            started_at = None if step is None else step.at
        rolled_back_at = self._at if entry is None else entry.at
        return f"{started_at or rolled_back_at - timedelta(hours=1):%Y-%m-%dT%H:%MZ}"

    def build_entry(
        self, plan: RollbackPlan, overlay: Overlay | None, confirmation: Confirmation, options: RollbackOptions
    ) -> LedgerEntry:
        """Return the ledger entry; reuse that of an earlier run of the same rollback."""
        last = self.last_step
        if (
            not plan.changed
            and last is not None
            and last.action == "rollback"
            and (last.serving, set(last.rolled_back)) == (plan.serving, set(plan.rolled_back))
        ):
            return self._with_evidence(last, plan, confirmation) if last.progress == "started" else last
        at, release = self._at if overlay is None else overlay.at, plan.rolled_back[-1]
        entry = LedgerEntry(
            id=entry_id("rollback", at, release),
            at=at,
            actor=self._context.user,
            action="rollback",
            release=plan.ends_rollout_of or release,
            serving=plan.serving,
            rolled_back=plan.rolled_back,
            from_stage=plan.stage or ("?" if plan.ends_rollout_of else None),
            forced=options.force,
            reason=options.reason or (None if overlay is None else overlay.reason),
        )
        return self._with_evidence(entry, plan, confirmation)

    def _with_evidence(self, entry: LedgerEntry, plan: RollbackPlan, confirmation: Confirmation) -> LedgerEntry:
        """Return the entry as done, with the processes that confirmed."""
        evidence: dict[str, object] = {
            "confirmed": [beat.process for beat in confirmation.confirmed],
            "unconfirmed": [beat.process for beat in confirmation.unconfirmed],
            "since": self.since(plan, entry),
        }
        return msgspec.structs.replace(entry, evidence=evidence, progress="done")

    def contains(self, entry: LedgerEntry) -> bool:
        """Return whether nothing is to append: the ledger contains the entry as done, or is on another machine."""
        ledger = self._ledger
        return self._source.is_remote or (ledger is not None and any(one.id == entry.id for one in ledger.entries))

    def write(self, entry: LedgerEntry, progress: StepProgress) -> None:
        """Append the entry; one that an earlier run has started is not started again.

        Raises:
            InfrastructureError: the ledger cannot be written.
        """
        unfinished = () if self._ledger is None else self._ledger.unfinished
        if progress == "started" and any(one.id == entry.id for one in unfinished):
            return
        with open_ledger(self._source.project, self._source.environment) as ledger:
            ledger.append(msgspec.structs.replace(entry, progress=progress))

    def log_event(self, entry: LedgerEntry) -> tuple[str, ...]:
        """Write the event of the step; return warnings."""
        return log_step(self._source, entry)
