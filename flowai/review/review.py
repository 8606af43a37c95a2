"""Runs `flowai finetune review`: the page for one reviewer, export and import of decisions, agreement of reviewers."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec import Struct

from flowai.finetune.decisions.decision_files import check_ending, encode_decisions, read_decisions
from flowai.finetune.decisions.decisions import agreements, consensus_by_pair, reviewer_counts
from flowai.finetune.session import damage_warnings, open_decision_log, read_labels, resolve_feature
from flowai.review.candidates import CandidateSelection, select_candidates
from flowai.review.queue import ReviewQueue, checked_reviewer
from flowai.storage.files import write_atomic
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flowai.finetune.decisions.decision_log import DecisionLog
    from flowai.finetune.decisions.labels import Label
    from flowai.review.queue import PageQueue
    from flowai.review.web.server import Addresses
    from flowai.workspace.workspace import CommandContext, Workspace

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReviewOptions:
    """Options of `flowai finetune review`."""

    selection: CandidateSelection = field(default_factory=CandidateSelection)
    reviewer: str
    port: int = 0
    """0 to 65535; 0 for a free port."""


class AgreementReport(Struct, frozen=True, kw_only=True):
    """Agreement of two reviewers."""

    reviewers: tuple[str, str]
    pairs_reviewed_by_both: int
    """Pairs on which both decided."""
    agreed_count: int
    """Those with equal first decisions."""
    kappa: float | None
    """Cohen's kappa; None if chance explains all agreement."""


class ReviewResult(Struct, frozen=True, kw_only=True):
    """Decisions on a feature's pairs so far."""

    feature: str
    file: str
    """Path of the decision log as a user would type it."""
    decided_count: int
    """Pairs with a decision that holds."""
    actions: dict[str, int]
    disputed: dict[str, str]
    """Disputed pairs, with each reviewer's action."""
    reviewers: dict[str, int]
    """Pairs with a decision, by reviewer."""
    agreement: tuple[AgreementReport, ...]
    """For every two reviewers with common pairs."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReviewOpened:
    """The started review page."""

    addresses: Addresses
    feature: str
    reviewer: str
    pair_count: int
    remaining_count: int
    """Pairs that need a decision of this reviewer."""
    warnings: tuple[str, ...]


def run_review(
    context: CommandContext,
    options: ReviewOptions,
    *,
    on_open: Callable[[ReviewOpened], None],
    on_bug: Callable[[BaseException], None],
) -> ReviewResult:
    """Serve the review page until SIGINT or SIGTERM; return the decisions at the end.

    `on_open` is called when the page can be opened, `on_bug` for every unexpected exception. Raises InconclusiveError
    if there are no pairs to review.
    """
    checked_reviewer(options.reviewer)
    workspace, feature, log = _open_log(context, options.selection.feature)
    labels: defaultdict[str, list[Label]] = defaultdict(list)
    for label in read_labels(workspace.project, feature):
        labels[label.pair].append(label)
    queue = ReviewQueue(
        feature=feature,
        reviewer=options.reviewer,
        candidates=select_candidates(context, workspace, feature, options.selection),
        decision_log=log,
        labels=labels,
        now=context.now,
    )

    def opened(addresses: Addresses) -> None:
        on_open(
            ReviewOpened(
                addresses=addresses,
                feature=feature,
                reviewer=options.reviewer,
                pair_count=len(queue),
                remaining_count=len(queue) - queue.overview().decided_count,
                warnings=tuple(damage_warnings(log)),
            )
        )

    asyncio.run(serve_until_signal(queue, options.port, opened, on_bug))
    return _result(feature, log)


def _open_log(context: CommandContext, feature: str | None) -> tuple[Workspace, str, DecisionLog]:
    workspace = open_workspace(context)
    name = resolve_feature(workspace, feature)
    return workspace, name, open_decision_log(workspace.project, name)


async def serve_until_signal(
    queue: PageQueue, port: int, on_open: Callable[[Addresses], None], on_bug: Callable[[BaseException], None]
) -> None:
    """Serve the review page until SIGINT or SIGTERM."""
    from flowai.review.web.server import serve_review_page

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, ended.set)
    try:
        async with serve_review_page(queue, port=port, random_bytes=secrets.token_bytes, on_bug=on_bug) as addresses:
            on_open(addresses)
            await ended.wait()
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def export_decisions(context: CommandContext, feature: str | None, path: Path) -> ReviewResult:
    """Write all decisions on a feature's pairs to a file, undone ones included."""
    ending = check_ending(path, "--export")
    _, feature, log = _open_log(context, feature)
    write_atomic(path, encode_decisions(log.decisions, ending))
    return _result(feature, log)


def import_decisions(context: CommandContext, feature: str | None, path: Path) -> tuple[int, ReviewResult]:
    """Add a file's decisions to a feature's decision log; return the number of new ones, and the result.

    Raises ProjectError if a line of the file is invalid; then no decision is added.
    """
    ending = check_ending(path, "--import")
    workspace, feature, log = _open_log(context, feature)
    added_count = log.import_decisions(read_decisions(path, name=workspace.project.show(path), ending=ending))
    return added_count, _result(feature, log)


def _result(feature: str, log: DecisionLog) -> ReviewResult:
    decisions = log.decisions
    actions: dict[str, int] = {"accept": 0, "edit": 0, "reject": 0}
    disputed: dict[str, str] = {}
    for pair, consensus in consensus_by_pair(decisions).items():
        if consensus.decision is None:
            disputed[pair] = consensus.summary
        else:
            actions[consensus.decision.action] += 1
    return ReviewResult(
        feature=feature,
        file=log.name,
        decided_count=sum(actions.values()),
        actions=actions,
        disputed=dict(sorted(disputed.items())),
        reviewers=reviewer_counts(decisions),
        agreement=tuple(
            AgreementReport(
                reviewers=names,
                pairs_reviewed_by_both=kappa.rated_by_both_count,
                agreed_count=kappa.agreed_count,
                kappa=kappa.kappa,
            )
            for names, kappa in agreements(decisions).items()
        ),
        warnings=tuple(damage_warnings(log)),
    )
