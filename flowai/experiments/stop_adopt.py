"""`flowai experiment stop` and `adopt`: removes an experiment from the registry; the winning arm becomes a release."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from flowai.errors import InconclusiveError, UsageError, expected_one_of
from flowai.experiments.report import end_entry, how_it_ended, no_experiment
from flowai.registry import arm_binding, binding
from flowai.registry.fields import NAME, TYPE_DESCRIPTIONS
from flowai.registry.writer import EntryEdit, edit_entries
from flowai.releases.ledger import LedgerEntry, entry_id, open_ledger
from flowai.releases.ledger_steps import recorded_step
from flowai.rollouts.audit_step import audit_step
from flowai.rollouts.release_event import log_step
from flowai.rollouts.session import open_rollout_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.experiments.report_records import ExperimentReport
    from flowai.registry import Registry
    from flowai.registry.records import Experiment
    from flowai.rollouts.session import RolloutSession
    from flowai.workspace.workspace import CommandContext

_NUMBERED = re.compile(r"(.*?)(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class StopOptions:
    """Options of `flowai experiment stop`."""

    name: str
    env: str | None = None
    """None for FLOWAI_ENV or the only environment."""
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AdoptOptions:
    """Options of `flowai experiment adopt`."""

    name: str
    arm: str | None = None
    """None for the winner."""
    release: str | None = None
    """Name of the new release; None for the next number."""
    env: str | None = None
    """None for FLOWAI_ENV or the only environment."""
    force: bool = False
    """Whether to adopt the arm without evidence."""
    reason: str | None = None
    since: str | None = None
    """Start of the evidence, as typed; None for the experiment's first call."""
    window: str = "1h"
    """Time after a call in which feedback counts, as typed."""


class EndResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `flowai experiment stop` and `adopt`: a public format."""

    schema_version: int = 1
    environment: str | None
    """None in a project without environments."""
    experiment: str
    action: Literal["stop", "adopt"]
    feature: str | None = None
    """None if an earlier command ended the experiment."""
    arm: str | None = None
    """The adopted arm."""
    release: str | None = None
    """The new release; None if `serving` equals the arm already."""
    serving: str
    """The release that serves the feature from now on."""
    changed: bool = True
    """Whether this run ended it; False if an earlier one had."""
    ended: str = ""
    """How it was ended earlier, and the person; else empty."""
    forced: bool = False
    """Whether it was adopted without evidence."""
    files: tuple[str, ...] = ()
    """Registry files that were changed."""
    report_digest: str | None = None
    """Digest of the report that the decision depends on."""
    warnings: tuple[str, ...] = ()


def stop(context: CommandContext, options: StopOptions) -> EndResult:
    """End an experiment: the release alone serves its feature again."""
    with open_rollout_session(context, env=options.env) as session:
        serving = session.serving(session.release_status()).name
        if options.name not in session.registry.experiments:
            return _already_ended(session, options.name, serving)
        experiment = session.registry.experiments[options.name]
        entry = _entry(session, options.name, experiment, action="stop", reason=options.reason)
        files, warnings = _remove_entry(session, entry, experiment, ())
        return EndResult(
            environment=session.source.environment,
            experiment=options.name,
            action="stop",
            feature=experiment.feature,
            serving=serving,
            files=files,
            warnings=(*session.warnings, *warnings),
        )


def adopt(context: CommandContext, options: AdoptOptions) -> EndResult:
    """End an experiment and turn an arm into a release, ready to be published.

    Raises InconclusiveError if no arm has won, or another one; UsageError if it was stopped, or a rollout is active.
    """
    _check_force(options)
    with open_rollout_session(context, env=options.env) as session:
        registry, name, status = session.registry, options.name, session.release_status()
        serving = session.serving(status).name
        if name not in registry.experiments:
            ended = _already_ended(session, name, serving)
            if ended.action != "adopt":
                raise UsageError(f"the experiment `{name}` has ended: {ended.ended}", hint="no arm can be adopted")
            return ended
        experiment = registry.experiments[name]
        if options.arm is not None and options.arm not in experiment.arms:
            hint = expected_one_of(experiment.arms, found=options.arm)
            raise UsageError(f"experiment `{name}` has no arm `{options.arm}`", hint=hint)
        rollout = registry.rollout
        if rollout is not None and rollout.candidate not in status.bad:
            hint = "finish it first: `flowai release promote`, or `flowai rollback`"
            raise UsageError(
                f"the rollout of `{rollout.candidate}` is active: the serving release may change", hint=hint
            )
        release = options.release and _free_name(registry, options.release)  # before the log is read
        report = None if options.force else _check_winner(session, options)
        arm = options.arm or (report.winner if report else None) or ""
        settings = _build_release(registry, experiment, name, arm, serving)
        edits: tuple[EntryEdit, ...] = ()
        if settings is None:
            release = None
        else:
            release = release or _next_name(registry, serving)
            edits = (EntryEdit(key="releases", name=release, value=settings, same_file_as=serving),)
        entry = msgspec.structs.replace(
            _entry(session, name, experiment, action="adopt", reason=options.reason, arm=arm),
            release=release or serving,
            forced=options.force,
            report_digest=report.digest if report else None,
        )
        files, warnings = _remove_entry(session, entry, experiment, edits)
        return EndResult(
            environment=session.source.environment,
            experiment=name,
            action="adopt",
            feature=experiment.feature,
            arm=arm,
            release=release,
            serving=serving,
            forced=options.force,
            files=files,
            report_digest=entry.report_digest,
            warnings=(*status.warnings, *warnings),
        )


def _check_force(options: AdoptOptions) -> None:
    if options.force and not (options.reason and options.reason.strip()):
        raise UsageError("`--force` needs `--reason`", hint='give a reason: `--force --reason "..."`')
    if options.force and options.arm is None:
        raise UsageError("`--force` needs `--arm`: without evidence there is no winner")


def _already_ended(session: RolloutSession, name: str, serving: str) -> EndResult:
    """Return the result for an experiment that has ended; raises UsageError if the ledger does not know it."""
    ended = end_entry(session.ledger, name)
    if ended is None:
        raise no_experiment(session.registry, session.ledger, name)
    adopted = ended.action == "adopt"
    return EndResult(
        environment=session.source.environment,
        experiment=name,
        action="adopt" if adopted else "stop",
        arm=ended.evidence.get("arm"),
        release=ended.release if adopted and ended.release != serving else None,
        serving=serving,
        changed=False,
        ended=how_it_ended(ended),
        forced=ended.forced,
        report_digest=ended.report_digest,
        warnings=session.warnings,
    )


def _check_winner(session: RolloutSession, options: AdoptOptions) -> ExperimentReport:
    """Compare the arms again; return the report if the requested arm has won."""
    from flowai.experiments.report import ExperimentOptions, run_experiment_report
    from flowai.experiments.tables import VERDICT_WORDS, reason_line  # `--force` needs no log

    report_options = ExperimentOptions(name=options.name, since=options.since, window=options.window)
    report = run_experiment_report(session.context, report_options).report
    hint = f"see `flowai experiment report {options.name}`; to choose an arm: `--arm NAME --force --reason ...`"
    if report.winner is None:
        text = f"{VERDICT_WORDS[report.verdict].lower()}: {reason_line(report)}"
        raise InconclusiveError(f"no arm of `{options.name}` can be adopted: {text}", hint=hint)
    if options.arm not in (None, report.winner):
        raise InconclusiveError(f"arm `{options.arm}` has not won: `{report.winner}` has", hint=hint)
    return report


def _build_release(
    registry: Registry, experiment: Experiment, name: str, arm: str, serving: str
) -> dict[str, object] | None:
    """Return the registry entry of a release that serves an arm; None if the serving release equals the arm."""
    bound = binding(registry, serving, experiment.feature)
    if arm_binding(registry, bound, name, arm) == bound:
        return None
    return {"extends": serving, experiment.feature: msgspec.to_builtins(experiment.arms[arm])}


def _free_name(registry: Registry, name: str) -> str:
    if re.search(NAME, name) is None:
        raise UsageError(f"--as: found `{name}`, expected {TYPE_DESCRIPTIONS[NAME]}")
    if name in registry.releases:
        raise UsageError(
            f"--as: the release `{name}` exists already", hint="releases never change; choose another name"
        )
    return name


def _next_name(registry: Registry, serving: str) -> str:
    """Return the serving release's name with its number increased to the first free one."""
    numbered = _NUMBERED.fullmatch(serving)
    if numbered is None:
        raise UsageError(
            f"the release name `{serving}` has no number to increase", hint="name the new release: `--as NAME`"
        )
    stem, number = numbered[1], int(numbered[2])
    while f"{stem}{number}" in registry.releases:
        number += 1
    return f"{stem}{number}"


