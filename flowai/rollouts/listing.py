"""`flowai release list` and `diff`: status of each release, and differences between two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flowai.errors import FlowaiError, PromptError
from flowai.prompts import PromptLibrary, PromptLock
from flowai.releases.diff import Difference, differences
from flowai.releases.integrity import changes_since
from flowai.releases.ledger import LedgerEntry
from flowai.releases.ledger_steps import find_inconsistencies
from flowai.rollouts.session import open_rollout_session
from flowai.storage.files import read_text

if TYPE_CHECKING:
    from flowai.prompts import Prompt
    from flowai.rollouts.session import RolloutSession
    from flowai.workspace.workspace import CommandContext


class ReleaseRow(msgspec.Struct, frozen=True, kw_only=True):
    """A release and its status."""

    name: str
    states: tuple[str, ...]
    """`serving`, `candidate`, `current`, `known good`, `bad`; empty if it was never published."""
    stage: int | str | None
    """Stage of its rollout; None unless it is the candidate."""
    features: tuple[str, ...]
    """Features that the release itself binds."""
    is_locked: bool
    """Whether its prompts and models are in prompts.lock."""
    changed: tuple[str, ...]
    """Prompts and models that differ from prompts.lock."""
    last_step: LedgerEntry | None
    """Newest step of the release in the ledger."""


class ReleaseList(msgspec.Struct, frozen=True, kw_only=True):
    """All releases of an environment."""

    schema_version: int = 1
    environment: str | None
    """Environment; None for the plain registry."""
    serving: str | None
    """Release that serves; None if none can."""
    releases: tuple[ReleaseRow, ...]
    """In the order of the registry."""
    warnings: tuple[str, ...]


class ReleaseDiff(msgspec.Struct, frozen=True, kw_only=True):
    """Differences between two releases."""

    schema_version: int = 1
    before: str
    after: str
    differences: tuple[Difference, ...]
    texts: dict[str, str]
    """Unified diff of each changed prompt, by `old -> new`."""


def list_releases(context: CommandContext, *, env: str | None) -> ReleaseList:
    """List the releases, with the live overlay if it is reachable.

    Raises:
        ProjectError: a file is invalid.
        UsageError: several environments and none named.
    """
    with open_rollout_session(context, env=env, writes=False) as session:
        status = session.release_status()
        serving, warnings = None, (*status.warnings, *find_inconsistencies(session.registry, session.ledger))
        try:
            resolved = session.serving(status)
            serving, warnings = resolved.name, (*warnings, *resolved.warnings)
        except FlowaiError as error:
            warnings = (*warnings, str(error))
        lock = PromptLock.read(session.source.project.prompts_lock)
        library = PromptLibrary(session.source.project)
        rows = tuple(_row(session, name, serving, status.bad, lock, library) for name in session.registry.releases)
        return ReleaseList(environment=session.source.environment, serving=serving, releases=rows, warnings=warnings)


def _row(
    session: RolloutSession,
    name: str,
    serving: str | None,
    bad: frozenset[str],
    lock: PromptLock,
    library: PromptLibrary,
) -> ReleaseRow:
    registry = session.registry
    is_candidate = registry.rollout is not None and registry.rollout.candidate == name and name not in bad
    states = {
        "serving": name == serving,
        "candidate": is_candidate,
        "current": name == registry.current,
        "known good": name in registry.history and name not in bad,
        "bad": name in bad,
    }
    steps = (step for step in reversed(session.ledger.entries) if name in (step.release, *step.rolled_back))
    changed = changes_since(registry, lock, library, name)
    return ReleaseRow(
        name=name,
        states=tuple(state for state, applies in states.items() if applies),
        stage=registry.rollout.stage if registry.rollout and is_candidate else None,
        features=tuple(registry.release(name).bindings),
        is_locked=name in lock.releases,
        changed=tuple(f"{change.kind} `{change.name}`" for change in changed),
        last_step=next(steps, None),
    )


def diff_releases(context: CommandContext, before: str | None, after: str, *, env: str | None) -> ReleaseDiff:
    """Compare two releases, and their prompts line by line.

    Args:
        context: the command's context.
        before: the earlier release; None for the serving one.
        after: the later release.
        env: environment; None for FLOWAI_ENV or the only one.

    Raises:
        ProjectError: a file is invalid, or no release serves.
        UsageError: there is no such release.
    """
    with open_rollout_session(context, env=env, writes=False) as session:
        return compare_releases(session, before or session.serving(session.release_status()).name, after)


def compare_releases(session: RolloutSession, before: str, after: str) -> ReleaseDiff:
    """Compare two releases of an open registry, and their prompts line by line.

    Raises:
        ProjectError: a prompt is invalid.
        UsageError: there is no such release.
    """
    changes = differences(session.registry, before, after)
    pairs = {(one.before, one.after) for one in changes if one.what == "prompt"}
    texts = {f"{old} -> {new}": _text_diff(session, old, new) for old, new in sorted(pairs, key=str) if old and new}
    return ReleaseDiff(before=before, after=after, differences=changes, texts=texts)


def _text_diff(session: RolloutSession, old: str, new: str) -> str:
    import difflib  # only here

    library = PromptLibrary(session.source.project)
    before, after = (_lines(library.load(name)) for name in (old, new))
    return "".join(difflib.unified_diff(before, after, fromfile=old, tofile=new, n=2))


def _lines(prompt: Prompt) -> list[str]:
    text = read_text(prompt.path, name=prompt.file, kind=PromptError)
    return [line if line.endswith("\n") else f"{line}\n" for line in text.splitlines(keepends=True)]
