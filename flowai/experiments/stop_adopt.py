"""`flowai experiment stop` and `adopt`: take an experiment out of the registry; adopt the winning arm."""

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
    """What was asked for."""

    name: str
    """The experiment."""
    env: str | None = None
    """The environment; None for FLOWAI_ENV or the only one."""
    reason: str | None = None
    """Why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdoptOptions:
    """What was asked for."""

    name: str
    """The experiment."""
    arm: str | None = None
    """The arm; None for the winner."""
    release: str | None = None
    """Name of the new release; None for the next number."""
    env: str | None = None
    """The environment; None for FLOWAI_ENV or the only one."""
    force: bool = False
    """Whether an arm is taken without evidence."""
    reason: str | None = None
    """Why."""
    since: str | None = None
    """Begin of the evidence, as typed; None for the experiment's first call."""
    window: str = "1h"
    """How long after a call feedback counts, as typed."""


class EndResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    schema_version: int = 1
    """Version of this format: 1."""
    environment: str | None
    """The environment; None for the plain registry."""
    experiment: str
    """The experiment."""
    action: Literal["stop", "adopt"]
    """`stop`, or `adopt`."""
    feature: str | None = None
    """Where it ran; None where an earlier command ended it."""
    arm: str | None = None
    """The arm that was adopted; None where none was."""
    release: str | None = None
    """The release that was made of it; None where none was needed: it is what serves."""
    serving: str
    """The release that serves, in this feature too from now on."""
    changed: bool = True
    """Whether this run ended it; False where an earlier one had."""
    ended: str = ""
    """How and by whom, where an earlier one had; else empty."""
    forced: bool = False
    """Whether it was adopted without evidence."""
    files: tuple[str, ...] = ()
    """Registry files that were changed."""
    report_digest: str | None = None
    """Digest of the report it rests on; None for none."""
    warnings: tuple[str, ...] = ()
    """What a person should know; one line each."""


def stop(context: CommandContext, options: StopOptions) -> EndResult:
    """End an experiment: every call of its feature is served by the release alone again.

    Raises:
        UsageError: there is no such experiment, or somebody changed it meanwhile.
        ProjectError: the registry is wrong, or cannot be changed without touching what stands around.
        InfrastructureError: a file cannot be written.
    """
    with open_rollout_session(context, env=options.env) as ground:
        serves = ground.serving(ground.release_status()).name
        if options.name not in ground.registry.experiments:
            return _already_ended(ground, options.name, serves)
        experiment = ground.registry.experiments[options.name]
        entry = _entry(ground, options.name, experiment, action="stop", reason=options.reason)
        files, warnings = _remove_entry(ground, entry, experiment, ())
        return EndResult(
            environment=ground.source.environment,
            experiment=options.name,
            action="stop",
            feature=experiment.feature,
            serving=serves,
            files=files,
            warnings=(*ground.ledger.warnings, *warnings),
        )


def adopt(context: CommandContext, options: AdoptOptions) -> EndResult:
    """End an experiment and make an arm of it a release, ready to be published.

    Raises:
        UndecidedError: no arm has won, or another one.
        UsageError: there is no such experiment or arm, it was stopped, a rollout is on, the release's name is taken.
        ProjectError: the registry is wrong, or cannot be changed without touching what stands around.
        InfrastructureError: the log cannot be read, or a file cannot be written.
    """
    _check_force(options)
    with open_rollout_session(context, env=options.env) as ground:
        registry, name, standing = ground.registry, options.name, ground.release_status()
        serves = ground.serving(standing).name
        if name not in registry.experiments:
            return _adopted(_already_ended(ground, name, serves))
        experiment = registry.experiments[name]
        if options.arm is not None and options.arm not in experiment.arms:
            hint = expected_one_of(experiment.arms, found=options.arm)
            raise UsageError(f"experiment `{name}` has no arm `{options.arm}`", hint=hint)
        rollout = registry.rollout
        if rollout is not None and rollout.candidate not in standing.bad:
            hint = "finish it first: `flowai release promote`, or `flowai rollback`"
            raise UsageError(f"the rollout of `{rollout.candidate}` is on: what serves is not settled", hint=hint)
        release = options.release and _free_name(registry, options.release)  # before the log is read
        report = None if options.force else _check_winner(ground, options)
        arm = options.arm or (report.winner if report else None) or ""
        made = _build_release(registry, experiment, name, arm, serves)
        edits: tuple[EntryEdit, ...] = ()
        if made is None:
            release = None
        else:
            release = release or _next_name(registry, serves)
            edits = (EntryEdit(key="releases", name=release, value=made, beside=serves),)
        entry = msgspec.structs.replace(
            _entry(ground, name, experiment, action="adopt", reason=options.reason, arm=arm),
            release=release or serves,
            forced=options.force,
            report_digest=report.digest if report else None,
        )
        files, warnings = _remove_entry(ground, entry, experiment, edits)
        return EndResult(
            environment=ground.source.environment,
            experiment=name,
            action="adopt",
            feature=experiment.feature,
            arm=arm,
            release=release,
            serving=serves,
            forced=options.force,
            files=files,
            report_digest=entry.report_digest,
            warnings=(*standing.warnings, *warnings),
        )


