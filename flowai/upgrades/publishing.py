"""Writes the new release and starts its rollout; what cannot be published is taken back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from flowai.errors import FlowaiError, ProjectError, UsageError
from flowai.registry import resolve_release
from flowai.registry.writer import EntryEdit, edit_entries
from flowai.rollouts.publish import PublishOptions, PublishResult, publish
from flowai.storage.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flowai.evals.runs.trials import Observer
    from flowai.registry import Registry
    from flowai.upgrades.candidate import Candidate
    from flowai.upgrades.options import UpgradeOptions
    from flowai.upgrades.records import UpgradeReport
    from flowai.upgrades.setup import UpgradeSetup


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """Result of `--write` or `--publish`."""

    report: UpgradeReport
    published: PublishResult | None = None
    """None if no rollout was asked for, or a feature is worse or undecided."""
    refused: str | None = None
    """Why nothing was published; None if it was, or was not asked for."""


class Added(NamedTuple):
    """Entries and files that this command added."""

    edits: tuple[EntryEdit, ...]
    prompts: tuple[Path, ...]


def apply_upgrade(
    setup: UpgradeSetup, options: UpgradeOptions, report: UpgradeReport, candidate: Candidate, observer: Observer
) -> Publication:
    """Write the new release if the options say so, and start its rollout if no feature is worse or undecided.

    A release that smoke or a rule of rollouts refuses is removed from the registry again, unless it was there before.

    Raises:
        UsageError: the registry changed meanwhile, or the release cannot be rolled out.
        InfrastructureError: a file cannot be written; the same command continues.
    """
    if not (options.writes or options.publishes):
        return Publication(report=report)
    if options.publishes and report.verdict in {"worse", "undecided"} and not options.forces:
        named = ", ".join(item.feature for item in report.features if item.verdict == report.verdict)
        return Publication(report=report, refused=f"{report.verdict}: {named}")
    added = _write(setup, candidate)
    written = msgspec.structs.replace(report, registry_changes="written")
    if not options.publishes:
        return Publication(report=written)
    publish_options = PublishOptions(
        release=candidate.name,
        env=setup.workspace.context.env,
        smoke=options.smoke,
        reason=_reason(options, report),
    )
    try:
        result = publish(setup.workspace.context, publish_options, observer)
    except (UsageError, ProjectError):
        _remove(setup, added)
        raise
    if result.stage is None:
        _remove(setup, added)
        return Publication(report=report, published=result, refused=f"smoke: {result.smoke}")
    return Publication(report=msgspec.structs.replace(report, registry_changes="published"), published=result)


def _write(setup: UpgradeSetup, candidate: Candidate) -> Added:
    """Add the missing entries and prompts; return them."""
    workspace = setup.workspace
    added: list[EntryEdit] = []

    def change(registry: Registry) -> Sequence[EntryEdit]:
        serving = resolve_release(registry, workspace.environ).name
        if serving != setup.change.serving:
            raise UsageError(f"`{serving}` serves now, not `{setup.change.serving}`", hint="run the same command again")
        for edit in candidate.edits:
            if edit.name in getattr(registry, edit.key):
                raise UsageError(f"`{edit.key}.{edit.name}` exists now", hint="run the same command again")
        added.extend(candidate.edits)
        return candidate.edits

    created = _write_prompts(setup, candidate)
    try:
        edit_entries(workspace.project, change, env=workspace.context.env, environ=workspace.environ)
    except FlowaiError:
        _unlink(created)
        raise
    return Added(edits=tuple(added), prompts=created)


def _write_prompts(setup: UpgradeSetup, candidate: Candidate) -> tuple[Path, ...]:
    """Write the new prompts as new files; a file that has the same text already is kept."""
    project, created = setup.workspace.project, []
    for prompt_id, text in candidate.prompts.items():
        path = project.root / f"{prompt_id}.prompt"
        if not path.exists():
            write_atomic(path, text)
            created.append(path)
        elif path.read_text(encoding="utf-8") != text:
            raise UsageError(
                f"`{project.show(path)}` exists with another text", hint="no prompt is overwritten: move it"
            )
    return tuple(created)


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _remove(setup: UpgradeSetup, added: Added) -> None:
    """Remove what this command added, the release before its model and its prompts."""
    workspace = setup.workspace
    removals = [EntryEdit(key=edit.key, name=edit.name) for edit in reversed(added.edits)]
    edit_entries(workspace.project, lambda _: removals, env=workspace.context.env, environ=workspace.environ)
    _unlink(added.prompts)


def _reason(options: UpgradeOptions, report: UpgradeReport) -> str:
    """Return the reason for the ledger: the verdict, and the person's own words."""
    verdicts = ", ".join(f"{item.feature} {item.verdict}" for item in report.features)
    forced = " (forced)" if options.forces and report.verdict in {"worse", "undecided"} else ""
    text = f"upgrade {report.old.name} -> {report.new.name}: {verdicts}{forced}"
    return f"{text}; {options.reason}" if options.reason else text
