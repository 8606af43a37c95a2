"""Which pairs people and models look at: those that an export held back, those of a file, or all that the log gives.

Nobody sees more of a pair than the files of an export would show: private things and secrets are replaced first.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import InconclusiveError, Place, ProjectError, UsageError
from flowai.finetune.cleaning.filters import steps_of
from flowai.finetune.cleaning.pipeline import clean
from flowai.finetune.cleaning.quality import QualityLimits
from flowai.finetune.export.output_directory import MANIFEST
from flowai.finetune.pairs.collect import collect_pairs
from flowai.finetune.pairs.pair_store import open_bench
from flowai.finetune.records import Pair, Quarantined
from flowai.finetune.session import open_session, training_set_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.project import Project
    from flowai.workspace.workspace import CommandContext, Workspace

QUARANTINE = "quarantine.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateSelection:
    """Which pairs are looked at."""

    feature: str | None = None
    """Whose calls; None for the only feature there is."""
    source: Path | None = None
    """A file of pairs, or of what an export kept out; None for the last export's."""
    everything: bool = False
    """Every judged pair of the log instead."""
    since: str | None = None
    """Begin, as typed; None for all there is. Of `everything` only."""


def select_candidates(
    context: CommandContext, workspace: Workspace, feature: str, looked: CandidateSelection
) -> list[Pair | Quarantined]:
    """Give the pairs, in a stable order.

    Raises:
        UsageError: options contradict each other, or a time cannot be read.
        UndecidedError: nothing was exported yet, or there is nothing to look at.
        ProjectError: a line of the file is neither.
    """
    if looked.everything and looked.source is not None:
        raise UsageError("`--all` looks at the log, `--from` at a file", hint="leave one of them out")
    if looked.since is not None and not looked.everything:
        raise UsageError("`--since` says what of the log to look at", hint="it goes with `--all`")
    if looked.everything:
        found = _of_log(context, feature, looked.since)
    else:
        path = looked.source or _last_quarantine(workspace.project, feature)
        found = list(_of_file(path, workspace.project.show(path), feature))
    if not found and looked.everything:
        hint = f"flowai finetune export --feature {feature}: its quarantine.jsonl says what keeps each of them out"
        raise InconclusiveError(f"no judged answer of `{feature}` that a person may let in", hint=hint)
    if not found:
        raise InconclusiveError("no pair waits for a person", hint="look at every pair of the log with `--all`")
    return found


def _last_quarantine(project: Project, feature: str) -> Path:
    """Give what the last export kept out; every format's holds the same pairs back."""
    exports = [
        path
        for path in training_set_directory(project, feature).glob(f"*/{MANIFEST}")
        if path.with_name(QUARANTINE).is_file()
    ]
    if not exports:
        raise InconclusiveError(
            f"nothing of `{feature}` was exported yet",
            hint=f"flowai finetune export --feature {feature}; or look at all pairs of the log with `--all`",
        )
    newest = max(exports, key=lambda path: (path.stat().st_mtime_ns, path))
    return newest.with_name(QUARANTINE)


def _of_file(path: Path, name: str, feature: str) -> Iterator[Pair | Quarantined]:
    try:
        stream = path.open("rb")
    except OSError as error:
        raise ProjectError(f"cannot be read: {error.strerror}", place=Place(file=name)) from None
    with stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            one = _record(line, Place(file=name, line=number))
            pair = one if isinstance(one, Pair) else one.pair
            if pair is None or (isinstance(one, Quarantined) and not one.needs_review):
                continue
            if pair.feature != feature:
                place = Place(file=name, line=number)
                raise UsageError(f"a pair of `{pair.feature}`, expected `{feature}`", place=place)
            yield one


def _record(line: bytes, place: Place) -> Pair | Quarantined:
    """Read a line: what keeps a pair out has a step, a pair has none."""
    try:
        keys = msgspec.json.decode(line)
        if isinstance(keys, dict) and "step" in keys:
            return msgspec.convert(keys, Quarantined)
        return msgspec.convert(keys, Pair)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        hint = f"give an export's `{QUARANTINE}`, or lines of it"
        raise ProjectError(f"neither a pair nor what keeps one out: {error}", place=place, hint=hint) from None


def _of_log(context: CommandContext, feature: str, since: str | None) -> list[Pair | Quarantined]:
    """Lead the log's pairs through the cleaning; what a person may not let in is left out."""
    ground = open_session(context, feature, QualityLimits(), (), toxicity=False)
    found: list[Pair | Quarantined] = []

    def keep_out(one: Quarantined) -> None:
        if one.needs_review and one.pair is not None:
            found.append(one)

    # everything is shown, also what was decided before: decisions are looked at again here
    cleaning = replace(ground.cleaning, decide=lambda one: one)
    with tempfile.TemporaryDirectory(prefix="flowai-") as home, open_bench(Path(home)) as bench:
        collect_pairs(ground.events, ground.wanted(since, None, ()), bench, lambda _: None)
        left, _ = clean(bench.pairs(), steps_of(cleaning), keep_out)
        for pair in left:  # what is held lands between them, in order
            found.append(pair)  # noqa: PERF402 - the list grows on both ways
    return found
