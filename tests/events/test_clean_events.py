"""Events without secrets skip redaction; all others are redacted completely."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowai.events import AlertEvent, Attempt, CallEvent, Content, Event, EventLog, FeedbackEvent
from flowai.redaction import Redactor
from flowai.redaction.redactor import names_a_secret

NOON = datetime(2026, 5, 2, 12, tzinfo=UTC)
KNOWN = 'known "value"'
REDACTOR = Redactor((KNOWN,))

words = st.text(max_size=20)
secrets = st.sampled_from((KNOWN, "sk-ant-api03-" + "Zx9" * 10, "api_key=abcdefgh1", "redis://u:password1@h/0"))
texts = st.lists(words | secrets, max_size=3).map(" ".join)
attempts = st.builds(
    Attempt, model=texts, provider=texts, status=st.just("error"), message=st.none() | texts, error_class=texts
)
contents = st.builds(
    Content, messages=st.tuples(st.dictionaries(texts | st.just("api_key"), texts, max_size=2)), output=texts
)
calls = st.builds(
    CallEvent,
    call_id=texts.filter(bool),
    at=st.just(NOON),
    origin=st.just("library"),
    requested_model=texts,
    served_model=texts,
    tenant=st.none() | texts,
    attempts=st.lists(attempts, max_size=2).map(tuple),
    error_message=st.none() | texts,
    content=st.none() | contents,
    latency_ms=st.just(1.0),
)
feedback = st.builds(
    FeedbackEvent, call_id=texts.filter(bool), at=st.just(NOON), origin=st.just("serve"), verdict=st.just("edited"),
    text=texts,
)  # fmt: skip
alerts = st.builds(AlertEvent, at=st.just(NOON), cause=st.just("auth"), message=texts, model=texts)


@given(event=calls | feedback | alerts)
def test_the_written_event_is_the_redacted_event(event: Event) -> None:
    with tempfile.TemporaryDirectory() as place:
        with EventLog(Path(place), process="p", redactor=REDACTOR, clock=lambda: NOON) as log:
            log.append(event)
        (file,) = Path(place).rglob("*.jsonl")
        written = file.read_bytes()
    assert msgspec.json.decode(written) == REDACTOR.value(msgspec.to_builtins(event))


@pytest.mark.parametrize("record", [*get_args(Event), Attempt])
def test_no_field_has_the_name_of_a_secret(record: type[msgspec.Struct]) -> None:
    assert [name for name in record.__struct_fields__ if names_a_secret(name)] == []
