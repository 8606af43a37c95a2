"""The last calls of this process, for `explain` and feedback.

In: explanations. Out: one by its call id, as long as it is kept. Must never know the log.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowai.gateway.model import Explanation

MOST_COUNT = 1_000


class History:
    """Keeps the newest explanations.

    Args:
        most_count: how many, >= 1.
    """

    def __init__(self, most_count: int = MOST_COUNT) -> None:
        self._most_count = most_count
        self._kept: OrderedDict[str, Explanation] = OrderedDict()

    def add(self, explanation: Explanation) -> None:
        """Keep one more; the oldest goes."""
        self._kept[explanation.event.call_id] = explanation
        if len(self._kept) > self._most_count:
            self._kept.popitem(last=False)

    def get(self, call_id: str) -> Explanation | None:
        """Give one; None when it is not kept."""
        return self._kept.get(call_id)
