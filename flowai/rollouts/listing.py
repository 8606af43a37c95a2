"""What `flowai release list` and `diff` say: each release and how it stands; what differs between two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flowai.errors import FlowaiError, PromptError
from flowai.prompts import PromptLibrary, PromptLock
from flowai.releases.diff import Difference, differences
from flowai.releases.integrity import changes_since
from flowai.releases.ledger import LedgerEntry, find_inconsistencies
from flowai.rollouts.session import open_ground
from flowai.storage.files import read_text

if TYPE_CHECKING:
    from flowai.prompts import Prompt
    from flowai.rollouts.session import RolloutSession
    from flowai.workspace.workspace import CommandContext


class ReleaseRow(msgspec.Struct, frozen=True, kw_only=True):
    """One release."""

    name: str
    """Its name."""
    states: tuple[str, ...]
    """How it stands: `serves`, `candidate`, `current`, `known good`, `bad`; none for one that is only written."""
    stage: int | str | None
    """Stage of its rollout; None unless it is the candidate."""
    features: tuple[str, ...]
    """What it changes itself."""
    is_locked: bool
    """Whether its prompts and models are locked."""
    changed: tuple[str, ...]
    """Prompts and models that are not what was locked."""
    last: LedgerEntry | None
    """The newest step of the ledger about it."""


class ReleaseList(msgspec.Struct, frozen=True, kw_only=True):
    """All releases of an environment."""

    schema_version: int = 1
    """Version of this format: 1."""
    environment: str | None
    """The environment; None for the plain registry."""
    serving: str | None
    """The release that serves; None when none may."""
    releases: tuple[ReleaseRow, ...]
    """In the order of the registry."""
    warnings: tuple[str, ...]
    """What a person should know; one line each."""


class ReleaseDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two releases."""

    schema_version: int = 1
    """Version of this format: 1."""
    before: str
    """The first."""
    after: str
    """The second."""
    differences: tuple[Difference, ...]
    """What features use."""
    texts: dict[str, str]
    """Unified diff of each changed prompt, by `old -> new`."""


def list_releases(context: CommandContext, *, env: str | None) -> ReleaseList:
    """List releases; the live overlay counts, where it can be reached.

    Raises:
        ProjectError: a file is wrong.
        UsageError: several environments and none named.
    """
    with open_ground(context, env=env, writes=False) as ground:
        standing = ground.status_of()
        serves, warnings = None, (*standing.warnings, *find_inconsistencies(ground.registry, ground.ledger))
        try:
            serving = ground.serving(standing)
            serves, warnings = serving.name, (*warnings, *serving.warnings)
        except FlowaiError as error:
            warnings = (*warnings, str(error))
        lock = PromptLock.read(ground.source.project.prompts_lock)
        library = PromptLibrary(ground.source.project)
        rows = tuple(_row(ground, name, serves, standing.bad, lock, library) for name in ground.registry.releases)
        return ReleaseList(environment=ground.source.environment, serving=serves, releases=rows, warnings=warnings)


def _row(
    ground: RolloutSession, name: str, serves: str | None, bad: frozenset[str], lock: PromptLock, library: PromptLibrary
) -> ReleaseRow:
    registry = ground.registry
    is_candidate = registry.rollout is not None and registry.rollout.candidate == name and name not in bad
    facts = {
        "serves": name == serves,
        "candidate": is_candidate,
        "current": name == registry.current,
        "known good": name in registry.history and name not in bad,
        "bad": name in bad,
    }
    about = (one for one in reversed(ground.ledger.entries) if name in (one.release, *one.rolled_back))
    changed = changes_since(registry, lock, library, name)
    return ReleaseRow(
        name=name,
        states=tuple(word for word, is_so in facts.items() if is_so),
        stage=registry.rollout.stage if registry.rollout and is_candidate else None,
        features=tuple(registry.release(name).bindings),
        is_locked=name in lock.releases,
        changed=tuple(f"{one.kind} `{one.name}`" for one in changed),
        last=next(about, None),
    )


def diff_releases(context: CommandContext, before: str | None, after: str, *, env: str | None) -> ReleaseDiff:
    """Compare two releases, prompts word for word.

    Args:
        context: the command's context.
        before: the first; None for the one that serves.
        after: the second.
        env: the environment.

    Raises:
        ProjectError: a file is wrong, or no release serves.
        UsageError: there is no such release.
    """
    with open_ground(context, env=env, writes=False) as ground:
        return compare_releases(ground, before or ground.serving(ground.status_of()).name, after)


def compare_releases(ground: RolloutSession, before: str, after: str) -> ReleaseDiff:
    """Compare two releases of a registry that is open, prompts word for word.

    Raises:
        ProjectError: a prompt is wrong.
        UsageError: there is no such release.
    """
    found = differences(ground.registry, before, after)
    pairs = {(one.before, one.after) for one in found if one.what == "prompt"}
    texts = {f"{old} -> {new}": _text_diff(ground, old, new) for old, new in sorted(pairs, key=str) if old and new}
    return ReleaseDiff(before=before, after=after, differences=found, texts=texts)


def _text_diff(ground: RolloutSession, old: str, new: str) -> str:
    import difflib  # only here

    library = PromptLibrary(ground.source.project)
    before, after = (_lines(library.load(name)) for name in (old, new))
    return "".join(difflib.unified_diff(before, after, fromfile=old, tofile=new, n=2))


def _lines(prompt: Prompt) -> list[str]:
    text = read_text(prompt.path, name=prompt.file, kind=PromptError)
    return [line if line.endswith("\n") else f"{line}\n" for line in text.splitlines(keepends=True)]
