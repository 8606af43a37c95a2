"""Runs `flowai finetune export`: from the event log to training files.

Pairs are kept on disk between the steps, so that memory does not grow with the log.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import msgspec

from flowai.errors import InconclusiveError, UsageError
from flowai.finetune.cleaning.filters import cleaning_steps
from flowai.finetune.cleaning.pipeline import StepCounter
from flowai.finetune.cleaning.quality import QualityLimits
from flowai.finetune.cleaning.worker_pool import (
    MIN_POOLED_COUNT,
    clean_here,
    clean_in_pool,
    open_worker_pool,
    worker_count,
)
from flowai.finetune.dedup.likeness import THRESHOLD
from flowai.finetune.dedup.near_duplicates import Duplicates
from flowai.finetune.dedup.split import Sessions, SplitRatios, split_of
from flowai.finetune.export.dataset_card import NO_LICENSE, DatasetManifest, Sources, to_markdown
from flowai.finetune.export.output_directory import MANIFEST, open_output_directory
from flowai.finetune.export.progress import SilentProgress
from flowai.finetune.export.row_writer import RowFiles
from flowai.finetune.export.step_losses import high_losses, loss_warning
from flowai.finetune.export.token_counts import TrainingTokenCounter, training_cost_usd
from flowai.finetune.export.trainer_configs import BASE_MODEL, TrainingSetInfo, card_header, trainer_configs
from flowai.finetune.formats.catalog import Format, FormatName, find_format
from flowai.finetune.pairs.collect import Funnel, PairSelector, collect_pairs
from flowai.finetune.pairs.pair_store import PairStore, open_pair_store
from flowai.finetune.pairs.pairing import STEP
from flowai.finetune.records import Quarantined, StepCount
from flowai.finetune.session import PrivacyChoices, open_session, training_set_directory
from flowai.rendering.report_files import to_json
from flowai.storage.files import write_atomic, writing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from flowai.events import Event
    from flowai.finetune.cleaning.pipeline import CleaningStep
    from flowai.finetune.export.progress import ExportProgress
    from flowai.finetune.records import Pair, QuarantineReason, Split
    from flowai.finetune.session import FinetuneSession
    from flowai.workspace.workspace import CommandContext

QUARANTINE = "quarantine.jsonl"
CARD = "README.md"
MIN_SIMILARITY = 0.5
_BATCH_COUNT = 256

_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOptions:
    """Options of `flowai finetune export`."""

    feature: str
    format: str
    output: Path | None = None
    """None for `finetune/FEATURE/FORMAT` in the project."""
    since: str | None = None
    """As typed; None for the whole log."""
    until: str | None = None
    """As typed; None for now."""
    releases: tuple[str, ...] = ()
    """Empty for all releases."""
    replace: bool = False
    ratios: SplitRatios = field(default_factory=SplitRatios)
    rules: QualityLimits = field(default_factory=QualityLimits)
    languages: tuple[str, ...] = ()
    """Expected languages of answers, ISO 639-1; empty for any."""
    toxicity: bool = True
    skip: frozenset[str] = frozenset()
    """Names of steps that are not run; see `step_losses.check_skipped`."""
    similarity: float = THRESHOLD
    """Minimum similarity of near duplicates."""
    privacy: PrivacyChoices = field(default_factory=PrivacyChoices)
    """Kinds, regions, languages and texts that stay; empty ones are the registry's."""
    base_model: str | None = None
    """The model to train, for tokenizer and trainer configurations."""
    licence: str = NO_LICENSE
    usd_per_million_tokens: float | None = None
    """Price of training; None for no cost estimate."""
    epochs: int = 3
    """Passes over the training rows, for the cost estimate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportResult:
    """Result of `flowai finetune export`."""

    manifest: DatasetManifest
    directory: str
    """Path as a user would type it."""
    files: tuple[str, ...]
    warnings: tuple[str, ...]


def run_export(context: CommandContext, options: ExportOptions, progress: ExportProgress | None = None) -> ExportResult:
    """Export the training set of a feature; raises InconclusiveError if no selected call has feedback."""
    format_ = find_format(options.format)
    if options.epochs < 1:
        raise UsageError(f"--epochs: found {options.epochs}, expected 1 or more")
    if not MIN_SIMILARITY <= options.similarity <= 1:
        raise UsageError(f"--similarity: found {options.similarity:g}, expected {MIN_SIMILARITY:g} to 1")
    session = open_session(
        context, options.feature, options.rules, options.languages, toxicity=options.toxicity, privacy=options.privacy
    )
    selector = session.selector(options.since, options.until, options.releases)
    target = options.output or training_set_directory(session.project, options.feature) / format_.name
    name = session.project.show(target)
    with open_output_directory(target, name=name, replace=options.replace) as directory:
        manifest = _Export(session, options, format_, directory, progress or SilentProgress()).run(selector)
        files = tuple(sorted(path.name for path in directory.iterdir()))
    warnings = (*session.warnings, *map(loss_warning, high_losses(manifest.steps)))
    return ExportResult(manifest=manifest, directory=name, files=files, warnings=warnings)


class _Export:
    def __init__(
        self,
        session: FinetuneSession,
        options: ExportOptions,
        format_: Format,
        directory: Path,
        progress: ExportProgress,
    ) -> None:
        self._progress = progress
        self._session = session
        self._options = options
        self._format = format_
        self._directory = directory
        self._files = ExitStack()
        self._quarantined_count = self._review_count = 0
        self._sources = Sources()

    def run(self, selector: PairSelector) -> DatasetManifest:
        with self._files:
            with writing(self._directory / QUARANTINE):
                self._quarantine_file = self._files.enter_context((self._directory / QUARANTINE).open("wb"))
            temporary = self._directory / "temporary"
            temporary.mkdir()
            with open_pair_store(temporary) as store:
                funnel, collected = self._collect(store, selector)
                counts = [collected, *self._clean(store), *self._deduplicate_and_split(store, temporary)]
                formatted = StepCounter("format")
                rows = RowFiles(self._directory, TrainingTokenCounter(self._options.base_model))
                with rows:
                    self._write(store, rows, formatted)
                    files, totals = rows.finish()
            for path in temporary.iterdir():
                path.unlink()
            temporary.rmdir()
        price, epochs = self._options.usd_per_million_tokens, self._options.epochs
        cost = None if price is None else training_cost_usd(totals, usd_per_million_tokens=price, epoch_count=epochs)
        tokenizer = f"{totals.tokenizer}, a proxy for the trained model's own" if totals.is_proxy else totals.tokenizer
        manifest = DatasetManifest(
            feature=self._options.feature,
            format=self._format.name,
            licence=self._options.licence,
            first_at=self._sources.first_at,
            last_at=self._sources.last_at,
            funnel=funnel,
            steps=(*counts, formatted.count()),
            skipped_steps=tuple(sorted(self._options.skip)),
            quarantined_count=self._quarantined_count,
            review_count=self._review_count,
            files=files,
            sources=self._sources.to_list(),
            opinions=dict(sorted(self._sources.opinions.items())),
            reviewers=self._session.reviewers,
            tokenizer=tokenizer,
            usd_per_million_tokens=price,
            epochs=epochs,
            cost_usd=cost,
        )
        self._write_trainer_configs(manifest, totals.longest_tokens)
        return manifest

    def _collect(self, store: PairStore, selector: PairSelector) -> tuple[Funnel, StepCount]:
        counter = StepCounter(STEP)
        self._progress.start("reading the event log", None)
        funnel = collect_pairs(self._events, selector, store, lambda rejected: self._quarantine(rejected, counter))
        for line in self._session.unreadable_lines():
            self._quarantine(line, counter)
        if not funnel.judged_count:
            feedback_hint = "send the users' feedback to flowai: `Gateway.feedback`, or `POST /v1/feedback`"
            hint = feedback_hint if funnel.selected_count else "check the feature's name and `--since`"
            raise InconclusiveError(_no_rows_reason(funnel, selector), hint=hint)
        counter.passed(funnel.pair_count)
        return funnel, counter.count()

    def _clean(self, store: PairStore) -> Iterable[StepCount]:
        """Run the steps for single pairs, and store the remaining pairs with their split."""
        self._progress.start("cleaning", store.pair_count)
        steps = cleaning_steps(self._session.cleaning, skip=self._options.skip)
        counters = {name: StepCounter(name) for name in steps}
        toxic = StepCounter("toxicity")
        with ExitStack() as stack:
            pairs = self._run_steps(store, steps, counters, stack)
            for pair in self._drop_toxic(pairs, toxic):
                store.add_cleaned(pair, split_of(pair, self._options.ratios))
        counts = [counter.count() for counter in counters.values()]
        return [*counts, toxic.count()] if self._session.toxicity else counts

    def _run_steps(
        self, store: PairStore, steps: dict[str, CleaningStep], counters: dict[str, StepCounter], stack: ExitStack
    ) -> Iterator[Pair]:
        """Yield the pairs that pass; of a large log in several processes."""
        source = self._counted(store.pairs())
        workers = worker_count()
        if workers == 1 or store.pair_count < MIN_POOLED_COUNT:
            batches = clean_here(steps, source, self._quarantine)
        else:
            pool = stack.enter_context(open_worker_pool(steps, workers))
            batches = clean_in_pool(pool, workers, source, self._quarantine)
        for pairs, batch_counts in batches:
            for count in batch_counts:
                counters[count.step].add(count)
            yield from pairs

    def _events(self) -> Iterator[Event]:
        return self._counted(self._session.events())

    def _counted(self, items: Iterator[_Item]) -> Iterator[_Item]:
        """Yield the items, and report them as progress."""
        for number, item in enumerate(items, start=1):
            yield item
            if number % _BATCH_COUNT == 0:
                self._progress.advance(_BATCH_COUNT)

    def _drop_toxic(self, pairs: Iterator[Pair], counter: StepCounter) -> Iterator[Pair]:
        classifier = self._session.toxicity
        if classifier is None:
            yield from pairs
            return
        while batch := list(islice(pairs, _BATCH_COUNT)):
            scores = classifier.scores([pair.answer or pair.output for pair in batch])
            for pair, score in zip(batch, scores, strict=True):
                # rejected answers are training data for what to avoid
                if score < self._session.toxic_from or pair.answer is None:
                    counter.passed()
                    yield pair
                else:
                    detail = f"toxic with probability {score:.2f}"
                    self._quarantine(Quarantined(id=pair.id, step=counter.name, reason="toxic", detail=detail), counter)

    def _deduplicate_and_split(self, store: PairStore, temporary: Path) -> Iterator[StepCount]:
        """Drop pairs that conflict with others: sessions across splits, then duplicates."""
        if "sessions" not in self._options.skip:
            yield self._drop_split_sessions(store, temporary)
        if "duplicates" not in self._options.skip:
            yield self._drop_duplicates(store, temporary)

    def _drop_split_sessions(self, store: PairStore, temporary: Path) -> StepCount:
        with Sessions(temporary) as sessions:
            for pair, split in store.cleaned():
                sessions.add(pair, split)
            conflicts = frozenset(sessions.cross_split_pairs())
        counter = StepCounter("sessions")
        for pair, _ in store.cleaned():
            if pair.id not in conflicts:
                counter.passed()
            else:
                self._drop(store, pair.id, counter, "split_conflict", "its session began in another split")
        return counter.count()

    def _drop_duplicates(self, store: PairStore, temporary: Path) -> StepCount:
        counter = StepCounter("duplicates")
        with Duplicates(temporary, threshold=self._options.similarity) as duplicates:
            self._progress.start("reading texts", store.cleaned_count)
            for pair, split in self._counted(store.cleaned()):
                duplicates.add(pair, split)
            self._progress.start("searching for duplicates", store.cleaned_count)
            for result in duplicates.results(self._progress.advance):
                if result.reason is None:
                    counter.passed()
                else:
                    self._drop(store, result.id, counter, result.reason, f"pair {result.keeper} is kept")
        return counter.count()

    def _drop(
        self, store: PairStore, pair_id: str, counter: StepCounter, reason: QuarantineReason, detail: str
    ) -> None:
        self._quarantine(Quarantined(id=pair_id, step=counter.name, reason=reason, detail=detail), counter)
        store.drop(pair_id)

    def _write(self, store: PairStore, files: RowFiles, counter: StepCounter) -> None:
        self._progress.start("writing rows", store.cleaned_count)
        for pair, split in self._counted(store.cleaned()):
            rows = self._format.rows(pair)
            if not isinstance(rows, tuple):
                detail = f"{rows.rule}: {rows.detail}"
                self._quarantine(Quarantined(id=pair.id, step=counter.name, reason="format", detail=detail), counter)
                continue
            counter.passed()
            self._sources.add(pair)
            for row in rows:
                files.add(split, row)

    def _quarantine(self, rejected: Quarantined, counter: StepCounter | None = None) -> None:
        with writing(self._directory / QUARANTINE):
            self._quarantine_file.write(msgspec.json.encode(rejected) + b"\n")
        self._quarantined_count += 1
        self._review_count += rejected.needs_review
        if counter is not None:
            counter.rejected(rejected)

    def _write_trainer_configs(self, manifest: DatasetManifest, longest_tokens: int) -> None:
        files: dict[Split, str] = {file.split: file.name for file in manifest.files}
        name: FormatName = self._format.name
        if files:
            info = TrainingSetInfo(
                files=files,
                dataset=self._options.feature,
                base_model=self._options.base_model or BASE_MODEL,
                longest_tokens=longest_tokens or None,
            )
            for config, text in trainer_configs(name, info).items():
                write_atomic(self._directory / config, text)
        head = f"---\n{json.dumps(card_header(name, files), indent=1)}\n---\n\n" if files else ""
        write_atomic(self._directory / CARD, head + to_markdown(manifest))
        write_atomic(self._directory / MANIFEST, to_json(manifest))


def _no_rows_reason(funnel: Funnel, selector: PairSelector) -> str:
    since = f" since {selector.since:%Y-%m-%d %H:%M} UTC" if selector.since else ""
    return (
        f"no judged answers of `{selector.feature}`{since}: {funnel.call_count:,} calls in the log, "
        f"{funnel.selected_count:,} of users of the feature in the time range, 0 of them judged"
    )
