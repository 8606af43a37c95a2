"""Writes training rows: one file per split, counted and hashed while it is written."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Self

from flowai.finetune.dedup.split import SPLITS
from flowai.finetune.export.dataset_card import FileNote
from flowai.finetune.formats.catalog import TrainingRow, encode_row
from flowai.storage.files import writing

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.finetune.export.token_counts import TokenTotals, TrainingTokenCounter
    from flowai.finetune.records import Split


class RowFiles:
    """Writes rows; a split without rows has no file."""

    def __init__(self, directory: Path, token_counter: TrainingTokenCounter) -> None:
        self._directory = directory
        self._token_counter = token_counter
        self._open = ExitStack()
        self._streams: dict[Split, IO[bytes]] = {}
        self._hashes = {split: hashlib.sha256() for split in SPLITS}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, split: Split, row: TrainingRow) -> None:
        """Write a row."""
        line = encode_row(row)
        path = self._directory / file_name(split)
        with writing(path):
            if split not in self._streams:
                self._streams[split] = self._open.enter_context(path.open("wb"))
            self._streams[split].write(line)
        self._hashes[split].update(line)
        self._token_counter.add(split, row)

    def finish(self) -> tuple[tuple[FileNote, ...], TokenTotals]:
        """Close the files, and return their metadata."""
        with writing(self._directory):
            self._open.close()
        totals = self._token_counter.totals()
        notes = [
            FileNote(
                name=file_name(split),
                split=split,
                row_count=tokens.row_count,
                sha256=self._hashes[split].hexdigest(),
                tokens=tokens.tokens,
                trained_tokens=tokens.trained_tokens,
            )
            for split, tokens in ((split, totals.splits[split]) for split in SPLITS if split in self._streams)
        ]
        return tuple(notes), totals


def file_name(split: Split) -> str:
    """Return the name of a split's file."""
    return f"{split}.jsonl"
