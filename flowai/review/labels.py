"""People's labels of answers (`flowai judge label`): the queue of one reviewer, on the page of the review."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from flowai.errors import UsageError
from flowai.evals.judge_runs.labels import AnswerLabel, LabelValue, active_labels, consensus, read_labels
from flowai.review.queue import Overview, QueueRow, ReviewerDecision, ReviewItem, checked_reviewer
from flowai.storage.files import FileFingerprint
from flowai.storage.jsonl import AppendLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

ACTION_OF: dict[LabelValue, str] = {"pass": "accept", "fail": "reject"}
LABEL_OF: dict[str, LabelValue] = {action: label for label, action in ACTION_OF.items()}
MAX_NOTE_CHARS = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerToLabel:
    """An answer that waits for a label."""

    output_hash: str
    output: str
    messages: tuple[dict[str, Any], ...]
    """The request in OpenAI's chat format."""
    suite: str | None = None
    case: str | None = None
    run_id: str | None = None
    prompt: str | None = None
    model: str | None = None
    call_id: str | None = None
    release: str | None = None


class LabelLog:
    """A project's labels; it sees lines that others add meanwhile."""

    def __init__(self, path: Path, *, root: Path) -> None:
        self.path = path
        self._root = root
        self._fingerprint: FileFingerprint | None = None
        self._labels: tuple[AnswerLabel, ...] = ()

    @property
    def labels(self) -> tuple[AnswerLabel, ...]:
        """All labels; raises ProjectError if a line is none."""
        fingerprint = FileFingerprint.of(self.path)
        if fingerprint != self._fingerprint:
            self._labels = read_labels((self.path,), root=self._root)
            self._fingerprint = fingerprint
        return self._labels

    def add(self, labels: Iterable[AnswerLabel]) -> int:
        """Append labels that are not in the log yet; they are on disk when this returns. Return their number."""
        known = set(self.labels)
        new = [label for label in dict.fromkeys(labels) if label not in known]
        with AppendLog(self.path) as log:
            for label in new:
                log.append(label)
        return len(new)


class LabelQueue:
    """The answers that one reviewer labels: `accept` is the label `pass`, `reject` is `fail`.

    A reviewer does not see the labels of others until they disagree, so that opinions stay independent.
    """

    def __init__(
        self,
        *,
        target: str,
        reviewer: str,
        answers: Sequence[AnswerToLabel],
        log: LabelLog,
        now: Callable[[], datetime],
    ) -> None:
        self._target = target
        self._reviewer = checked_reviewer(reviewer)
        self._answers = tuple({answer.output_hash: answer for answer in answers}.values())
        self._log = log
        self._now = now

    def __len__(self) -> int:
        """Return the number of answers."""
        return len(self._answers)

    def overview(self) -> Overview:
        """Return the list of all answers."""
        active = active_labels(self._log.labels)
        rows = tuple(self._row(answer, active.get(answer.output_hash, {})) for answer in self._answers)
        decided_count = sum(row.action is not None and not row.disputed for row in rows)
        return Overview(
            feature=self._target, reviewer=self._reviewer, rows=rows, decided_count=decided_count, kind="labels"
        )

    def item(self, position: int) -> ReviewItem:
        """Return an answer with its labels."""
        answer = self._answer_at(position)
        given = active_labels(self._log.labels).get(answer.output_hash, {})
        row = self._row(answer, given)
        own = given.get(self._reviewer)
        others = [label for name, label in given.items() if name != self._reviewer] if row.disputed else []
        return ReviewItem(
            position=position,
            id=answer.output_hash,
            at=answer.case or answer.call_id or "",
            model=answer.model,
            prompt=answer.prompt,
            release=answer.release,
            opinion="",
            quarantine_reason=None,
            detail="",
            messages=answer.messages,
            output=answer.output,
            edit=None,
            changes=(),
            draft="",
            own_decision=None if own is None else _shown(own),
            other_decisions=tuple(map(_shown, others)),
            labels=(),
            row=row,
        )

    def decide(self, position: int, action: str, *, text: str | None = None, note: str = "") -> None:
        """Store the reviewer's label; an equal last label is not stored again, `skip` is no label."""
        answer = self._answer_at(position)
        if action == "skip":
            return
        if action not in LABEL_OF or text is not None:
            raise UsageError(f"found `{action}`, expected `accept` (pass), `reject` (fail) or `skip`")
        own = active_labels(self._log.labels).get(answer.output_hash, {}).get(self._reviewer)
        label = LABEL_OF[action]
        if own is None or (own.label, own.note) != (label, note):
            self._log.add([self._label(answer, label, note)])

    def undo(self) -> int | None:
        """Withdraw the reviewer's last label; return the answer's position, None without a label."""
        positions = {answer.output_hash: position for position, answer in enumerate(self._answers)}
        own = [
            label
            for digest, by_reviewer in active_labels(self._log.labels).items()
            if digest in positions and (label := by_reviewer.get(self._reviewer)) is not None and label.at is not None
        ]
        if not own:
            return None
        position = positions[max(own, key=lambda label: label.at or self._now()).output_hash]
        self._log.add([self._label(self._answers[position], None, "")])
        return position

    def _label(self, answer: AnswerToLabel, label: LabelValue | None, note: str) -> AnswerLabel:
        return AnswerLabel(
            output_hash=answer.output_hash,
            label=label,
            note=note[:MAX_NOTE_CHARS],
            reviewer=self._reviewer,
            at=self._now(),
            suite=answer.suite,
            case=answer.case,
            run_id=answer.run_id,
            prompt=answer.prompt,
            model=answer.model,
            call_id=answer.call_id,
        )

    def _answer_at(self, position: int) -> AnswerToLabel:
        if not 0 <= position < len(self._answers):
            raise UsageError(f"no answer {position}: there are {len(self._answers)}")
        return self._answers[position]

    def _row(self, answer: AnswerToLabel, given: dict[str, AnswerLabel]) -> QueueRow:
        own = given.get(self._reviewer)
        return QueueRow(
            id=answer.output_hash,
            action=None if own is None or own.label is None else ACTION_OF[own.label],
            disputed=bool(given) and consensus(given) is None,
        )


def _shown(label: AnswerLabel) -> ReviewerDecision:
    action = "skip" if label.label is None else ACTION_OF[label.label]
    return ReviewerDecision(reviewer=label.reviewer, action=action, note=label.note)


def with_reviewer(label: AnswerLabel, reviewer: str, at: datetime) -> AnswerLabel:
    """Return an imported label with a reviewer and a time."""
    return replace(label, reviewer=label.reviewer or reviewer, at=label.at or at)
