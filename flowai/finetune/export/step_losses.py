"""Steps of an export that can be skipped or tuned, and warnings about steps that drop many pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowai.errors import UsageError, expected_one_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowai.finetune.records import StepCount

MAX_QUIET_SHARE = 0.1
"""Share of its pairs that a step may drop without a warning."""

_TUNING = {
    "pairs": "`--since`, `--release`, and the feature's `log_content`",
    "evaluation": "`--skip evaluation`",
    "quality": "`--min-answer`, `--max-tokens`, `--skip quality`",
    "language": "`--language`, `--skip language`",
    "control tokens": "`--skip control-tokens`",
    "review": "`flowai finetune review`, `--skip review`",
    "toxicity": "`--no-toxicity`",
    "sessions": "`--split`, `--skip sessions`",
    "duplicates": "`--similarity`, `--skip duplicates`",
    "format": "another `--format`",
}
"""By step: its options."""

SKIPPABLE_STEPS = ("evaluation", "quality", "language", "control-tokens", "review", "sessions", "duplicates")


def check_skipped(names: Iterable[str]) -> frozenset[str]:
    """Return the steps to skip; raises UsageError for one that does not exist or cannot be skipped."""
    found = frozenset(names)
    for name in sorted(found):
        if name not in SKIPPABLE_STEPS:
            raise UsageError(f"--skip: no step `{name}`", hint=expected_one_of(SKIPPABLE_STEPS, found=name))
    return frozenset(name.replace("-", " ") for name in found)


def high_losses(steps: Iterable[StepCount]) -> tuple[StepCount, ...]:
    """Return the steps that drop more than a tenth of their pairs."""
    return tuple(step for step in steps if _lost_count(step) > MAX_QUIET_SHARE * step.in_count)


def loss_summary(step: StepCount) -> str:
    """Return what a step drops, in a few words: `duplicates dropped 99 %`."""
    return f"{step.step} dropped {_lost_count(step) / step.in_count:.0%}".replace("%", " %")


def loss_warning(step: StepCount) -> str:
    """Return what a step drops and why, and its options."""
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in step.rejected.items())
    return (
        f"{step.step} dropped {_lost_count(step):,} of {step.in_count:,} pairs ({reasons}); `quarantine.jsonl` lists "
        f"them; options: {_TUNING.get(step.step, '-')}"
    )


def _lost_count(step: StepCount) -> int:
    return step.in_count - step.out_count
