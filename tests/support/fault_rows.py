"""Rows of the fault table: their form, the features that they call, and builders of the usual ones.

Each row calls a feature whose fallback chain is `primary`, then `fallback` of another provider, unless it says more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

from support.scripted_replies import Asked, Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

Way = Literal["whole", "streamed", "restarted"]
"""How a call is made: `complete`; `stream`; `stream` with `on_break="restart"`."""

Behaviour = Reply | Callable[[Asked], Reply] | None
"""What a provider does; None: nothing listens at its address."""

FIRST_TOKEN_S = 0.5
TOTAL_S = 2.0
MAX_SCALE = 16.0
"""On a busy machine a project's limits are up to so many times as long."""
SLOW_FIRST_TOKEN_S = 10 * MAX_SCALE * FIRST_TOKEN_S
"""Longer than any project of the table waits."""
RETRY_AFTER_S = 0.2
SLACK_S = 1.0
OPEN_S = 300.0
TEXTS = {name: f"{name} says hello to everybody" for name in ("primary", "fallback", "last")}
WELL = {name: Reply(text=text) for name, text in TEXTS.items()}

EVERY: tuple[Way, ...] = ("whole", "streamed", "restarted")
UNSEEN: tuple[Way, ...] = ("whole", "restarted")
"""Ways in which a failure after the first text can still be made good."""

ASKED: dict[tuple[Way, ...], str] = {EVERY: "any way", UNSEEN: "whole, or `restart`", ("streamed",): "streamed"}
"""Ways as the docs say them."""


class Within(Enum):
    """How long a call may take, in words and in seconds."""

    AT_ONCE = "1 s", 0.0
    FIRST_TOKEN = "first_token + 1 s", FIRST_TOKEN_S
    EACH_FIRST_TOKEN = "first_token for each + 1 s", 2 * FIRST_TOKEN_S
    RETRY_AFTER = "Retry-After + 1 s", RETRY_AFTER_S
    BACKOFF = "0.5 s backoff + 1 s", 0.5
    TOTAL = "total + 1 s", TOTAL_S

    @property
    def words(self) -> str:
        """As the docs say it."""
        return self.value[0]

    def limit_s(self, scale: float) -> float:
        """Return the seconds, slack included, in a project whose limits are so many times as long."""
        return (self.value[1] + SLACK_S) * scale


