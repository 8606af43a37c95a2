"""Texts on disk, one after another, so that memory does not grow with them."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Self

from flowai.storage.files import writing

if TYPE_CHECKING:
    from pathlib import Path

_MAX_SHARED_COUNT = 1_024


class TextFile:
    """Texts by their position; for one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0
        self._is_flushed = True
        self._shared: OrderedDict[str, tuple[int, int]] = OrderedDict()
        with writing(path):
            self._stream = path.open("w+b")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def add(self, text: str, *, shared: bool = False) -> tuple[int, int]:
        """Append a text; return its position and size. A `shared` text is stored once while it is repeated often."""
        if not text:
            return 0, 0
        if shared and text in self._shared:
            self._shared.move_to_end(text)
            return self._shared[text]
        data = text.encode("utf-8", "surrogatepass")
        with writing(self._path):
            self._stream.write(data)
        place = self._size, len(data)
        self._size += len(data)
        self._is_flushed = False
        if shared:
            self._shared[text] = place
            if len(self._shared) > _MAX_SHARED_COUNT:
                self._shared.popitem(last=False)
        return place

    def read(self, start: int, size: int) -> str:
        """Return the text at a position."""
        if not self._is_flushed:
            with writing(self._path):
                self._stream.flush()
            self._is_flushed = True
        return os.pread(self._stream.fileno(), size, start).decode("utf-8", "surrogatepass") if size else ""
