"""Pairs of questions for the semantic cache: near misses, which need different answers, and paraphrases, which do not.

Pairs are built by rules from templates; some are written by hand.
"""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

GSM8K = Path(__file__).resolve().parents[3] / "shared" / "data" / "gsm8k" / "test.jsonl"
"""Grade-school mathematics (MIT): text that was written without any of this in mind; absent in most checkouts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two questions.

    Args:
        kind: by which rule the second was made.
        one: the first.
        other: the second.
    """

    kind: str
    one: str
    other: str


PEOPLE = (
    "Anna",
    "Boris",
    "Chen",
    "Deepa",
    "Emeka",
    "Fatima",
    "the teacher",
    "the auditor",
    "my landlord",
    "the seller",
)
CITIES = ("Paris", "London", "Tokyo", "Lagos", "Lima", "Oslo", "Cairo", "Delhi", "berlin", "madrid")
LANGUAGES = ("Python", "Rust", "Java", "Go", "Kotlin", "Ruby")
FOODS = ("rice", "lentils", "salmon", "tofu", "pasta", "chicken")
DRUGS = ("ibuprofen", "aspirin", "paracetamol", "amoxicillin")
UNITS = ("kilometers", "miles", "meters", "feet", "yards")
WEIGHTS = ("grams", "ounces", "kilograms", "pounds")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
MONTHS = ("January", "March", "May", "August", "November")

Table = tuple[tuple[str, tuple[str, ...]], ...]

