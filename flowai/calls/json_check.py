"""Says whether an answer is JSON, strictly, and where it stops being it.

In: the text of an answer. Out: whether it parses, and why not. Must never know schemas or assertions.
"""

from __future__ import annotations

import json


def json_validity(text: str) -> tuple[bool, str]:
    """Check an answer against the JSON grammar: nothing before it, nothing after it, no NaN, no trailing comma.

    Args:
        text: the whole answer.

    Returns:
        (True, "") or (False, what is wrong and at which column, counted from 1; the line where there are several).

    Source:
        RFC 8259; Python's parser is stricter than asked only in nesting (about 1,000 levels) and number length.
    """
    if not text.strip():
        return False, "the answer is empty"
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" starting at").removesuffix(" at")
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        return False, f"{what[:1].lower()}{what[1:]} at {line}column {error.colno}"
    except RecursionError:
        return False, "nested too deeply"
    except ValueError as error:  # a constant we refuse, or a number of thousands of digits
        return False, str(error)
    return True, ""


def _refuse_constant(name: str) -> None:
    raise ValueError(f"`{name}` is not JSON")
