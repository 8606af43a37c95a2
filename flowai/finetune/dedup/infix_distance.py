"""Edit distance between a pattern and the best matching part of a text.

rapidfuzz has no such distance: its `partial_ratio` compares windows of the pattern's own length.
"""

from __future__ import annotations


def min_substring_edits(pattern: str, text: str) -> int:
    """Return the minimum number of edits that make a short pattern a substring of a text: 0 to the pattern's length.

    Source: Myers, A fast bit-vector algorithm for approximate string matching based on dynamic programming (1999).
    """
    if not pattern:
        return 0
    everything = (1 << len(pattern)) - 1
    last = 1 << (len(pattern) - 1)
    positions: dict[str, int] = {}
    for position, letter in enumerate(pattern):
        positions[letter] = positions.get(letter, 0) | 1 << position
    # one bit per row of the table: whether its value is one more, or one less, than the row above
    more, less = everything, 0
    edits = minimum = len(pattern)
    for letter in text:
        equal = positions.get(letter, 0)
        diagonal = (((equal & more) + more) ^ more) | equal | less
        right_more = less | ~(diagonal | more) & everything
        right_less = more & diagonal
        edits += bool(right_more & last) - bool(right_less & last)
        minimum = min(minimum, edits)
        right_more <<= 1  # a match may begin anywhere: the first row stays 0
        right_less <<= 1
        more = (right_less | ~(diagonal | right_more)) & everything
        less = right_more & diagonal & everything
    return minimum
