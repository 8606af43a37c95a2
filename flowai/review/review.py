"""What `flowai finetune review` does: a page for one reviewer; decisions out and in; how far reviewers agree."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec import Struct

from flowai.finetune.decisions.decision_files import check_ending, read_decisions, written
from flowai.finetune.decisions.decisions import agreements, consensus_by_pair, reviewer_counts
from flowai.finetune.session import feature_of, open_book, read_labels, unreadable_lines
from flowai.review.candidates import CandidateSelection, select_candidates
from flowai.review.queue import ReviewQueue, checked_reviewer
from flowai.storage.files import write_atomic
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flowai.finetune.decisions.decision_log import DecisionLog
    from flowai.finetune.decisions.labels import Label
    from flowai.review.web.server import Addresses
    from flowai.workspace.workspace import CommandContext

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReviewOptions:
    """What the command was asked."""

    looked: CandidateSelection = field(default_factory=CandidateSelection)
    """Which pairs."""
    reviewer: str
    """Who looks."""
    port: int = 0
    """Port, 0 to 65535; 0 takes a free one."""


class AgreementReport(Struct, frozen=True, kw_only=True):
    """How far two reviewers agree."""

    reviewers: tuple[str, str]
    """The two."""
    pairs_reviewed_by_both: int
    """Pairs that both have a word on."""
    agreed_count: int
    """Those on which they said the same at first."""
    kappa: float | None
    """Cohen's kappa; None where chance explains it all."""


class ReviewResult(Struct, frozen=True, kw_only=True):
    """What was decided until now."""

    feature: str
    """Whose calls."""
    file: str
    """Where the decisions lie, as a person would type it."""
    decided_count: int
    """Pairs with a decision that holds."""
    actions: dict[str, int]
    """Those by what was decided."""
    disputed: dict[str, str]
    """Pairs on which reviewers disagree, with who said what."""
    reviewers: dict[str, int]
    """Pairs that each reviewer has a word on."""
    agreement: tuple[AgreementReport, ...]
    """Of every two reviewers with pairs in common."""
    warnings: tuple[str, ...]
    """What a person should know; one line each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReviewOpened:
    """A page that can be opened."""

    addresses: Addresses
    """Where it is."""
    feature: str
    """Whose calls."""
    reviewer: str
    """Who looks."""
    pair_count: int
    """Pairs to look at."""
    remaining_count: int
    """Those that need a decision of this reviewer."""
    warnings: tuple[str, ...]
    """What a person should know; one line each."""


def run_review(
    context: CommandContext,
    options: ReviewOptions,
    *,
    on_open: Callable[[ReviewOpened], None],
    on_bug: Callable[[BaseException], None],
) -> ReviewResult:
    """Show pairs to a reviewer, until SIGINT or SIGTERM.

    Args:
        context: the command's context.
        options: what was asked.
        on_open: told once the page can be opened.
        on_bug: told of exceptions that nothing expected.

    Returns:
        What is decided in the end.

    Raises:
        UsageError: an option is wrong.
        ProjectError: the registry, a file of pairs or of decisions is wrong.
        UndecidedError: there is nothing to look at.
        InfrastructureError: the port is taken.
    """
    checked_reviewer(options.reviewer)
    workspace = open_workspace(context)
    feature = feature_of(workspace, options.looked.feature)
    book = open_book(workspace.project, feature)
    labels: defaultdict[str, list[Label]] = defaultdict(list)
    for label in read_labels(workspace.project, feature):
        labels[label.pair].append(label)
    desk = ReviewQueue(
        feature=feature,
        reviewer=options.reviewer,
        given=select_candidates(context, workspace, feature, options.looked),
        book=book,
        labels=labels,
        now=context.now,
    )

    def opened(addresses: Addresses) -> None:
        seen = desk.overview()
        on_open(
            ReviewOpened(
                addresses=addresses,
                feature=feature,
                reviewer=options.reviewer,
                pair_count=len(desk),
                remaining_count=len(desk) - seen.decided_count,
                warnings=tuple(unreadable_lines(book)),
            )
        )

    asyncio.run(_serve(desk, options.port, opened, on_bug))
    return _reviewed(feature, book)


async def _serve(
    desk: ReviewQueue, port: int, on_open: Callable[[Addresses], None], on_bug: Callable[[BaseException], None]
) -> None:
    from flowai.review.web.server import serve_review_page

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, ended.set)
    try:
        async with serve_review_page(desk, port=port, random_bytes=secrets.token_bytes, on_bug=on_bug) as addresses:
            on_open(addresses)
            await ended.wait()
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def export_decisions(context: CommandContext, feature: str | None, path: Path) -> ReviewResult:
    """Write every decision on a feature's pairs into a file, those that were taken back included.

    Raises:
        UsageError: the file's ending is none that we write, or no feature is meant.
        ProjectError: the registry or a decision is wrong.
        InfrastructureError: the file cannot be written.
    """
    ending = check_ending(path, "--export")
    workspace = open_workspace(context)
    feature = feature_of(workspace, feature)
    book = open_book(workspace.project, feature)
    write_atomic(path, written(book.decisions, ending))
    return _reviewed(feature, book)


def import_decisions(context: CommandContext, feature: str | None, path: Path) -> tuple[int, ReviewResult]:
    """Add a file's decisions to those on a feature's pairs; those that are there already are not added again.

    Returns:
        How many were added; what is decided in the end.

    Raises:
        UsageError: the file's ending is none that we read, or no feature is meant.
        ProjectError: the registry is wrong, or a line of the file is no decision: then nothing was added.
        InfrastructureError: they cannot be written.
    """
    ending = check_ending(path, "--import")
    workspace = open_workspace(context)
    feature = feature_of(workspace, feature)
    book = open_book(workspace.project, feature)
    added_count = book.import_decisions(read_decisions(path, name=workspace.project.show(path), ending=ending))
    return added_count, _reviewed(feature, book)


def _reviewed(feature: str, book: DecisionLog) -> ReviewResult:
    decisions = book.decisions
    actions: dict[str, int] = {"accept": 0, "edit": 0, "reject": 0}
    disputed: dict[str, str] = {}
    for pair, ruling in consensus_by_pair(decisions).items():
        if ruling.decision is None:
            disputed[pair] = ruling.told
        else:
            actions[ruling.decision.action] += 1
    return ReviewResult(
        feature=feature,
        file=book.name,
        decided_count=sum(actions.values()),
        actions=actions,
        disputed=dict(sorted(disputed.items())),
        reviewers=reviewer_counts(decisions),
        agreement=tuple(
            AgreementReport(
                reviewers=names,
                pairs_reviewed_by_both=one.rated_by_both_count,
                agreed_count=one.agreed_count,
                kappa=one.kappa,
            )
            for names, one in agreements(decisions).items()
        ),
        warnings=tuple(unreadable_lines(book)),
    )
