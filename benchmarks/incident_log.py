"""Writes event logs of incidents that never were: a busy product, a rollout, and faults planted where nobody looks.

In: incidents with their faults, a seed. Out: JSONL as processes write it. Must never know how faults are found.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from flowai.events.records import Attempt, CallEvent, Content, FeedbackEvent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from flowai.events.records import Event

FIRST_DAY = datetime(2026, 5, 4, tzinfo=UTC)
BASELINE_HOURS, INCIDENT_HOURS, RECOVERY_HOURS = 9, 6, 1
INCIDENT_AT = timedelta(hours=10)

FEATURES = {"chat": 0.35, "summarize": 0.2, "extract": 0.2, "search": 0.15, "code": 0.1}
ERROR_RATES = {"chat": 0.005, "summarize": 0.01, "extract": 0.02, "search": 0.008, "code": 0.03}
JSON_FEATURES = frozenset({"extract", "search"})
SILENT_FEATURES = frozenset({"code"})
"""Features whose content is not kept."""
MODELS = {"gpt-4o-mini": "openai", "gpt-4o": "openai", "claude-haiku": "anthropic", "llama-70b": "groq"}
PRICES = {"gpt-4o-mini": 0.6e-6, "gpt-4o": 10e-6, "claude-haiku": 1.2e-6, "llama-70b": 0.8e-6}
LANGUAGES = {"en": 0.62, "de": 0.12, "fr": 0.09, "es": 0.07, "ru": 0.04, "zh": 0.04, "ar": 0.02}
SENTENCES = {
    "en": "the order of the customer was not shipped and she asks for a refund because it is late",
    "de": "die Bestellung der Kundin wurde nicht verschickt und sie fragt nach dem Geld weil das Paket lange braucht",
    "fr": "la commande de la cliente est en retard et elle demande dans une lettre que le prix soit rendu",
    "es": "el pedido de la clienta no llega y ella pide que le devuelvan el dinero por los gastos para nada",
    "ru": "заказ клиентки не отправлен и она просит вернуть деньги потому что посылка опаздывает уже на неделю",
    "zh": "客户 的 订单 没有 发货 她 要求 退款 因为 包裹 已经 迟到 一个 星期 了 请 帮忙 处理",
    "ar": "طلب الزبونة لم يصل بعد وهي تطلب استرداد المال لأن الطرد تأخر أسبوعا كاملا عن الموعد",
}
TOPICS = ("invoice", "warranty", "shipping", "passport", "mortgage", "recipe", "kernel", "visa", "tablet", "garden")
PHRASES = ("cancel my plan", "tax form 1099", "legal notice", "gift card code")
"""Rare phrases of inputs; each stands in two of a hundred."""
TENANTS = 24
USERS = 12_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Something that broke.

    Args:
        kind: failure kind of the calls: `error`, `invalid_json`, `slow`, `truncated`, `rejected_by_user`, `expensive`
            or `fallback_used`.
        where: attribute and value of the calls that meet it; all must hold.
        rate: how many of them meet it, 0 to 1.
        message: what an error says; `{n}` is another number each time.
    """

    kind: str
    where: Mapping[str, str]
    rate: float
    message: str = "upstream said 500 (request {n})"
    error_class: str = "ServerError"


@dataclass(frozen=True, kw_only=True, slots=True)
class Incident:
    """A day with a rollout at ten, and faults from then on.

    Args:
        day: which day after the first, 0 or more.
        faults: what is planted in it.
        calls_count: calls of the day's baseline and incident.
    """

    day: int
    faults: tuple[Fault, ...]
    calls_count: int

    @property
    def since(self) -> datetime:
        """When it began."""
        return FIRST_DAY + timedelta(days=self.day) + INCIDENT_AT

    @property
    def until(self) -> datetime:
        """When it was over."""
        return self.since + timedelta(hours=INCIDENT_HOURS)


def write_incidents(directory: Path, incidents: Sequence[Incident], *, seed: int) -> None:
    """Write one file per day."""
    encoder = msgspec.json.Encoder()
    for incident in incidents:
        day = directory / f"dt={(FIRST_DAY + timedelta(days=incident.day)).date()}"
        day.mkdir(parents=True, exist_ok=True)
        with (day / "web-1.jsonl").open("wb") as stream:
            for event in events_of(incident, seed=seed):
                stream.write(encoder.encode(event))
                stream.write(b"\n")


def events_of(incident: Incident, *, seed: int) -> Iterator[Event]:
    """Yield a day's events, in order of time."""
    rng = random.Random(seed * 1000 + incident.day)  # noqa: S311 - a simulation
    begin = incident.since - timedelta(hours=BASELINE_HOURS)
    step = timedelta(hours=BASELINE_HOURS + INCIDENT_HOURS + RECOVERY_HOURS) / incident.calls_count
    for number in range(incident.calls_count):
        at = begin + number * step
        yield from _call(rng, incident, at, number)


