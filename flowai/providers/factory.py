"""Builds a client: local models, OpenAI's and Anthropic's protocols, all others through LiteLLM, and a recording."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from flowai.errors import UsageError
from flowai.providers.client import Completion

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from flowai.errors import AuthError
    from flowai.providers.client import Client, EmbedRequest, Endpoint, Request
    from flowai.redaction import Redactor


def create_client(  # noqa: PLR0913 - what a command chooses, and what it listens to
    *,
    redactor: Redactor,
    replay: Path | None = None,
    record: Path | None = None,
    call_on_miss: bool = False,
    on_called: Callable[[Request | EmbedRequest], None] = lambda _: None,
    on_ready: Callable[[str, float], None] = lambda _name, _load_s: None,
    on_key_refused: Callable[[AuthError], None] = lambda _: None,
    renew: Callable[[Endpoint], Awaitable[Endpoint]] | None = None,
    shared_process: bool = False,
    around: Callable[[Client], Client] = lambda client: client,
    completion_type: type[Completion] = Completion,
) -> Client:
    """Build the client of a command; close it with `aclose`, in the event loop that used it.

    Args:
        redactor: removes secrets from errors and recordings.
        replay: recording, or directory of recordings, to answer from.
        record: recording to write; replaces the file at the first answer.
        call_on_miss: in a replay, call models for requests that are not recorded, and add the answers.
        on_called: in a replay, called with each request that is sent to a model because it is not recorded.
        on_ready: called with each loaded local model: its name in the registry, and the load time in seconds.
        on_key_refused: called with the error of a key that was refused, when another key of the model follows.
        renew: returns an endpoint with the keys as they are now, after all of its keys were refused.
        shared_process: whether other code in this process may use LiteLLM; False for flowai's commands.
        around: returns a client around the one that calls models, for targets that are none.
        completion_type: type of recorded answers, with the fields of such targets.

    Raises:
        UsageError: `replay` and `record` together, or no file at `replay`.
        ProjectError: a line of the recording is wrong.
    """
    if replay is not None and record is not None:
        raise UsageError("a run either replays or records", hint="`--on-miss call` adds what a recording lacks")
    from flowai.providers.endpoint_price import OwnPriceClient
    from flowai.providers.key_rotation import KeyRotationClient

    rotate = partial(KeyRotationClient, on_refused=on_key_refused, renew=renew)
    if replay is None:
        live = around(_provider_client(redactor, on_ready, rotate, shared_process=shared_process))
        return OwnPriceClient(live if record is None else _recording(live, record, redactor, add=False))
    from flowai.providers.replay import ReplayClient

    if not call_on_miss:
        return OwnPriceClient(ReplayClient(replay, completion_type=completion_type))
    if replay.is_dir():
        raise UsageError(f"`{replay}` is a directory", hint="`--on-miss call` adds to one recording: name its file")
    live = around(_provider_client(redactor, on_ready, rotate, shared_process=shared_process))
    adding = _recording(live, replay, redactor, add=True)
    return OwnPriceClient(ReplayClient(replay, on_miss=adding, on_called=on_called, completion_type=completion_type))


def _provider_client(
    redactor: Redactor,
    on_ready: Callable[[str, float], None],
    rotate: Callable[[Client], Client],
    *,
    shared_process: bool,
) -> Client:
    # late: they import asyncio, which cached runs do not need
    from flowai.providers.anthropic.client import MessagesClient
    from flowai.providers.direct.client import OpenAIClient
    from flowai.providers.litellm.client import LiteLLMClient
    from flowai.providers.local.client import LocalClient
    from flowai.providers.prices import PriceTable

    prices = PriceTable()
    client = OpenAIClient(
        LiteLLMClient(redactor=redactor, shared_process=shared_process), redactor=redactor, prices=prices
    )
    messages = MessagesClient(client, redactor=redactor, prices=prices)
    return LocalClient(rotate(messages), on_ready=on_ready)


def _recording(inner: Client, path: Path, redactor: Redactor, *, add: bool) -> Client:
    from flowai.providers.replay import RecordingClient

    return RecordingClient(inner, path, redactor=redactor, add=add)
