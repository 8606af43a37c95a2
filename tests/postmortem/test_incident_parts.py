"""Messages as clusters, texts as languages and words, buckets as moments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.postmortem.analysis.error_clusters import MAX_PATTERN_CHARS, MessageCount, cluster, mask
from flowai.postmortem.analysis.onset import onset_s, recovery_s
from flowai.postmortem.analysis.records import Bucket
from flowai.postmortem.analysis.text_features import distinctive_terms, language_sql, words_sql


@pytest.mark.parametrize(
    ("message", "pattern"),
    [
        ("request 4711 failed after 12.5 s", "request <n> failed after <n> s"),
        ('no such model "gpt-9" in `eu-west`', "no such model <text> in <text>"),
        ("see https://api.example.com/v1?id=7 now", "see <url> now"),
        ("id 3f2504e0-4f89-11d3-9a0c-0305e82c3301 at 0x7ffe", "id <id> at <hex>"),
        ("req_011CSHoEeqs5C35K2UUqR7Fy lost; trace deadbeef01", "<id> lost; trace <hex>"),
        ("it isn't there, user's quota", "it isn't there, user's quota"),
        ("two\nlines   of\twords", "two lines of words"),
        ("connection reset by 10.0.0.7:443", "connection reset by <n>"),
        ("", ""),
    ],
)
def test_variable_parts_of_a_message_are_masked(message: str, pattern: str) -> None:
    assert mask(message) == pattern


@given(st.text(max_size=3000))
def test_any_message_has_a_short_pattern(message: str) -> None:
    assert len(mask(message)) <= MAX_PATTERN_CHARS


def test_messages_that_differ_in_numbers_are_one_cluster() -> None:
    def said(message: str, provider: str = "openai", **changes: object) -> MessageCount:
        facts = {"count": 1, "baseline_count": 0, "users": (7,), "first_us": 10**6, "last_us": 10**6} | changes
        return MessageCount(error_class="ServerError", message=message, provider=provider, **facts)  # type: ignore[arg-type]

    found = cluster(
        [
            said("request 1 failed"),
            said("request 23 failed", "groq", count=4, users=(7, 8), last_us=5 * 10**6),
            said("request 4 failed", count=0, baseline_count=2, first_us=None, last_us=None),
            said("only before", count=0, baseline_count=2, first_us=None, last_us=None),
        ],
        redact=str,
    )
    (one,) = found
    assert one.count == 5
    assert one.baseline_count == 2
    assert one.user_count == 2
    assert one.providers == ("groq", "openai")
    assert one.pattern == "request <n> failed"
    assert one.example == "request 1 failed"
    assert one.first_at == "1970-01-01T00:00:01Z"
    assert one.last_at == "1970-01-01T00:00:05Z"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The cat sat on the mat and looked to the sea", "English"),
        ("Die Katze saß auf der Matte und sah nicht hin", "German"),
        ("Les chats sont dans une maison", "French"),
        ("El gato y los perros, una casa por la noche", "Spanish"),
        ("Os gatos não são para uma casa", "Portuguese"),
        ("Il gatto che dorme sono io", "Italian"),
        ("Het huis van een kat is niet groot", "Dutch"),
        ("Кошка сидела на коврике", "Cyrillic script"),
        ("猫坐在垫子上", "Chinese"),
        ("猫がマットの上に座った", "Japanese"),
        ("고양이가 매트에 앉았다", "Korean"),
        ("جلست القطة على السجادة", "Arabic script"),
        ("\u0397 γάτα κάθισε", "Greek"),
        ("x = 1 + 2", None),
        ("naïve café — “quoted”", None),
        ("", None),
    ],
)
def test_the_language_of_a_text(text: str, language: str | None) -> None:
    import duckdb  # noqa: TID251 - the SQL is held against it alone

    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t AS SELECT 1 AS call, {words_sql('$text')} AS words", {"text": text})
        assert connection.execute(language_sql("t")).fetchall() == [(1, language)]


def test_terms_that_distinguish_bad_requests_are_found() -> None:
    good = [f" order {number} of the shop" for number in range(300)]
    bad = [f" order {number} of the shop, tax form 1099." for number in range(60)]
    terms, tested_count = distinctive_terms(bad, good)
    assert terms[0] in {"tax form 1099", "shop, tax form"}
    assert not any(term in {"order", "of the", "the shop"} for term in terms)
    assert tested_count >= len(terms)
    assert distinctive_terms(good[:60], good) == ([], distinctive_terms(good[:60], good)[1])
    assert distinctive_terms([], good) == ([], 0)


def test_terms_of_text_without_spaces() -> None:
    terms, _ = distinctive_terms([" 请帮我取消订单吧"] * 20, [" 今天天气很好啊"] * 50)
    assert any("取消" in term or "消订" in term for term in terms)


def buckets_of(*bad: int, at_risk: int = 100) -> list[Bucket]:
    return [
        Bucket(at_s=60 * number, call_count=at_risk, failed_count=one, bad_count=one, at_risk_count=at_risk)
        for number, one in enumerate(bad)
    ]


def test_onset_and_recovery_are_found() -> None:
    buckets = buckets_of(1, 0, 2, 20, 30, 1, 25, 1, 0)
    assert onset_s(buckets, 0.01, since_s=0) == 180
    assert onset_s(buckets, 0.01, since_s=200) == 200, "what began before the stretch begins with it"
    assert recovery_s(buckets, 0.01) == 420


def test_an_ongoing_incident_has_no_recovery() -> None:
    assert recovery_s(buckets_of(1, 1, 30, 40), 0.01) is None
    assert recovery_s([*buckets_of(1, 30), *buckets_of(0, 0, at_risk=0)], 0.01) is None, "no calls prove nothing"
    assert onset_s(buckets_of(1, 0, 2), 0.01, since_s=0) is None
    assert recovery_s([], 0.01) is None
