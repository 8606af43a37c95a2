"""Keys of the caches: the exact cache's key; the semantic cache's partition and text.

Two requests that share an answer may differ in one text only: the longest string variable, or the last user message
where there is no prompt. Everything else is part of the partition, byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from flowai.cache.equivalence.compare import is_document
from flowai.cache.exact import cache_key, cache_partition, digest
from flowai.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.cache.shadow.comparison import Route
    from flowai.providers import ChatMessage, Completion, Request
    from flowai.registry.records import CachePolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheQuery:
    """Query of both caches."""

    partition: str
    """64 hex digits over everything that must be equal: tenant, feature, prompt, model, parameters, and all values but
    `text`."""
    key: str
    """Key of the exact cache."""
    feature: str
    tenant: str
    text: str
    """Text that is embedded and compared; empty if there is none."""
    scope: str = ""
    """`feature/` and 64 hex digits over prompt, model and parameters: evidence of wrong hits counts within it."""
    kind: Literal["exact", "semantic"]
    """`semantic` queries both caches."""
    ttl_s: float
    """Lifetime of a stored answer, seconds, > 0."""
    threshold: float
    """Similarity above which the semantic cache may answer, 0 to 1."""
    serves: bool = False
    """The semantic cache may answer; otherwise it only compares."""
    max_false_hit_rate: float = 0.0
    """Upper limit of the measured rate of wrong answers, 0 to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheHit:
    """Stored answer."""

    completion: Completion
    cache: Literal["exact", "semantic"]
    similarity: float | None
    """Similarity of the two texts, 0 to 1; None for the exact cache."""
    key: str
    """Key of the stored answer."""
    asked: str = ""
    """Text that it answered; empty for the exact cache."""
    route: Route = "threshold"
    is_served: bool = True
    """It answers the call. Otherwise a model does, and the two answers are compared."""
    is_check: bool = False
    """It would answer, and is compared to check it."""


def build_cache_query(
    request: Request,
    *,
    feature: str,
    prompt_hash: str,
    tenant: str,
    policy: CachePolicy,
    variables: Mapping[str, Any] | None,
) -> CacheQuery:
    """Build the query of both caches; its kind is `exact` where no text can be compared, and for documents.

    `request` goes to the first model; `feature` is the model's name without one; `prompt_hash` covers the prompt's
    bytes and its partials', and is empty for messages without a prompt, as `variables` is None. Raises UsageError if a
    value of the request cannot be encoded as JSON.
    """
    fixed = cache_partition(request, feature=feature, prompt_hash=prompt_hash, tenant=tenant)
    text, rest, scope = "", None, ""
    if policy.kind == "semantic":
        text, rest = (
            _split_last_user_text(request.messages) if variables is None else _split_longest_variable(variables)
        )
    partition = ""
    if is_document(text):
        text = ""
    if text:
        try:
            partition, scope = digest((*fixed, rest)), f"{feature}/{digest(fixed[1:])}"
        except UsageError:  # a variable that is no JSON: only an equal request may share the answer
            text = ""
    return CacheQuery(
        partition=partition,
        key=cache_key(request, feature=feature, prompt_hash=prompt_hash, tenant=tenant, repeat=None),
        feature=feature,
        tenant=tenant,
        text=text,
        kind="semantic" if text else "exact",
        ttl_s=policy.ttl_s,
        threshold=policy.threshold,
        scope=scope,
        serves=policy.mode == "serve",
        max_false_hit_rate=policy.max_false_hit_rate,
    )


def _split_longest_variable(variables: Mapping[str, Any]) -> tuple[str, Any]:
    """Split the longest text from the other variables; its name stays with them."""
    texts = [(len(value), name) for name, value in variables.items() if isinstance(value, str) and value.strip()]
    if not texts:
        return "", None
    name = max(texts)[1]
    return variables[name], (name, {other: value for other, value in variables.items() if other != name})


def _split_last_user_text(messages: tuple[ChatMessage, ...]) -> tuple[str, Any]:
    """Split the last user message's text from the rest of the conversation."""
    for at in range(len(messages) - 1, -1, -1):
        if messages[at].get("role") != "user":
            continue
        content = messages[at].get("content")
        text, others = content, None
        if isinstance(content, list):
            texts = [part for part in content if isinstance(part, dict) and part.get("type") == "text"]
            if len(texts) != 1:
                return "", None
            text, others = texts[0].get("text"), [None if part is texts[0] else part for part in content]
        if not isinstance(text, str) or not text.strip():
            return "", None
        return text, (*messages[:at], {**messages[at], "content": others}, *messages[at + 1 :])
    return "", None
