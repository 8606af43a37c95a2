"""Refuses addresses in messages that LiteLLM would fetch: nothing is fetched on a caller's behalf.

LiteLLM passes addresses on to OpenAI and providers with its protocol. For others it downloads the file itself, from
whatever the process can reach; to count the tokens of an image in high detail, for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowai.providers.failures import unbuildable_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowai.errors import InvalidRequestError
    from flowai.providers.client import ChatMessage, Request
    from flowai.providers.litellm.adapter import LiteLLMAdapter

_ADDRESSES = ("http://", "https://", "gs://", "s3://", "www.")


def check_media(request: Request, library: LiteLLMAdapter) -> None:
    """Raise InvalidRequestError if LiteLLM would fetch a file that a message names."""
    for part in _media_parts(request.messages):
        addresses = tuple(_addresses(part))
        passed_on = library.passed_on_addresses(request.endpoint) if addresses else ()
        if any(not address.startswith(passed_on) for address in addresses):
            raise _refusal(request, f"images and files only as `data:` URLs, found an address: {addresses[0][:80]}")
        if addresses and library.counts_tokens and _detail(part) == "high":
            raise _refusal(request, "images in high detail only as `data:` URLs where other code uses LiteLLM")


def _refusal(request: Request, what: str) -> InvalidRequestError:
    provider = request.endpoint.provider
    return unbuildable_error(request.endpoint, f"through LiteLLM, provider `{provider}` takes {what}")


def _media_parts(messages: tuple[ChatMessage, ...]) -> Iterator[dict[str, Any]]:
    for message in messages:
        content = message.get("content")
        if isinstance(content, list | tuple):
            yield from (part for part in content if isinstance(part, dict) and part.get("type") != "text")


def _addresses(value: Any) -> Iterator[str]:  # noqa: ANN401 - JSON is anything
    """Yield the addresses in a part, at any depth that LiteLLM reads."""
    if isinstance(value, str):
        if value.lower().startswith(_ADDRESSES):
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _addresses(item)


def _detail(part: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON is anything
    image = part.get("image_url")
    return image.get("detail") if isinstance(image, dict) else None
