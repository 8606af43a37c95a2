"""Rolls back the release of an incident, and only that release, whatever happened meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flowai.errors import FlowaiError
from flowai.releases.registry_source import DEFAULT_ENVIRONMENT
from flowai.rollouts.records import RollbackOptions
from flowai.rollouts.rollback import run_rollback

if TYPE_CHECKING:
    from flowai.rollouts.records import RollbackResult
    from flowai.watch.incidents import Incident
    from flowai.workspace.workspace import CommandContext


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoRollbackResult:
    """Result of an automatic rollback."""

    serving: str | None
    """Release that serves now; None if the rollback is not complete."""
    message: str
    is_moot: bool = False
    """Whether the release had already stopped serving."""


class _NoLongerNeededError(Exception):
    """The plan does not roll back the release of the incident."""


def roll_back(
    context: CommandContext, incident: Incident, *, environment: str | None, state: str | None, reason: str
) -> AutoRollbackResult:
    """Roll back the release of an incident; a retry completes an earlier attempt.

    Args:
        context: directory, user, variables and clocks.
        incident: incident of kind `release`.
        environment: environment; None for the plain registry.
        state: Redis URL or directory of the shared state; None for the registry's `state`.
        reason: recorded in the ledger.
    """

    def check(result: RollbackResult) -> None:
        if incident.name not in result.rolled_back:  # already rolled back: the release that serves now is not bad
            raise _NoLongerNeededError

    options = RollbackOptions(reason=reason, env=environment or DEFAULT_ENVIRONMENT, state=state)
    try:
        result = run_rollback(replace(context, user=f"flowai watch, {context.user}"), options, check)
    except _NoLongerNeededError:
        return AutoRollbackResult(serving=None, is_moot=True, message=f"{incident.name} is no longer rolled out")
    except FlowaiError as error:
        return AutoRollbackResult(serving=None, message=f"{incident.name} could not be rolled back: {error}")
    incomplete = [f"{step.name}: {step.detail}" for step in result.steps if step.status in ("failed", "pending")]
    steps = "; ".join(dict.fromkeys((*incomplete, *result.silent)))
    if not result.is_confirmed:
        return AutoRollbackResult(serving=None, message=f"{incident.name} -> {result.serving} is not complete: {steps}")
    confirmed = f"{result.process_count} of {result.process_count} processes confirm"
    processes = confirmed if result.process_count else "no live process seen"
    commit = f"commit {result.registry_file} before the next deploy" if result.is_in_git else ""
    parts = (f"{incident.name} -> {result.serving}", processes, steps, commit)
    return AutoRollbackResult(serving=result.serving, message="; ".join(part for part in parts if part))
