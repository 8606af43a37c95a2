"""Answers that later cases of the same suite use: stored outputs and the conversation, per target and repeat."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flowai.evals.runs.own_prompts import CONVERSATION

if TYPE_CHECKING:
    from flowai.evals.reports import Trial
    from flowai.evals.runs.plan import PlannedTrial
    from flowai.evals.runs.records import PreparedTrial

_Lane = tuple[str, str, str, int]


class CaseState:
    """Stored outputs and conversations of a run.

    Each target and each repeat has its own: an answer of one model is never put into the prompt of another.
    """

    def __init__(self) -> None:
        self._stored: dict[_Lane, dict[str, Any]] = {}
        self._turns: dict[tuple[_Lane, str], list[dict[str, Any]]] = {}

    def variables(self, planned: PlannedTrial) -> dict[str, Any]:
        """Return the variables of a case with those that earlier cases set; the case's own win."""
        lane = _lane(planned)
        turns = self._turns.get((lane, _conversation_id(planned)), [])
        return {CONVERSATION: list(turns), **self._stored.get(lane, {}), **planned.case.vars}

    def note(self, prepared: PreparedTrial, output: Any) -> None:  # noqa: ANN401 - any JSON value
        """Keep an answer for later cases."""
        planned = prepared.planned
        lane, name = _lane(planned), planned.case.options.store_output_as
        if name is not None:
            self._stored.setdefault(lane, {})[name] = output
        turn = {
            "prompt": _as_json(prepared.prompt_text),
            "input": _last_user_text(prepared),
            "output": output,
            "metadata": planned.case.metadata,
        }
        self._turns.setdefault((lane, _conversation_id(planned)), []).append(turn)

    def restore(self, planned: PlannedTrial, trial: Trial) -> None:
        """Keep the answer of a trial that a resumed run has already; its prompt and its secrets are not known."""
        if trial.output is None:
            return
        lane, name = _lane(planned), planned.case.options.store_output_as
        if name is not None:
            self._stored.setdefault(lane, {})[name] = trial.output
        turn = {"prompt": trial.prompt_text or "", "input": trial.prompt_text or "", "output": trial.output}
        self._turns.setdefault((lane, _conversation_id(planned)), []).append(turn)


def _lane(planned: PlannedTrial) -> _Lane:
    return (planned.suite.path, planned.target.prompt, planned.target.model, planned.repeat)


def _conversation_id(planned: PlannedTrial) -> str:
    return str(planned.case.metadata.get("conversationId", ""))


def _as_json(text: str) -> Any:  # noqa: ANN401 - any JSON value
    if text.lstrip()[:1] not in {"{", "["}:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _last_user_text(prepared: PreparedTrial) -> str:
    for message in reversed(prepared.request.messages):
        if message.get("role") == "user":
            content = message.get("content")
            return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return prepared.prompt_text
