"""The cleaning steps for single pairs, in order.

Every check reads the original text; private data is replaced last, also in pairs that wait for a reviewer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from flowai.finetune.cleaning.pipeline import Kept
from flowai.finetune.cleaning.quality import QualityLimits, quality_problem
from flowai.finetune.pairs.pair_text import all_texts, conversation_parts
from flowai.finetune.pairs.pairing import quarantine_doubtful_edit
from flowai.finetune.records import Pair, Quarantined
from flowai.prompts.control_tokens import control_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowai.finetune.cleaning.language import Languages
    from flowai.finetune.cleaning.pipeline import CleaningStep
    from flowai.finetune.dedup.contamination import ContaminationIndex
    from flowai.finetune.records import QuarantineReason
    from flowai.privacy.scrubber import Scrubber


_CHECKS = ("evaluation", "quality", "language", "control tokens")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cleaning:
    """Settings of the cleaning."""

    leaks: ContaminationIndex
    scrubber: Scrubber
    """Replaces private data and secrets."""
    rules: QualityLimits = field(default_factory=QualityLimits)
    languages: Languages | None = None
    """Expected languages of answers; None for any."""
    count_tokens: Callable[[str], int] | None = None
    """Counts the tokens of a text; None if `rules` has no limit."""
    decide: Callable[[Pair | Quarantined], Pair | Quarantined] = lambda pair: pair
    """Applies the reviewers' decision; returns pairs without one unchanged."""


def cleaning_steps(cleaning: Cleaning, *, skip: frozenset[str] = frozenset()) -> dict[str, CleaningStep]:
    """Return the steps by name, in order, without those to skip.

    Reviewers' decisions hold also if the step `review` is skipped: then doubtful edits do not wait for a reviewer.
    """

    def evaluation(pair: Pair) -> Kept | Quarantined:
        leak = cleaning.leaks.find_in(pair)
        if leak is None:
            return Kept(pair=pair)
        case = f"{leak.case.suite} {leak.case.id}".strip()
        return _reject(pair, "evaluation", leak.reason, f"a case of {case}")

    def quality(pair: Pair) -> Kept | Quarantined:
        problem = quality_problem(pair, cleaning.rules, cleaning.count_tokens)
        return Kept(pair=pair) if problem is None else _reject(pair, "quality", problem.reason, problem.detail)

    def language(pair: Pair) -> Kept | Quarantined:
        if cleaning.languages is None:
            return Kept(pair=pair)
        other = cleaning.languages.other_language(conversation_parts(pair).answer)
        return (
            Kept(pair=pair) if other is None else _reject(pair, "language", "language", f"the answer is in `{other}`")
        )

    def control(pair: Pair) -> Kept | Quarantined:
        tokens = sorted({token for text in all_texts(pair) for token in control_tokens(text)})
        return Kept(pair=pair) if not tokens else _reject(pair, "control tokens", "control_token", ", ".join(tokens))

    privacy = scrub_step(cleaning.scrubber)

    def review(pair: Pair) -> Kept | Quarantined:
        doubtful = None if "review" in skip else quarantine_doubtful_edit(pair)
        decided = cleaning.decide(doubtful or pair)
        if isinstance(decided, Pair):
            # a reviewer's text passes the same checks
            checks = () if decided == pair else (steps[name](decided) for name in _CHECKS if name in steps)
            return next((result for result in checks if isinstance(result, Quarantined)), Kept(pair=decided))
        return decided if decided.pair is None else replace(decided, pair=privacy(decided.pair).pair)

    checks = dict(zip(_CHECKS, (evaluation, quality, language, control), strict=True))
    steps = {name: step for name, step in checks.items() if name not in skip}
    return {**steps, "review": review, "privacy": privacy}


def _reject(pair: Pair, step: str, reason: QuarantineReason, detail: str) -> Quarantined:
    return Quarantined(id=pair.id, step=step, reason=reason, detail=detail)


def scrub_step(scrubber: Scrubber) -> CleaningStep:
    """Return the step that replaces private data; a pair without any is returned unchanged."""

    def step(pair: Pair) -> Kept:
        answers = [pair.output] if pair.edit is None else [pair.output, pair.edit]
        messages: list[dict[str, Any]] = [*pair.messages, *({"role": "assistant", "content": text} for text in answers)]
        scrubbed = scrubber.messages(messages)
        if not scrubbed.findings:
            return Kept(pair=pair)
        texts = [message["content"] for message in scrubbed.value[len(pair.messages) :]]
        changed = replace(
            pair,
            messages=tuple(scrubbed.value[: len(pair.messages)]),
            output=texts[0],
            edit=texts[1] if len(texts) > 1 else None,
        )
        return Kept(pair=changed, findings=scrubbed.findings)

    return step
