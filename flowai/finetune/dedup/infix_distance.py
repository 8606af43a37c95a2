"""Edits until a text is a part of another one.

rapidfuzz has no such distance: its `partial_ratio` compares windows of the pattern's own length.
"""

from __future__ import annotations


def min_substring_edits(pattern: str, text: str) -> int:
    """Count the least insertions, deletions and replacements that make a pattern a part of a text.

    Args:
        pattern: what is sought; short, since each letter of the text costs time that grows with it.
        text: where it is sought.

    Returns:
        0 where it stands there as it is, at most its length.

    Source:
        Myers, A fast bit-vector algorithm for approximate string matching based on dynamic programming (1999).
    """
    if not pattern:
        return 0
    everything = (1 << len(pattern)) - 1
    last = 1 << (len(pattern) - 1)
    where: dict[str, int] = {}
    for place, letter in enumerate(pattern):
        where[letter] = where.get(letter, 0) | 1 << place
    # one bit for each row of the table: whether its value is one more, or one less, than the row above
    more, less = everything, 0
    edits = least = len(pattern)
    for letter in text:
        equal = where.get(letter, 0)
        diagonal = (((equal & more) + more) ^ more) | equal | less
        right_more = less | ~(diagonal | more) & everything
        right_less = more & diagonal
        edits += bool(right_more & last) - bool(right_less & last)
        least = min(least, edits)
        right_more <<= 1  # a match may begin anywhere: the first row stays 0
        right_less <<= 1
        more = (right_less | ~(diagonal | right_more)) & everything
        less = right_more & diagonal & everything
    return least
