"""Writes a copy of a release step that may be lost: within a time limit, and a failure is a warning."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from flowai.errors import FlowaiError

if TYPE_CHECKING:
    from collections.abc import Callable

WRITE_TIMEOUT_S = 0.5
"""A write to a hanging disk is abandoned after this time."""


def write_copy(write: Callable[[], None], *, log: str) -> tuple[str, ...]:
    """Call a function that writes a step into `log`, within `WRITE_TIMEOUT_S`; return warnings if that failed."""
    problems: list[str] = []

    def run() -> None:
        try:
            write()
        except FlowaiError as error:
            problems.append(str(error))

    writer = threading.Thread(target=run, name=f"flowai-{log.replace(' ', '-')}", daemon=True)
    writer.start()
    writer.join(WRITE_TIMEOUT_S)
    if writer.is_alive():
        problems.append(f"not written within {WRITE_TIMEOUT_S} s")
    return tuple(f"the {log} lacks this step: {problem}" for problem in problems)