def _check_force(options: AdoptOptions) -> None:
    if options.force and not (options.reason and options.reason.strip()):
        raise UsageError("`--force` needs `--reason`", hint='say why: `--force --reason "..."`')
    if options.force and options.arm is None:
        raise UsageError("`--force` needs `--arm`: without evidence there is no winner")


def _already_ended(ground: RolloutSession, name: str, serves: str) -> EndResult:
    """Say that it is over already.

    Raises:
        UsageError: nobody knows it.
    """
    ended = end_entry(ground.ledger, name)
    if ended is None:
        raise no_experiment(ground.registry, ground.ledger, name)
    adopted = ended.action == "adopt"
    return EndResult(
        environment=ground.source.environment,
        experiment=name,
        action="adopt" if adopted else "stop",
        arm=ended.evidence.get("arm"),
        release=ended.release if adopted and ended.release != serves else None,
        serving=serves,
        changed=False,
        ended=how_it_ended(ended),
        forced=ended.forced,
        report_digest=ended.report_digest,
        warnings=ground.ledger.warnings,
    )


def _adopted(ended: EndResult) -> EndResult:
    if ended.action != "adopt":
        raise UsageError(f"the experiment `{ended.experiment}` is over: {ended.ended}", hint="no arm can be adopted")
    return ended


def _check_winner(ground: RolloutSession, options: AdoptOptions) -> ExperimentReport:
    """Hold the arms against each other anew, and give the report if the arm that is meant has won."""
    from flowai.experiments.report import ExperimentOptions, run_experiment_report
    from flowai.experiments.tables import VERDICT_WORDS, reason_line  # a forced one needs no log

    wanted = ExperimentOptions(name=options.name, since=options.since, window=options.window)
    report = run_experiment_report(ground.context, wanted).report
    hint = f"look: `flowai experiment report {options.name}`; or take one: `--arm NAME --force --reason ...`"
    if report.winner is None:
        said = f"{VERDICT_WORDS[report.verdict].lower()}: {reason_line(report)}"
        raise InconclusiveError(f"no arm of `{options.name}` can be adopted: {said}", hint=hint)
    if options.arm not in (None, report.winner):
        raise InconclusiveError(f"arm `{options.arm}` has not won: `{report.winner}` has", hint=hint)
    return report


def _build_release(
    registry: Registry, experiment: Experiment, name: str, arm: str, serves: str
) -> dict[str, object] | None:
    """Give the release that serves what an arm does, as it is written; None where that serves already."""
    bound = binding(registry, serves, experiment.feature)
    if arm_binding(registry, bound, name, arm) == bound:
        return None
    return {"extends": serves, experiment.feature: msgspec.to_builtins(experiment.arms[arm])}


def _free_name(registry: Registry, name: str) -> str:
    if re.search(NAME, name) is None:
        raise UsageError(f"--as: found `{name}`, expected {TYPE_DESCRIPTIONS[NAME]}")
    if name in registry.releases:
        raise UsageError(f"--as: there is a release `{name}` already", hint="releases never change; give another name")
    return name


def _next_name(registry: Registry, serves: str) -> str:
    """Count the name of the release that serves up, to the first that is free."""
    numbered = _NUMBERED.fullmatch(serves)
    if numbered is None:
        raise UsageError(f"no number to count up in `{serves}`", hint="name the new release: `--as NAME`")
    stem, number = numbered[1], int(numbered[2])
    while f"{stem}{number}" in registry.releases:
        number += 1
    return f"{stem}{number}"


def _entry(
    ground: RolloutSession,
    name: str,
    experiment: Experiment,
    *,
    action: Literal["stop", "adopt"],
    reason: str | None,
    arm: str | None = None,
) -> LedgerEntry:
    """Give the ledger's line; it keeps what the registry said of the experiment."""
    at = ground.context.now()
    evidence: dict[str, Any] = {"experiment": msgspec.to_builtins(experiment)}
    if arm is not None:
        evidence["arm"] = arm
    return LedgerEntry(
        id=entry_id(action, at, name),
        at=at,
        actor=ground.context.user,
        action=action,
        release="",
        reason=ground.redact(reason),
        evidence=evidence,
        experiment=name,
    )


def _remove_entry(
    ground: RolloutSession, entry: LedgerEntry, experiment: Experiment, edits: Sequence[EntryEdit]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Change the registry in one step, then say so in the ledger and the event log; give files and warnings.

    The ledger is opened first: one that cannot be written stops the step before anything is changed.
    """
    name = entry.experiment or ""

    def change(registry: Registry) -> Sequence[EntryEdit]:
        is_same = registry.experiments.get(name) == experiment and registry.rollout == ground.registry.rollout
        is_free = all(edit.name not in registry.releases for edit in edits)
        if not (is_same and is_free and registry.current == ground.registry.current):
            raise UsageError("the registry was changed meanwhile", hint="look again, then run the same command")
        return (*edits, EntryEdit(key="experiments", name=name))

    source = ground.source
    with open_ledger(source.project, source.environment) as ledger:
        files = edit_entries(
            source.project, change, env=source.environment, environ=source.environ, clock_s=ground.context.clock_s
        )
        ledger.append(entry)
    shared = (
        (f"`{name}` stood in {files[-1]}, which others extend: it ends in every environment",)
        if source.environment is not None and source.own_file not in files
        else ()
    )
    return files, (*shared, *log_step(source, entry))
