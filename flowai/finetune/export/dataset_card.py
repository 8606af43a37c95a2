"""The dataset card: where a training set comes from, what was done to it, and what is in it, for people and machines.

No time of the export stands in it: the same events give the same bytes.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from flowai.finetune.pairs.collect import Funnel
from flowai.finetune.records import SCHEMA_VERSION, Pair, Split, StepCount
from flowai.rendering.markdown import escape_markdown, inline_code, table

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_LICENSE = "not stated"
_STEP_COLUMNS = ("step", "in", "out", "changed", "kept out", "found and replaced")


class CallOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that pairs come from."""

    release: str | None
    """The release that served; None outside releases."""
    prompt_id: str | None
    """The prompt; None for messages given as they were."""
    prompt_hash: str | None
    """Its hash; None as above."""
    model: str | None
    """Who answered; None where nobody says."""
    row_count: int
    """Rows made of them."""


class FileNote(msgspec.Struct, frozen=True, kw_only=True):
    """One file of training rows."""

    name: str
    """In its directory."""
    split: Split
    """What it is for."""
    row_count: int
    """Lines in it."""
    sha256: str
    """Of its bytes, hex."""
    tokens: int
    """Of all it says; 0 for no rows."""
    trained_tokens: int
    """Of what a model is to learn to say."""


class DatasetManifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an export counted: a public format."""

    schema_version: int = SCHEMA_VERSION
    """Version of this format: 1."""
    feature: str
    """Whose calls."""
    format: str
    """The format of the rows."""
    licence: str
    """Under which it may be used, as somebody stated it."""
    first_at: str | None
    """The first pair's call (RFC 3339, UTC); None without rows."""
    last_at: str | None
    """The last one's."""
    funnel: Funnel
    """From calls to pairs."""
    steps: tuple[StepCount, ...]
    """What each step of the cleaning did, in order; what goes into one came out of the one before."""
    quarantined_count: int
    """Lines of the quarantine file."""
    review_count: int
    """Those that a person may let in."""
    files: tuple[FileNote, ...]
    """The files of rows."""
    sources: tuple[CallOrigin, ...]
    """Calls that rows come from, most rows first."""
    opinions: dict[str, int]
    """Rows by what users made of the answer."""
    reviewers: dict[str, int]
    """Decisions by reviewer."""
    tokenizer: str
    """What tokens were counted with; names the proxy where it is not the trained model's own."""
    usd_per_million_tokens: float | None
    """The price that the cost is worked out with; None where nobody named one."""
    epochs: int
    """Passes over the training file that the cost is worked out with."""
    cost_usd: float | None
    """Of training, estimated; None without a price."""

    @property
    def row_count(self) -> int:
        """Rows in all files."""
        return sum(file.row_count for file in self.files)


class Sources:
    """Gathers where rows come from."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str | None, str | None, str | None, str | None]] = Counter()
        self.opinions: Counter[str] = Counter()
        self.first_at: str | None = None
        self.last_at: str | None = None

    def add(self, pair: Pair) -> None:
        """Note the pair of a row."""
        self._counts[pair.release, pair.prompt_id, pair.prompt_hash, pair.model] += 1
        self.opinions[pair.opinion] += 1
        self.first_at = min(self.first_at or pair.at, pair.at)
        self.last_at = max(self.last_at or pair.at, pair.at)

    def to_list(self) -> tuple[CallOrigin, ...]:
        """Give them, most rows first."""
        listed = sorted(self._counts.items(), key=lambda one: (-one[1], [part or "" for part in one[0]]))
        return tuple(
            CallOrigin(release=release, prompt_id=prompt_id, prompt_hash=prompt_hash, model=model, row_count=count)
            for (release, prompt_id, prompt_hash, model), count in listed
        )


def to_markdown(manifest: DatasetManifest) -> str:
    """Give the card."""
    return "\n\n".join(_parts(manifest)) + "\n"


def _parts(manifest: DatasetManifest) -> Iterator[str]:
    funnel = manifest.funnel
    yield f"# Training set: {escape_markdown(manifest.feature)}, format {inline_code(manifest.format)}"
    yield f"Licence: {escape_markdown(manifest.licence)}"
    if manifest.licence == NO_LICENSE:
        yield "> Nobody stated a licence: say whose data this is, and what it may be used for, before it is shared."
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
        ("question", "left"),
        [
            ("calls in the log", f"{funnel.call_count:,}"),
            (f"of users of {manifest.feature}, in time", f"{funnel.wanted_count:,}"),
            ("judged by a user", f"{funnel.judged_count:,}"),
            ("their content is in the log", f"{funnel.content_count:,}"),
            ("whole pairs", f"{funnel.pair_count:,}"),
        ],
    )
    yield "## Cleaning"
    yield table(
        ("step", "in", "out", "changed", "kept out", "found and replaced"), [_step(one) for one in manifest.steps]
    )
    yield (
        f"{manifest.quarantined_count:,} lines in `quarantine.jsonl` say what was kept out and why; "
        f"{manifest.review_count:,} of them wait for a person: `flowai finetune review`."
    )
    if manifest.reviewers:
        yield "## Reviewers"
        yield table(("reviewer", "decisions"), [(name, f"{n:,}") for name, n in manifest.reviewers.items()])
    yield "## Sources"
    yield table(("release", "prompt", "hash", "model", "rows"), [_source(one) for one in manifest.sources])
    yield "Personal data found by rules was replaced by placeholders; rules find most of it, not all of it."


def _source(one: CallOrigin) -> tuple[str, ...]:
    return (
        one.release or "-",
        one.prompt_id or "-",
        (one.prompt_hash or "-")[:12],
        one.model or "-",
        f"{one.row_count:,}",
    )


def _step(one: StepCount) -> tuple[str, ...]:
    kept_out = ", ".join(f"{reason} {count:,}" for reason, count in one.kept_out.items())
    findings = ", ".join(f"{kind} {count:,}" for kind, count in one.findings.items())
    changed = f"{one.changed_count:,}" if one.changed_count else ""
    return (one.step, f"{one.in_count:,}", f"{one.out_count:,}", changed, kept_out, findings)


def _cost(manifest: DatasetManifest) -> str:
    if manifest.cost_usd is None:
        return "No price was named, so that no cost is estimated: `--usd-per-million`."
    price, passes = manifest.usd_per_million_tokens, manifest.epochs
    return f"Training: about ${manifest.cost_usd:,.2f} ({passes} epochs at ${price:g} per million tokens)."
