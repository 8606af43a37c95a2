"""What a call asks the caches: the key of the exact one, the hard partition and the text of the semantic one.

Only one text may differ between two questions that share an answer: the longest string variable, or the last user
message where there is no prompt. Everything else parts them, byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from flowai.cache.exact import cache_key, cache_partition, digest
from flowai.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.providers import ChatMessage, Completion, Request
    from flowai.registry.records import CachePolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheQuery:
    """One question to the caches."""

    partition: str
    """64 hex digits over all that must be the same: tenant, feature, prompt, model, parameters, and every value that is
    not `text`."""
    key: str
    """The exact cache's key."""
    feature: str
    """Who asks."""
    tenant: str
    """Whose data it is."""
    text: str
    """What is embedded and compared; empty where nothing can be."""
    kind: Literal["exact", "semantic"]
    """`exact`, or `semantic` for both."""
    ttl_s: float
    """Seconds an answer may be given again, > 0."""
    threshold: float
    """Similarity above which the semantic cache may answer, 0 to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheHit:
    """An answer that was kept."""

    completion: Completion
    """The answer as the model gave it."""
    verdict: Literal["exact", "semantic"]
    """Which cache had it."""
    similarity: float | None
    """Of the two texts, 0 to 1; None for the exact cache."""


def build_cache_query(
    request: Request,
    *,
    feature: str,
    prompt_hash: str,
    tenant: str,
    policy: CachePolicy,
    variables: Mapping[str, Any] | None,
) -> CacheQuery:
    """Make the question to the caches.

    Args:
        request: what would be sent to the primary model.
        feature: the feature that asks; the model's name where there is none.
        prompt_hash: hash of the prompt's bytes and its partials'; empty for the raw form.
        tenant: whose data it is.
        policy: the feature's; its kind is `exact` or `semantic`.
        variables: the prompt's variables; None for the raw form.

    Returns:
        The question; its kind is `exact` where no text can be compared.

    Raises:
        UsageError: the request holds a value that is no JSON.
    """
    hard = cache_partition(request, feature=feature, prompt_hash=prompt_hash, tenant=tenant)
    text, rest = "", None
    if policy.kind == "semantic":
        text, rest = _raw_text(request.messages) if variables is None else _longest(variables)
    partition = ""
    if text:
        try:
            partition = digest((*hard, rest))
        except UsageError:  # a variable that JSON cannot tell from another: only the same request may share an answer
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
    )


def _longest(variables: Mapping[str, Any]) -> tuple[str, Any]:
    """Part the longest text from the other variables; its name stays with them."""
    texts = [(len(value), name) for name, value in variables.items() if isinstance(value, str) and value.strip()]
    if not texts:
        return "", None
    name = max(texts)[1]
    return variables[name], (name, {other: value for other, value in variables.items() if other != name})


def _raw_text(messages: tuple[ChatMessage, ...]) -> tuple[str, Any]:
    """Part the last user message's text from the rest of the conversation."""
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
