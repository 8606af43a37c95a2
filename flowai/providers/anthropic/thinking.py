"""Converts reasoning settings into Anthropic's thinking, as LiteLLM does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai.providers.anthropic.unproven import UnprovenRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowai.providers.anthropic.models import ModelAbilities

BUDGETS_TOKENS = {"minimal": 1024, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16384}
"""LiteLLM's tokens to think for an effort, for models that need a number."""
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_ANSWER_TOKENS = 4096
"""LiteLLM's tokens for the answer, after the thinking, if a request has no limit."""
_KEYS = frozenset({"type", "budget_tokens", "display"})
_DISPLAYS = (None, "summarized", "omitted")


def convert_thinking(params: Mapping[str, Any], abilities: ModelAbilities) -> dict[str, Any]:
    """Return the fields of the body: `thinking`, `output_config` and, where needed, `max_tokens`.

    Args:
        params: of the request; `thinking` and `reasoning_effort` are used.
        abilities: of the model.

    Raises:
        UnprovenRequestError: LiteLLM must convert them.
    """
    thinking, effort = params.get("thinking"), params.get("reasoning_effort")
    if thinking is None and effort is None:
        return {}
    if not abilities.supports_reasoning or (thinking is not None and effort is not None):
        raise UnprovenRequestError("an unusual combination")
    fields = _from_effort(effort, abilities) if thinking is None else _from_thinking(thinking, abilities)
    sent = fields.get("thinking", {})
    if sent.get("type") == "enabled" and "budget_tokens" in sent:
        fields["max_tokens"] = sent["budget_tokens"] + _ANSWER_TOKENS
    return fields


def _from_effort(effort: Any, abilities: ModelAbilities) -> dict[str, Any]:  # noqa: ANN401 - JSON is anything
    if effort == "none":
        return {}
    if not isinstance(effort, str) or effort not in BUDGETS_TOKENS:
        raise UnprovenRequestError("an unusual `reasoning_effort`")
    if not abilities.supports_adaptive_thinking:
        return {"thinking": {"type": "enabled", "budget_tokens": BUDGETS_TOKENS[effort]}}
    if effort == "xhigh" and not abilities.supports_xhigh_reasoning_effort:
        raise UnprovenRequestError("an effort that the model does not have")
    return {
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": _EFFORTS[effort]},
    }


def _from_thinking(thinking: Any, abilities: ModelAbilities) -> dict[str, Any]:  # noqa: ANN401 - JSON is anything
    if not isinstance(thinking, dict) or not thinking.keys() <= _KEYS or thinking.get("display") not in _DISPLAYS:
        raise UnprovenRequestError("an unusual `thinking`")
    budget_tokens = thinking.get("budget_tokens")
    match thinking.get("type"):
        case "enabled" if type(budget_tokens) is int:
            if abilities.supports_adaptive_thinking and not abilities.supports_legacy_thinking:
                return _as_effort(thinking, budget_tokens, abilities)
            return {"thinking": thinking}
        case "disabled":
            return {} if abilities.thinking_always_on else {"thinking": thinking}
        case "adaptive" if abilities.supports_adaptive_thinking:
            return {"thinking": thinking}
    raise UnprovenRequestError("an unusual `thinking`")


def _as_effort(thinking: dict[str, Any], budget_tokens: int, abilities: ModelAbilities) -> dict[str, Any]:
    """Return the thinking of a model that takes an effort instead of a number of tokens."""
    effort = "low"
    for name in ("medium", "high", "xhigh"):
        is_known = name != "xhigh" or abilities.supports_xhigh_reasoning_effort
        if budget_tokens >= BUDGETS_TOKENS[name] and is_known:
            effort = name
    display = {"display": thinking["display"]} if thinking.get("display") else {}
    return {"thinking": {"type": "adaptive", **display}, "output_config": {"effort": effort}}
