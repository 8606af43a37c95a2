"""Rolls back the release that a watch found to blame: that one and no other, whatever happened meanwhile."""

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
    """What came of it."""

    serving: str | None
    """The release that serves; None where it was not done, or not wholly."""
    message: str
    """In words."""
    is_moot: bool = False
    """Whether the release was no longer there to be left."""


class _NoLongerNeededError(Exception):
    """The rollback would leave another release than the one to blame."""


def roll_back(
    context: CommandContext, incident: Incident, *, environment: str | None, state: str | None, reason: str
) -> AutoRollbackResult:
    """Roll back; to do it again finishes what an earlier try began.

    Args:
        context: the command's context.
        incident: its release is left.
        environment: the environment; None for the plain registry.
        state: where processes share what they know; None for what the registry says.
        reason: why, for the ledger.
    """

    def check(result: RollbackResult) -> None:
        if (
            incident.name not in result.rolled_back
        ):  # somebody was quicker: the next best release must not be left for it
            raise _NoLongerNeededError

    options = RollbackOptions(reason=reason, env=environment or DEFAULT_ENVIRONMENT, state=state)
    try:
        result = run_rollback(replace(context, user=f"flowai watch, {context.user}"), options, check)
    except _NoLongerNeededError:
        return AutoRollbackResult(serving=None, is_moot=True, message=f"{incident.name} is no longer rolled out")
    except FlowaiError as error:
        return AutoRollbackResult(serving=None, message=f"{incident.name} could not be rolled back: {error}")
    undone = [f"{step.name}: {step.detail}" for step in result.steps if step.status in ("failed", "pending")]
    steps = "; ".join(dict.fromkeys(undone))
    if not result.is_confirmed:
        return AutoRollbackResult(serving=None, message=f"{incident.name} -> {result.serving} is not complete: {steps}")
    heard = f"{result.process_count} of {result.process_count} processes confirm"
    seen = heard if result.process_count else "no live process seen"
    commit = f"commit {result.registry_file} before the next deploy" if result.is_in_git else ""
    said = (f"{incident.name} -> {result.serving}", seen, steps, commit)
    return AutoRollbackResult(serving=result.serving, message="; ".join(part for part in said if part))
