"""Types of texts and numbers in a registry, and their descriptions in errors."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from flowai.timestamps import parse_duration_s

# `(?!\n)`: alone, `$` also matches before a line break at the end
DURATION = r"^[0-9]+(\.[0-9]+)?[smhd]$(?!\n)"
OPEN_TIME = r"^[0-9]+(\.[0-9]+)?[smhd](\.\.[0-9]+(\.[0-9]+)?[smhd])?$(?!\n)"
TIME_TO_LIVE = r"^(volatile|stable|[0-9]+(\.[0-9]+)?[smhd])$(?!\n)"
MODEL_NAME = r"^[A-Za-z0-9_.-]+/.+$(?!\n)"
PROMPT_ID = r"^prompts/([A-Za-z0-9][A-Za-z0-9_-]*/)*[A-Za-z0-9][A-Za-z0-9_-]*_v[0-9]+$(?!\n)"
VERSION_TARGET = r"^(dotenv|command|aws-secretsmanager):.+$(?!\n)"
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$(?!\n)"
REGION = r"^[A-Z]{2}$(?!\n)"
LANGUAGE = r"^[a-z]{2}$(?!\n)"
SHA256 = r"^[0-9a-f]{64}$(?!\n)"
PERCENTAGE = r"^(100|[0-9]{1,2}(\.[0-9]+)?)%$(?!\n)"

TYPE_DESCRIPTIONS: dict[str, str] = {
    DURATION: "a duration such as `10s`, `5m`, `1h` or `30d`",
    OPEN_TIME: "a duration such as `5m`, or a range such as `15s..5m`",
    TIME_TO_LIVE: "`volatile` (1h), `stable` (30d) or a duration such as `10m`",
    MODEL_NAME: "LiteLLM's name with its provider, such as `openai/gpt-4o-mini`, or `local/...`",
    PROMPT_ID: "a prompt id such as `prompts/summary_v2`",
    VERSION_TARGET: "`dotenv:FILE`, `command:...` or `aws-secretsmanager:NAME`",
    NAME: "a name of letters, digits, `_`, `-` and `.`",
    PERCENTAGE: "a percentage such as `0.5%`, up to `100%`",
    REGION: "a region of two capital letters such as `DE` (ISO 3166-1)",
    LANGUAGE: "a language of two small letters such as `de` (ISO 639-1)",
    SHA256: "the SHA-256 of a key: 64 hexadecimal digits in lower case",
}
"""Descriptions in errors, by pattern."""

Duration = Annotated[str, Meta(pattern=DURATION)]
OpenTime = Annotated[str, Meta(pattern=OPEN_TIME)]
TimeToLive = Annotated[str, Meta(pattern=TIME_TO_LIVE)]
ModelName = Annotated[str, Meta(pattern=MODEL_NAME)]
PromptId = Annotated[str, Meta(pattern=PROMPT_ID)]
VersionTarget = Annotated[str, Meta(pattern=VERSION_TARGET)]
Name = Annotated[str, Meta(pattern=NAME)]
Percentage = Annotated[str, Meta(pattern=PERCENTAGE)]
Sha256 = Annotated[str, Meta(pattern=SHA256)]
PositiveInt = Annotated[int, Meta(ge=1)]
UsdPerMillionTokens = Annotated[float, Meta(ge=0, le=1_000_000)]
Rate = Annotated[float, Meta(ge=0, le=1)]
PositiveRate = Annotated[float, Meta(gt=0, le=1)]
Tier = Literal["premium", "standard", "bulk"]
TIERS: tuple[Tier, ...] = ("premium", "standard", "bulk")  # best first
MarginRatio = Annotated[float, Meta(gt=1, le=100)]
Guardrail = Literal[
    "error_rate",
    "json_valid",
    "slow_calls",
    "acceptance",
    "hallucination",
    "latency",
    "ttft",
    "cost",
    "cancelled",
    "degraded",
]
Percent = Annotated[int, Meta(ge=1, le=100)]
Stage = Percent | Literal["dogfood"]

LOCAL_PREFIX = "local/"
"""Prefix of models with weights on this machine."""

_TIMES_TO_LIVE = {"volatile": "1h", "stable": "30d"}


def time_to_live_s(text: str) -> float:
    """Return the seconds of a `TimeToLive` (`volatile` -> 3600.0)."""
    return parse_duration_s(_TIMES_TO_LIVE.get(text, text))


def parse_percentage(text: str) -> float:
    """Return the share that a `Percentage` means (`0.5%` -> 0.005)."""
    return float(text.removesuffix("%")) / 100


class RegistryRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of the registry's records: frozen, keyword-only, unknown keys are errors."""
