"""The one entry of cleaning private things out of texts, JSON and whole conversations."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from flowai.privacy.cross_message import MessageText, find_across_messages
from flowai.privacy.detector import Detector, Recognizer
from flowai.privacy.json_walk import JsonString, JsonTextWalk, is_json_string
from flowai.privacy.normalise import normalise
from flowai.privacy.phones import REGIONS
from flowai.privacy.pseudonyms import Pseudonyms
from flowai.privacy.spans import EntityType, Span, disjoint
from flowai.redaction import mark, names_a_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Value = TypeVar("Value")

_MIN_SECRET_COUNT = 8  # characters; as in the redaction of logs
_REMEMBERED_COUNT = 64
_INSTRUCTORS = frozenset({"system", "developer"})
# fields whose names say nothing about their values
_NEUTRAL = frozenset(
    ["content", "text", "arguments", "input", "output", "prompt", "completion", "value", "messages", "query", "data"]
) | {""}


@dataclass(frozen=True, kw_only=True, slots=True)
class Scrubbed(Generic[Value]):
    """What scrubbing gives."""

    value: Value
    """The same with marks in place; what was given, where nothing was found."""
    findings: Mapping[str, int]
    """How often each kind was found: `EMAIL`, `SECRET:openai`; empty where nothing was."""


class Scrubber:
    """Scrubs texts, JSON and conversations; build it once per data set.

    What was scrubbed may be scrubbed again: marks are left alone.

    Args:
        key: secret of the data set, at least 16 bytes: equal values get equal marks under one key.
        regions: whose numbering plans a national phone number may follow (ISO 3166-1 alpha-2).
        known_secrets: literal keys, found wherever they stand.
        others: further detectors, such as Presidio's.

    Raises:
        UsageError: the key is too short, phonenumbers is not installed, or a region has no numbering plan.
    """

    def __init__(
        self,
        key: bytes,
        *,
        regions: Sequence[str] = REGIONS,
        known_secrets: Iterable[str] = (),
        others: Sequence[Recognizer] = (),
    ) -> None:
        self._pseudonyms = Pseudonyms(key)
        self._detector = Detector(regions=regions, known_secrets=known_secrets, others=others)
        # a prompt's instructions come again with every row
        self._instructions = lru_cache(maxsize=_REMEMBERED_COUNT)(self._detector.find)

    def text(self, text: str) -> Scrubbed[str]:
        """Scrub one text.

        Args:
            text: any length, any content; one that is JSON is scrubbed as JSON.
        """
        if is_json_string(text):
            return self.value(text)
        spans = self._detector.find(text)
        if not spans:
            return Scrubbed(value=text, findings={})
        return Scrubbed(value=self._replace(text, spans), findings=_counts(spans))

    def value(self, value: Value) -> Scrubbed[Value]:
        """Scrub a JSON value: every string in it, JSON within strings, long numbers, and the names of fields.

        Args:
            value: dict, list, tuple, str, int, float, bool or None, nested.

        Returns:
            A value of the same shape, where numbers may have become marks and tuples lists; what is nested deeper than
            64 levels is replaced by a mark.
        """
        return self._scrub(lambda walk: walk.value(value))

    def messages(self, messages: Sequence[Mapping[str, Any]]) -> Scrubbed[list[dict[str, Any]]]:
        """Scrub a conversation; a value that runs over the border of two messages is found too.

        Roles, ids, types and names of functions stay as they are.

        Args:
            messages: OpenAI's chat format, with tool calls and parts.
        """
        return self._scrub(lambda walk: walk.messages(messages))

    def _scrub(self, lead: Callable[[JsonTextWalk], Value]) -> Scrubbed[Value]:
        """Walk twice: collect the texts and search them, then put the scrubbed ones in their place."""
        leaves: list[JsonString] = []

        def collect(leaf: JsonString) -> str:
            leaves.append(leaf)
            return leaf.text

        collected = lead(JsonTextWalk(collect))
        spans = [self._find(leaf) for leaf in leaves]
        self._add_across(leaves, spans)
        findings = _counts(span for own in spans for span in own)
        if not findings:
            return Scrubbed(value=collected, findings={})
        done = iter([self._replace(leaf.text, own) for leaf, own in zip(leaves, spans, strict=True)])
        return Scrubbed(value=lead(JsonTextWalk(lambda _: next(done))), findings=findings)

    def _find(self, leaf: JsonString) -> list[Span]:
        """Find a leaf's spans; the name of its field is read like a word before it (`phone: 0490754081`)."""
        text = leaf.text
        if leaf.field.lower() in _NEUTRAL:
            return list(self._instructions(text)) if leaf.speaker in _INSTRUCTORS else self._detector.find(text)
        is_known = len(text) < _MIN_SECRET_COUNT or text.startswith(("[REDACTED:", "${", "os.environ/"))
        if names_a_secret(leaf.field) and not is_known:
            return [Span(start=0, end=len(text), kind=EntityType.SECRET, score=1.0, name="field")]
        lead = f"{_spoken(leaf.field)}: "
        found = self._detector.find(lead + text)
        return [
            Span(
                start=max(0, span.start - len(lead)),
                end=span.end - len(lead),
                kind=span.kind,
                score=span.score,
                name=span.name,
            )
            for span in found
            if span.end > len(lead)
        ]

    def _add_across(self, leaves: Sequence[JsonString], spans: list[list[Span]]) -> None:
        """Add what runs over the borders of neighbouring texts."""
        places = [place for place, leaf in enumerate(leaves) if not leaf.is_key and leaf.text]
        if len(places) < 2:  # noqa: PLR2004 - a border has two sides
            return
        texts = [
            MessageText(text=leaves[place].text, speaker=leaves[place].speaker, spans=spans[place]) for place in places
        ]
        for index, more in find_across_messages(texts, self._detector.find).items():
            place = places[index]
            spans[place] = disjoint((*spans[place], *more))

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
    """Count what was found by kind, in the order of the kinds' names."""
    counted = Counter(f"{span.kind}:{span.name}" if span.name else str(span.kind) for span in spans)
    return dict(sorted(counted.items()))


def _spoken(field: str) -> str:
    """Give a field's name as words: `phoneNumber`, `phone_number` and `phone-number` become `phone number`."""
    words = "".join(
        f" {letter}" if letter.isupper() else letter for letter in field.replace("_", " ").replace("-", " ")
    )
    return " ".join(words.split()).lower()
