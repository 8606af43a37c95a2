"""Runs `flowai judge label`: answers to label, the page for one reviewer, import and export, agreement."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from flowai.analytics.call_list import range_until_now
from flowai.errors import InconclusiveError, ProjectError, UsageError, expected_one_of
from flowai.evals.judge_runs.labels import active_labels, consensus, label_agreement, labels_file, read_labels
from flowai.evals.judge_runs.logged_answers import read_sample
from flowai.evals.reports.page.page_data import output_hash
from flowai.evals.runs.run_history import load_report
from flowai.review.labels import AnswerToLabel, LabelLog, LabelQueue, with_reviewer
from flowai.review.queue import checked_reviewer
from flowai.review.review import AgreementReport, serve_until_signal
from flowai.storage.files import write_atomic
from flowai.workspace.workspace import open_workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from flowai.evals.judge_runs.labels import AnswerLabel
    from flowai.project import Project
    from flowai.review.web.server import Addresses
    from flowai.workspace.workspace import CommandContext

LABELS_SUFFIX = ".jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelPageOptions:
    """Options of `flowai judge label`."""

    target: str
    """Run, file of labels, or feature."""
    reviewer: str
    since: str = "7d"
    """Of a feature's calls, as typed."""
    max_count: int = 200
    """Calls of a feature."""
    port: int = 0


