"""What follows a rollback or a completed rollout, best effort: version targets, alerts, what a person should know."""

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
    """The messages of a rollback.

    Args:
        context: the command's context.
        source: the registry.
        on_step: called with each step when it is done.
    """

    def __init__(
        self, context: CommandContext, source: RegistrySource, on_step: Callable[[RollbackStep], None] = lambda _: None
    ) -> None:
        self._context = context
        self._on_step = on_step
        self._source = source
        self._outbox = Outbox(source.project.outbox, now=context.now, clock_s=context.clock_s)
        self._redactor = source.redactor

    def queue(self, plan: RollbackPlan, entry: LedgerEntry) -> tuple[RollbackStep, ...]:
        """Keep the messages of a rollback before the first is sent; never fails."""
        registry, environment = self._source.registry, self._source.environment or "default"
        if registry is None:
            return ()
        left = ", ".join(plan.rolled_back)
        reason = f": {entry.reason}" if entry.reason else ""
        alert = Alert(
            cause=f"flowai/{environment}/release/{plan.rolled_back[-1]}",
            summary=self._redactor.text(f"{left} is rolled back to {plan.serving}{reason}"),
            severity="warning",
            source=f"flowai {environment}",
            at=entry.at,
            details={"leaves": list(plan.rolled_back), "serves": plan.serving, "who": entry.actor},
        )
        try:
            self.queue_version(plan.serving, id=entry.id)
            self._outbox.queue(deliveries(alert, registry.alerts, id=entry.id))
        except FlowaiError as error:
            return (self._told(RollbackStep(name="outbox", status="pending", detail=str(error))),)
        return ()

    def queue_version(self, release: str, *, id: str) -> None:  # noqa: A002 - the field's own name
        """Keep a message for each version target; a later one for the same target replaces it.

        Raises:
            InfrastructureError: the outbox cannot be written.
        """
        registry, environment = self._source.registry, self._source.environment or "default"
        targets = () if registry is None else registry.version_targets
        if self._source.is_remote:  # its files are not here
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
        """Send what waits, from earlier runs too; each message is tried once.

        Args:
            only_due: leave alone what has to wait before it is tried again; a person who asks tries everything.
        """
        registry = self._source.registry
        if registry is None:
            return ()
        found = {**senders(registry.alerts, self._source.environ), "version": self._write_version}
        try:
            outcomes = self._outbox.deliver(found, only_due=only_due)
        except FlowaiError as error:
            return (self._told(RollbackStep(name="outbox", status="pending", detail=str(error))),)
        return tuple(
            self._told(
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
        where = delivery.label if delivery.to == "version" else "told"
        if error is None:
            return where
        kept = "nothing is kept here" if self._source.is_remote else "queued"
        return f"{delivery.label}: {error}; {kept}" if delivery.to == "version" else f"{error}; {kept}"

    def _told(self, step: RollbackStep) -> RollbackStep:
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
        """Say which prompts of the release that serves now are not what was published; never fails."""
        source = self._source
        if source.registry is None or source.is_remote:
            return ()
        from flowai.prompts import PromptLibrary, PromptLock  # after everything that counts is done
        from flowai.releases.integrity import changes_since

        try:
            lock = PromptLock.read(source.project.prompts_lock)
            changes = changes_since(source.registry, lock, PromptLibrary(source.project), plan.serving)
        except FlowaiError as error:
            return (f"prompts.lock could not be checked: {error}",)
        return tuple(f"{one.kind} `{one.name}` is not what `{one.release}` was published with" for one in changes)
