"""What `flowai release publish` does: locks a release, and begins its rollout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.errors import Place, PromptError, UsageError
from flowai.prompts import PromptLibrary, PromptLock
from flowai.registry import Rollout
from flowai.releases.diff import Difference, changed_features, differences
from flowai.releases.integrity import changes_since, locked_release
from flowai.releases.ledger import LedgerEntry, entry_id
from flowai.rollouts.session import open_ground

if TYPE_CHECKING:
    from flowai.evals.runs.trials import Observer
    from flowai.registry.writer import ManagedKeys
    from flowai.rollouts.session import ReleaseStatus, RolloutSession
    from flowai.workspace.workspace import CommandContext


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishOptions:
    """What was asked for."""

    release: str
    """The release."""
    env: str | None = None
    """The environment; None for FLOWAI_ENV or the only one."""
    smoke: bool = True
    """Whether smoke must pass first."""
    reason: str | None = None
    """Why smoke may be left out, or what this release is for."""


class PublishResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    schema_version: int = 1
    """Version of this format: 1."""
    environment: str | None
    """The environment; None for the plain registry."""
    release: str
    """The candidate."""
    serving: str
    """The baseline, which serves all others."""
    stage: int | str | None
    """The stage its rollout begins with; None where it did not begin."""
    changed: bool
    """Whether this run began it; False where it was on already."""
    smoke: str
    """What smoke said: `pass`, `fail`, `errors`, ...; `skipped` where it was left out."""
    differences: tuple[Difference, ...]
    """What features use, instead of what the baseline does."""
    registry_file: str
    """The file that was changed."""
    warnings: tuple[str, ...] = ()
    """What a person should know; one line each."""


def publish(context: CommandContext, options: PublishOptions, observer: Observer) -> PublishResult:
    """Publish a release.

    Args:
        context: the command's context.
        options: what was asked for.
        observer: who follows smoke.

    Returns:
        What came of it; smoke that did not pass is no error, but no rollout begins.

    Raises:
        UsageError: it serves already, is bad, another rollout is on, or an experiment runs in a feature it changes.
        PromptError: a prompt of it is not what was published under this name.
        ProjectError: a file is wrong.
        InfrastructureError: a file cannot be written.
    """
    with open_ground(context, env=options.env) as ground:
        registry, name = ground.registry, options.release
        registry.release(name)
        standing = ground.status_of()
        if name in standing.bad:
            hint = "give what you mended a new name"
            raise UsageError(f"`{name}` is marked bad and is never served again", hint=hint)
        baseline = ground.serving(standing).name
        rollout = registry.rollout
        if rollout is not None and rollout.candidate == name:
            return _already_published(ground, options, rollout, baseline)
        _refuse(ground, standing, name, baseline)
        library = PromptLibrary(ground.source.project)
        lock = _locked(ground, name, library)
        smoke = _smoke(ground, name, observer) if options.smoke else "skipped"
        if smoke not in ("pass", "skipped"):
            return _result(ground, options, baseline, smoke=smoke, stage=None)
        lock.write(ground.source.project.prompts_lock)
        begun = Rollout(
            candidate=name, stage=registry.policies.canary.stages[0], started_at=context.now().replace(microsecond=0)
        )

        def begin(own: ManagedKeys) -> ManagedKeys:
            return msgspec.structs.replace(own, rollout=begun)

        warnings = ground.apply_step(_entry(ground, options, begun, smoke), rollout, begin)
        done = _result(ground, options, baseline, smoke=smoke, stage=begun.stage, warnings=warnings)
        return msgspec.structs.replace(done, is_new=True)


def _already_published(
    ground: RolloutSession, options: PublishOptions, rollout: Rollout, baseline: str
) -> PublishResult:
    """Say that it is on already; where the one who began it was killed before it could say so, say that for it."""
    entry = ground.ledger.newest(rollout.candidate, "publish")
    warnings: tuple[str, ...] = ()
    if entry is None:
        entry = _entry(ground, options, rollout, "unknown")
        warnings = ground.record_missed_step(entry)
    smoke = str(entry.evidence.get("smoke"))
    return _result(ground, options, baseline, smoke=smoke, stage=rollout.stage, warnings=warnings)


def _refuse(ground: RolloutSession, standing: ReleaseStatus, name: str, baseline: str) -> None:
    """Refuse what cannot be rolled out now."""
    registry = ground.registry
    if name in {baseline, registry.current}:
        raise UsageError(f"`{name}` serves already")
    rollout = registry.rollout
    if rollout is not None and rollout.candidate not in standing.bad:
        raise UsageError(
            f"the rollout of `{rollout.candidate}` is on", hint="one at a time: promote it, or `flowai rollback`"
        )
    changed = changed_features(registry, baseline, name)
    for experiment, entry in registry.experiments.items():
        if entry.feature in changed:
            raise UsageError(
                f"`{name}` changes `{entry.feature}`, in which the experiment `{experiment}` runs",
                hint=f"end it first: `flowai experiment stop {experiment}`",
            )


def _locked(ground: RolloutSession, name: str, library: PromptLibrary) -> PromptLock:
    """Give the lock with this release in it; what was ever released must still be what it was."""
    registry, file = ground.registry, ground.source.project.prompts_lock
    lock = PromptLock.read(file)
    locked = locked_release(registry, name, library)
    prompts: dict[str, str | None] = dict(locked.prompts)
    for change in (*lock.changes(prompts=prompts), *changes_since(registry, lock, library, name)):
        raise PromptError(
            f"{change.kind} `{change.name}` is not what release `{change.release}` was published with",
            place=Place(file=ground.source.project.show(file)),
            hint="releases never change: undo the change, or give it a new name and a new release",
        )
    return lock.with_release(name, locked)


def _smoke(ground: RolloutSession, name: str, observer: Observer) -> str:
    from flowai.evals.smoke.smoke import SmokeOptions, run_smoke  # with --no-smoke nothing of it is needed

    return run_smoke(ground.context, SmokeOptions(release=name), observer).report.decision.verdict


def _entry(ground: RolloutSession, options: PublishOptions, rollout: Rollout, smoke: str) -> LedgerEntry:
    at = ground.context.now()
    evidence: dict[str, Any] = {"smoke": smoke}
    return LedgerEntry(
        id=entry_id("publish", at, rollout.candidate),
        at=at,
        actor=ground.context.user,
        action="publish",
        release=rollout.candidate,
        to_stage=rollout.stage,
        forced=not options.smoke,
        reason=ground.clean(options.reason),
        evidence=evidence,
    )


def _result(
    ground: RolloutSession,
    options: PublishOptions,
    baseline: str,
    *,
    smoke: str,
    stage: int | str | None,
    warnings: tuple[str, ...] = (),
) -> PublishResult:
    return PublishResult(
        environment=ground.source.environment,
        release=options.release,
        serving=baseline,
        stage=stage,
        changed=False,
        smoke=smoke,
        differences=differences(ground.registry, baseline, options.release),
        registry_file=ground.source.own_file,
        warnings=(*ground.ledger.warnings, *warnings),
    )
