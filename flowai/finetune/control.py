"""Says which control tokens of chat templates a text holds: a model trained on them learns to end turns it should not.

In: text. Out: the tokens. Must never know what becomes of the text.
"""

from __future__ import annotations

from flowai.prompts.control_tokens import Stretch, find


def control_tokens(text: str) -> tuple[str, ...]:
    """Give the control tokens in a text, each once, in the order they first stand there.

    Args:
        text: any text; tokens in other casing, full-width letters or with invisible characters within count too.

    Returns:
        The tokens as they stand in the text; empty where there are none.
    """
    if not text:
        return ()
    found = find(text, [Stretch(start=0, end=len(text), owner=None)])
    return tuple(dict.fromkeys(token.group() for token, _ in found))
