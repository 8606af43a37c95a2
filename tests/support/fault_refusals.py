"""Rows of the fault table about refusals: whose fault they are, and how long a provider or a model is left alone."""

from __future__ import annotations

from typing import Any

from support.fault_rows import (
    TEXTS,
    WELL,
    Row,
    Within,
    limited,
    moves_on,
    refuses,
    status_reply,
    stays,
)
from support.scripted_replies import Reply


def _error(http_status: int, message: str, **error: Any) -> Reply:
    return Reply(status=http_status, error={"message": message, "type": "invalid_request_error", **error})


PAGE = Reply(status=400, body=b"<html><h1>400 Bad Request</h1></html>", content_type="text/html")
MODERATED = Reply(
    status=403,
    error={
        "code": 403,
        "message": "Your chosen model requires moderation and your input was flagged",
        "metadata": {"reasons": ["violence"], "flagged_input": "hello"},
    },
)
NO_CREDIT = _error(400, "Your credit balance is too low to access the Anthropic API.")
NO_KEY = _error(400, "API key not valid. Please pass a valid API key.", status="INVALID_ARGUMENT")
NO_REGION = _error(400, "User location is not supported for the API use.", status="FAILED_PRECONDITION")
RETIRED = _error(400, "The model `large` has been decommissioned.", code="model_decommissioned")
TOO_LARGE = _error(429, "Request too large for large on tokens per min (TPM): Limit 30000, Requested 40000.")
NEVER = "Fri, 31 Dec 99999999999999999999 23:59:59 GMT"
"""A date that no computer has."""

REFUSAL_ROWS: tuple[Row, ...] = (
    # --- the provider's ---
    *(moves_on(f"{status}", f"ServerError {status}", status_reply(status)) for status in (409, 424, 498, 499)),
    moves_on("413, larger than the provider takes", "InvalidRequestError 413", status_reply(413)),
    moves_on("429, larger than the account may ever send", "InvalidRequestError 429", TOO_LARGE),
    moves_on("402", "AuthError 402", status_reply(402), alert="credit"),
    moves_on("429, the quota is spent", "AuthError 429", status_reply(429, code="insufficient_quota"), alert="credit"),
    moves_on("451", "AuthError 451", status_reply(451), alert="auth"),
    moves_on("400 as a web page", "ServerError 400", PAGE),
    moves_on("400 without an error object", "ServerError 400", Reply(status=400, body=b"")),
    moves_on("400, the credit is spent", "AuthError 400", NO_CREDIT, alert="credit"),
    moves_on("400, the key is wrong", "AuthError 400", NO_KEY, alert="auth"),
    moves_on("400, not in this region", "AuthError 400", NO_REGION, alert="auth"),
    moves_on("400, the model is retired", "ModelNotFoundError 400", RETIRED, alert="retired_model"),
    stays(
        "the next call after six requests that were too large for the provider",
        WELL["primary"],
        first=(status_reply(413), TOO_LARGE, PAGE) * 2,
        before=6,
    ),
    # --- the caller's ---
    refuses(
        "a request that cannot be built: half of a character in a message",
        "InvalidRequestError",
        WELL["primary"],
        messages=({"role": "user", "content": "\ud800"},),
        requests=(0, 0),
    ),
    *(
        refuses(f"{status}, with an error object", f"InvalidRequestError {status}", status_reply(status))
        for status in (405, 415, 422)
    ),
    refuses("403, the provider's moderation rejects the request", "ContentFilteredError 403", MODERATED),
    moves_on(
        "403, the provider's moderation rejects the request",
        "ContentFilteredError 403",
        MODERATED,
        setting="around_filter",
    ),
    # --- Retry-After ---
    moves_on("429 with an impossible Retry-After", "RateLimitedError 429", Reply(status=429, retry_after=NEVER)),
    *(
        stays(
            f"429 with Retry-After {value}",
            WELL["primary"],
            first=(Reply(status=429, retry_after=text),),
            setting="alone",
            within=Within.BACKOFF,
            requests=(2, 0),
            attempts=("primary RateLimitedError 429", "primary ok"),
        )
        for value, text in (
            ("0", "0"),
            ("below 0", "-5"),
            ("in the past", "Wed, 21 Oct 2015 07:28:00 GMT"),
        )
    ),
    *(
        stays(
            f"five minutes after a 429 with Retry-After {value}",
            WELL["primary"],
            first=(Reply(status=429, retry_after=text),),
            before=1,
            passes_s=301.0,
        )
        for value, text in (("of 30 years", "1000000000"), ("as a Unix time", "1790000000"))
    ),
    moves_on(
        "429 with Retry-After",
        "RateLimitedError 429",
        limited(20),
        setting="siblings",
        gets="sibling",
        text=TEXTS["last"],
        requests=(1, 0),
        attempts=("primary RateLimitedError 429", "sibling ok"),
    ),
    moves_on(
        "the next call while that Retry-After lasts",
        "backing_off",
        limited(20),
        setting="siblings",
        before=1,
        gets="sibling",
        text=TEXTS["last"],
        requests=(0, 0),
        attempts=("primary backing_off", "sibling ok"),
    ),
)
