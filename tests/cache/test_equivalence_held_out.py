"""Pairs written without a look at the gate's tables, and never used to tune them: the honest half of its figures."""

from __future__ import annotations

import pytest

from flowai.cache.equivalence.compare import find_mismatch

NEAR_MISSES = [
    ("How do I cancel my subscription?", "How do I keep my subscription from being cancelled?"),
    ("Can I return shoes after 14 days?", "Can I return shoes after 40 days?"),
    ("What is the weather in Paris, Texas?", "What is the weather in Paris, France?"),
    ("Is ibuprofen safe during pregnancy?", "Is ibuprofen unsafe during pregnancy?"),
    ("Convert 5 miles to kilometres", "Convert 5 kilometres to miles"),
    ("Who owes money to Dana?", "Whom does Dana owe money?"),
    ("Send the invoice to Anna and a copy to Bob", "Send the invoice to Bob and a copy to Anna"),
    ("List all users who have logged in since May", "List all users who have not logged in since May"),
    ("Enable two-factor login", "Disable two-factor login"),
    ("Does the warranty cover water damage?", "Does the warranty exclude water damage?"),
    ("What happens before the trial ends?", "What happens after the trial ends?"),
    ("Delete every file except the logs", "Delete the logs only"),
    ("Give me the first three lines", "Give me the last three lines"),
    ("How many days are in February 2024?", "How many days are in February 2023?"),
    ("Translate the letter into Spanish", "Translate the letter into Portuguese"),
    ("Why is the sky blue?", "Why is the sky red at sunset?"),
    ("What's the maximum speed of a cheetah?", "What's the minimum speed of a cheetah?"),
    ("Summarise the meeting of 3 March", "Summarise the meeting of 4 March"),
    ("Write a function that sorts ascending", "Write a function that sorts descending"),
    ("Which countries export oil?", "Which countries import oil?"),
    ("Is 17 a prime number?", "Is 18 a prime number?"),
    ("My order was delivered but I didn't pay", "My order wasn't delivered but I did pay"),
    ("Can children under 12 enter alone?", "Can children over 12 enter alone?"),
    ("Open an account for my son", "Open an account for my daughter"),
    ("Transfer 100 euros from savings to checking", "Transfer 100 euros from checking to savings"),
    ("Did Germany beat Brazil in 2014?", "Did Brazil beat Germany in 2014?"),
    ("Increase the font size", "Reduce the font size"),
    ("Set an alarm for 7 am", "Set an alarm for 7 pm"),
    ("How long is 2.5 hours in minutes?", "How long is 25 hours in minutes?"),
    ("Only managers may approve refunds", "Managers may only approve refunds"),
    ("Do I need a visa to enter Japan?", "Do I need a visa to leave Japan?"),
    ("What are the advantages of solar power?", "What are the disadvantages of solar power?"),
    ("Accept the invitation politely", "Decline the invitation politely"),
    ("She lent him her car", "He lent her his car"),
    ("Cats chase dogs", "Dogs chase cats"),
    ("Which is cheaper, the bus or the train?", "Which is faster, the bus or the train?"),
    ("Is the shop open on Sunday?", "Is the shop open on Monday?"),
    ("Buy 3 kg of apples", "Buy 3 lb of apples"),
    ("Explain recursion to a child", "Explain recursion to an expert"),
    ("All tests passed", "Not all tests passed"),
    ("None of the servers is down", "One of the servers is down"),
    ("Please mute the call", "Please unmute the call"),
    ("The patient is allergic to penicillin", "The patient is no longer allergic to penicillin"),
    ("Raise the price by 10 percent", "Raise the price to 10 percent"),
    ("Refund the customer if the item is broken", "Refund the customer unless the item is broken"),
    ("Take the pill with food", "Take the pill without food"),
    ("Can I park here at night?", "Can I park here by day?"),
    ("How do I import a CSV?", "How do I export a CSV?"),
    ("Who was president after Lincoln?", "Who was president before Lincoln?"),
    ("Book a table for two at eight", "Book a table for eight at two"),
    ("The deadline was moved up", "The deadline was moved back"),
    ("Explain the difference between TCP and UDP", "Explain the similarity between TCP and UDP"),
    ("grant read access to bob", "revoke read access to bob"),
    ("Should I sell my shares?", "Should I buy my shares?"),
    ("Show orders above $50", "Show orders below $50"),
    ("Rename a.txt to b.txt", "Rename b.txt to a.txt"),
    ("What does `git reset --hard` do?", "What does `git reset --soft` do?"),
    ("Is the Nile longer than the Amazon?", "Is the Amazon longer than the Nile?"),
    ("She almost missed the train", "She missed the train"),
    ("He barely passed the exam", "He failed the exam"),
]
PARAPHRASES = [
    ("How do I reset my password?", "How can I reset my password?"),
    ("What is the capital of Spain?", "Tell me the capital of Spain"),
    ("Can you summarise this article?", "Please summarise this article"),
    ("Where can I download my invoice?", "Where do I download my invoice?"),
    ("How do I delete my account?", "How can I remove my account?"),
    ("What's the refund policy?", "What is the refund policy?"),
    ("I can't log in", "I cannot log in"),
    ("Show me my last five orders", "Display my last 5 orders"),
    ("How much does shipping cost?", "What does shipping cost?"),
    ("How do I change my email address?", "How can I update my email address?"),
    ("When does the store open?", "What time does the store open?"),
    ("Which payment methods do you accept?", "What payment methods do you accept?"),
    ("Where is my package?", "Where's my package?"),
    ("Do you ship to Canada?", "Can you ship to Canada?"),
    ("Explain how photosynthesis works", "Explain photosynthesis"),
    ("Give me a recipe for pancakes", "I'd like a recipe for pancakes"),
    ("Who wrote Hamlet?", "Who is the author of Hamlet?"),
    ("How tall is Mount Everest?", "What is the height of Mount Everest?"),
    ("Fix the bug in this function", "Please fix the bug in this function"),
    ("Is there a student discount?", "Do you have a student discount?"),
]


@pytest.mark.parametrize(("one", "other"), NEAR_MISSES)
def test_texts_of_different_meaning_never_match(one: str, other: str) -> None:
    assert find_mismatch(one, other) is not None
    assert find_mismatch(other, one) is not None


def test_half_of_the_paraphrases_match() -> None:
    agreeing = [pair for pair in PARAPHRASES if find_mismatch(*pair) is None]
    assert len(agreeing) * 2 >= len(PARAPHRASES)
