"""Entry point of scrubbing: replaces private values and secrets in texts, JSON and conversations."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from flowai.privacy.cross_message import MessageText, find_across_messages
from flowai.privacy.detector import Detector
from flowai.privacy.fields import answer, asked_kind
from flowai.privacy.json_walk import JsonString, JsonTextWalk, is_json_string
from flowai.privacy.normalise import normalise
from flowai.privacy.pseudonyms import Pseudonyms
from flowai.privacy.spans import EntityType, Span, disjoint_spans
from flowai.redaction import mark, names_a_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from flowai.privacy.options import PrivacyOptions
    from flowai.privacy.spans import Recognizer

Value = TypeVar("Value")

_MIN_SECRET_COUNT = 8  # characters; as in redaction
_REMEMBERED_COUNT = 64
_MAX_ANSWER_COUNT = 160  # characters of a short answer
_INSTRUCTORS = frozenset({"system", "developer"})
# fields whose names tell nothing about their values
_NEUTRAL = frozenset(
    ["content", "text", "arguments", "input", "output", "prompt", "completion", "value", "messages", "query", "data"]
) | {""}


@dataclass(frozen=True, kw_only=True, slots=True)
class ScrubResult(Generic[Value]):
    """A scrubbed value, and what was found in it."""

    value: Value
    """The value with placeholders; the original object if nothing was found."""
    findings: Mapping[str, int]
    """Number of findings by kind: `EMAIL`, `SECRET:openai`."""


class Scrubber:
    """Scrubs texts, JSON and conversations; build it once per data set.

    Placeholders are left alone, so that scrubbing twice is safe.

    Args:
        key: secret of the data set, at least 16 bytes: equal values get equal placeholders under one key.
        regions: numbering plans that a national phone number may follow (ISO 3166-1 alpha-2); default: of `options`.
        options: kinds, regions, languages and texts that stay; default everything is searched, and nothing stays.
        known_secrets: literal secrets, found everywhere.
        recognizers: further recognizers, such as Presidio's.

    Raises:
        UsageError: the key is too short, phonenumbers is not installed, or a region has no numbering plan.
    """

    def __init__(
        self,
        key: bytes,
        *,
        regions: Sequence[str] = (),
        options: PrivacyOptions | None = None,
        known_secrets: Iterable[str] = (),
        recognizers: Sequence[Recognizer] = (),
    ) -> None:
        self._pseudonyms = Pseudonyms(key)
        self._detector = Detector(
            regions=regions, options=options, known_secrets=known_secrets, recognizers=recognizers
        )
        # a prompt's instructions are the same in many rows
        self._instructions = lru_cache(maxsize=_REMEMBERED_COUNT)(self._detector.find)

    def text(self, text: str) -> ScrubResult[str]:
        """Scrub one text; a text that is JSON is scrubbed as JSON."""
        if is_json_string(text):
            return self.value(text)
        spans = self._detector.find(text)
        if not spans:
            return ScrubResult(value=text, findings={})
        return ScrubResult(value=self._replace(text, spans), findings=_counts(spans))

    def value(self, value: Value) -> ScrubResult[Value]:
        """Scrub a JSON value: every string, JSON inside strings, long numbers, and names of fields.

        Returns:
            A value of the same shape, in which numbers may be placeholders and tuples lists; nesting beyond 64 levels
            is replaced by a mark.
        """
        return self._scrub(lambda walk: walk.value(value))

    def messages(self, messages: Sequence[Mapping[str, Any]]) -> ScrubResult[list[dict[str, Any]]]:
        """Scrub a conversation in OpenAI's chat format; a value that is split over two messages is found too.

        Roles, ids, types and names of functions stay.
        """
        return self._scrub(lambda walk: walk.messages(messages))

    def _scrub(self, walk_with: Callable[[JsonTextWalk], Value]) -> ScrubResult[Value]:
        """Walk twice: collect the texts and search them, then replace them."""
        leaves: list[JsonString] = []

        def collect(leaf: JsonString) -> str:
            leaves.append(leaf)
            return leaf.text

        collected = walk_with(JsonTextWalk(collect))
        spans = [self._find(leaf) for leaf in leaves]
        self._add_answers(leaves, spans)
        self._add_split_values(leaves, spans)
        findings = _counts(span for own in spans for span in own)
        if not findings:
            return ScrubResult(value=collected, findings={})
        done = iter([self._replace(leaf.text, own) for leaf, own in zip(leaves, spans, strict=True)])
        return ScrubResult(value=walk_with(JsonTextWalk(lambda _: next(done))), findings=findings)

    def _find(self, leaf: JsonString) -> list[Span]:
        """Find a text's spans; its field's name is read like words before it (`phone: 0490754081`)."""
        text = leaf.text
        if leaf.field.lower() in _NEUTRAL:
            return list(self._instructions(text)) if leaf.role in _INSTRUCTORS else self._detector.find(text)
        is_known = len(text) < _MIN_SECRET_COUNT or text.startswith(("[REDACTED:", "${", "os.environ/"))
        if names_a_secret(leaf.field) and not is_known:
            return [Span(start=0, end=len(text), kind=EntityType.SECRET, score=1.0, name="field")]
        lead = f"{_spoken(leaf.field)}: "
        spans = self._detector.find(lead + text)
        return [
            Span(
                start=max(0, span.start - len(lead)),
                end=span.end - len(lead),
                kind=span.kind,
                score=span.score,
                name=span.name,
            )
            for span in spans
            if span.end > len(lead)
        ]

    def _add_answers(self, leaves: Sequence[JsonString], spans: list[list[Span]]) -> None:
        """Add the values of short answers: the question in the message before tells their kind."""
        indexes = [index for index, leaf in enumerate(leaves) if not leaf.is_key and leaf.text and leaf.role]
        for before, index in itertools.pairwise(indexes):
            question, reply = leaves[before], leaves[index]
            kind = asked_kind(question.text) if question.role != reply.role else None
            if kind is not None and len(reply.text) <= _MAX_ANSWER_COUNT:
                found = self._detector.keep(answer(kind, reply.text), reply.text)
                spans[index] = disjoint_spans((*spans[index], *found))

    def _add_split_values(self, leaves: Sequence[JsonString], spans: list[list[Span]]) -> None:
        """Add values that are split over neighbouring texts."""
        indexes = [index for index, leaf in enumerate(leaves) if not leaf.is_key and leaf.text]
        if len(indexes) < 2:  # noqa: PLR2004 - a border has two sides
            return
        texts = [MessageText(text=leaves[index].text, role=leaves[index].role, spans=spans[index]) for index in indexes]
        for position, more in find_across_messages(texts, self._detector.find).items():
            index = indexes[position]
            spans[index] = disjoint_spans((*spans[index], *more))

    def _replace(self, text: str, spans: Sequence[Span]) -> str:
        if not spans:
            return text
        pieces: list[str] = []
        done = 0
        for span in spans:
            pieces += (text[done : span.start], self._mark(span, text[span.start : span.end]))
            done = span.end
        return "".join((*pieces, text[done:]))

    def _mark(self, span: Span, value: str) -> str:
        if span.kind is EntityType.SECRET:
            return mark(span.name)
        return self._pseudonyms.placeholder(span.kind, normalise(value).text)


def _counts(spans: Iterable[Span]) -> dict[str, int]:
    """Count spans by kind, in the order of the kinds' names."""
    counted = Counter(f"{span.kind}:{span.name}" if span.name else str(span.kind) for span in spans)
    return dict(sorted(counted.items()))


def _spoken(field: str) -> str:
    """Return a field's name as words: `phoneNumber`, `phone_number` and `phone-number` become `phone number`."""
    words = "".join(
        f" {letter}" if letter.isupper() else letter for letter in field.replace("_", " ").replace("-", " ")
    )
    return " ".join(words.split()).lower()
