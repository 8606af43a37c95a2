"""Answers with people's labels: recorded in a suite's cases, or of an earlier run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from flowai.errors import Place, SuiteError
from flowai.evals.assertions import Answer
from flowai.evals.judge_runs.labels import AnswerLabel, LabelValue, active_labels, consensus
from flowai.evals.judge_runs.records import LabelCounts
from flowai.evals.reports.page.page_data import output_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from flowai.evals.reports import Trial
    from flowai.evals.suites.records import Case, Suite

SUITE_REVIEWER = "metadata.label of the suite"
INPUT_VARIABLES = ("input", "question", "query", "prompt", "text")
"""Variables that are the request of a recorded answer, the first first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledAnswer:
    """An answer to a case, and the label that people agree on."""

    case: Case
    label: LabelValue
    answer: Answer
    request: str
    """Hash of the case's variables: answers to equal requests can be compared."""


def labelled_answers(
    suite: Suite, trials: Sequence[Trial], labels: Iterable[AnswerLabel]
) -> tuple[list[LabelledAnswer], LabelCounts]:
    """Return the labelled answers of a suite, and the counts of all labels.

    Args:
        suite: cases with `metadata.label` and `providerOutput`, or only cases.
        trials: answers of an earlier run; may be empty.
        labels: people's labels by hash of the answer.

    Raises:
        SuiteError: `metadata.label` is neither `pass` nor `fail`.
    """
    by_hash = active_labels(labels)
    found: list[LabelledAnswer] = []
    disputed = unlabelled = 0
    seen: set[str] = set()
    for case, text, prompt in _answers(suite, trials):
        digest = output_hash(text)
        seen.add(digest)
        given = dict(by_hash.get(digest, {}))
        own = _own_label(case)
        if own is not None and case.recorded_output is not None:
            given[SUITE_REVIEWER] = AnswerLabel(output_hash=digest, label=own)
        label = consensus(given)
        if not given:
            unlabelled += 1
        elif label is None:
            disputed += 1
        else:
            answer = Answer(text=text, variables=case.vars, prompt=prompt, case=case)
            found.append(LabelledAnswer(case=case, label=label, answer=answer, request=_request_hash(case)))
    missing = sum(
        digest not in seen and any(label.suite == suite.path for label in by_reviewer.values())
        for digest, by_reviewer in by_hash.items()
    )
    fails = sum(one.label == "fail" for one in found)
    return found, LabelCounts(
        pass_count=len(found) - fails,
        fail_count=fails,
        disputed_count=disputed,
        missing_answer_count=missing,
        unlabelled_count=unlabelled,
    )


def _answers(suite: Suite, trials: Sequence[Trial]) -> Iterator[tuple[Case, str, str]]:
    """Yield case, answer and request of each recorded answer."""
    by_case: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.suite == suite.path and trial.output is not None:
            by_case.setdefault(trial.case, []).append(trial)
    for case in suite.cases:
        if is_pair(case):
            continue
        output = case.recorded_output
        if output is not None:
            yield (
                case,
                output if isinstance(output, str) else json.dumps(output, ensure_ascii=False),
                request_of(case.vars),
            )
        for trial in by_case.get(case.id, ()):
            yield case, trial.output or "", trial.prompt_text or request_of(case.vars)


def request_of(variables: Mapping[str, Any]) -> str:
    """Return the request of a case whose prompt is not known: its variable `input`, `question`, `query` ..."""
    for name in INPUT_VARIABLES:
        value = variables.get(name)
        if isinstance(value, str) and value.strip():
            return value
    return ""


def is_pair(case: Case) -> bool:
    """Return whether a case is a labelled pair of answers; with the label `pass` or `fail` it is one JSON answer."""
    output = case.recorded_output
    return (
        isinstance(output, dict)
        and output.keys() == {"A", "B"}
        and all(isinstance(text, str) for text in output.values())
        and case.metadata.get("label") not in (None, *get_args(LabelValue))
    )


def _own_label(case: Case) -> LabelValue | None:
    label = case.metadata.get("label")
    if label is None:
        return None
    if label not in get_args(LabelValue):
        file, _, line = case.place.rpartition(":")
        raise SuiteError(
            f"case `{case.id}`: found `metadata.label: {json.dumps(label, ensure_ascii=False)[:40]}`, expected `pass` "
            "or `fail`",
            place=Place(file=file, line=int(line)) if line.isdecimal() else None,
        )
    return "pass" if label == "pass" else "fail"


def _request_hash(case: Case) -> str:
    text = json.dumps(case.vars, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
