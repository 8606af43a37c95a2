"""Scrubbing as a step of the cleaning: every text of a pair, searched as one conversation.

In: a Pair. Out: the Pair with marks in place. Must never know what is sought.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from flowai.finetune.cleaning import Passed

if TYPE_CHECKING:
    from flowai.finetune.cleaning import Step
    from flowai.finetune.model import Pair
    from flowai.finetune.scrub import Scrubber


def scrub_step(scrubber: Scrubber) -> Step:
    """Make the step; a pair in which nothing is found goes on unchanged.

    Args:
        scrubber: the data set's.
    """

    def step(pair: Pair) -> Passed:
        answers = [pair.output] if pair.edit is None else [pair.output, pair.edit]
        told: list[dict[str, Any]] = [*pair.messages, *({"role": "assistant", "content": text} for text in answers)]
        done = scrubber.messages(told)
        if not done.findings:
            return Passed(pair=pair)
        texts = [message["content"] for message in done.value[len(pair.messages) :]]
        changed = msgspec.structs.replace(
            pair,
            messages=tuple(done.value[: len(pair.messages)]),
            output=texts[0],
            edit=texts[1] if len(texts) > 1 else None,
        )
        return Passed(pair=changed, findings=done.findings)

    return step
