"""What an answer costs that failed after it had begun: by reported tokens, else by what came."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flowai.errors import PartialUsage
from flowai.providers import Endpoint, PriceTable
from flowai.providers.anthropic.stream_parser import MessagesStreamParser
from flowai.providers.endpoint_price import FREE, partial_cost_usd
from flowai.providers.openai.stream_parser import ChatStreamParser
from flowai.providers.prices import Price

PRICE = Price(input_cost_per_token=1.0, output_cost_per_token=10.0)


def endpoint(**changes: Any) -> Endpoint:
    return Endpoint(**{"name": "m", "model": "openai/m", "provider": "openai", **changes})


def cost_usd(usage: PartialUsage, **changes: Any) -> float | None:
    table = PriceTable(Path("nothing.json"))
    return partial_cost_usd(endpoint(**changes), usage, table, input_characters=41)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (PartialUsage(character_count=9), 11 + 30),
        (PartialUsage(character_count=9, input_tokens=5, output_tokens=2), 5 + 20),
        (PartialUsage(character_count=400, input_tokens=5, output_tokens=1, is_final=False), 5 + 1000),
        (PartialUsage(character_count=4, input_tokens=5, output_tokens=7, is_final=False), 5 + 70),
        (PartialUsage(character_count=9, input_tokens=5, output_tokens=2, cost_usd=0.5), 5 + 20),
    ],
    ids=["nothing reported", "reported", "reported before the answer", "more than came", "the registry's price wins"],
)
def test_the_cost_follows_the_report_or_an_estimate(usage: PartialUsage, expected: float) -> None:
    assert cost_usd(usage, price=PRICE) == expected


def test_without_a_price_of_the_registry_the_table_s_cost_counts() -> None:
    assert cost_usd(PartialUsage(input_tokens=5, output_tokens=2, cost_usd=0.5)) == 0.5
    assert cost_usd(PartialUsage(character_count=9)) is None, "no price is known"
    assert cost_usd(PartialUsage(character_count=9), price=FREE) == 0
    assert cost_usd(PartialUsage(character_count=9), unpriced_is_free=True) == 0


def frames(*events: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def test_anthropic_s_first_report_is_not_final() -> None:
    parser = MessagesStreamParser()
    usage = {"input_tokens": 20, "output_tokens": 1}
    start = {"type": "message_start", "message": {"model": "claude", "usage": usage}}
    delta = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "twelve chars"}}
    list(parser.feed(frames(start, {"type": "content_block_start", "content_block": {"type": "text"}}, delta)))
    assert parser.character_count == len("twelve chars")
    assert parser.usage is not None
    assert not parser.has_final_usage
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}
    list(parser.feed(frames(end)))
    assert parser.has_final_usage


def test_reasoning_and_arguments_of_tools_are_characters_of_an_answer() -> None:
    parser = ChatStreamParser()
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a":1}'}}
    deltas = ({"reasoning_content": "hm"}, {"content": "four"}, {"tool_calls": [call]})
    list(parser.feed(frames(*({"choices": [{"index": 0, "delta": delta}]} for delta in deltas))))
    assert parser.character_count == 2 + 4 + 7
    assert not parser.has_final_usage
