"""`flowai release publish`: locks a release and starts its rollout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.errors import Place, PromptError, UsageError
from flowai.prompts import PromptLibrary, PromptLock
from flowai.providers import PriceTable
from flowai.registry import Rollout, check_retirements
from flowai.releases.diff import Difference, changed_features, differences
from flowai.releases.integrity import changes_since, locked_release
from flowai.releases.ledger import LedgerEntry, entry_id
from flowai.rollouts.session import open_rollout_session

if TYPE_CHECKING:
    from flowai.evals.runs.trials import Observer
    from flowai.registry.writer import ManagedKeys
    from flowai.rollouts.session import ReleaseStatus, RolloutSession
    from flowai.workspace.workspace import CommandContext


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishOptions:
    """Options of `flowai release publish`."""

    release: str
    env: str | None = None
    """None for FLOWAI_ENV or the only environment."""
    smoke: bool = True
    """Whether smoke must pass first."""
    fallbacks: bool = True
    """Whether smoke tries every model of the fallback chains."""
    reason: str | None = None


class PublishResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of `flowai release publish`."""

    schema_version: int = 1
    environment: str | None
    """Environment; None for the plain registry."""
    release: str
    """Candidate."""
    serving: str
    """Baseline."""
    stage: int | str | None
    """Stage of the rollout; None if smoke did not pass."""
    changed: bool
    """Whether this run started the rollout; False if it was active before."""
    smoke: str
    """Decision of smoke (`pass`, `fail`, ...), or `skipped`."""
    fallbacks: bool
    """Whether smoke also had to try every model of the fallback chains."""
    differences: tuple[Difference, ...]
    """Differences between baseline and candidate."""
    registry_file: str
    warnings: tuple[str, ...] = ()


def publish(context: CommandContext, options: PublishOptions, observer: Observer) -> PublishResult:
    """Publish a release.

    If smoke does not pass, the result has no stage and no rollout starts; that is no error.

    Raises:
        UsageError: it already serves, is bad, a rollout is active, or an experiment runs in a feature it changes.
        PromptError: one of its prompts was published before with other content.
        ProjectError: a file is invalid.
        InfrastructureError: a file cannot be written.
    """
    with open_rollout_session(context, env=options.env) as session:
        registry, name = session.registry, options.release
        registry.release(name)
        status = session.release_status()
        if name in status.bad:
            hint = "publish the fixed release under a new name"
            raise UsageError(f"`{name}` is marked bad and is never served again", hint=hint)
        baseline = session.serving(status).name
        rollout = registry.rollout
        if rollout is not None and rollout.candidate == name:
            return _already_published(session, options, rollout, baseline)
        _check_publishable(session, status, name, baseline)
        retired = check_retirements(registry, (name,), today=context.now().date(), prices=PriceTable())
        library = PromptLibrary(session.source.project)
        lock = _add_to_lock(session, name, library)
        smoke, untried = _smoke(session, options, observer) if options.smoke else ("skipped", ())
        if smoke not in ("pass", "skipped"):
            return _result(session, options, baseline, smoke=smoke, stage=None, warnings=(*retired, *untried))
        lock.write(session.source.project.prompts_lock)
        new_rollout = Rollout(
            candidate=name, stage=registry.policies.canary.stages[0], started_at=context.now().replace(microsecond=0)
        )

        def start(own: ManagedKeys) -> ManagedKeys:
            return msgspec.structs.replace(own, rollout=new_rollout)

        warnings = session.apply_step(_entry(session, options, new_rollout, smoke), rollout, start)
        warnings = (*retired, *untried, *warnings)
        result = _result(session, options, baseline, smoke=smoke, stage=new_rollout.stage, warnings=warnings)
        return msgspec.structs.replace(result, changed=True)


def _already_published(
    session: RolloutSession, options: PublishOptions, rollout: Rollout, baseline: str
) -> PublishResult:
    """Return the active rollout; record its start if the command that started it was killed before."""
    entry = session.ledger.latest(rollout.candidate, "publish")
    warnings: tuple[str, ...] = ()
    if entry is None:
        entry = _entry(session, options, rollout, "unknown")
        warnings = session.record_missed_step(entry)
    smoke = str(entry.evidence.get("smoke"))
    return _result(session, options, baseline, smoke=smoke, stage=rollout.stage, warnings=warnings)


def _check_publishable(session: RolloutSession, status: ReleaseStatus, name: str, baseline: str) -> None:
    registry = session.registry
    if name in {baseline, registry.current}:
        raise UsageError(f"`{name}` already serves")
    rollout = registry.rollout
    if rollout is not None and rollout.candidate not in status.bad:
        raise UsageError(
            f"the rollout of `{rollout.candidate}` is active", hint="one at a time: promote it, or `flowai rollback`"
        )
    changed = changed_features(registry, baseline, name)
    for experiment, entry in registry.experiments.items():
        if entry.feature in changed:
            raise UsageError(
                f"`{name}` changes `{entry.feature}`, in which the experiment `{experiment}` runs",
                hint=f"end it first: `flowai experiment stop {experiment}`",
            )


def _add_to_lock(session: RolloutSession, name: str, library: PromptLibrary) -> PromptLock:
    """Return the lock with this release added.

    Raises:
        PromptError: a prompt or model changed after a release with it was published.
    """
    registry, file = session.registry, session.source.project.prompts_lock
    lock = PromptLock.read(file)
    locked = locked_release(registry, name, library)
    prompts: dict[str, str | None] = dict(locked.prompts)
    for change in (*lock.changes(prompts=prompts), *changes_since(registry, lock, library, name)):
        raise PromptError(
            f"{change.kind} `{change.name}` changed after release `{change.release}` was published",
            place=Place(file=session.source.project.show(file)),
            hint="releases never change: undo the change, or give it a new name and a new release",
        )
    return lock.with_release(name, locked)


def _smoke(session: RolloutSession, options: PublishOptions, observer: Observer) -> tuple[str, tuple[str, ...]]:
    """Return the decision of smoke, and a line per fallback model that was not tried and per file not written."""
    from flowai.evals.smoke.smoke import SmokeOptions, run_smoke  # not needed with --no-smoke

    smoke_options = SmokeOptions(release=options.release, fallbacks=options.fallbacks)
    result = run_smoke(session.context, smoke_options, observer)
    return result.report.decision.verdict, (*result.untried, *result.unwritten)


def _entry(session: RolloutSession, options: PublishOptions, rollout: Rollout, smoke: str) -> LedgerEntry:
    at = session.context.now()
    evidence: dict[str, Any] = {"smoke": smoke}
    return LedgerEntry(
        id=entry_id("publish", at, rollout.candidate),
        at=at,
        actor=session.context.user,
        action="publish",
        release=rollout.candidate,
        to_stage=rollout.stage,
        forced=not options.smoke,
        reason=session.redact(options.reason),
        evidence=evidence,
    )


def _result(
    session: RolloutSession,
    options: PublishOptions,
    baseline: str,
    *,
    smoke: str,
    stage: int | str | None,
    warnings: tuple[str, ...] = (),
) -> PublishResult:
    return PublishResult(
        environment=session.source.environment,
        release=options.release,
        serving=baseline,
        stage=stage,
        changed=False,
        smoke=smoke,
        fallbacks=options.smoke and options.fallbacks,
        differences=differences(session.registry, baseline, options.release),
        registry_file=session.source.own_file,
        warnings=(*session.warnings, *warnings),
    )