SWAPS: Table = (
    ("How do I fly from {a} to {b} cheaply?", CITIES),
    ("how long is the train ride from {a} to {b}", CITIES),
    ("Is {a} bigger than {b}?", CITIES),
    ("Does {a} owe money to {b}?", PEOPLE),
    ("Can {a} sue {b} for damages?", PEOPLE),
    ("Did {a} pay {b} last week?", PEOPLE),
    ("Was {a} hired by {b}?", PEOPLE),
    ("How do I port my code from {a} to {b}?", LANGUAGES),
    ("Why is {a} faster than {b}?", LANGUAGES),
    ("Can I call {a} from {b}?", LANGUAGES),
    ("Should I replace {a} with {b} in this recipe?", FOODS),
    ("Do I take {a} before {b}?", DRUGS),
    ("Convert {a} to {b}.", UNITS),
)
ENTITIES: Table = (
    ("What is the population of {}?", CITIES),
    ("Do I need a visa for {}?", CITIES),
    ("When was {} promoted to manager?", PEOPLE),
    ("How do I read a CSV file in {}?", LANGUAGES),
    ("How long should I cook {}?", FOODS),
    ("What are the side effects of {}?", DRUGS),
    ("is {} open on holidays", ("the library", "the museum", "the bank", "the zoo")),
    ("What does `{}` do?", ("git reset", "git revert", "git rebase", "git restore")),
    ("Why does {} return None?", ("parse_date()", "parse_time()", "load_user()", "save_user()")),
    ('Translate "{}" into Spanish.', ("good morning", "good evening", "good luck", "good night")),
    ("What is the boiling point in {}?", ("celsius", "fahrenheit", "kelvin")),
    ("How far is it in {}?", UNITS),
    ("How much does it weigh in {}?", WEIGHTS),
    ("Is the office open on {}?", DAYS),
    ("How was the weather in {} last year?", MONTHS),
)
NUMBERS = (
    "How many calories are in {} eggs?",
    "Is a fever of {} degrees dangerous?",
    "What is the tax on an income of {} dollars?",
    "Can I take {} tablets at once?",
    "How do I split a bill of $80 among {} people?",
    "What happens after {} days without payment?",
    "Which laptops cost less than {} euros?",
    "Is a deposit of {} percent normal?",
    "How many seconds are in {} hours?",
    "Can a team of {} engineers ship this in 6 weeks?",
)
DATES = (
    "What happened on {}?",
    "Is the deadline still {}?",
    "How many days are left until {}?",
    "Can you move my appointment to {}?",
    "What was the exchange rate on {}?",
    "was the invoice dated {} paid",
)
SPELLED_DATES = ("March 5, 2024", "March 6, 2024", "5 April 2024", "March 5, 2023", "2024-05-03", "12 May", "May 21")
AMOUNTS = ("5 mg", "5 g", "50 mg", "5 ml", "5 l", "5 kg", "0.5 mg")
NEGATED = (
    ("Should I take this medicine with food?", "Should I take this medicine without food?"),
    ("Can I deploy on Fridays?", "Can't I deploy on Fridays?"),
    ("Why is my phone charging?", "Why is my phone not charging?"),
    ("Which foods should I eat during pregnancy?", "Which foods should I not eat during pregnancy?"),
    ("Which foods should diabetics eat?", "Which foods should diabetics never eat?"),
    ("How do I keep my dog on the sofa?", "How do I not keep my dog on the sofa?"),
    ("Is it safe to mix these two cleaners?", "Is it unsafe to mix these two cleaners?"),
    ("Does the warranty cover water damage?", "Does the warranty not cover water damage?"),
    ("Are tips included in the bill?", "Aren't tips included in the bill, or are there none?"),
    ("What happens if I pay my taxes on time?", "What happens if I don't pay my taxes on time?"),
    ("Who was invited to the wedding?", "Who wasn't invited to the wedding?"),
    ("Which browsers support this feature?", "Which browsers don't support this feature?"),
    ("Is a lawyer required for this?", "Is no lawyer required for this?"),
    ("Do cats like water?", "Do cats dislike water?"),
    ("Explain why the claim is valid.", "Explain why the claim is invalid."),
    ("List the reversible changes.", "List the irreversible changes."),
    ("Is this behaviour legal in Texas?", "Is this behaviour illegal in Texas?"),
    ("Was the experiment successful?", "Was the experiment unsuccessful?"),
    ("not the red one but the blue one", "the red one but not the blue one"),
    ("Is there any evidence for this theory?", "Is there no evidence for this theory?"),
)
OPPOSITES = (
    ("How do I {} the brightness?", (("increase", "decrease"), ("raise", "lower"), ("maximize", "minimize"))),
    ("How do I {} notifications?", (("enable", "disable"), ("turn on", "turn off"), ("mute", "unmute"))),
    ("Should I stretch {} running?", (("before", "after"), ("while", "after"))),
    ("Which plan is {}?", (("cheaper", "more expensive"), ("cheapest", "most expensive"), ("best", "worst"))),
    ("How do I {} the archive?", (("compress", "decompress"), ("encrypt", "decrypt"), ("open", "close"))),
    ("What is the {} value of the list?", (("minimum", "maximum"), ("first", "last"), ("smallest", "largest"))),
    ("Does it need {} memory than that?", (("more", "less"),)),
    ("Was the request {}?", (("accepted", "rejected"), ("approved", "declined"), ("sent", "received"))),
    ("Is the water {}?", (("hot", "cold"), ("safe", "unsafe"), ("deep", "shallow"))),
    ("Did the price {} this year?", (("rise", "fall"), ("go up", "go down"))),
    ("Is the file {} the folder?", (("inside", "outside"), ("above", "below"))),
    ("How do I {} a user?", (("add", "remove"), ("block", "unblock"), ("follow", "unfollow"), ("invite", "uninvite"))),
    ("Can I work here {} a contract?", (("with", "without"),)),
    ("How do I {} the package?", (("install", "uninstall"), ("send", "receive"), ("load", "unload"))),
    ("Is the reaction {}?", (("endothermic", "exothermic"), ("fast", "slow"))),
    ("Do I pay {} delivery?", (("before", "upon"), ("for", "against"))),
    ("{} employees may park here?", (("Do all", "Do some"), ("Do only", "Do most"))),
    ("When {} the store open?", (("does", "did"), ("will", "did"))),
    ("{} do I renew my passport?", (("How", "When"), ("Where", "Why"))),
)


def near_misses() -> list[Pair]:
    """Return the pairs of the rules, over a thousand, none with one answer for both."""
    pairs = [Pair(kind="negation", one=one, other=other) for one, other in NEGATED]
    for template, fillers in SWAPS:
        pairs += [
            Pair(kind="swapped", one=template.format(a=a, b=b), other=template.format(a=b, b=a))
            for a, b in itertools.combinations(fillers, 2)
        ]
    for template, fillers in ENTITIES:
        pairs += _filled("entity", template, fillers)
    for template in NUMBERS:
        pairs += _filled("number", template, ("2", "3", "12", "20", "1,000", "10000", "three thousand"))
    for template in DATES:
        pairs += _filled("date", template, SPELLED_DATES)
    pairs += _filled("unit", "Is {} of caffeine too much?", AMOUNTS)
    pairs += _filled("unit", "What is the dose in {}?", ("mg", "grams", "milliliters", "drops"))
    for frame, opposites in OPPOSITES:
        pairs += [Pair(kind="opposite", one=frame.format(a), other=frame.format(b)) for a, b in opposites]
    return pairs


