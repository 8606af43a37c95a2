"""Requests of real applications: much of each text is in all of them, and little of it is the request's own."""

from __future__ import annotations

from itertools import product
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_NOUNS = (
    "kettle lamp tent jacket bicycle printer blender pillow keyboard drill "
    "rucksack camera toaster guitar carpet monitor saddle watch heater mirror"
)
_PARTS = "lid cable zip handle seam wheel button strap screen hinge battery cover plug foot lens label"
GOOD = (
    "works without a sound",
    "arrived two days early",
    "looks better than in the pictures",
    "survived a week of rain",
    "was easy to set up alone",
    "is lighter than my old one",
    "made my sister jealous",
    "fits exactly where I wanted it",
    "still feels new after a year",
    "was worth every cent",
)
BAD = (
    "broke on the third evening",
    "smells of burnt plastic",
    "came with a scratch on one side",
    "never held its charge",
    "rattles at the slightest touch",
    "is much smaller than announced",
    "lost its colour in the sun",
    "got stuck after one use",
    "had a manual in the wrong language",
    "was sent back twice for repair",
)
INSTRUCTION = (
    "You read product reviews for a retailer. Decide whether the author is content. Read the whole review, also where "
    "it contradicts itself; irony counts as what it means, not as what it says. Do not judge the delivery unless the "
    "review speaks of nothing else. If the author praises one part and criticises another, decide by what they would "
    "tell a friend. Never explain your choice, never repeat the text and add no punctuation. Answer with one single "
    "word in lower case: positive or negative.\n\nReview: "
)
EXAMPLES = (
    "Name the department that handles a message.\n\n"
    "Message: My card was charged twice for one ticket and the bank sends me back to you.\nDepartment: billing\n\n"
    "Message: Since the last update the map stays grey, whatever I touch on the start page.\nDepartment: technology\n\n"
    "Message: I left an umbrella on the 18:40 ferry, row twelve, next to the window.\nDepartment: lost property\n\n"
    "Message: "
)
QUESTIONS = (
    "Does the author of this report recommend that the work is continued next year?",
    "Was more money spent than the board had approved at its spring meeting?",
    "Are there open safety findings which an inspector has to look at again?",
    "Did the contractor deliver every item before the date in the agreement?",
    "Is any person named here who left the company while the project was running?",
    "Can the measurements in the annex be repeated with the equipment on site?",
    "Should the neighbours be informed before the second phase can begin?",
    "Has the insurance confirmed in writing that it pays for the water damage?",
)
_SYLLABLES = "ba de fi go lu ma ne pi ro su ta ve wi xo zu kra ble sto dri fla"

Row = tuple[str, str]
"""Request and answer."""


def review_rows(count: int) -> list[Row]:
    """Return requests with one long instruction and a review each, answered by a word."""
    random = Random(300)  # noqa: S311 - a sample
    reviews = [_review(random, number) for number in range(count)]
    return [(f"{INSTRUCTION}{text}", ("positive", "negative")[number % 2]) for number, text in enumerate(reviews)]


def _review(random: Random, number: int) -> str:
    nouns, parts = _NOUNS.split(), _PARTS.split()
    noun, part = nouns[number % len(nouns)], parts[number // len(nouns) % len(parts)]
    first, second = random.sample(BAD if number % 2 else GOOD, 2)
    return f"The {noun} I bought {first}, and its {part} {second}. {random_words(random, 8).capitalize()}."


def document_rows(documents: int, questions: int = len(QUESTIONS)) -> list[Row]:
    """Return the same questions on several long documents, answered by yes or no."""
    random = Random(320)  # noqa: S311 - a sample
    texts = [random_words(random, 400) for _ in range(documents)]
    pairs = product(texts, QUESTIONS[:questions])
    return [(f"{text}\n\n{question}", "Yes." if number % 3 else "No.") for number, (text, question) in enumerate(pairs)]


def example_rows(count: int) -> list[Row]:
    """Return requests with the same examples in each, and a message of one sentence after them."""
    random = Random(250)  # noqa: S311 - a sample
    departments = ("billing", "technology", "lost property")
    rows = []
    for number in range(count):
        words, noun = random_words(random, 7), random.choice(_NOUNS.split())
        text = f"On the {number % 28 + 1}th I found {words} near the {noun} counter."
        rows.append((f"{EXAMPLES}{text}\nDepartment:", departments[number % 3]))
    return rows


def random_words(random: Random, count: int) -> str:
    """Return words of no language; no two texts of them have a passage in common."""
    syllables = _SYLLABLES.split()
    return " ".join("".join(random.choices(syllables, k=random.randint(2, 4))) for _ in range(count))


def _in_last_line(change: Callable[[str, Random], str]) -> Callable[[str, Random], str]:
    def changed(text: str, random: Random) -> str:
        lines = text.removesuffix("\nDepartment:").split("\n")
        lines[-1] = change(lines[-1], random)
        return "\n".join(lines) + ("\nDepartment:" if text.endswith("\nDepartment:") else "")

    return changed


def _other_word(line: str, random: Random) -> str:
    words = line.split(" ")
    words[random.randrange(2, len(words) - 1)] = random.choice(("rather", "simply", "indeed"))
    return " ".join(words)


def _typing_error(line: str, random: Random) -> str:
    at = random.randrange(len(line) // 2, len(line) - 2)
    return line[:at] + line[at + 1] + line[at] + line[at + 2 :]


TWINS: dict[str, Callable[[str, Random], str]] = {
    "layout": lambda text, _: f"  {text.replace('. ', '.  ')} ".replace("e", "E"),
    "thanks": _in_last_line(lambda line, _: f"{line} Thanks!"),
    "no full stop": _in_last_line(lambda line, _: line.rstrip(".?")),
    "another word": _in_last_line(_other_word),
    "typing error": _in_last_line(_typing_error),
}
"""Ways in which a second request repeats a first."""


def twins(rows: list[Row], count: int) -> list[tuple[int, Row]]:
    """Return near copies, of every kind in turn, with the number of the row that each repeats."""
    random = Random(200)  # noqa: S311 - a sample
    changes = list(TWINS.values())
    chosen = random.sample(range(len(rows)), count)
    return [
        (number, (changes[at % len(changes)](rows[number][0], random), rows[number][1]))
        for at, number in enumerate(chosen)
    ]
