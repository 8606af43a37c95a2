"""The record of a rollback: what the ledger says of what came before, and the line it gets for this one."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import FlowaiError
from flowai.releases.ledger import Ledger, LedgerEntry, entry_id, open_ledger, read_ledger
from flowai.rollouts.release_event import log_step

if TYPE_CHECKING:
    from flowai.releases.fleet import Confirmation
    from flowai.releases.registry_source import RegistrySource
    from flowai.releases.rollback_plan import RollbackPlan
    from flowai.rollouts.records import RollbackOptions
    from flowai.state import Overlay
    from flowai.workspace.workspace import CommandContext


class RollbackLedger:
    """The ledger's side of one rollback; a registry from the network has no ledger here.

    Args:
        context: the command's context.
        source: the registry.
    """

    def __init__(self, context: CommandContext, source: RegistrySource) -> None:
        self._context = context
        self._source = source
        self._at = context.now()
        self._ledger: Ledger | None = None

    @property
    def last(self) -> LedgerEntry | None:
        """The newest step of the ledger; None where nobody knows one."""
        return None if self._ledger is None else self._ledger.last

    def read(self) -> tuple[str, ...]:
        """Read the ledger; give what is wrong with it, one line each."""
        if self._source.is_remote:
            return ()
        try:
            self._ledger = read_ledger(self._source.project, self._source.environment)
        except FlowaiError as error:
            return (f"the ledger: {error}",)
        return self._ledger.warnings

    def good_since(self, release: str) -> str | None:
        """Give the day on which a release completed its rollout; None where nobody knows."""
        entry = None if self._ledger is None else self._ledger.newest(release, "complete")
        return None if entry is None else f"{entry.at:%Y-%m-%d}"

    def since(self, plan: RollbackPlan, entry: LedgerEntry | None = None) -> str:
        """Say from when on a post-mortem should look: when what was left began, else an hour before it was left."""
        if entry is not None and "since" in entry.evidence:
            return str(entry.evidence["since"])
        registry, began_at = self._source.registry, None
        if registry is not None and registry.rollout is not None and registry.rollout.candidate in plan.rolled_back:
            began_at = registry.rollout.started_at
        if began_at is None and self._ledger is not None and plan.rolled_back:
            step = self._ledger.newest(plan.rolled_back[-1], "publish", "promote", "complete")
            began_at = None if step is None else step.at
        left_at = self._at if entry is None else entry.at
        return f"{began_at or left_at - timedelta(hours=1):%Y-%m-%dT%H:%MZ}"

    def entry(
        self, plan: RollbackPlan, overlay: Overlay | None, found: Confirmation, options: RollbackOptions
    ) -> LedgerEntry:
        """Give the ledger's line; the one that an earlier run of this rollback wrote, where there is one."""
        last = self.last
        if (
            not plan.changed
            and last is not None
            and last.action == "rollback"
            and (last.serving, set(last.rolled_back)) == (plan.serving, set(plan.rolled_back))
        ):
            return last
        at, left = self._at if overlay is None else overlay.at, plan.rolled_back[-1]
        entry = LedgerEntry(
            id=entry_id("rollback", at, left),
            at=at,
            actor=self._context.user,
            action="rollback",
            release=plan.ends_rollout_of or left,
            serving=plan.serving,
            rolled_back=plan.rolled_back,
            from_stage=plan.stage or ("?" if plan.ends_rollout_of else None),
            forced=options.force,
            reason=options.reason or (None if overlay is None else overlay.reason),
        )
        evidence: dict[str, object] = {
            "confirmed": [beat.process for beat in found.confirmed],
            "silent": [beat.process for beat in found.unconfirmed],
            "since": self.since(plan, entry),
        }
        return msgspec.structs.replace(entry, evidence=evidence)

    def knows(self, entry: LedgerEntry) -> bool:
        """Tell whether nothing is to be written: the line stands there, or there is no ledger here."""
        ledger = self._ledger
        return self._source.is_remote or (ledger is not None and any(one.id == entry.id for one in ledger.entries))

    def write(self, entry: LedgerEntry) -> None:
        """Add the line.

        Raises:
            InfrastructureError: the ledger cannot be written.
        """
        with open_ledger(self._source.project, self._source.environment) as ledger:
            ledger.append(entry)

    def log(self, entry: LedgerEntry) -> tuple[str, ...]:
        """Say it in the event log too; give a warning where that does not work."""
        return log_step(self._source, entry)
