"""The second gate: what keeps two near texts apart, and what does not."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.question_pairs import changed_exercises, near_misses, paraphrases

from flowai.cache.equivalence.compare import MAX_WORDS, find_mismatch


def test_near_misses_never_match_at_any_similarity() -> None:
    pairs = near_misses()
    assert len(pairs) >= 1000
    passed = [pair for pair in pairs if find_mismatch(pair.one, pair.other) is None]
    assert passed == []


def test_no_exercise_with_another_number_or_swapped_names_passes() -> None:
    pairs = changed_exercises(Random(7))  # noqa: S311 - a sample
    if not pairs:
        pytest.skip("public test data (shared/data beside the checkout) is not here")
    assert len(pairs) >= 1000
    assert [pair for pair in pairs if find_mismatch(pair.one, pair.other) is None] == []


def test_most_paraphrases_made_by_rule_pass_and_free_rewording_does_not() -> None:
    asked: Counter[bool] = Counter()
    passed: Counter[bool] = Counter()
    for pair in paraphrases():
        by_hand = pair.kind == "by hand"
        asked[by_hand] += 1
        passed[by_hand] += find_mismatch(pair.one, pair.other) is None
    assert passed[False] / asked[False] >= 0.8
    assert passed[True] >= 2, "free rewording is where the gate costs most: it compares words in order"


@pytest.mark.parametrize(
    ("one", "other", "subject"),
    [
        ("Is 5 mg enough?", "Is 50 mg enough?", "number"),
        ("Is 1.000 enough?", "Is 1 enough?", "number"),
        ("Is -5 cold?", "Is 5 cold?", "number"),
        ("My first flight", "My second flight", "number"),
        ("Is 5 mg enough?", "Is 5 g enough?", "unit"),
        ("It costs $5", "It costs €5", "unit"),
        ("on March 5, 2024", "on March 6, 2024", "date"),
        ("at 3 pm", "at 3 am", "date"),
        ("on Monday", "on Tuesday", "date"),
        ("before 03/05/2024", "before 05/03/2024", "literal"),
        ('say "yes" to him', 'say "no" to him', "literal"),
        ("run `rm a`", "run `rm b`", "literal"),
        ("call get_user()", "call set_user()", "literal"),
        ("set maxRetries", "set maxDelay", "literal"),
        ("open https://a.example/x", "open https://a.example/y", "literal"),
        ("3 + 4", "3 - 4", "symbol"),
        ("What is a > b?", "What is a < b?", "symbol"),
        ("I like C", "I like C++", "literal"),
        ("I met Anna", "I met Berta", "name"),
        ("What is HTTP?", "What is HTTPS?", "name"),
        ("ist das erlaubt", "ist das nicht erlaubt", "word"),
        ("これは何ですか", "それは何ですか", "word"),
        ("use the bank", "use the shore", "word"),
        ("a plan", "a plane", "word"),
        ("vitamin d", "vitamin k", "word"),
        ("It works", "It does not work", "negation"),
        ("not this one but red", "this one but not red", "role"),
        ("from Paris to London", "from London to Paris", "role"),
        ("dog bites man", "man bites dog", "role"),
        ("The man was bitten by the dog", "The dog was bitten by the man", "role"),
        ("Give 1/3 to Anna and 1/4 to Bo", "Give 1/3 to Bo and 1/4 to Anna", "role"),
        ("On Friday she swims and on Monday he runs", "On Monday she swims and on Friday he runs", "role"),
        ("the father of the bride", "the bride of the father", "role"),
        ("Do I owe you money?", "Do you owe me money?", "role"),
        ("What is my name?", "What is your name?", "role"),
        ("When did it start?", "Where did it start?", "question"),
        ("Who is the mayor?", "Who was the mayor?", "tense"),
    ],
)
def test_mismatches_have_a_kind(one: str, other: str, subject: str) -> None:
    for first, second in ((one, other), (other, one)):
        found = find_mismatch(first, second)
        assert found is not None
        assert found.kind == subject


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1,000 files", "one thousand files"),
        ("1.5 million users", "1500000 users"),
        ("two hundred and five", "205"),
        ("two million three hundred thousand and", "2300000 and"),
        ("10k rows", "10,000 rows"),
        ("5km", "5 kilometres"),
        ("$5", "5 dollars"),
        ("20%", "twenty percent"),
        ("March 5, 2024", "2024-03-05"),
        ("the 5th of March", "5 March"),
        ("at 3pm", "at 15:00"),
        ("I can't log in", "I cannot log in"),
        ("Why isn't my phone charging?", "Why is my phone not charging?"),
        ("Why isn't it working?", "Why is it not working?"),
        ("On Linux, how do I install Docker?", "How can I install Docker on Linux?"),
        ("What is the capital of Peru?", "what's the capital of Peru"),
        ("Could you please tell me how to delete a file?", "How do I delete a file?"),
        ("“Stop”, he said", '"Stop", he said'),
    ],
)
def test_rewordings_match(one: str, other: str) -> None:
    assert find_mismatch(one, other) is None
    assert find_mismatch(other, one) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # other words, another order: right or wrong, it takes more than tables to know
        ("How do I delete a file?", "How do I remove a file?"),
        ("I cannot log in", "I cannot sign in"),
        ("The manager approved the request", "The request was approved by the manager"),
        ("What is the capital of Peru?", "What is Peru's capital?"),
        ("How many users are there?", "What is the number of users?"),
        # articles, plurals and auxiliaries are words
        ("What is the time?", "What is time?"),
        ("Are few of them left?", "Are a few of them left?"),
        ("Which plan is yours?", "Which plans is yours?"),
        ("Can I pay by card?", "Should I pay by card?"),
        ("Did it work here?", "Did it work there?"),
        # sentence form
        ("You are open on Sundays.", "You are open on Sundays?"),
        ("Can you park here?", "Park here."),
        ("How do I say thank you?", "How do I say?"),
        ("Will is at home.", "Will is at home?"),
        ("Can you give blood twice?", "Will you give blood twice?"),
        ("Would you recommend this book?", "Recommend this book."),
        # one letter's case, one mark
        ("What is polish for?", "What is Polish for?"),
        ("Is it for us?", "Is it for US?"),
        ("What is a man-eating fish?", "What is a man eating fish?"),
        ("Shall we re-sign it?", "Shall we resign it?"),
        ("Let's eat, grandma", "Let's eat grandma"),
        ("Who's paid?", "Who is paid?"),
        # numbers, units and times
        ("Is it between one thousand and two thousand?", "Is it between two thousand and one thousand?"),
        ("Is it between one hundred and two hundred?", "Is it between two hundred and one hundred?"),
        ("How much is 300 K?", "How much is 300,000?"),
        ("How much is 5 M?", "How much is 5 m?"),
        ("What is 10²?", "What is 102?"),
        ("Is +5 right?", "Is 5 right?"),
        ("What is agent 007?", "What is agent 7?"),
        ("Is a ton enough?", "Is a tonne enough?"),
        ("Call me at 3:00", "Call me at 3 am"),
        ("Is 5 MB enough?", "Is 5 Mb enough?"),
        # paths and code, uncut
        ("How do I run rm -rf /tmp?", "How do I run rm -rf / tmp?"),
        ("What does git add . do", "What does git add do"),
        ("How do I use git add .", "How do I use git add"),
        ("Where is C:\\Users?", "Where is C:\\users?"),
        ("What does save! do?", "What does save do?"),
        ("How do I use cd ..", "How do I use cd ."),
        ("How do I copy a/.", "How do I copy a/"),
        ('What is f"a"?', 'What is f "a"?'),
        ("What is in a/b?", "What is in a/ b?"),
    ],
)
def test_all_else_keeps_texts_apart(one: str, other: str) -> None:
    assert find_mismatch(one, other) is not None
    assert find_mismatch(other, one) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("como puedo cancelar mi cuenta", "Como puedo cancelar mi cuenta?"),
        ("hoe kan ik mijn wachtwoord wijzigen", "Hoe kan ik mijn wachtwoord wijzigen?"),
        ("Où est la gare", "où est la gare"),
        ("what is the plan:\n- one\n- two", "What is the plan:\n- one\n- two"),
        ("why is " + "very " * MAX_WORDS + "old", "Why is " + "very " * MAX_WORDS + "old?"),
    ],
)
def test_a_text_that_cannot_be_read_is_equal_to_itself_only(one: str, other: str) -> None:
    found = find_mismatch(one, other)
    assert found is not None
    assert found.kind == "unreadable"
    assert find_mismatch(one, one) is None


@pytest.mark.parametrize("changed", ["Revenue is down.", "Revenue is not up.", "Revenue is up!"])
def test_a_document_with_one_sentence_changed_never_matches(changed: str) -> None:
    document = "The quarter went as planned. " * 12 + "Revenue is up. " + "The teams met. " * 12
    assert find_mismatch(document, document.replace("Revenue is up.", changed)) is not None


WORDS = ("alpha", "beta", "not", "from", "to", "and", "by", "of", "5", "km", "Anna", "was", "the", ",", ".", "?")


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_texts_can_be_compared_symmetrically(one: str, other: str) -> None:
    assert find_mismatch(one, one) is None
    assert (find_mismatch(one, other) is None) == (find_mismatch(other, one) is None)


@given(
    st.lists(st.sampled_from(WORDS), max_size=12),
    st.data(),
)
def test_texts_that_agree_have_the_same_words(words: list[str], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(words))
    dropped = shuffled[1:]
    if find_mismatch(" ".join(words), " ".join(dropped)) is None:
        assert set(shuffled[:1]) <= {"was", "the", ",", ".", "?", "from", "to", "and", "by", "of"}


@pytest.mark.slow  # reads very long texts
@pytest.mark.parametrize(
    "text", ["a-" * 20_000, "`" * 20_001, '"' * 20_001, "a." * 20_000, "x@" * 20_000, "9" * 40_000, "one " * 10_000]
)
@pytest.mark.timeout(60)
def test_a_hostile_text_is_read_once(text: str) -> None:
    assert find_mismatch(text, text + " b") is not None, "a scan that reads it again and again would not end in time"
