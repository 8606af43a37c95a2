"""What is known of experiments that are over: the ledger's steps, and the errors that tell of them.

In: a ledger, a name. Out: the step that ended an experiment, or an error. Must never know how one ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.errors import UsageError, one_of

if TYPE_CHECKING:
    from flowai.registry import Registry
    from flowai.releases.ledger import Entry, Ledger


def end_of(ledger: Ledger, experiment: str) -> Entry | None:
    """Give the newest step that ended an experiment of this name."""
    return next((one for one in reversed(ledger.entries) if one.experiment == experiment), None)


def how_it_ended(entry: Entry) -> str:
    """Say how an experiment ended: `adopted as v3 by ann on 2026-05-02`."""
    how = f"adopted as {entry.release}" if entry.action == "adopt" else "stopped"
    return f"{how} by {entry.who} on {entry.at:%Y-%m-%d}"


def no_experiment(registry: Registry, ledger: Ledger, name: str) -> UsageError:
    """Give the error that there is no such experiment, or that it is over."""
    ended = end_of(ledger, name)
    if ended is not None:
        hint = f"its last report: reports/experiments/{name}/report.md"
        return UsageError(f"the experiment `{name}` is over: {how_it_ended(ended)}", hint=hint)
    hint = one_of(registry.experiments, found=name) if registry.experiments else "the registry has none"
    return UsageError(f"no experiment `{name}` in `{registry.own_file}`", hint=hint)
