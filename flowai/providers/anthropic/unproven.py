"""The exception of a request that must be built by LiteLLM."""

from __future__ import annotations


class UnprovenRequestError(Exception):
    """A part of a request that flowai does not build as LiteLLM does, as far as the tests prove; never leaves `requests`."""
