"""Screen of one case of a run: inputs, answers, reasons."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from flowai.evals.reports.records import variable_text
from flowai.evals.reports.tables import OUTCOME_WORDS
from flowai.rendering import formatting
from flowai.rendering.markdown import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowai.evals.reports import Trial

CHECK_WORDS = {True: "ok", False: "FAIL", None: "????"}


def case_lines(trials: Sequence[Trial], width: int | None) -> Iterator[str]:
    """Yield everything about a case; identical answers of repeats once."""
    first = trials[0]
    yield from formatting.wrapped(f"{first.case}   {first.place}   {first.description or ''}".rstrip(), width)
    for name, value in first.vars.items():
        yield f"--- {name} ---"
        yield visible(variable_text(value)).rstrip("\n")
    if first.expected is not None:
        yield "--- expected ---"
        yield visible(first.expected).rstrip("\n")
    groups: dict[tuple[str, str, str, str | None], list[Trial]] = defaultdict(list)
    for trial in trials:
        groups[trial.prompt, trial.model, trial.outcome, trial.output].append(trial)
    for (prompt, model, outcome, output), members in groups.items():
        yield ""
        repeats = f" {len(members)} of {_repeat_count(trials, prompt, model)}" if _has_repeats(trials) else ""
        facts = [prompt, model, formatting.duration(members[0].latency_ms), formatting.dollars(members[0].cost_usd)]
        yield f"{OUTCOME_WORDS[outcome]:<5}{repeats}  {'   '.join(facts)}"
        yield from _reason_lines(members[0], width)
        if output is not None:
            yield "--- answer ---"
            yield visible(output).rstrip("\n") or "(empty answer)"


def _reason_lines(trial: Trial, width: int | None) -> Iterator[str]:
    if trial.failure is not None:
        yield from formatting.wrapped(f"      {visible(trial.failure.message)}", width, indent="      ")
    for check in trial.checks:
        word, text = CHECK_WORDS[check.passed], visible(check.reason or check.type)
        yield from formatting.wrapped(f"      {word:<5} {text}  {check.place}", width, indent=" " * 12)


def _has_repeats(trials: Sequence[Trial]) -> bool:
    return any(trial.repeat for trial in trials)


def _repeat_count(trials: Sequence[Trial], prompt: str, model: str) -> int:
    return sum(trial.prompt == prompt and trial.model == model for trial in trials)
