"""A project whose three models are scripted providers on loopback, and the observation of one call."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from flowai.errors import FlowaiError
from flowai.events import AlertEvent, CallEvent, read_events
from flowai.gateway.gateway import Gateway
from flowai.gateway.records import CompletionResult, StreamRestarted, StreamStarted, TextChunk
from flowai.gateway.runtime import RuntimeOptions
from flowai.state.machine import machine_clock_s
from support.fault_rows import POLICIES
from support.fault_table import FIRST_TOKEN_S, SETTINGS, TOTAL_S, WELL
from support.scripted_provider import ScriptedProvider

if TYPE_CHECKING:
    from pathlib import Path

    from flowai.events import Attempt, Event
    from flowai.gateway.records import Explanation
    from flowai.providers.client import Transport
    from support.fault_table import Behaviour, Row, Way
    from support.scripted_replies import Asked, Reply

KEY = "pk9-loopback-0f1e2d3c4b5a69788796"  # of no known key shape: only an exact match can redact it
MODELS = {"primary": "openai/gpt-4o-mini", "same_size": "openai/gpt-4o", "fallback": "openai/gpt-4.1"}
PROVIDERS = {"sibling": "primary"}
PROMPT = '---\ninput: {schema: {text: string}}\n---\n{{role "user"}}Say hello to {{text}}.\n'


class Providers:
    """Three scripted providers, and an address without a listener.

    Args:
        remember: whether they keep what they were asked.
    """

    def __init__(self, *, remember: bool = True) -> None:
        self.by_name = {name: ScriptedProvider(remember=remember) for name in WELL}
        self._nobody = socket.socket()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._nobody.bind(("127.0.0.1", 0))
        self._stack.callback(self._nobody.close)
        for provider in self.by_name.values():
            self._stack.enter_context(provider)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def do(self, name: str, behaviour: Behaviour, first: tuple[Reply, ...] = ()) -> None:
        """Set the behaviour of a provider and clear its requests."""
        provider = self.by_name[name]
        queue = deque(first)

        def answer(asked: Asked) -> Reply:
            if queue:
                return queue.popleft()
            return behaviour(asked) if callable(behaviour) else behaviour or WELL[name]

        provider.answerer = answer
        provider.asked.clear()
        provider.request_count = 0

    def address(self, name: str, *, listens: bool = True) -> str:
        """Return a provider's address, or the one without a listener."""
        if not listens:
            host, port = self._nobody.getsockname()
            return f"http://{host}:{port}/v1"
        return self.by_name[name].base_url

    def counts(self) -> tuple[int, int]:
        """Count the requests to the primary's provider and to the fallback's."""
        return self.by_name["primary"].request_count, self.by_name["fallback"].request_count


def write_project(
    root: Path,
    providers: Providers,
    *,
    listens: bool = True,
    first_token_s: float = FIRST_TOKEN_S,
    total_s: float = TOTAL_S,
    entry: str = "cache: {kind: none}",
    transport: Transport = "auto",
    policies: str = "{}",
) -> None:
    """Write a registry with a feature for every setting, and its prompt; `entry` is added to every feature."""
    addresses = {
        "primary": providers.address("primary", listens=listens),
        "same_size": providers.address("last"),
        "sibling": providers.address("last"),
        "fallback": providers.address("fallback"),
        "last": providers.address("last"),
    }
    models = "".join(
        f'  {name}: {{model: {MODELS.get(name, "openai/small")}, api_base: "{address}", '
        f"provider: {PROVIDERS.get(name, name)}, transport: {transport}, "
        'api_key: "${LOOPBACK_KEY}"}\n'
        for name, address in addresses.items()
    )
    timeout = f"timeout: {{first_token: {first_token_s}s, total: {total_s}s}}"
    features = "".join(f"  {name}: {{{setting}, {timeout}, {entry}}}\n" for name, (setting, _) in SETTINGS.items())
    bindings = "".join(
        f"    {name}: {{prompt: prompts/hello_v1, model: primary, params: {{temperature: 0}}}}\n" for name in SETTINGS
    )
    (root / "prompts").mkdir(parents=True, exist_ok=True)
    (root / "prompts" / "hello_v1.prompt").write_text(PROMPT, encoding="utf-8")
    (root / "registry.yaml").write_text(
        f"schema_version: 1\nmodels:\n{models}features:\n{features}releases:\n  v1:\n{bindings}current: v1\n"
        f"policies: {policies}\n",
        encoding="utf-8",
    )


