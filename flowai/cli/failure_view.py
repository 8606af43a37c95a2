"""Failed cases of a run on the screen: equal failures together, the input beside the answer."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowai.evals.reports.tables import OUTCOME_WORDS
from flowai.rendering import formatting
from flowai.rendering.markdown import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flowai.evals.reports import Outcome, Trial

MAX_SHOWN_COUNT = 20
SMALL_RUN_COUNT = 10
MIN_GROUP_COUNT = 3
"""Cases with the same reason that are shown as one group."""
DEFAULT_WIDTH = 160
"""Width of lines that no terminal limits."""
MIN_REASON_CHARS = 24
_INDENT = " " * 6
_ARROW = "  <- "


@dataclass(kw_only=True, slots=True)
class FailureGroup:
    """Trials with one outcome and one reason."""

    outcome: Outcome
    reason: str
    place: str
    """`file:line` of the first assertion; empty without one."""
    members: dict[str, list[Trial]] = field(default_factory=dict)
    """Trials by the name of their case."""


def failure_groups(trials: Sequence[Trial]) -> list[FailureGroup]:
    """Group trials that did not pass by outcome and reason; a reason of fewer cases has a group per case."""
    several = len({(trial.prompt, trial.model) for trial in trials}) > 1
    groups: dict[tuple[str, str], FailureGroup] = {}
    for trial in trials:
        reason, place = failure_reason(trial)
        group = groups.setdefault(
            (trial.outcome, reason), FailureGroup(outcome=trial.outcome, reason=reason, place=place)
        )
        group.members.setdefault(_name(trial, several=several), []).append(trial)
    found: list[FailureGroup] = []
    for group in groups.values():
        if len(group.members) >= _min_group_count(group) and group.reason and group.outcome != "pass":
            found.append(group)
            continue
        for name, members in group.members.items():
            place = failure_reason(members[0])[1]
            found.append(FailureGroup(outcome=group.outcome, reason=group.reason, place=place, members={name: members}))
    order = {trial.key: number for number, trial in enumerate(trials)}
    return sorted(found, key=lambda group: order[next(iter(group.members.values()))[0].key])


def _min_group_count(group: FailureGroup) -> int:
    """Return the size from which cases are shown together; errors have no answer that could differ."""
    return 2 if group.outcome == "error" else MIN_GROUP_COUNT


def failure_reason(trial: Trial) -> tuple[str, str]:
    """Return why a trial did not pass, and where: of its error, or of its first assertion that did not pass."""
    if trial.failure is not None:
        return trial.failure.message, ""
    for check in trial.checks:
        if check.passed is not True and check.weight > 0:
            return check.reason, check.place
    return "", ""


def failure_lines(trials: Sequence[Trial], *, again: str, width: int | None) -> Iterator[str]:
    """Yield lines for the trials that did not pass, with reason, answer and input; all trials of a small run.

    Args:
        trials: all trials.
        again: command that retries the errors.
        width: characters of a line; None for any number.
    """
    shown = [trial for trial in trials if trial.outcome != "pass" or len(trials) <= SMALL_RUN_COUNT]
    repeats: dict[tuple[str, str, str, str], int] = defaultdict(int)
    for trial in trials:
        repeats[_cell(trial)] += 1
    groups = failure_groups(shown)
    names = [_group_name(group, repeats) for group in groups[:MAX_SHOWN_COUNT]]
    limit = (width or DEFAULT_WIDTH) // 3
    column = min(
        limit,
        max((len(name) for name, group in zip(names, groups, strict=False) if len(group.members) == 1), default=0),
    )
    for name, group in zip(names, groups, strict=False):
        if len(group.members) > 1:
            yield from _shared_lines(name, group, again, width or DEFAULT_WIDTH)
        else:
            longest = max(8, (width or DEFAULT_WIDTH) - len(_INDENT) - 2 - MIN_REASON_CHARS)
            yield from _single_lines(one_line(name, longest).ljust(column), group, again, width or DEFAULT_WIDTH)
    hidden = sum(len(group.members) for group in groups[MAX_SHOWN_COUNT:])
    if hidden:
        yield f"... and {formatting.count(hidden, 'more case', 'more cases')} in the report"


def _cell(trial: Trial) -> tuple[str, str, str, str]:
    return trial.suite, trial.case, trial.prompt, trial.model


def _name(trial: Trial, *, several: bool) -> str:
    """Name a case; with prompt and model if there are several."""
    return f"{trial.case} ({trial.prompt}, {trial.model})" if several else trial.case


def _group_name(group: FailureGroup, repeats: dict[tuple[str, str, str, str], int]) -> str:
    """Name a group: its number of cases, or its case with the share of its repeats."""
    if len(group.members) > 1:
        cases = formatting.count(len(_case_names(group)), "case")
        return cases if len(_case_names(group)) == len(group.members) else f"{cases}, {len(group.members):,} results"
    ((name, members),) = group.members.items()
    total = repeats[_cell(members[0])]
    return name if total == 1 else f"{name} {len(members)}/{total}"


def _case_names(group: FailureGroup) -> list[str]:
    return list(dict.fromkeys(members[0].case for members in group.members.values()))


def _single_lines(name: str, group: FailureGroup, again: str, width: int) -> Iterator[str]:
    (members,) = group.members.values()
    first = members[0]
    head = f"{OUTCOME_WORDS[group.outcome]:<5} {name}"
    facts = [f"{formatting.duration(first.latency_ms):>8}", *([group.place] if group.place else [])]
    while facts and len("  ".join([head, *facts])) + 2 + min(len(group.reason), MIN_REASON_CHARS) > width:
        facts.pop(0)
    line = "  ".join([head, *facts])
    free_chars = width - len(line) - 2
    if free_chars < min(len(group.reason), MIN_REASON_CHARS):  # a long name: the reason has a line of its own
        yield line.rstrip()
        yield f"{_INDENT}{one_line(group.reason, max(8, width - len(_INDENT)))}"
    else:
        yield "  ".join([line, *([one_line(group.reason, free_chars)] if group.reason else [])]).rstrip()
    yield from _evidence(first, group, again, width)


def _shared_lines(name: str, group: FailureGroup, again: str, width: int) -> Iterator[str]:
    head = f"{OUTCOME_WORDS[group.outcome]:<5} {name}: "
    place = f"  {group.place}" if group.place else ""
    free_chars = width - len(head) - len(place)
    if free_chars < MIN_REASON_CHARS:
        place, free_chars = "", width - len(head)
    yield f"{head}{one_line(group.reason, max(8, free_chars))}{place}"
    yield _INDENT + _cases_text(_case_names(group), width - len(_INDENT))
    yield from _evidence(next(iter(group.members.values()))[0], group, again, width)


def _cases_text(names: list[str], width: int) -> str:
    """Return as many names as fit, and the number of the others."""
    shown = 1
    text = one_line(names[0], max(8, width - 16))
    for number in range(2, len(names) + 1):
        more = f" and {len(names) - number:,} more" if number < len(names) else ""
        longer = ", ".join(one_line(name, 60) for name in names[:number])
        if len(longer) + len(more) > width:
            break
        shown, text = number, longer
    left = len(names) - shown
    return text if not left else f"{text} and {left:,} more"


def _evidence(trial: Trial, group: FailureGroup, again: str, width: int) -> Iterator[str]:
    """Yield the answer with its input beside it, or how to retry an error."""
    if group.outcome == "error":
        yield f"{_INDENT}again: {again}"
    if group.outcome not in ("fail", "unscored") or trial.output is None:
        return
    free_chars = width - len(_INDENT)
    asked = trial.input_text
    if not asked:
        yield f"{_INDENT}{one_line(trial.output, min(100, free_chars)) or '(empty answer)'}"
        return
    half = max(8, (free_chars - len(_ARROW)) // 2)
    answer = one_line(trial.output, half) or "(empty answer)"
    yield f"{_INDENT}{answer}{_ARROW}{one_line(asked, max(8, free_chars - len(_ARROW) - len(answer)))}"
