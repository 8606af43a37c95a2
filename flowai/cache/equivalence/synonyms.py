"""English word tables of the equivalence gate: words without meaning in a question, and synonyms.

A table may only equate questions that have one answer. A word in no table stands for itself, so other languages only
lose paraphrases.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _canonical(groups: str) -> dict[str, str]:
    """Map each word of a line to the line's first word."""
    lines = [line.split() for line in groups.strip().splitlines()]
    return {word: line[0] for line in lines for word in line}


STOPWORDS = _words("""
a an the this that these those it its there here
am is are was were be been being do does did doing has have had having will would shall
please kindly just really actually simply also so then ok okay hi hello hey thanks thank dear
what which some any
""")
"""Words without meaning of their own in a question; `TENSES` holds those that place it in time."""

PERSONS = {
    **dict.fromkeys(_words("i me my mine myself we us our ours ourselves"), "i"),
    **dict.fromkeys(_words("you your yours yourself yourselves"), "you"),
}
"""Speaker and listener: `How do I ...` and `How does one ...` are equal, `my name` and `your name` are not."""

NEGATIONS = _words("not no never none nothing nobody nowhere neither nor")

TENSES = {
    **dict.fromkeys(("did", "was", "were", "had"), "past"),
    **dict.fromkeys(("do", "does", "is", "are", "am", "has", "have"), "present"),
    **dict.fromkeys(("will", "shall"), "future"),
}
BE = _words("am is are was were be been being get gets got")

CONJUNCTIONS = {
    **dict.fromkeys(("in", "within", "inside", "during"), "in"),
    **dict.fromkeys(("on", "upon"), "on"),
    "at": "at",
    **dict.fromkeys(("of", "for", "about", "regarding", "concerning"), "of"),
    **dict.fromkeys(("to", "into", "onto", "toward", "towards"), "to"),
    **dict.fromkeys(("with", "using"), "with"),
    **dict.fromkeys(("by", "via", "through"), "by"),
    **dict.fromkeys(("until", "till"), "until"),
    **dict.fromkeys(("under", "below", "beneath"), "under"),
    **dict.fromkeys(("over", "above"), "over"),
    **dict.fromkeys(("if", "whether"), "if"),
    **dict.fromkeys(("because", "since"), "since"),
    **{
        link: link
        for link in _words(
            """
            from before after between among against than as per and or but unless while except off out up down without
            behind near across along around beyond despite like versus vs
            """
        )
    },
}
"""Words that set the role of the words after them; those of one kind are equal."""

QUESTIONS = _words("how why when where who whom whose")

SYNONYMS = _canonical("""
fix fixing repair repairing resolve resolving
create make made build built generate construct creation
delete remove erase deletion removal
show display
change modify alter edit modification
begin start commence began begun
finish complete
buy purchase bought
get obtain fetch retrieve
big large
bigger larger
biggest largest
small little
smaller littler
smallest littlest
fast quick rapid quickly rapidly speedy
faster quicker
fastest quickest
easy simple
easier simpler
easiest simplest
hard difficult
harder tougher
assist aid
problem issue trouble
picture image photo photograph
car automobile
phone telephone
movie film
method approach technique
price cost
child kid children kids
doctor physician
shop store
answer reply respond response
use utilize usage
need require
allow permit
forbid ban prohibit
choose select pick chose chosen
check verify verification
find locate found
happen occur
definition define meaning
summary summarize summarization
translate translation
compare comparison
differ difference
calculate compute calculation computation
write compose wrote written
company firm corporation
employee worker
holiday vacation
apartment flat
country nation
person people persons
illness disease sickness
medicine medication
cheap inexpensive
expensive costly
main primary principal
advantage benefit upside
disadvantage drawback downside
effect impact
information info
website site
register registration enroll
refund reimbursement reimburse
delivery deliver ship shipping shipment
speak talk spoke spoken
improve enhance
increase raise boost
decrease reduce lower
setup configure configuration
enable activate
disable deactivate
close shut
see view saw seen
try attempt
give provide gave given
notify inform
hire recruit
approve approval authorize
reject decline
can could
may might
all every each
less fewer
who whom
install installation
update updating
cancel cancellation
pay payment
explain explanation
win won
send sent
take took taken
know knew known
go went gone
eat ate eaten
bite bit bitten
drive drove driven
break broke broken
steal stole stolen
sell sold
tell told
lose lost
teach taught
catch caught
hold held
beat beaten
draw drew drawn
sing sang sung
lead led
""")
"""Each line's first word stands for all of its words."""

NOT_STEMMED = _words(
    "https news goods customs clothes glasses arms means ios physics economics politics ethics odds series species"
)
"""Words whose final `s` is no plural."""