class Clocks:
    """The real clocks, which can be moved forward."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def go_by(self, seconds: float) -> None:
        """Move the clocks forward."""
        self._ahead_s += seconds

    def clock_s(self) -> float:
        """Return monotonic seconds."""
        return time.perf_counter() + self._ahead_s

    def now(self) -> datetime:
        """Return the time, UTC."""
        return datetime.now(UTC) + timedelta(seconds=self._ahead_s)

    def machine_clock_s(self) -> float:
        """Return seconds since the machine booted."""
        return machine_clock_s() + self._ahead_s

    def settings(self, **changes: Any) -> RuntimeOptions:
        """Return a gateway's settings with these clocks."""
        facts = {
            "environ": {"LOOPBACK_KEY": KEY},
            "now": self.now,
            "clock_s": self.clock_s,
            "machine_clock_s": self.machine_clock_s,
            "rng": random.Random(7),  # noqa: S311 - jitter
        }
        return RuntimeOptions(**{**facts, **changes})


@dataclass(kw_only=True)
class Seen:
    """Observation of one call.

    Args:
        answer: what the caller got; None when it got an error.
        error: the error; None when it got an answer.
        text: what a stream gave since it last started afresh.
        took_s: how long it took.
        requests: how many the primary's provider got, and the fallback's.
        event: the call as the log has it.
        alerts: causes of alert events.
        explanation: what `explain` says.
        scale: how many times as long the project's limits were.
    """

    answer: CompletionResult | None = None
    error: FlowaiError | None = None
    text: str = ""
    took_s: float = 0.0
    requests: tuple[int, int] = (0, 0)
    event: CallEvent
    alerts: list[str] = field(default_factory=list)
    explanation: Explanation
    scale: float = 1.0

    @property
    def attempts(self) -> tuple[str, ...]:
        """The attempts in the table's notation."""
        return tuple(map(_said, self.event.attempts))


def _said(attempt: Attempt) -> str:
    words = (attempt.model, attempt.reason or attempt.error_class or attempt.status, attempt.http_status or "")
    return " ".join(str(word) for word in words if word)


async def ask(gateway: Gateway, way: Way, feature: str, **wishes: Any) -> tuple[CompletionResult | FlowaiError, str]:
    """Run one call; return its result and a stream's text."""
    wishes.setdefault("variables", None if "messages" in wishes else {"text": "everybody"})
    if way == "whole":
        try:
            answer = await gateway.complete(feature, **wishes)
        except FlowaiError as error:
            return error, ""
        return answer, answer.text
    text = ""
    try:
        async for item in gateway.stream(feature, on_break="restart" if way == "restarted" else "error", **wishes):
            match item:
                case StreamStarted() | StreamRestarted():
                    text = ""
                case TextChunk():
                    text += item.text
                case CompletionResult():
                    return item, text
    except FlowaiError as error:
        return error, text
    raise AssertionError("a stream ended without an answer or an error")


def observe(
    row: Row, way: Way, providers: Providers, root: Path, *, transport: Transport = "auto", scale: float = 1.0
) -> Seen:
    """Run one row of the table; `scale` lengthens the limits."""
    write_project(
        root,
        providers,
        listens=row.primary is not None,
        first_token_s=FIRST_TOKEN_S * scale,
        total_s=TOTAL_S * scale,
        transport=transport,
        policies=POLICIES.get(row.setting, "{}"),
    )
    for name, behaviour in (("fallback", row.fallback), ("last", row.last)):
        providers.do(name, behaviour)
    providers.do("primary", row.primary, row.first)
    clocks = Clocks()

    async def tried() -> tuple[CompletionResult | FlowaiError, str, float, tuple[int, int], CallEvent, Explanation]:
        events: list[Event] = []
        async with Gateway(root, settings=clocks.settings(on_event=events.append)) as gateway:
            await gateway.warm_up()
            wishes: dict[str, Any] = {} if row.messages is None else {"messages": row.messages}
            wishes |= {} if row.params is None else {"params": row.params}
            for _ in range(row.before):
                await ask(gateway, "whole", row.setting, **wishes)
            clocks.go_by(row.passes_s)
            for _ in range(row.again):
                await ask(gateway, "whole", row.setting, **wishes)
            before = providers.counts()
            began_s = time.perf_counter()
            result, text = await ask(gateway, way, row.setting, **wishes)
            took_s = time.perf_counter() - began_s
            after = providers.counts()
            told = [event for event in events if isinstance(event, CallEvent)][-1]
            explanation = await gateway.explain(told.call_id)
            return result, text, took_s, (after[0] - before[0], after[1] - before[1]), told, explanation

    result, text, took_s, requests, told, explanation = asyncio.run(tried())
    torn: list[Any] = []
    logged = list(read_events(root / ".flowai" / "events", on_unreadable=torn.append))
    assert not torn
    event = next(found for found in logged if isinstance(found, CallEvent) and found.call_id == told.call_id)
    return Seen(
        answer=result if isinstance(result, CompletionResult) else None,
        error=result if isinstance(result, FlowaiError) else None,
        text=text,
        took_s=took_s,
        requests=requests,
        event=event,
        alerts=[found.cause for found in logged if isinstance(found, AlertEvent)],
        explanation=explanation,
        scale=scale,
    )
