"""Progress of an export, as its screen sees it."""

from __future__ import annotations

from typing import Protocol


class ExportProgress(Protocol):
    """Receives the stages of an export."""

    def start(self, stage: str, total_count: int | None) -> None:
        """Begin a stage; `total_count` is None if the number of its items is unknown."""
        ...

    def advance(self, count: int) -> None:
        """Count finished items of the stage."""
        ...


class SilentProgress:
    """Shows nothing."""

    def start(self, stage: str, total_count: int | None) -> None:
        """Ignore a stage."""

    def advance(self, count: int) -> None:
        """Ignore finished items."""
