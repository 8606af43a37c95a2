"""The steps of the cleaning that look at one pair at a time, in their order.

Everything is judged on what was said; private things are replaced last, in what is held for a person too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from flowai.finetune.cleaning.pipeline import Kept
from flowai.finetune.cleaning.quality import QualityLimits, quality_problem
from flowai.finetune.pairs.pair_text import all_texts, conversation_parts
from flowai.finetune.pairs.pairing import review_of
from flowai.finetune.records import Pair, Quarantined
from flowai.prompts.control_tokens import control_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.finetune.cleaning.language import Languages
    from flowai.finetune.cleaning.pipeline import CleaningStep
    from flowai.finetune.dedup.contamination import ContaminationIndex
    from flowai.finetune.records import QuarantineReason
    from flowai.privacy.scrubber import Scrubber


@dataclass(frozen=True, kw_only=True, slots=True)
class Cleaning:
    """What is looked for."""

    leaks: ContaminationIndex
    """The cases of evaluations."""
    scrubber: Scrubber
    """Replaces private things and secrets."""
    rules: QualityLimits = field(default_factory=QualityLimits)
    """What a pair must be like."""
    languages: Languages | None = None
    """The expected ones; None for any."""
    count_tokens: Callable[[str], int] | None = None
    """Counts a text's tokens, where the rules limit them."""
    decide: Callable[[Pair | Quarantined], Pair | Quarantined] = lambda one: one
    """What a reviewer decided of a pair; gives it back where nobody did."""


def steps_of(cleaning: Cleaning) -> dict[str, CleaningStep]:
    """Give the steps, in order."""

    def evaluation(pair: Pair) -> Kept | Quarantined:
        leak = cleaning.leaks.find_in(pair)
        if leak is None:
            return Kept(pair=pair)
        case = f"{leak.case.suite} {leak.case.id}".strip()
        return _out(pair, "evaluation", leak.reason, f"a case of {case}")

    def quality(pair: Pair) -> Kept | Quarantined:
        fault = quality_problem(pair, cleaning.rules, cleaning.count_tokens)
        return Kept(pair=pair) if fault is None else _out(pair, "quality", fault.reason, fault.detail)

    def language(pair: Pair) -> Kept | Quarantined:
        other = (
            None if cleaning.languages is None else cleaning.languages.other_language(conversation_parts(pair).answer)
        )
        return Kept(pair=pair) if other is None else _out(pair, "language", "language", f"the answer is in `{other}`")

    def control(pair: Pair) -> Kept | Quarantined:
        found = sorted({token for text in all_texts(pair) for token in control_tokens(text)})
        return Kept(pair=pair) if not found else _out(pair, "control tokens", "control_token", ", ".join(found))

    privacy = scrub_step(cleaning.scrubber)

    def review(pair: Pair) -> Kept | Quarantined:
        decided = cleaning.decide(review_of(pair) or pair)
        if isinstance(decided, Pair):
            # what a reviewer wrote is held to the same rules
            found = () if decided == pair else (check(decided) for check in (evaluation, quality, language, control))
            return next((one for one in found if isinstance(one, Quarantined)), Kept(pair=decided))
        return decided if decided.pair is None else replace(decided, pair=privacy(decided.pair).pair)

    return {
        "evaluation": evaluation,
        "quality": quality,
        "language": language,
        "control tokens": control,
        "review": review,
        "privacy": privacy,
    }


def _out(pair: Pair, step: str, reason: QuarantineReason, detail: str) -> Quarantined:
    return Quarantined(id=pair.id, step=step, reason=reason, detail=detail)


def scrub_step(scrubber: Scrubber) -> CleaningStep:
    """Make the step; a pair in which nothing is found goes on unchanged.

    Args:
        scrubber: the data set's.
    """

    def step(pair: Pair) -> Kept:
        answers = [pair.output] if pair.edit is None else [pair.output, pair.edit]
        told: list[dict[str, Any]] = [*pair.messages, *({"role": "assistant", "content": text} for text in answers)]
        done = scrubber.messages(told)
        if not done.findings:
            return Kept(pair=pair)
        texts = [message["content"] for message in done.value[len(pair.messages) :]]
        changed = msgspec.structs.replace(
            pair,
            messages=tuple(done.value[: len(pair.messages)]),
            output=texts[0],
            edit=texts[1] if len(texts) > 1 else None,
        )
        return Kept(pair=changed, findings=done.findings)

    return step
