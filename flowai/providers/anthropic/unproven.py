"""The exception of a request that must be built by LiteLLM."""

from __future__ import annotations


class UnprovenRequestError(Exception):
    """A part of a request that only LiteLLM builds; never leaves `messages_request`."""