def _filled(kind: str, template: str, fillers: tuple[str, ...]) -> list[Pair]:
    return [
        Pair(kind=kind, one=template.format(a), other=template.format(b)) for a, b in itertools.combinations(fillers, 2)
    ]


TASKS = (
    ("reset", "my password"),
    ("cancel", "my subscription"),
    ("delete", "my account"),
    ("change", "my email address"),
    ("track", "my order"),
    ("return", "a damaged item"),
    ("export", "my contacts to a spreadsheet"),
    ("update", "my billing information"),
    ("install", "Docker on Ubuntu"),
    ("merge", "two branches in Git"),
    ("remove", "red wine stains from a carpet"),
    ("fix", "a leaking tap"),
    ("create", "a pivot table in Excel"),
    ("calculate", "compound interest"),
    ("buy", "a train ticket online"),
    ("renew", "my passport"),
    ("connect", "my phone to a projector"),
    ("cook", "brown rice without a rice cooker"),
    ("improve", "my credit score"),
    ("report", "a lost bank card"),
)
POLITE = (
    "How can I {task}?",
    "How would I {task}?",
    "how do i {task}",
    "Please tell me how to {task}.",
    "Could you tell me how I can {task}?",
    "Can you explain how to {task}, please?",
    "What is the best way to {task}?",
    "What's the way to {task}?",
    "What steps should I take to {task}?",
    "What do I need to do to {task}?",
    "I would like to know how to {task}.",
    "I need help to {task}.",
    "Hi, how do I {task}? Thanks!",
    "Is there a guide that shows how to {task}?",
    "I'm not sure how to {task}.",
    "How should I go about it if I want to {task}?",
)
SYNONYMS = {
    "delete": "remove",
    "remove": "get rid of",
    "change": "modify",
    "fix": "repair",
    "create": "make",
    "calculate": "compute",
    "buy": "purchase",
    "improve": "boost",
    "return": "send back",
    "install": "set up",
    "connect": "hook up",
    "report": "notify you of",
}
FRONTED = (
    ("How do I {task} on {place}?", "On {place}, how do I {task}?"),
    ("Can I {task} in {place}?", "In {place}, can I {task}?"),
)
FRONTED_TASKS = ("change the language", "take a screenshot", "print in colour", "share my screen", "block a number")
PLACES = ("Windows", "a Mac", "Android", "my tablet")
CONTRACTED = (
    ("What is the refund policy?", "What's the refund policy?"),
    ("Why is my screen not turning on?", "Why isn't my screen turning on?"),
    ("Who is responsible for payroll?", "Who's responsible for payroll?"),
    ("I cannot open the attachment.", "I can't open the attachment."),
    ("Why does my code not compile?", "Why doesn't my code compile?"),
    ("Where is the nearest pharmacy?", "Where's the nearest pharmacy?"),
    ("I have not received my parcel.", "I haven't received my parcel."),
    ("What is the time difference between Lima and Oslo?", "What's the time difference between Lima and Oslo?"),
)
VOICES = (
    ("{a} approved the budget", "the budget was approved by {a}"),
    ("{a} wrote the report", "the report was written by {a}"),
    ("{a} broke the window", "the window was broken by {a}"),
    ("{a} cancelled the meeting", "the meeting was cancelled by {a}"),
)
SPELLED = (
    ("How many grams are in 1,000 ounces?", "How many grams are in one thousand ounces?"),
    ("Is 5 km far to walk?", "Is five kilometers far to walk?"),
    ("What happened on March 5, 2024?", "What happened on 5 March 2024?"),
    ("Can I meet you at 3 pm?", "Can I meet you at 15:00?"),
    ("Is $1.5 million a lot for a house?", "Is 1.5 million dollars a lot for a house?"),
    ("What is 20% of 80?", "What is twenty percent of eighty?"),
    ("What is the capital of Peru?", "What is Peru's capital?"),
    ("What is the price of a stamp?", "How much does a stamp cost?"),
)
BY_HAND = (
    ("Where can I see my past invoices?", "Where do I find my old invoices?"),
    ("How do I get a refund?", "What's the process for getting a refund?"),
    ("My package never arrived", "My package hasn't arrived"),
    ("What are your opening hours?", "When are you open?"),
    ("How long does shipping take?", "How many days until my order ships?"),
    ("Do you ship internationally?", "Can you deliver abroad?"),
    ("How do I reverse a list in Python?", "What's the way to reverse a Python list?"),
    ("How do I undo my last git commit?", "How can I undo the last commit in git?"),
    ("What causes inflation?", "Why does inflation happen?"),
    ("Explain photosynthesis to me.", "What is photosynthesis?"),
    ("Summarize the main idea of this article.", "Give me a summary of this article's main idea."),
    ("How tall is Mount Everest?", "What is the height of Mount Everest?"),
    ("Who wrote Hamlet?", "Who is the author of Hamlet?"),
    ("Recommend a good book about sailing.", "Can you recommend a good book on sailing?"),
    ("How do I lower my electricity bill?", "How can I reduce my electricity bill?"),
    ("How much water should I drink every day?", "How much water should I drink each day?"),
    ("Is it safe to eat raw eggs?", "Are raw eggs safe to eat?"),
    ("What's the difference between HTTP and HTTPS?", "How do HTTP and HTTPS differ?"),
    ("Tell me a joke about cats.", "Please tell me a joke about cats."),
    ("Write a haiku about autumn.", "Please write a haiku about autumn for me."),
    ("How do I center a div?", "How to center a div in CSS?"),
    ("What does HTTP 404 mean?", "What is the meaning of HTTP 404?"),
    ("Why is the sky blue?", "What makes the sky blue?"),
    ("Can I bring my dog?", "Are dogs allowed?"),
    ("How do I become a nurse?", "What do I have to do to become a nurse?"),
    ("Is breakfast included?", "Is breakfast included in the price?"),
)


