"""Duplicates: one pair of each cluster is kept, found without comparing all, in any order."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np  # noqa: TID251 - shingles are its arrays
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.framed_requests import QUESTIONS, Row, document_rows, example_rows, review_rows, twins
from support.planted_contamination import edit_letters
from support.training_rows import make_pair

from flowai.errors import InfrastructureError
from flowai.finetune.dedup.disk_table import DiskTable
from flowai.finetune.dedup.likeness import THRESHOLD, Likeness
from flowai.finetune.dedup.minhash import SIGNATURE_COUNT, MinHash
from flowai.finetune.dedup.near_duplicates import DuplicateResult, Duplicates
from flowai.finetune.dedup.shingles import folded, letters, shingle_batch, shingles, similarity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowai.finetune.records import Pair, Split, UserVerdict

ASKED = "Which of the three pumps in the north hall was out of order during the night shift of 4 March, and why?"
ANSWERED = "Pump 2 was out of order from 01:15 to 05:40, because the seal of its inlet valve had begun to leak."
WORDS = (
    Path(__file__).resolve().parents[2].joinpath("datasets/long/harbour_log.txt").read_text(encoding="utf-8").split()
)


def asked(
    name: str,
    request: str = ASKED,
    answer: str = ANSWERED,
    *,
    opinion: UserVerdict = "accepted",
    minute: int = 0,
    before: tuple[dict[str, str], ...] = (),
) -> Pair:
    pair = make_pair(
        (*before, {"role": "user", "content": request}),
        id=name,
        output="draft" if opinion == "edited" else answer,
        opinion=opinion,
        edit=answer if opinion == "edited" else None,
    )
    return msgspec.structs.replace(pair, at=f"2026-05-02T{minute // 60:02}:{minute % 60:02}:00Z")


def fates(pairs: Sequence[Pair], splits: dict[str, Split] | None = None) -> dict[str, DuplicateResult]:
    with tempfile.TemporaryDirectory() as place, Duplicates(Path(place)) as duplicates:
        for pair in pairs:
            duplicates.add(pair, (splits or {}).get(pair.id, "train"))
        found = list(duplicates.results())
    assert [fate.id for fate in found] == [pair.id for pair in pairs]  # rows in = rows out
    return {fate.id: fate for fate in found}


def sentence(seed: int, count: int) -> str:
    return " ".join(Random(seed).choices(WORDS, k=count))  # noqa: S311 - a sample


@pytest.mark.parametrize(
    ("request_", "answer", "reason"),
    [
        (ASKED, ANSWERED, "exact_duplicate"),
        (f"  {ASKED.upper()}\n", ANSWERED.replace(" ", "\u00a0"), "exact_duplicate"),
        (ASKED.replace("three", "four"), ANSWERED, "near_duplicate"),
        (ASKED, ANSWERED.replace("begun", "started"), "near_duplicate"),
        (ASKED, "No idea.", None),
        ("And the day after?", ANSWERED, None),
        (ASKED.replace("pumps in the north hall", "cranes at the quay"), ANSWERED.replace("2", "3"), None),
    ],
)
def test_request_and_answer_must_both_be_similar(
    request_: str, answer: str, reason: Literal["exact_duplicate", "near_duplicate"] | None
) -> None:
    assert fates([asked("a"), asked("b", request_, answer, minute=1)])["b"] == DuplicateResult(
        id="b", reason=reason, keeper="a" if reason else "b"
    )


def test_a_document_that_questions_share_makes_them_no_duplicates() -> None:
    document = sentence(1, 600)
    same = "Yes."
    found = fates(
        [
            asked("a", f"{document}\nWho signed it?", "Aalto, on the ninth of May."),
            asked("b", f"{document}\nWhere does it lie?", "In the second drawer of the office."),
            asked("c", sentence(2, 60), same),
            asked("d", sentence(3, 60), same),
        ]
    )
    assert [fate.reason for fate in found.values()] == [None] * 4


def test_a_prompt_s_examples_and_instructions_make_no_duplicates() -> None:
    shots = tuple({"role": role, "content": sentence(at, 80)} for at, role in enumerate(("user", "assistant") * 3))
    before = ({"role": "system", "content": sentence(9, 200)}, *shots)
    pairs = [asked(f"c{at}", sentence(at, 12), sentence(at + 50, 12), before=before) for at in range(30)]
    assert all(fate.reason is None for fate in fates(pairs).values())
    other = (*shots[:1], {"role": "assistant", "content": sentence(70, 80)})
    found = fates([asked("a", before=before), asked("b", before=before[1:]), asked("c", before=other)])
    assert [fate.reason for fate in found.values()] == [None, "exact_duplicate", None]


def test_code_that_differs_in_one_sign_is_not_the_same() -> None:
    found = fates([asked("a", "add", "return a + b"), asked("b", "add", "return a - b")])
    assert found["b"].reason is None


def test_an_edited_answer_is_kept_before_an_accepted_one_and_the_earlier_before_the_later() -> None:
    pairs = [
        asked("late", minute=9),
        asked("early", minute=1),
        asked("rejected", opinion="rejected", minute=0),
        asked("edited", opinion="edited", minute=5),
    ]
    found = fates(pairs)
    assert {fate.keeper for fate in found.values()} == {"edited"}
    assert fates(pairs[:3])["late"].keeper == "early"


def test_the_earliest_pair_decides_the_split_of_its_cluster() -> None:
    pairs = [asked("first", minute=1), asked("edited", opinion="edited", minute=2), asked("second", minute=3)]
    splits: dict[str, Split] = {"first": "test", "edited": "train", "second": "test"}
    assert {fate.keeper for fate in fates(pairs, splits).values()} == {"first"}
    later = [*pairs, asked("better", opinion="edited", minute=4)]
    assert {fate.keeper for fate in fates(later, {**splits, "better": "test"}).values()} == {"better"}
    assert {fate.keeper for fate in fates(later, {**splits, "better": "train"}).values()} == {"first"}


@pytest.mark.slow
def test_planted_near_duplicates_are_found_among_many_and_nothing_else() -> None:
    random = Random(4)  # noqa: S311 - a sample
    frame = "Please sum up this ticket in two sentences for the shift leader, and keep every number: "
    originals = [asked(f"a{at}", frame + sentence(at, 30), sentence(at + 9_000, 25), minute=at) for at in range(600)]
    copies = [
        asked(f"b{at}", edit_letters(pair.messages[0]["content"], random)[:-3] + "end", pair.output, minute=700)
        for at, pair in enumerate(originals[:300])
    ]
    gentle = [
        asked(f"c{at}", pair.messages[0]["content"] + " Thanks!", pair.output.replace("the", "a", 1), minute=701)
        for at, pair in enumerate(originals[:300])
    ]
    found = fates([*originals, *copies, *gentle])
    assert all(found[f"a{at}"].reason is None for at in range(600))
    for name, fate in found.items():
        assert fate.keeper in {name, f"a{name[1:]}"}
    alike = [
        at
        for at in range(300)
        if similarity(*(np.unique(shingles(folded(one[at].messages[0]["content"]))) for one in (originals, gentle)))
        >= THRESHOLD
    ]
    assert sum(found[f"c{at}"].reason == "near_duplicate" for at in alike) >= 0.995 * len(alike)


@pytest.mark.slow  # compares thousands of pairs
def test_a_bucket_of_thousands_is_searched_with_few_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [asked(f"c{at}", sentence(1, 40) + f" {at}", sentence(2, 40) + f" {at}") for at in range(1_500)]
    compared: list[tuple[int, int]] = []
    is_near = Likeness.is_near

    def count(self: Likeness, row: int, other: int) -> bool:
        compared.append((row, other))
        return is_near(self, row, other)

    monkeypatch.setattr(Likeness, "is_near", count)
    assert len({fate.keeper for fate in fates(pairs).values()}) == 1
    assert len(compared) <= 2 * len(pairs), "not every two of them"


names = st.text(max_size=12).filter(bool)
opinions: st.SearchStrategy[UserVerdict] = st.sampled_from(("edited", "accepted", "rejected"))
sentences = st.sampled_from(
    ("", "hi", "hi!", ASKED, ASKED.lower(), ASKED[:-4], ANSWERED, ANSWERED + " So it was.", "\ud800", "水 " * 9)
)


@st.composite
def corpora(draw: st.DrawFn) -> list[Pair]:
    count = draw(st.integers(0, 14))
    return [
        asked(
            f"c{at}{draw(names)}",
            draw(sentences),
            draw(sentences),
            opinion=draw(opinions),
            minute=draw(st.integers(0, 5)),
        )
        for at in range(count)
    ]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(corpora(), st.randoms(use_true_random=False))
def test_the_order_of_pairs_changes_nothing(pairs: list[Pair], random: Random) -> None:
    splits: dict[str, Split] = {pair.id: random.choice(("train", "test")) for pair in pairs}
    shuffled = random.sample(pairs, len(pairs))
    one, other = fates(pairs, splits), fates(shuffled, splits)
    assert one == other
    for fate in one.values():
        assert one[fate.keeper].reason is None
        assert (fate.reason is None) == (fate.keeper == fate.id)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60), st.integers(1, 12))
def test_equal_shingles_have_equal_hashes_and_others_do_not(text: str, length: int) -> None:
    plain = folded(text)
    stretches = [plain[at : at + length] for at in range(max(1, len(plain) - length + 1))] if plain else []
    numbers = shingles(plain, length).tolist()
    assert len(numbers) == len(stretches)
    assert len(set(numbers)) == len(set(stretches)) == len(set(zip(numbers, stretches, strict=True)))


@given(st.text(max_size=80))
def test_folding_twice_is_folding_once(text: str) -> None:
    assert folded(folded(text)) == folded(text) or "\\" in text or "%" in text or "&" in text  # escapes may be nested
    assert letters(text.upper()) == letters(text.upper().lower().upper())


def test_a_signature_estimates_the_similarity() -> None:
    hashing = MinHash()
    numbers = np.random.default_rng(5).integers(0, 1 << 63, 600, dtype=np.uint64)
    one, other = numbers[:400], numbers[200:]  # 200 of 600 shared
    counts = np.array([len(one), 0, len(other)])
    signatures = hashing.signatures(np.concatenate([one, other]), counts)
    agree = float((signatures[0] == signatures[2]).mean())
    assert agree == pytest.approx(1 / 3, abs=0.2)
    assert signatures.shape == (3, SIGNATURE_COUNT)
    assert (signatures[1] == np.iinfo(np.uint32).max).all()
    assert hashing.signatures(numbers[:0], counts[:0]).shape == (0, SIGNATURE_COUNT)


@given(st.lists(st.text(max_size=30), max_size=6), st.integers(1, 9))
def test_shingles_of_many_texts_are_those_of_each(texts: list[str], length: int) -> None:
    batch = shingle_batch(texts, length)
    expected = [shingles(text.ljust(length, "\0") if text else "", length) for text in texts]
    assert batch.counts.tolist() == list(map(len, expected))
    assert batch.hashes.tolist() == [number for numbers in expected for number in numbers.tolist()]


def test_a_table_larger_than_its_block_is_read_back(tmp_path: Path) -> None:
    with DiskTable(tmp_path / "t.rows", [("number", "<i8")]) as table:
        for number in range(9_000):
            table.add(f"name {number} é", {"number": number})
        assert len(table) == 9_000
        assert table.column("number").tolist() == list(range(9_000))
        names_ = table.names()
        assert [names_[at] for at in (0, 4_096, 8_999)] == ["name 0 é", "name 4096 é", "name 8999 é"]


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="cannot write"):
        Duplicates(tmp_path / "missing")


FRAMED = {
    "300 reviews with one long instruction": review_rows(300),
    "320 questions on 40 documents": document_rows(40),
    "250 messages after the same examples": example_rows(250),
}


@pytest.mark.parametrize("rows", FRAMED.values(), ids=FRAMED.keys())
def test_what_many_requests_share_makes_no_duplicates_and_twins_are_found(rows: list[Row]) -> None:
    pairs = [asked(f"a{at}", request, answer, minute=at) for at, (request, answer) in enumerate(rows)]
    assert sum(fate.reason is None for fate in fates(pairs).values()) >= 0.99 * len(rows)
    planted = twins(rows, 200)
    copies = [asked(f"b{at}", *twin, minute=900 + at) for at, (_, twin) in enumerate(planted)]
    found = fates([*pairs, *copies])
    missed = [
        (rows[number][0][-90:], twin[0][-90:])
        for at, (number, twin) in enumerate(planted)
        if found[f"b{at}"].keeper != f"a{number}"
    ]
    assert not missed
    assert sum(found[pair.id].reason is None for pair in pairs) >= 0.99 * len(rows)


def test_short_items_in_a_shared_frame_are_different_requests() -> None:
    frame = "Does the word below name something that grows on a tree? Answer with yes or no, and nothing else. Word: "
    words = sorted({word for word in WORDS if word.isalpha() and len(word) > 3})[:60]
    pairs = [asked(f"w{at}", frame + word, "yes") for at, word in enumerate(words)]
    numbers = [asked(f"n{at}", frame.replace("word", "number") + str(1_000 + at), "no") for at in range(60)]
    found = fates([*pairs, *numbers])
    # "boats" may be a typing error of "boat"
    assert sum(fate.reason is None for fate in found.values()) >= 0.95 * len(found)


def test_two_questions_on_one_document_are_two_requests() -> None:
    document = sentence(1, 600)
    pairs = [asked(f"c{at}", f"{document}\n{question}", "Yes.") for at, question in enumerate(QUESTIONS[:3])]
    assert all(fate.reason is None for fate in fates(pairs).values())