def _pick(rng: random.Random, shares: Mapping[str, float]) -> str:
    return rng.choices(tuple(shares), tuple(shares.values()))[0]


def _facts(rng: random.Random, incident: Incident, at: datetime) -> dict[str, str]:
    """Draw what a call is: everything that a fault may hang on."""
    feature = _pick(rng, FEATURES)
    user = int(USERS * rng.random() ** 2)
    is_on = incident.since <= at < incident.until
    side = user * 2654435761 % 100
    variant = ("canary" if side < 25 else "control" if side < 50 else "stable") if is_on else ""
    release = "v2" if variant == "canary" else "v1"
    tokens = int(min(30_000, max(12, rng.lognormvariate(math.log(400), 1.0))))
    model = rng.choices(tuple(MODELS), (0.5, 0.1, 0.25, 0.15))[0]
    facts = {
        "feature": feature,
        "user": str(user),
        "tenant": f"tenant-{user % TENANTS:02d}",
        "variant": variant,
        "release": release,
        "prompt": f"prompts/{feature}_{release}",
        "model": model,
        "provider": MODELS[model],
        "language": _pick(rng, LANGUAGES),
        "tokens": str(tokens),
        "input": "long" if tokens >= 2000 else "short" if tokens < 100 else "usual",
        "hour": f"{at.hour:02d}",
        "phrase": rng.choice(PHRASES) if rng.random() < 0.02 * len(PHRASES) else "",
    }
    facts["message"] = _text(rng, facts)
    return facts


def _text(rng: random.Random, facts: Mapping[str, str]) -> str:
    words = SENTENCES[facts["language"]].split()
    rng.shuffle(words)
    parts = [*words[: rng.randint(8, len(words))], rng.choice(TOPICS), str(rng.randint(1, 99_999))]
    if facts["phrase"]:
        parts.insert(rng.randrange(len(parts)), facts["phrase"])
    return " ".join(parts) * (3 if facts["input"] == "long" else 1)


def _call(rng: random.Random, incident: Incident, at: datetime, number: int) -> Iterator[Event]:
    facts = _facts(rng, incident, at)
    met = [
        fault
        for fault in incident.faults
        if incident.since <= at < incident.until
        and all(facts[name] == value for name, value in fault.where.items())
        and rng.random() < fault.rate
    ]
    kinds = {fault.kind for fault in met}
    error = next((fault for fault in met if fault.kind == "error"), None)
    if error is None and rng.random() < ERROR_RATES[facts["feature"]]:
        error = Fault(kind="error", where={}, rate=0.0, message="429: slow down, {n} tokens left")
    output_tokens = max(5, int(rng.lognormvariate(math.log(150), 0.5))) * (5 if "expensive" in kinds else 1)
    latency_ms = rng.lognormvariate(math.log(900), 0.45) * (3 if "slow" in kinds else 1)
    is_json = facts["feature"] in JSON_FEATURES
    tokens = int(facts["tokens"])
    call_id = f"{incident.day}-{number}"
    content = None
    if facts["feature"] not in SILENT_FEATURES:
        messages = ({"role": "system", "content": "Help."}, {"role": "user", "content": facts["message"]})
        output = None if error else ('{"total": 12' if "invalid_json" in kinds else '{"total": 12}')
        content = Content(messages=messages, output=output)
    message = error.message.format(n=rng.randrange(10**6)) if error else None
    yield CallEvent(
        call_id=call_id,
        at=at,
        origin="library",
        user_hash=f"u{facts['user']}",
        tenant=facts["tenant"],
        session=f"s{facts['user']}-{at.hour}",
        feature=facts["feature"],
        release=facts["release"],
        variant=facts["variant"] or None,  # type: ignore[arg-type] # one of the words above
        is_sticky=True,
        prompt_id=facts["prompt"],
        prompt_hash=("b" if facts["release"] == "v2" else "a") * 64,
        requested_model=facts["model"],
        served_model=None if error else facts["model"],
        provider="openai" if error is None and "fallback_used" in kinds else facts["provider"],
        attempts=_attempts(facts, kinds, error, message),
        input_tokens=tokens,
        output_tokens=None if error else output_tokens,
        cost_usd=0.0 if error else (tokens / 4 + output_tokens) * PRICES[facts["model"]],
        ttft_ms=None if error else latency_ms / 4,
        latency_ms=latency_ms,
        finish_reason=None if error else ("length" if "truncated" in kinds or rng.random() < 0.004 else "stop"),
        json_valid=None if error or not is_json else not ("invalid_json" in kinds or rng.random() < 0.006),
        error_class=error.error_class if error else None,
        error_message=message,
        content=content,
    )
    if error is None and rng.random() < 0.3:
        is_bad = "rejected_by_user" in kinds or rng.random() < 0.3
        verdict: Any = "rejected" if is_bad else "accepted"
        yield FeedbackEvent(
            call_id=call_id, at=at + timedelta(seconds=40), origin="library", verdict=verdict, feature=facts["feature"]
        )


