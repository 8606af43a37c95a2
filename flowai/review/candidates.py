"""Selects the pairs for reviewers and labelling models: of the last export's quarantine, of a file, or of the log.

Private data and secrets are replaced first, as in an export.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import InconclusiveError, Place, ProjectError, UsageError
from flowai.finetune.cleaning.filters import cleaning_steps
from flowai.finetune.cleaning.pipeline import clean
from flowai.finetune.cleaning.quality import QualityLimits
from flowai.finetune.export.output_directory import MANIFEST
from flowai.finetune.pairs.collect import collect_pairs
from flowai.finetune.pairs.pair_store import open_pair_store
from flowai.finetune.records import Pair, Quarantined
from flowai.finetune.session import open_session, training_set_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.project import Project
    from flowai.workspace.workspace import CommandContext, Workspace

QUARANTINE = "quarantine.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateSelection:
    """Selection of the pairs to review or label."""

    feature: str | None = None
    """None for the only feature of the project."""
    source: Path | None = None
    """A file of pairs or quarantined pairs; None for the last export's quarantine."""
    everything: bool = False
    """Whether all judged pairs of the log are selected instead."""
    since: str | None = None
    """Start of the time range, as typed, only with `everything`; None for the whole log."""


def select_candidates(
    context: CommandContext, workspace: Workspace, feature: str, selection: CandidateSelection
) -> list[Pair | Quarantined]:
    """Return the selected pairs, in a stable order; raises InconclusiveError if there are none."""
    if selection.everything and selection.source is not None:
        raise UsageError("`--all` reads the log, `--from` a file", hint="use only one of them")
    if selection.since is not None and not selection.everything:
        raise UsageError("`--since` limits the log", hint="add `--all`")
    if selection.everything:
        candidates = _pairs_of_log(context, feature, selection.since)
    else:
        path = selection.source or _last_quarantine(workspace.project, feature)
        candidates = list(_pairs_of_file(path, workspace.project.show(path), feature))
    if not candidates and selection.everything:
        hint = f"flowai finetune export --feature {feature}: its quarantine.jsonl has the reason for each of them"
        raise InconclusiveError(f"no judged answer of `{feature}` that a reviewer may accept", hint=hint)
    if not candidates:
        raise InconclusiveError("no pair waits for a reviewer", hint="review every pair of the log with `--all`")
    return candidates


def _last_quarantine(project: Project, feature: str) -> Path:
    """Return the last export's quarantine; the exports of all formats have the same pairs for review."""
    exports = [
        path
        for path in training_set_directory(project, feature).glob(f"*/{MANIFEST}")
        if path.with_name(QUARANTINE).is_file()
    ]
    if not exports:
        raise InconclusiveError(
            f"`{feature}` has no export yet",
            hint=f"flowai finetune export --feature {feature}; or review all pairs of the log with `--all`",
        )
    newest = max(exports, key=lambda path: (path.stat().st_mtime_ns, path))
    return newest.with_name(QUARANTINE)


def _pairs_of_file(path: Path, name: str, feature: str) -> Iterator[Pair | Quarantined]:
    try:
        stream = path.open("rb")
    except OSError as error:
        raise ProjectError(f"cannot be read: {error.strerror}", place=Place(file=name)) from None
    with stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            candidate = _parse_line(line, Place(file=name, line=number))
            pair = candidate if isinstance(candidate, Pair) else candidate.pair
            if pair is None or (isinstance(candidate, Quarantined) and not candidate.needs_review):
                continue
            if pair.feature != feature:
                place = Place(file=name, line=number)
                raise UsageError(f"a pair of `{pair.feature}`, expected `{feature}`", place=place)
            yield candidate


def _parse_line(line: bytes, place: Place) -> Pair | Quarantined:
    """Parse a line: a quarantined pair has a step, a pair has none."""
    try:
        record = msgspec.json.decode(line)
        if isinstance(record, dict) and "step" in record:
            return msgspec.convert(record, Quarantined)
        return msgspec.convert(record, Pair)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        hint = f"use an export's `{QUARANTINE}`, or lines of it"
        raise ProjectError(f"neither a pair nor a quarantined pair: {error}", place=place, hint=hint) from None


def _pairs_of_log(context: CommandContext, feature: str, since: str | None) -> list[Pair | Quarantined]:
    """Return the log's pairs after cleaning, and the quarantined ones that a reviewer may accept."""
    session = open_session(context, feature, QualityLimits(), (), toxicity=False)
    candidates: list[Pair | Quarantined] = []

    def add_quarantined(quarantined: Quarantined) -> None:
        if quarantined.needs_review and quarantined.pair is not None:
            candidates.append(quarantined)

    # earlier decisions are not applied: decided pairs are shown again here
    cleaning = replace(session.cleaning, decide=lambda pair: pair)
    with tempfile.TemporaryDirectory(prefix="flowai-") as directory, open_pair_store(Path(directory)) as store:
        collect_pairs(session.events, session.selector(since, None, ()), store, lambda _: None)
        pairs, _ = clean(store.pairs(), cleaning_steps(cleaning), add_quarantined)
        for pair in pairs:  # quarantined pairs are added in between, in order
            candidates.append(pair)  # noqa: PERF402 - the list also grows in add_quarantined
    return candidates
