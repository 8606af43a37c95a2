"""Labelled pairs: cases whose `providerOutput` is `{A: TEXT, B: TEXT}`, with the better one as `metadata.label`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from flowai.errors import Place, SuiteError
from flowai.evals.judge_runs.answers import is_pair, request_of

if TYPE_CHECKING:
    from flowai.evals.suites.records import Case, Suite

PairLabel = Literal["A", "B"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledPair:
    """Two answers to a request, and the better one by people's judgement."""

    case: str
    request: str
    first: str
    second: str
    label: PairLabel
    """`A` is the first answer."""


def labelled_pairs(suite: Suite) -> list[LabelledPair]:
    """Return the labelled pairs of a suite, in order.

    Raises:
        SuiteError: the label of a pair is neither `A` nor `B`.
    """
    return [
        LabelledPair(
            case=case.id,
            request=_request(case),
            first=case.recorded_output["A"],
            second=case.recorded_output["B"],
            label=_label(case),
        )
        for case in suite.cases
        if is_pair(case)
    ]


def _request(case: Case) -> str:
    context = case.vars.get("context")
    parts = [request_of(case.vars), str(context) if context else ""]
    return "\n\n".join(part for part in parts if part)


def _label(case: Case) -> PairLabel:
    label = case.metadata.get("label")
    if label not in get_args(PairLabel):
        file, _, line = case.place.rpartition(":")
        raise SuiteError(
            f"case `{case.id}`: found `metadata.label: {json.dumps(label, ensure_ascii=False)[:40]}`, expected `A` or "
            "`B`, the better answer of the pair",
            place=Place(file=file, line=int(line)) if line.isdecimal() else None,
        )
    return "A" if label == "A" else "B"
