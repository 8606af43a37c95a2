"""Verdicts of a check that was stopped: kept in `.flowai/judges/`, used once by the command that continues it."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Self

from msgspec import Struct

from flowai.evals.judge_runs.asking import Verdict
from flowai.storage.jsonl import AppendLog, read_lines
from flowai.storage.own_files import LOCAL_DIRECTORY

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.evals.judge_identity import JudgeIdentity
    from flowai.workspace.workspace import Workspace

MAX_AGE = timedelta(days=7)
"""Older verdicts are asked for again: a provider may have changed the model behind a name."""


class KeptVerdict(Struct, frozen=True, kw_only=True):
    """A verdict without a failed call: a line of the file."""

    digest: str
    at: datetime
    passed: bool | None
    score: float | None
    reason: str
    """Secrets redacted."""
    call_count: int
    cost_usd: float | None


class VerdictLog:
    """Verdicts of one judge by a digest of the question; close it, and `finish` it once the check is complete.

    Args:
        workspace: the project.
        identity: the judge; another prompt, model or rubric has another file.
        is_kept: whether there is a file; recorded verdicts need none.
    """

    def __init__(self, workspace: Workspace, identity: JudgeIdentity, *, is_kept: bool) -> None:
        self._workspace = workspace
        self._path: Path = workspace.project.root / LOCAL_DIRECTORY / "judges" / f"{identity.judge_hash}.jsonl"
        self._log: AppendLog | None = None
        self._is_kept = is_kept
        now = workspace.context.now()
        lines = read_lines(self._path, KeptVerdict, name=str(self._path)).records if is_kept else ()
        self._verdicts = {line.digest: line for line in lines if now - line.at <= MAX_AGE}
        self.used_count = 0
        """Verdicts of an earlier command that were used."""

    def get(self, digest: str) -> Verdict | None:
        """Return the verdict of an earlier command."""
        kept = self._verdicts.get(digest)
        if kept is None:
            return None
        self.used_count += 1
        return Verdict(kept.passed, kept.score, kept.reason, kept.call_count, kept.cost_usd, None)

    def put(self, digest: str, verdict: Verdict) -> None:
        """Keep a verdict; one whose call failed is asked for again."""
        if not self._is_kept or verdict.failure is not None:
            return
        if self._log is None:
            self._log = AppendLog(self._path)
        self._log.append(
            KeptVerdict(
                digest=digest,
                at=self._workspace.context.now(),
                passed=verdict.passed,
                score=verdict.score,
                reason=self._workspace.redactor.text(verdict.reason),
                call_count=verdict.call_count,
                cost_usd=verdict.cost_usd,
            )
        )

    def finish(self) -> None:
        """Remove the verdicts: the next check asks anew."""
        if self._is_kept:
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def verdict_digest(*parts: object) -> str:
    """Return the digest of a question to the judge."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]
