"""People's labels of answers: `evals/judges/labels.jsonl`, and files that the compare page saves."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from flowai.errors import Place, ProjectError
from flowai.statistics import cohen_kappa
from flowai.storage.jsonl import read_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from flowai.statistics import CohenKappa

LabelValue = Literal["pass", "fail"]

_EPOCH = datetime.fromtimestamp(0, UTC)


class AnswerLabel(Struct, frozen=True, kw_only=True):
    """A person's label of an answer: one line of a file of labels."""

    schema_version: Literal[1] = 1
    output_hash: Annotated[str, Meta(min_length=1)]
    """First 16 hexadecimal digits of the SHA-256 of the answer."""
    label: LabelValue | None
    """None withdraws the reviewer's earlier label, or is a note alone."""
    note: str = ""
    reviewer: str = ""
    """Empty in files that the compare page saved."""
    at: Annotated[datetime, Meta(tz=True)] | None = None
    """Time (RFC 3339, UTC); None in files that the compare page saved."""
    suite: str | None = None
    """Where the answer is from; None if unknown, as all fields below."""
    case: str | None = None
    run_id: str | None = None
    prompt: str | None = None
    model: str | None = None
    call_id: str | None = None


def labels_file(root: Path) -> Path:
    """Return the path of a project's labels."""
    return root / "evals" / "judges" / "labels.jsonl"


def read_labels(paths: Iterable[Path], *, root: Path, names_reviewers: bool = True) -> tuple[AnswerLabel, ...]:
    """Read files of labels, in order; a missing file has none.

    Labels without a reviewer count as those of a reviewer named like the file, if `names_reviewers`.

    Raises:
        ProjectError: a line is not a label.
    """
    labels: list[AnswerLabel] = []
    for path in paths:
        name = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
        lines = read_lines(path, AnswerLabel, name=name)
        if lines.damaged:
            raise ProjectError("not a JSON object", place=Place(file=name, line=lines.damaged[0]))
        default = path.stem if names_reviewers else ""
        labels.extend(label if label.reviewer else replace(label, reviewer=default) for label in lines.records)
    return tuple(labels)


def active_labels(labels: Iterable[AnswerLabel]) -> dict[str, dict[str, AnswerLabel]]:
    """Return each reviewer's last label of each answer: by hash, by reviewer; withdrawn ones are left out."""
    by_answer: defaultdict[str, dict[str, AnswerLabel]] = defaultdict(dict)
    for label in sorted(labels, key=lambda one: one.at or _EPOCH):
        by_answer[label.output_hash][label.reviewer] = label
    return {
        answer: found
        for answer, by_reviewer in by_answer.items()
        if (found := {name: label for name, label in by_reviewer.items() if label.label is not None})
    }


def consensus(by_reviewer: Mapping[str, AnswerLabel]) -> LabelValue | None:
    """Return the label that more reviewers gave than the other one; None if they are split."""
    passes = sum(label.label == "pass" for label in by_reviewer.values())
    fails = sum(label.label == "fail" for label in by_reviewer.values())
    if passes == fails:
        return None
    return "pass" if passes > fails else "fail"


def label_agreement(labels: Sequence[AnswerLabel]) -> dict[tuple[str, str], CohenKappa]:
    """Return Cohen's kappa for every two reviewers who labelled the same answers.

    Each reviewer's first label counts: after a discussion everyone agrees.
    """
    firsts: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for label in sorted(labels, key=lambda one: one.at or _EPOCH):
        if label.label is not None:
            firsts[label.output_hash].setdefault(label.reviewer, label.label)
    pairs: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for by_reviewer in firsts.values():
        for left, right in combinations(sorted(by_reviewer), 2):
            pairs[left, right].append((by_reviewer[left], by_reviewer[right]))
    return {names: cohen_kappa(both) for names, both in sorted(pairs.items())}
