"""Dataset card and manifest of a training set: its sources, cleaning and content.

They contain no time of the export: the same events give the same bytes.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from flowai.finetune.export.step_losses import high_losses, loss_warning
from flowai.finetune.pairs.collect import Funnel
from flowai.finetune.records import SCHEMA_VERSION, Pair, Split, StepCount
from flowai.rendering.markdown import escape_markdown, inline_code, table

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_LICENSE = "not stated"


class CallOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """Origin of training rows: calls of one release, prompt and model."""

    release: str | None
    """None for calls outside releases."""
    prompt_id: str | None
    """None for messages that were sent without a prompt of the project."""
    prompt_hash: str | None
    model: str | None
    row_count: int


class FileNote(msgspec.Struct, frozen=True, kw_only=True):
    """A file of training rows."""

    name: str
    split: Split
    row_count: int
    sha256: str
    tokens: int
    trained_tokens: int
    """Tokens of the answers to learn."""


class DatasetManifest(msgspec.Struct, frozen=True, kw_only=True):
    """All counts of an export: a public format."""

    schema_version: int = SCHEMA_VERSION
    feature: str
    format: str
    licence: str
    """Licence of the rows, as stated by the user."""
    first_at: str | None
    """Time of the first pair's call (RFC 3339, UTC); None without rows."""
    last_at: str | None
    funnel: Funnel
    steps: tuple[StepCount, ...]
    """Counts of each cleaning step, in order; the output of one step is the input of the next."""
    skipped_steps: tuple[str, ...] = ()
    """Steps that the user switched off."""
    quarantined_count: int
    review_count: int
    """Quarantined pairs that a reviewer may accept."""
    files: tuple[FileNote, ...]
    sources: tuple[CallOrigin, ...]
    """Origins of the rows, most rows first."""
    opinions: dict[str, int]
    """Rows by the user's verdict on the answer."""
    reviewers: dict[str, int]
    """Pairs with a decision, by reviewer."""
    tokenizer: str
    """Tokenizer of all counts; marked if it is a proxy for the trained model's own."""
    usd_per_million_tokens: float | None
    """Price for the cost estimate; None for no estimate."""
    epochs: int
    """Passes over the training file, for the cost estimate."""
    cost_usd: float | None
    """Estimated cost of training; None without a price."""

    @property
    def row_count(self) -> int:
        """Rows in all files."""
        return sum(file.row_count for file in self.files)


class Sources:
    """Counts the origins of rows."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str | None, str | None, str | None, str | None]] = Counter()
        self.opinions: Counter[str] = Counter()
        self.first_at: str | None = None
        self.last_at: str | None = None

    def add(self, pair: Pair) -> None:
        """Count the pair of a row."""
        self._counts[pair.release, pair.prompt_id, pair.prompt_hash, pair.model] += 1
        self.opinions[pair.opinion] += 1
        self.first_at = min(self.first_at or pair.at, pair.at)
        self.last_at = max(self.last_at or pair.at, pair.at)

    def to_list(self) -> tuple[CallOrigin, ...]:
        """Return the origins, most rows first."""
        ordered = sorted(self._counts.items(), key=lambda item: (-item[1], [part or "" for part in item[0]]))
        return tuple(
            CallOrigin(release=release, prompt_id=prompt_id, prompt_hash=prompt_hash, model=model, row_count=count)
            for (release, prompt_id, prompt_hash, model), count in ordered
        )


def to_markdown(manifest: DatasetManifest) -> str:
    """Render the dataset card."""
    return "\n\n".join(_parts(manifest)) + "\n"


def _parts(manifest: DatasetManifest) -> Iterator[str]:
    funnel = manifest.funnel
    yield f"# Training set: {escape_markdown(manifest.feature)}, format {inline_code(manifest.format)}"
    yield f"Licence: {escape_markdown(manifest.licence)}"
    if manifest.licence == NO_LICENSE:
        yield "> No licence was stated: state the owner of the data and its permitted use before you share it."
    opinions = ", ".join(f"{name} {n:,}" for name, n in manifest.opinions.items()) or "-"
    yield f"{manifest.row_count:,} rows, {manifest.first_at or '-'} to {manifest.last_at or '-'}; {opinions}."
    yield "## Files"
    yield table(
        ("file", "split", "rows", "tokens", "learned", "SHA-256"),
        [
            (file.name, file.split, f"{file.row_count:,}", f"{file.tokens:,}", f"{file.trained_tokens:,}", file.sha256)
            for file in manifest.files
        ],
    )
    yield f"Tokens are counted with {escape_markdown(manifest.tokenizer)}. {_cost(manifest)}"
    yield "## From calls to pairs"
    yield table(
        ("filter", "left"),
        [
            ("calls in the log", f"{funnel.call_count:,}"),
            (f"of users of {manifest.feature}, in the time range", f"{funnel.selected_count:,}"),
            ("judged by a user", f"{funnel.judged_count:,}"),
            ("with content in the log", f"{funnel.content_count:,}"),
            ("complete pairs", f"{funnel.pair_count:,}"),
        ],
    )
    yield "## Cleaning"
    yield table(("step", "in", "out", "changed", "rejected", "replaced"), [_step(step) for step in manifest.steps])
    if manifest.skipped_steps:
        yield f"Skipped: {', '.join(manifest.skipped_steps)}."
    for step in high_losses(manifest.steps):
        yield f"> Warning: {loss_warning(step)}."
    yield (
        f"`quarantine.jsonl` lists {manifest.quarantined_count:,} rejected calls with their reasons; "
        f"{manifest.review_count:,} of them wait for a reviewer: `flowai finetune review`."
    )
    if manifest.reviewers:
        yield "## Reviewers"
        yield table(("reviewer", "decisions"), [(name, f"{n:,}") for name, n in manifest.reviewers.items()])
    yield "## Sources"
    yield table(("release", "prompt", "hash", "model", "rows"), [_source(source) for source in manifest.sources])
    yield "Personal data found by rules was replaced by placeholders; rules find most of it, not all of it."


def _source(source: CallOrigin) -> tuple[str, ...]:
    return (
        source.release or "-",
        source.prompt_id or "-",
        (source.prompt_hash or "-")[:12],
        source.model or "-",
        f"{source.row_count:,}",
    )


def _step(step: StepCount) -> tuple[str, ...]:
    rejected = ", ".join(f"{reason} {count:,}" for reason, count in step.rejected.items())
    findings = ", ".join(f"{kind} {count:,}" for kind, count in step.findings.items())
    changed = f"{step.changed_count:,}" if step.changed_count else ""
    return (step.step, f"{step.in_count:,}", f"{step.out_count:,}", changed, rejected, findings)


def _cost(manifest: DatasetManifest) -> str:
    if manifest.cost_usd is None:
        return "Training cost is not estimated: no price was given (`--usd-per-million`)."
    price, epochs = manifest.usd_per_million_tokens, manifest.epochs
    return f"Training: about ${manifest.cost_usd:,.2f} ({epochs} epochs at ${price:g} per million tokens)."
