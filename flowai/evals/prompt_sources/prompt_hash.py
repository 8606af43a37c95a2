"""Hash of a prompt that a suite brings along."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from flowai.evals.suites.records import SuitePrompt


def prompt_hash(prompt: SuitePrompt) -> str:
    """Return the hash of all that determines a rendered prompt but variables: template, code and parameters."""
    source = prompt.code.source if prompt.code is not None else None
    if prompt.code is not None and prompt.code.file is not None:
        try:
            source = hashlib.sha256(Path(prompt.code.file).read_bytes()).hexdigest()
        except OSError:
            source = prompt.code.file
    function = prompt.code.function if prompt.code is not None else None
    parts = (prompt.kind, prompt.template, source, function, prompt.config)
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()