class LabelReport(Struct, frozen=True, kw_only=True):
    """The labels of a project: a public format."""

    schema_version: int = 1
    file: str
    pass_count: int
    """Answers that more reviewers labelled `pass` than `fail`."""
    fail_count: int
    disputed_count: int
    """Answers whose reviewers are split; `judge check` leaves them out."""
    reviewers: dict[str, int]
    """Labelled answers by reviewer."""
    agreement: tuple[AgreementReport, ...]
    """For every two reviewers who labelled the same answers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelPageOpened:
    """The started page."""

    addresses: Addresses
    target: str
    reviewer: str
    answer_count: int
    remaining_count: int


def run_label_page(
    context: CommandContext,
    options: LabelPageOptions,
    *,
    on_open: Callable[[LabelPageOpened], None],
    on_bug: Callable[[BaseException], None],
) -> LabelReport:
    """Serve the page until SIGINT or SIGTERM; return the labels at the end.

    Raises:
        UsageError: the target is no run, file of labels or feature.
        InconclusiveError: there is no answer to label.
    """
    checked_reviewer(options.reviewer)
    project = context.project
    log = LabelLog(labels_file(project.root), root=project.root)
    queue = LabelQueue(
        target=options.target,
        reviewer=options.reviewer,
        answers=answers_to_label(context, options),
        log=log,
        now=context.now,
    )

    def opened(addresses: Addresses) -> None:
        on_open(
            LabelPageOpened(
                addresses=addresses,
                target=options.target,
                reviewer=options.reviewer,
                answer_count=len(queue),
                remaining_count=len(queue) - queue.overview().decided_count,
            )
        )

    asyncio.run(serve_until_signal(queue, options.port, opened, on_bug))
    return label_report(project, log)


def answers_to_label(context: CommandContext, options: LabelPageOptions) -> list[AnswerToLabel]:
    """Return the answers of a run, of the runs that a file of labels names, or of a feature's logged calls.

    Raises:
        UsageError: the target is none of them.
        InconclusiveError: there is no answer.
    """
    target, project = options.target, context.project
    if target.endswith(LABELS_SUFFIX):
        answers = _answers_of_labels(project, context.directory / target)
    elif target == "last" or target.isdecimal():
        answers = _answers_of_run(project, target)
    else:
        answers = _answers_of_feature(context, options)
    if not answers:
        raise InconclusiveError(f"`{target}` has no answer to label")
    return answers


def _answers_of_run(project: Project, run: str) -> list[AnswerToLabel]:
    report = load_report(project, run)
    return [
        AnswerToLabel(
            output_hash=output_hash(trial.output),
            output=trial.output,
            messages=(
                {
                    "role": "user",
                    "content": trial.prompt_text or json.dumps(trial.vars, ensure_ascii=False, indent=1),
                },
            ),
            suite=trial.suite,
            case=trial.case,
            run_id=report.run_id,
            prompt=trial.prompt,
            model=trial.model,
            call_id=trial.call_id,
        )
        for trial in report.trials
        if trial.output
    ]


def _answers_of_labels(project: Project, path: Path) -> list[AnswerToLabel]:
    if not path.is_file():
        raise UsageError(f"no file `{project.show(path)}`", hint="the compare page of a run saves one")
    labels = read_labels((path,), root=project.root)
    runs = dict.fromkeys(label.run_id for label in labels if label.run_id is not None)
    labelled = {label.output_hash for label in labels}
    found = [answer for run in runs for answer in _answers_of_run(project, run) if answer.output_hash in labelled]
    missing = len(labelled - {answer.output_hash for answer in found})
    if missing and not found:
        raise InconclusiveError(
            f"none of the {missing:,} labelled answers is in a run of this project",
            hint="`flowai runs list` lists runs",
        )
    return found


def _answers_of_feature(context: CommandContext, options: LabelPageOptions) -> list[AnswerToLabel]:
    workspace = open_workspace(context)
    features = workspace.registry.features
    if options.target not in features:
        raise UsageError(
            f"found `{options.target}`, expected a run, a file of labels (.jsonl) or a feature",
            hint=expected_one_of(["last", *features], found=options.target),
        )
    sample = read_sample(
        workspace,
        range_until_now(context, options.since),
        name="",
        judge_hash="",
        max_count=options.max_count,
        feature=options.target,
    )
    unlogged = sum(sample.unlogged_counts.values())
    if unlogged and not sample.answers:
        raise InconclusiveError(
            f"the content of none of the {unlogged:,} calls of `{options.target}` was logged",
            hint="set `log_content: redacted` of the feature; answers from then on can be labelled",
        )
    return [
        AnswerToLabel(
            output_hash=output_hash(one.output),
            output=one.output,
            messages=({"role": "user", "content": one.context},),
            call_id=one.call_id,
            release=one.stratum[1],
        )
        for one in sample.answers
    ]


def import_labels(context: CommandContext, path: Path, reviewer: str) -> tuple[int, LabelReport]:
    """Add a file's labels to the project's; return the number of new ones, and the report.

    Lines without a reviewer, as the compare page saves them, become the given reviewer's.

    Raises:
        ProjectError: a line of the file is invalid; then no label is added.
    """
    checked_reviewer(reviewer)
    project = context.project
    log = LabelLog(labels_file(project.root), root=project.root)
    known = {(label.output_hash, label.reviewer, label.label, label.note) for label in log.labels}
    added = [
        label
        for line in _read_raw(path, project)
        if (
            (label := with_reviewer(line, reviewer, context.now())).output_hash,
            label.reviewer,
            label.label,
            label.note,
        )
        not in known
    ]
    return log.add(added), label_report(project, log)


def _read_raw(path: Path, project: Project) -> Sequence[AnswerLabel]:
    if not path.is_file():
        raise ProjectError(f"no file `{project.show(path)}`")
    return read_labels((path,), root=project.root, names_reviewers=False)


def export_labels(context: CommandContext, path: Path) -> LabelReport:
    """Write all labels of a project to a .jsonl file."""
    if path.suffix != LABELS_SUFFIX:
        raise UsageError(f"--export: found ending `{path.suffix}`, expected `{LABELS_SUFFIX}`")
    project = context.project
    log = LabelLog(labels_file(project.root), root=project.root)
    write_atomic(path, b"".join(msgspec.json.encode(label) + b"\n" for label in log.labels))
    return label_report(project, log)


def label_report(project: Project, log: LabelLog) -> LabelReport:
    """Return the counts of a project's labels."""
    active = active_labels(log.labels)
    agreed = Counter(consensus(by_reviewer) for by_reviewer in active.values())
    reviewers = Counter(name for by_reviewer in active.values() for name in by_reviewer)
    return LabelReport(
        file=project.show(log.path),
        pass_count=agreed["pass"],
        fail_count=agreed["fail"],
        disputed_count=agreed[None],
        reviewers=dict(sorted(reviewers.items())),
        agreement=tuple(_agreements(log.labels)),
    )


def _agreements(labels: Sequence[AnswerLabel]) -> Iterable[AgreementReport]:
    for names, kappa in label_agreement(labels).items():
        yield AgreementReport(
            reviewers=names,
            pairs_reviewed_by_both=kappa.rated_by_both_count,
            agreed_count=kappa.agreed_count,
            kappa=kappa.kappa,
        )
