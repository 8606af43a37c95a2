"""English phrases with the meaning of one word or none: politeness, and introductions of questions."""

from __future__ import annotations


def _phrases(lines: str) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Parse lines of the form `phrase > replacement`."""
    pairs = (line.partition(">") for line in lines.strip().splitlines())
    return {tuple(phrase.split()): tuple(replacement.split()) for phrase, _, replacement in pairs}


PHRASES = _phrases("""
could you >
can you >
would you >
will you >
do you know >
would you mind >
i would like to know >
i want to know >
i need to know >
i would love to know >
i am wondering >
i was wondering >
i wonder >
any idea >
tell me about >
tell me >
let me know >
inform me >
show me >
give me >
teach me >
help me understand >
explain to me >
is it true that >
is it the case that >
is it correct that >
i do not know how to > how
i do not know how i can > how
i do not know how > how
i am not sure how to > how
i am not sure how i can > how
i am not sure how > how
i am unsure how to > how
i am unsure how i can > how
i am unsure how > how
explain >
describe >
how do i go about > how
how can i go about > how
how should i go about > how
how would i go about > how
how do i > how
how do you > how
how do we > how
how does one > how
how can > how
how could > how
how would i > how
how would you > how
how would one > how
how should i > how
how might i > how
how i can > how
how i could > how
how i should > how
how i would > how
how we can > how
how you can > how
how one can > how
how am i able to > how
how is it possible to > how
how to > how
what is the way to > how
what is the best way to > how
what is the right way to > how
what is the correct way to > how
what is the proper way to > how
the best way to > how
the right way to > how
the correct way to > how
the way to > how
a way to > how
what is the best way of > how
what is the way of > how
what are the steps to > how
what are the steps for > how
what are the steps involved in > how
what steps do i take to > how
what steps should i take to > how
what steps do i need to take to > how
which steps do i take to > how
which steps should i take to > how
the steps to > how
the steps for > how
the steps required to > how
steps to > how
steps for > how
what do i need to do to > how
what do i have to do to > how
what must i do to > how
what should i do to > how
what can i do to > how
what do i do to > how
what is the process for > how
what is the process of > how
what is the process to > how
what is the procedure for > how
what is the procedure to > how
the process for > how
the procedure for > how
instructions for > how
instructions to > how
i need help with > how
i need help to > how
help with > how
i need help > how
i need to > how
i want to > how
i would like to > how
i am trying to > how
i am looking to > how
i wish to > how
help me to > how
help me with > how
help me > how
help to > how
is there a way to > can
is there any way to > can
is it possible to > can
is it possible for me to > can
am i able to > can
would it be possible to > can
am i allowed to > allow
may i > allow
be able to > can
able to > can
have to > must
has to > must
need to > must
ought to > should
going to > will
what is the reason > why
what is the reason that > why
what is the reason for > why
for what reason > why
for which reason > why
how come > why
what time > when
at what time > when
at which time > when
in what place > where
in which place > where
at what place > where
at which place > where
which place > where
which person > who
what person > who
how many > number
what number of > number
the number of > number
the amount of > amount
how much > amount
how long > duration
how far > distance
how old > age
how often > frequency
how frequently > frequency
how tall > height
how high > height
how big > size
how large > size
how fast > speed
how heavy > weight
e mail > email
web site > website
wi fi > wifi
log in to > login
log into > login
log in > login
log on > login
logging in > login
logging into > login
logged in > login
sign in to > login
sign into > login
sign in > login
signing in > login
signed in > login
log out > logout
log off > logout
sign out > logout
logging out > logout
signing out > logout
sign up for > register
sign up > register
signing up > register
turn on > enable
switch on > enable
turning on > enable
turn off > disable
switch off > disable
turning off > disable
shut down > shutdown
set up > setup
setting up > setup
get rid of > delete
get in touch with > contact
look up > find
find out > know
give back > return
send back > return
money back > refund
call off > cancel
less expensive > cheaper
least expensive > cheapest
most difficult > hardest
more difficult > harder
in order to > to
due to > because
because of > because
as well as > and
in case > if
instead of > instead
such as > like
each other > eachother
""")
"""Phrases and their replacements, tried at each position from the longest to the shortest."""
