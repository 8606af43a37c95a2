"""What `flowai finetune export` does: from the event log to the files that a model is trained with.

One pass makes pairs of judged calls and leads them through the steps that look at one pair; what is left lies on disk
while sessions, duplicates and the format decide over it, so that memory does not grow with the log.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from flowai.errors import InconclusiveError, UsageError
from flowai.finetune.cleaning.filters import steps_of
from flowai.finetune.cleaning.pipeline import StepCounter, clean
from flowai.finetune.cleaning.quality import QualityLimits
from flowai.finetune.dedup.near_duplicates import Duplicates
from flowai.finetune.dedup.split import Sessions, SplitRatios, split_of
from flowai.finetune.export.dataset_card import NO_LICENSE, DatasetManifest, Sources, to_markdown
from flowai.finetune.export.output_directory import MANIFEST, open_output_directory
from flowai.finetune.export.row_writer import RowFiles
from flowai.finetune.export.token_counts import TrainingTokenCounter, training_cost
from flowai.finetune.export.trainer_configs import BASE_MODEL, TrainingSetInfo, card_header, trainer_configs
from flowai.finetune.formats.catalog import Format, FormatName, format_of
from flowai.finetune.pairs.collect import Funnel, PairSelector, collect_pairs
from flowai.finetune.pairs.pair_store import PairStore, open_bench
from flowai.finetune.pairs.pairing import STEP
from flowai.finetune.records import Quarantined, StepCount
from flowai.finetune.session import open_session
from flowai.rendering.report_files import to_json
from flowai.storage.files import write_atomic, writing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from flowai.finetune.records import Pair, QuarantineReason, Split
    from flowai.finetune.session import FinetuneSession
    from flowai.workspace.workspace import CommandContext

QUARANTINE = "quarantine.jsonl"
CARD = "README.md"
_BATCH_COUNT = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOptions:
    """What the command was asked."""

    feature: str
    """Whose calls."""
    format: str
    """The rows' format."""
    output: Path | None = None
    """Directory to write; None for `finetune/FEATURE/FORMAT` in the project."""
    since: str | None = None
    """Begin, as typed; None for all there is."""
    until: str | None = None
    """End, as typed; None for now."""
    releases: tuple[str, ...] = ()
    """Only what these served; empty for all."""
    replace: bool = False
    """Whether an export that stands there may go."""
    ratios: SplitRatios = field(default_factory=SplitRatios)
    """Shares of the splits."""
    rules: QualityLimits = field(default_factory=QualityLimits)
    """What a pair must be like."""
    languages: tuple[str, ...] = ()
    """Expected languages of answers; empty for any."""
    toxicity: bool = True
    """Whether toxic answers are kept out."""
    base_model: str | None = None
    """The model to train, for the files beside the rows and the tokenizer; None where nobody said."""
    licence: str = NO_LICENSE
    """Under which the rows may be used."""
    usd_per_million_tokens: float | None = None
    """Price of training; None where nobody said."""
    epochs: int = 3
    """Passes over the training rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportResult:
    """What came of it."""

    manifest: DatasetManifest
    """What was counted."""
    directory: str
    """Where it lies, as a person would type it."""
    files: tuple[str, ...]
    """Everything in it, by name."""
    warnings: tuple[str, ...]
    """What a person should know; one line each."""


def run_export(context: CommandContext, options: ExportOptions) -> ExportResult:
    """Export.

    Raises:
        UsageError: an option is wrong, or something stands where the export would.
        ProjectError: the registry, a suite or a dataset is wrong.
        UndecidedError: nobody judged anything that was asked for.
        InfrastructureError: the log cannot be read, or the disk is full.
    """
    form = format_of(options.format)
    if options.epochs < 1:
        raise UsageError(f"--epochs: found {options.epochs}, expected 1 or more")
    ground = open_session(context, options.feature, options.rules, options.languages, toxicity=options.toxicity)
    wanted = ground.wanted(options.since, options.until, options.releases)
    target = options.output or ground.project.root / "finetune" / options.feature / form.name
    name = ground.project.show(target)
    with open_output_directory(target, name=name, replace=options.replace) as place:
        manifest = _Export(ground, options, form, place).run(wanted)
        files = tuple(sorted(path.name for path in place.iterdir()))
    return ExportResult(manifest=manifest, directory=name, files=files, warnings=tuple(ground.warnings))


class _Export:
    def __init__(self, ground: FinetuneSession, options: ExportOptions, form: Format, place: Path) -> None:
        self._ground = ground
        self._options = options
        self._form = form
        self._place = place
        self._files = ExitStack()
        self._quarantined_count = self._review_count = 0
        self._sources = Sources()

    def run(self, wanted: PairSelector) -> DatasetManifest:
        with self._files:
            with writing(self._place / QUARANTINE):
                self._quarantine = self._files.enter_context((self._place / QUARANTINE).open("wb"))
            home = self._place / "bench"
            home.mkdir()
            with open_bench(home) as bench:
                funnel, made = self._gather(bench, wanted)
                counts = [made, *self._clean(bench), *self._deduplicate_and_split(bench, home)]
                rows, formatted = (
                    RowFiles(self._place, TrainingTokenCounter(self._options.base_model)),
                    StepCounter("format"),
                )
                with rows:
                    self._write(bench, rows, formatted)
                    files, totals = rows.finish()
            for left in home.iterdir():
                left.unlink()
            home.rmdir()
        cost = None
        if self._options.usd_per_million_tokens is not None:
            price, epochs = self._options.usd_per_million_tokens, self._options.epochs
            cost = training_cost(totals, usd_per_million_tokens=price, epoch_count=epochs).usd
        tokenizer = f"{totals.tokenizer}, a proxy for the trained model's own" if totals.is_proxy else totals.tokenizer
        manifest = DatasetManifest(
            feature=self._options.feature,
            format=self._form.name,
            licence=self._options.licence,
            first_at=self._sources.first_at,
            last_at=self._sources.last_at,
            funnel=funnel,
            steps=(*counts, formatted.count()),
            quarantined_count=self._quarantined_count,
            review_count=self._review_count,
            files=files,
            sources=self._sources.to_list(),
            opinions=dict(sorted(self._sources.opinions.items())),
            reviewers=self._ground.reviewers,
            tokenizer=tokenizer,
            usd_per_million_tokens=self._options.usd_per_million_tokens,
            epochs=self._options.epochs,
            cost_usd=cost,
        )
        self._write_trainer_configs(manifest, totals.longest_tokens)
        return manifest

    def _gather(self, bench: PairStore, wanted: PairSelector) -> tuple[Funnel, StepCount]:
        counted = StepCounter(STEP)
        funnel = collect_pairs(self._ground.events, wanted, bench, lambda one: self._add_to_quarantine(one, counted))
        for line in self._ground.unreadable():
            self._add_to_quarantine(line, counted)
        if not funnel.judged_count:
            raise InconclusiveError(_no_rows_reason(funnel, wanted), hint=_HINTS[_empty_reason(funnel)])
        counted.passed(funnel.pair_count)
        return funnel, counted.count()

    def _clean(self, bench: PairStore) -> Iterable[StepCount]:
        """Lead pairs through the steps that look at one pair, and keep what is left with its split."""
        left, counts = clean(bench.pairs(), steps_of(self._ground.cleaning), self._add_to_quarantine)
        toxic = StepCounter("toxicity")
        for pair in self._drop_toxic(left, toxic):
            bench.accept(pair, split_of(pair, self._options.ratios))
        return (*counts(), toxic.count()) if self._ground.toxicity else counts()

    def _drop_toxic(self, pairs: Iterator[Pair], counted: StepCounter) -> Iterator[Pair]:
        classifier = self._ground.toxicity
        if classifier is None:
            yield from pairs
            return
        while some := list(islice(pairs, _BATCH_COUNT)):
            for pair, score in zip(some, classifier.scores([pair.answer or pair.output for pair in some]), strict=True):
                # a rejected answer is there to be unlearned
                if score < self._ground.toxic_from or pair.answer is None:
                    counted.passed()
                    yield pair
                else:
                    detail = f"toxic with probability {score:.2f}"
                    self._add_to_quarantine(
                        Quarantined(id=pair.id, step=counted.name, reason="toxic", detail=detail), counted
                    )

    def _deduplicate_and_split(self, bench: PairStore, home: Path) -> Iterator[StepCount]:
        """Drop what cannot stand beside other pairs: strays of sessions, then duplicates."""
        with Sessions(home) as sessions:
            for pair, split in bench.kept():
                sessions.add(pair, split)
            strays = frozenset(sessions.cross_split_pairs())
        counted = StepCounter("sessions")
        for pair, _ in bench.kept():
            if pair.id not in strays:
                counted.passed()
            else:
                self._drop(bench, pair.id, counted, "split_conflict", "its session began in another split")
        yield counted.count()
        counted = StepCounter("duplicates")
        with Duplicates(home) as duplicates:
            for pair, split in bench.kept():
                duplicates.add(pair, split)
            for fate in duplicates.results(bench.kept_pair):
                if fate.reason is None:
                    counted.passed()
                else:
                    self._drop(bench, fate.id, counted, fate.reason, f"pair {fate.keeper} stays")
        yield counted.count()

    def _drop(
        self, bench: PairStore, pair_id: str, counted: StepCounter, reason: QuarantineReason, detail: str
    ) -> None:
        self._add_to_quarantine(Quarantined(id=pair_id, step=counted.name, reason=reason, detail=detail), counted)
        bench.drop(pair_id)

    def _write(self, bench: PairStore, files: RowFiles, counted: StepCounter) -> None:
        for pair, split in bench.kept():
            made = self._form.rows(pair)
            if not isinstance(made, tuple):
                one = Quarantined(id=pair.id, step=counted.name, reason="format", detail=f"{made.rule}: {made.detail}")
                self._add_to_quarantine(one, counted)
                continue
            counted.passed()
            self._sources.add(pair)
            for row in made:
                files.add(split, row)

    def _add_to_quarantine(self, one: Quarantined, counted: StepCounter | None = None) -> None:
        with writing(self._place / QUARANTINE):
            self._quarantine.write(msgspec.json.encode(one) + b"\n")
        self._quarantined_count += 1
        self._review_count += one.needs_review
        if counted is not None:
            counted.kept_out(one)

    def _write_trainer_configs(self, manifest: DatasetManifest, longest_tokens: int) -> None:
        """Write what goes beside the rows."""
        files: dict[Split, str] = {file.split: file.name for file in manifest.files}
        name: FormatName = self._form.name
        if files:
            shipment = TrainingSetInfo(
                files=files,
                dataset=self._options.feature,
                base_model=self._options.base_model or BASE_MODEL,
                longest_tokens=longest_tokens or None,
            )
            for companion, text in trainer_configs(name, shipment).items():
                write_atomic(self._place / companion, text)
        head = f"---\n{json.dumps(card_header(name, files), indent=1)}\n---\n\n" if files else ""
        write_atomic(self._place / CARD, head + to_markdown(manifest))
        write_atomic(self._place / MANIFEST, to_json(manifest))


_HINTS = {
    "calls": "name the feature as the registry does, and look at `--since`",
    "judged": "tell flowai what users made of answers: `Gateway.feedback`, or `POST /v1/feedback`",
}


def _empty_reason(funnel: Funnel) -> str:
    return "judged" if funnel.wanted_count else "calls"


def _no_rows_reason(funnel: Funnel, wanted: PairSelector) -> str:
    since = f" since {wanted.since:%Y-%m-%d %H:%M} UTC" if wanted.since else ""
    return (
        f"no judged answers of `{wanted.feature}`{since}: {funnel.call_count:,} calls in the log, "
        f"{funnel.wanted_count:,} of users of the feature in time, 0 of them judged"
    )
