"""After a rollback or a completed rollout, best effort: version targets, alerts, warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.errors import FlowaiError
from flowai.notifications.outbox import Outbox
from flowai.notifications.records import Alert, Delivery, DeliveryError
from flowai.notifications.routing import deliveries, senders
from flowai.registry.resolve import VERSION_VARIABLE
from flowai.releases.version_targets import short_name, version_error, write_version
from flowai.rollouts.records import RollbackStep

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.releases.ledger import LedgerEntry
    from flowai.releases.registry_source import RegistrySource
    from flowai.releases.rollback_plan import RollbackPlan
    from flowai.workspace.workspace import CommandContext


class RolloutNotifier:
    """Queues and delivers the messages of a rollback or a completed rollout."""

    def __init__(
        self, context: CommandContext, source: RegistrySource, on_step: Callable[[RollbackStep], None] = lambda _: None
    ) -> None:
        self._context = context
        self._on_step = on_step
        self._source = source
        self._outbox = Outbox(source.project.outbox, now=context.now, clock_s=context.clock_s)
        self._redactor = source.redactor

    def queue(self, plan: RollbackPlan, entry: LedgerEntry, *, took_place: bool) -> tuple[RollbackStep, ...]:
        """Queue the messages of a rollback; return a pending step if that fails.

        Args:
            plan: the plan.
            entry: its ledger entry; its id makes messages unique.
            took_place: whether overlay or registry was changed; otherwise the alert would be false.
        """
        registry, environment = self._source.registry, self._source.environment or "default"
        if registry is None:
            return ()
        rolled_back = ", ".join(plan.rolled_back)
        reason = f": {entry.reason}" if entry.reason else ""
        alert = Alert(
            cause=f"flowai/{environment}/release/{plan.rolled_back[-1]}",
            summary=self._redactor.text(f"{rolled_back} is rolled back to {plan.serving}{reason}"),
            severity="warning",
            source=f"flowai {environment}",
            at=entry.at,
            details={"rolled_back": list(plan.rolled_back), "serving": plan.serving, "actor": entry.actor},
        )
        try:
            self.queue_version(plan.serving, id=entry.id)
            if took_place:
                self._outbox.queue(deliveries(alert, registry.alerts, id=entry.id))
        except FlowaiError as error:
            return (self._report(RollbackStep(name="outbox", status="pending", detail=str(error))),)
        return ()

    def queue_version(self, release: str, *, id: str) -> None:  # noqa: A002 - the field's own name
        """Queue a message for each version target; it replaces an earlier one for the same target.

        Raises:
            InfrastructureError: the outbox cannot be written.
        """
        registry, environment = self._source.registry, self._source.environment or "default"
        targets = () if registry is None else registry.version_targets
        if self._source.is_remote:  # its dotenv files are on another machine
            targets = tuple(target for target in targets if not target.startswith("dotenv:"))
        self._outbox.queue(
            [
                Delivery(
                    id=f"{id}/version/{index}",
                    to="version",
                    label=short_name(target),
                    slot=f"version/{environment}/{target}",
                    body={"target": target, "release": release},
                )
                for index, target in enumerate(targets)
            ]
        )

    def deliver(self, *, only_due: bool = False) -> tuple[RollbackStep, ...]:
        """Send queued messages, also those of earlier runs; try each once.

        Args:
            only_due: skip messages whose next attempt is not due; commands of a user try all.
        """
        registry = self._source.registry
        if registry is None:
            return ()
        all_senders = {**senders(registry.alerts, self._source.environ), "version": self._write_version}
        try:
            outcomes = self._outbox.deliver(all_senders, only_due=only_due)
        except FlowaiError as error:
            return (self._report(RollbackStep(name="outbox", status="pending", detail=str(error))),)
        return tuple(
            self._report(
                RollbackStep(
                    name=VERSION_VARIABLE if one.delivery.to == "version" else one.delivery.label,
                    status="done" if one.error is None else "pending",
                    detail=self._detail(one.delivery, one.error),
                    elapsed_ms=one.elapsed_s * 1000,
                )
            )
            for one in outcomes
        )

    def _detail(self, delivery: Delivery, error: str | None) -> str:
        if error is None:
            return delivery.label if delivery.to == "version" else "notified"
        kept = "not queued: no checkout" if self._source.is_remote else "queued"
        return f"{delivery.label}: {error}; {kept}" if delivery.to == "version" else f"{error}; {kept}"

    def _report(self, step: RollbackStep) -> RollbackStep:
        self._on_step(step)
        return step

    def _write_version(self, delivery: Delivery) -> None:
        try:
            write_version(
                delivery.body["target"],
                delivery.body["release"],
                root=self._context.directory if self._source.is_remote else self._source.project.root,
                environ=self._source.environ,
            )
        except FlowaiError as error:
            raise DeliveryError(self._redactor.text(version_error(error))) from None

    def warnings(self, plan: RollbackPlan) -> tuple[str, ...]:
        """Return warnings about an edited `current`, and about changed prompts and models of the serving release."""
        return (*self._warn_current_overridden(plan), *self._warn_changes(plan))

    def _warn_current_overridden(self, plan: RollbackPlan) -> tuple[str, ...]:
        """Return a warning if `current` was edited after a rollback whose overlay still overrides it."""
        registry = self._source.registry
        current = None if registry is None or plan.changed else registry.current
        if current is None or current == plan.serving or current in plan.bad:
            return ()
        overlay = f"the rollback to `{plan.serving}` stays active until the next `release promote`"
        return (f"`current` is `{current}`, but {overlay}",)

    def _warn_changes(self, plan: RollbackPlan) -> tuple[str, ...]:
        source = self._source
        if source.registry is None or source.is_remote:
            return ()
        from flowai.prompts import PromptLibrary, PromptLock  # slow to import; the rollback is done
        from flowai.releases.integrity import changes_since

        try:
            lock = PromptLock.read(source.project.prompts_lock)
            changes = changes_since(source.registry, lock, PromptLibrary(source.project), plan.serving)
        except FlowaiError as error:
            return (f"prompts.lock could not be checked: {error}",)
        return tuple(f"{one.kind} `{one.name}` changed after `{one.release}` was published" for one in changes)