def _attempts(
    facts: Mapping[str, str], kinds: set[str], error: Fault | None, message: str | None
) -> tuple[Attempt, ...]:
    asked: dict[str, Any] = {"model": facts["model"], "provider": facts["provider"], "latency_ms": 800.0}
    if error is not None:
        return (
            Attempt(
                status="error", error_class=error.error_class, message=message, http_status=500, at_ms=0.0, **asked
            ),
        )
    if "fallback_used" in kinds:
        first = Attempt(status="error", error_class="ServerError", message="503 overloaded", http_status=503, **asked)
        return (first, Attempt(status="ok", model="gpt-4o", provider="openai", at_ms=900.0, latency_ms=700.0))
    return (Attempt(status="ok", at_ms=0.0, **asked),)


INCIDENTS = (
    (
        Fault(kind="error", where={"feature": "summarize", "model": "claude-haiku"}, rate=0.3),
        Fault(kind="invalid_json", where={"language": "de"}, rate=0.3),
        Fault(kind="slow", where={"prompt": "prompts/chat_v2"}, rate=0.5),
        Fault(kind="rejected_by_user", where={"tenant": "tenant-07"}, rate=0.6),
    ),
    (
        Fault(
            kind="error",
            where={"input": "long"},
            rate=0.25,
            message="no first token within 10 s, waited {n} ms",
            error_class="TimedOutError",
        ),
        Fault(kind="truncated", where={"release": "v2"}, rate=0.15),
        Fault(kind="invalid_json", where={"phrase": "tax form 1099"}, rate=0.7),
        Fault(kind="expensive", where={"model": "gpt-4o"}, rate=0.5),
    ),
    (
        Fault(kind="error", where={"provider": "groq"}, rate=0.12),
        Fault(kind="slow", where={"tenant": "tenant-03"}, rate=0.5),
        Fault(kind="rejected_by_user", where={"feature": "search", "release": "v2"}, rate=0.5),
        Fault(kind="truncated", where={"language": "zh"}, rate=0.3),
    ),
    (
        Fault(kind="error", where={"hour": "12"}, rate=0.08, message="connection reset by 10.0.0.{n}"),
        Fault(kind="invalid_json", where={"model": "llama-70b", "feature": "extract"}, rate=0.35),
        Fault(kind="slow", where={"provider": "anthropic"}, rate=0.25),
        Fault(kind="fallback_used", where={"model": "gpt-4o-mini"}, rate=0.1),
    ),
    (
        Fault(kind="error", where={"phrase": "cancel my plan"}, rate=0.6, message="tool `cancel` failed for id {n}"),
        Fault(kind="rejected_by_user", where={"release": "v2"}, rate=0.25),
        Fault(kind="truncated", where={"feature": "code"}, rate=0.2),
        Fault(kind="invalid_json", where={"input": "short"}, rate=0.3),
    ),
    (
        Fault(kind="error", where={"tenant": "tenant-11"}, rate=0.3, error_class="AuthError", message="401 key {n}"),
        Fault(kind="slow", where={"hour": "13", "feature": "chat"}, rate=0.5),
        Fault(kind="expensive", where={"release": "v2", "feature": "summarize"}, rate=0.6),
        Fault(kind="invalid_json", where={"language": "ru"}, rate=0.5),
    ),
    (
        Fault(kind="error", where={"language": "ar"}, rate=0.5, message="cannot decode byte {n}"),
        Fault(kind="slow", where={"input": "long"}, rate=0.5),
        Fault(kind="rejected_by_user", where={"language": "fr", "feature": "chat"}, rate=0.6),
        Fault(kind="truncated", where={"tenant": "tenant-19"}, rate=0.3),
    ),
    (
        Fault(kind="error", where={"release": "v2", "feature": "extract"}, rate=0.2),
        Fault(kind="invalid_json", where={"feature": "search", "tenant": "tenant-05"}, rate=0.8),
        Fault(kind="fallback_used", where={"provider": "anthropic", "hour": "11"}, rate=0.4),
        Fault(kind="slow", where={"model": "gpt-4o"}, rate=0.4),
    ),
    (
        Fault(kind="error", where={"release": "v2", "tenant": "tenant-02"}, rate=0.6),
        Fault(kind="invalid_json", where={"release": "v2"}, rate=0.1),
        Fault(kind="truncated", where={"input": "long", "feature": "summarize"}, rate=0.5),
        Fault(kind="rejected_by_user", where={"phrase": "legal notice"}, rate=0.6),
    ),
    (
        Fault(kind="error", where={"feature": "chat", "provider": "openai"}, rate=0.06),
        Fault(kind="slow", where={"release": "v2", "language": "es"}, rate=0.6),
        Fault(kind="expensive", where={"feature": "code"}, rate=0.3),
        Fault(kind="rejected_by_user", where={"model": "llama-70b"}, rate=0.3),
    ),
)
"""Forty faults in ten incidents, each four at once."""