Setting = Literal[
    "plain", "alone", "patient", "degrading", "around_filter", "three", "siblings", "short", "rated", "frugal"
]
SETTINGS: dict[Setting, tuple[str, str]] = {
    "plain": ("fallback: [fallback]", ""),
    "alone": ("fallback: []", "no fallback"),
    "patient": ("fallback: [fallback], retry: {same_provider: 1, max_wait: 1s}", "`retry: {same_provider: 1}`"),
    "degrading": ("fallback: [fallback], degrade: {to: last, disclaimer: in short}", "`degrade: {to: last}`"),
    "around_filter": ("fallback: [fallback], on_filtered: next", "`on_filtered: next`"),
    "three": ("fallback: [same_size, fallback]", "a model of the same context between them"),
    "siblings": ("fallback: [sibling, fallback]", "another model of `primary`'s provider between them"),
    "short": ("fallback: [fallback], budget: {completion_tokens: 50}", "`budget: {completion_tokens: 50}`"),
    "rated": ("fallback: [fallback]", "`policies.breaker.failure_rate: 0.5`"),
    "frugal": ("fallback: []", "no fallback; the share of `policies.retry.budget` is used up"),
}
"""Features by name: their entry in the registry, and what the docs say of them."""
POLICIES: dict[Setting, str] = {
    "rated": "{breaker: {failure_rate: 0.5}}",
    "frugal": "{retry: {budget: 0, min_retries: 0}}",
}
"""Policies of a row's registry, where they are not the defaults."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One fault, and what follows.

    Args:
        fault: what happens, in words.
        ways: how it is asked; all of them get the same.
        primary: what the first model's provider does, for ever.
        first: what it does to its first requests instead, in order.
        fallback: what the second one's does.
        last: what the degraded one's does.
        setting: the feature.
        messages: what is asked in the raw form; None for the prompt.
        params: parameters that the caller sets.
        before: how many calls are made first.
        passes_s: how many seconds go by then.
        again: how many calls are made after that, before the one that is looked at.
        gets: whose whole answer the caller gets; None when it gets an error.
        text: of that answer; None for the model's usual one.
        error: the error's class; None when it gets an answer.
        after_text: whether the caller has been given text when the error comes.
        finish_reason: of the answer.
        within: how long it may take.
        requests: how many the primary's provider got, and the fallback's.
        attempts: what the event says of each try.
        alert: cause of the alert event; None when there is none.
        direct_only: why it is not so through LiteLLM; None when it is.
    """

    fault: str
    ways: tuple[Way, ...] = EVERY
    primary: Behaviour = WELL["primary"]
    first: tuple[Reply, ...] = ()
    fallback: Behaviour = WELL["fallback"]
    last: Behaviour = WELL["last"]
    setting: Setting = "plain"
    messages: tuple[dict[str, Any], ...] | None = None
    params: dict[str, Any] | None = None
    before: int = 0
    passes_s: float = 0.0
    again: int = 0
    gets: str | None = None
    text: str | None = None
    error: str | None = None
    after_text: bool = False
    finish_reason: str = "stop"
    within: Within = Within.AT_ONCE
    requests: tuple[int, int] = (1, 1)
    attempts: tuple[str, ...] = ()
    alert: str | None = None
    direct_only: str | None = None

    @property
    def name(self) -> str:
        """The fault and how it is asked."""
        return f"{self.fault} ({', '.join(self.ways)})"

    @property
    def expected_text(self) -> str:
        """The answer's text, whoever gives it."""
        return TEXTS[self.gets or "primary"] if self.text is None else self.text


def moves_on(fault: str, error: str, primary: Behaviour, **changes: Any) -> Row:
    """Give a row whose fallback answers in the primary's place."""
    facts: dict[str, Any] = {"gets": "fallback", "attempts": (f"primary {error}", "fallback ok")}
    return Row(fault=fault, primary=primary, **{**facts, **changes})


def breaks(fault: str, error: str, primary: Behaviour, **changes: Any) -> Iterator[Row]:
    """Give two rows: a fault after the first text is made good where the caller has not seen it, or said so."""
    yield moves_on(fault, error, primary, ways=UNSEEN, **changes)
    facts: dict[str, Any] = {"requests": (1, 0), "after_text": True}
    yield Row(
        fault=fault,
        ways=("streamed",),
        primary=primary,
        error=error.partition(" ")[0],
        attempts=(f"primary {error}",),
        **{**changes, **facts},
    )


def stays(fault: str, primary: Behaviour, **changes: Any) -> Row:
    """Give a row whose primary answers all the same."""
    facts: dict[str, Any] = {"gets": "primary", "requests": (1, 0), "attempts": ("primary ok",)}
    return Row(fault=fault, primary=primary, **{**facts, **changes})


def refuses(fault: str, error: str, primary: Behaviour, **changes: Any) -> Row:
    """Give a row whose failure is the caller's."""
    facts: dict[str, Any] = {"error": error.partition(" ")[0], "requests": (1, 0), "attempts": (f"primary {error}",)}
    return Row(fault=fault, primary=primary, **{**facts, **changes})


def good(name: str, answerer: Callable[[Asked], Reply]) -> Callable[[Asked], Reply]:
    """Have an answerer of someone else's speak with a model's own words where it answers."""

    def answer(asked: Asked) -> Reply:
        reply = answerer(asked)
        return reply if reply.status >= 400 else WELL[name]

    return answer


def faulty(**changes: Any) -> Reply:
    return Reply(**{"text": TEXTS["primary"], **changes})


def status_reply(status: int, message: str = "scripted failure", **error: str) -> Reply:
    return Reply(status=status, error={"message": message, "type": "scripted", **error})


def limited(retry_after: float | None) -> Reply:
    return Reply(status=429, retry_after=None if retry_after is None else f"{retry_after:g}")
