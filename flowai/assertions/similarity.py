"""Checks on how near an answer is to a text.

In: an assertion. Out: a judge. Must never know negation, weights or other assertions.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from flowai.assertions.model import Finding, mistake, quoted

if TYPE_CHECKING:
    from flowai.assertions.model import Answer, Judge
    from flowai.suites.model import Assertion

DEFAULT_DISTANCE = 5.0


def levenshtein(assertion: Assertion) -> Judge:
    """Hold when at most `threshold` characters (default 5) must be put in, taken out or changed.

    Raises:
        SuiteError: no text to compare with.
    """
    expected = assertion.value
    if not isinstance(expected, str):
        raise mistake(assertion, f"found {quoted(expected)}; expected a text", hint="put it in quotes")
    most = DEFAULT_DISTANCE if assertion.threshold is None else assertion.threshold

    def judge(answer: Answer) -> Finding:
        distance = edit_distance(expected, answer.text, most=int(most))
        if distance is None:
            return Finding(held=False, detail=f" distance to {quoted(expected)} > {most:g}")
        return Finding(held=True, detail=f" distance to {quoted(expected)} is {distance}")

    return judge


def edit_distance(left: str, right: str, *, most: int) -> int | None:
    """Count the insertions, deletions and substitutions of characters that turn one text into the other.

    A column of the table is held in the bits of two integers, so that a character of `right` costs a few operations on
    `len(left)` bits: two texts of 10,000 characters take some 50 ms.

    Args:
        left: one text.
        right: the other; the distance is the same both ways.
        most: the search ends as soon as the distance must be greater, >= 0.

    Returns:
        The distance, or None when it is greater than `most`.

    Source: Hyyro, "A bit-vector algorithm for computing Levenshtein and Damerau edit distances", Nordic Journal of
    Computing 10(1), 2003, figure 3, after Myers, Journal of the ACM 46(3), 1999.
    """
    if abs(len(left) - len(right)) > most:
        return None
    if not left or not right:
        return len(left) + len(right)
    positions: dict[str, int] = defaultdict(int)
    for index, char in enumerate(left):
        positions[char] |= 1 << index
    mask, last = (1 << len(left)) - 1, 1 << (len(left) - 1)
    rises, falls, distance = mask, 0, len(left)  # where the column steps up, and down, by one
    for right_left, char in zip(range(len(right) - 1, -1, -1), right, strict=True):
        equal = positions.get(char, 0)
        level = (((equal & rises) + rises) ^ rises) | equal | falls
        up, down = falls | ~(level | rises) & mask, level & rises
        if up & last:
            distance += 1
        elif down & last:
            distance -= 1
        if distance - right_left > most:
            return None
        up, down = (up << 1 | 1) & mask, (down << 1) & mask
        rises, falls = down | ~(equal | falls | up) & mask, up & (equal | falls)
    return distance if distance <= most else None