def paraphrases() -> list[Pair]:
    """Return the pairs of the rules and those written by hand (kind `by hand`), with one answer for both."""
    pairs = []
    for verb, thing in TASKS:
        plain = f"How do I {verb} {thing}?"
        pairs += [Pair(kind="politeness", one=plain, other=frame.format(task=f"{verb} {thing}")) for frame in POLITE]
        if verb in SYNONYMS:
            other = f"{SYNONYMS[verb]} {thing}"
            pairs.append(Pair(kind="synonym", one=plain, other=f"How do I {other}?"))
            pairs.append(Pair(kind="synonym", one=plain, other=f"How can I {other}?"))
    for (plain, moved), task, place in itertools.product(FRONTED, FRONTED_TASKS, PLACES):
        one, other = (text.format(task=task, place=place) for text in (plain, moved))
        pairs.append(Pair(kind="reordered", one=one, other=other))
    for (active, passive), name in itertools.product(VOICES, PEOPLE):
        one, other = (f"Is it true that {text.format(a=name)}?" for text in (active, passive))
        pairs.append(Pair(kind="voice", one=one, other=other))
    pairs += [Pair(kind="contraction", one=one, other=other) for one, other in CONTRACTED]
    pairs += [Pair(kind="spelling", one=one, other=other) for one, other in SPELLED]
    pairs += [Pair(kind="by hand", one=one, other=other) for one, other in BY_HAND]
    return pairs


NUMBER = re.compile(r"(?<![\d.,/])\d{1,3}(?![\d.,/%])")
NAME = re.compile(r"(?<=[a-z,] )(?!Your|The|How|She|They)[A-Z][a-z]{2,}")


def changed_exercises(rng: Random) -> list[Pair]:
    """Change one number of each exercise of GSM8K, or swap two names in it; empty where the data is not there."""
    if not GSM8K.is_file():
        return []
    pairs = []
    for line in GSM8K.read_text(encoding="utf-8").splitlines():
        question: str = json.loads(line)["question"]
        numbers = list(NUMBER.finditer(question))
        if numbers:
            at = rng.choice(numbers)
            number = int(at.group()) + rng.choice((1, 2, 10))
            changed = f"{question[: at.start()]}{number}{question[at.end() :]}"
            pairs.append(Pair(kind="exercise number", one=question, other=changed))
        names = sorted(set(NAME.findall(question)))
        if len(names) > 1:
            first, second = rng.sample(names, 2)
            parts: list[str] = re.split(rf"\b({first}|{second})\b", question)
            swapped = "".join({first: second, second: first}.get(part, part) for part in parts)
            if swapped != question:
                pairs.append(Pair(kind="exercise names", one=question, other=swapped))
    return pairs