def _entry(
    session: RolloutSession,
    name: str,
    experiment: Experiment,
    *,
    action: Literal["stop", "adopt"],
    reason: str | None,
    arm: str | None = None,
) -> LedgerEntry:
    """Return the ledger entry; it keeps the registry's entry of the experiment."""
    at = session.context.now()
    evidence: dict[str, Any] = {"experiment": msgspec.to_builtins(experiment)}
    if arm is not None:
        evidence["arm"] = arm
    return LedgerEntry(
        id=entry_id(action, at, name),
        at=at,
        actor=session.context.user,
        action=action,
        release="",
        reason=session.redact(reason),
        evidence=evidence,
        experiment=name,
    )


def _remove_entry(
    session: RolloutSession, entry: LedgerEntry, experiment: Experiment, edits: Sequence[EntryEdit]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Start the step in the ledger, change the registry, record the step as done; return files and warnings.

    If the ledger cannot be written, nothing is changed.
    """
    name = entry.experiment or ""

    def change(registry: Registry) -> Sequence[EntryEdit]:
        is_same = registry.experiments.get(name) == experiment and registry.rollout == session.registry.rollout
        is_free = all(edit.name not in registry.releases for edit in edits)
        if not (is_same and is_free and registry.current == session.registry.current):
            raise UsageError(
                "the registry changed during the command", hint="check it, then run the same command again"
            )
        return (*edits, EntryEdit(key="experiments", name=name))

    source = session.source
    with open_ledger(source.project, source.environment) as ledger, recorded_step(ledger, entry) as warnings:
        files = edit_entries(
            source.project, change, env=source.environment, environ=source.environ, clock_s=session.context.clock_s
        )
    shared = (
        (f"`{name}` was in {files[-1]}, which other files extend: it ends in every environment",)
        if source.environment is not None and source.own_file not in files
        else ()
    )
    return files, (*warnings, *shared, *log_step(source, entry), *audit_step(source, entry))
