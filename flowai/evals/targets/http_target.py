"""Calls `http:` targets: builds the request, sends it over pooled connections, and transforms the answer."""

from __future__ import annotations

import asyncio
import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flowai.errors import CallError, InvalidRequestError, MalformedAnswerError
from flowai.evals.assertions.services import CodeError
from flowai.evals.suites.records import CodeRef
from flowai.evals.targets.answers import target_error
from flowai.evals.targets.http_request import RequestError, RequestValues, build_request, secret_texts
from flowai.providers.client import Endpoint
from flowai.providers.failures import deadline_error, http_error
from flowai.providers.http.connections import CONNECTION_ERRORS, RedirectError
from flowai.providers.http.network_errors import is_connect_timeout, network_error
from flowai.redaction import Redactor

if TYPE_CHECKING:
    from flowai.evals.code.runner import SubprocessCodeRunner
    from flowai.evals.suites.records import SuiteProvider
    from flowai.evals.targets.http_request import Renderer
    from flowai.evals.targets.records import TargetRequest
    from flowai.providers.http.connections import Connections
    from flowai.providers.wire import WireRequest

MAX_BODY_BYTES = 10_000_000
"""Length of an answer."""
_FILE_PREFIX = "file://"
_FIRST_ERROR_STATUS = 400
_FILE = re.compile(r"(.+?\.(?:py|[cm]?[jt]s))(?::([\w$.]+))?")


class _HttpAnswer(NamedTuple):
    status: int
    reason: str
    headers: dict[str, str]
    body: bytes
    text: str
    json: Any
    """None if the text is no JSON."""


class HttpTarget:
    """Call of an `http:` target.

    Args:
        provider: the target.
        request: the request of the case.
        connections: pooled connections.
        runner: runs the target's transforms.
        render: renders its templates.
        redactor: removes secrets from errors.
    """

    def __init__(
        self,
        provider: SuiteProvider,
        request: TargetRequest,
        *,
        connections: Connections,
        runner: SubprocessCodeRunner,
        render: Renderer,
        redactor: Redactor,
    ) -> None:
        self._provider = provider
        self._request = request
        self._connections = connections
        self._runner = runner
        self._redactor = _OwnSecrets(redactor, secret_texts(provider.config))
        self._config = self._with_files(provider.config)
        self._values = RequestValues(
            variables={**request.variables, "prompt": request.prompt, "context": {"vars": request.variables}},
            env={**request.env, **provider.env},
            render=render,
        )

    async def call(self) -> dict[str, Any]:
        """Return promptfoo's object of an answer: `output`, `metadata`, and what the transform added.

        Raises:
            CallError: the request cannot be built, was not answered in time, or its answer is an error.
        """
        prompt = await self._transformed_prompt()
        try:
            wire = build_request(self._config, prompt, self._values)
        except RequestError as error:
            failure = self._error(InvalidRequestError, f"the request cannot be built: {error.what}")
            failure.is_provider_fault = failure.was_tried = False
            raise failure from None
        endpoint = Endpoint(name=self._provider.name, model=self._provider.id, provider="http", api_base=wire.url)
        answer = await self._answer(wire, endpoint)
        if not await self._is_accepted(answer):
            raise http_error(
                status=answer.status, headers=answer.headers, body=answer.body, endpoint=endpoint,
                now=datetime.now(UTC), redactor=self._redactor,
            )  # fmt: skip
        return await self._transformed(answer)

    async def _answer(self, wire: WireRequest, endpoint: Endpoint) -> _HttpAnswer:
        started_s = time.perf_counter()
        limit_s = self._request.total_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                response = await self._connections.send(wire)
                try:
                    body = bytearray()
                    async for part in response.content.iter_any():
                        body += part
                        if len(body) > MAX_BODY_BYTES:
                            what = f"the answer is longer than {MAX_BODY_BYTES:,} bytes"
                            raise self._error(MalformedAnswerError, what)
                finally:
                    response.close()
        except TimeoutError as error:
            elapsed_s = time.perf_counter() - started_s
            if is_connect_timeout(error):
                raise network_error(error, endpoint=endpoint, elapsed_s=elapsed_s, redactor=self._redactor) from None
            raise deadline_error(endpoint, "no complete answer", limit_s) from None
        except RedirectError as error:
            raise self._error(MalformedAnswerError, error.what) from None
        except ValueError as error:  # a header with a line break
            raise self._error(InvalidRequestError, f"the request cannot be sent: {error}") from None
        except CONNECTION_ERRORS as error:
            elapsed_s = time.perf_counter() - started_s
            raise network_error(error, endpoint=endpoint, elapsed_s=elapsed_s, redactor=self._redactor) from None
        text = _decoded(bytes(body), response.charset)
        return _HttpAnswer(
            status=response.status,
            reason=response.reason or "",
            headers={name.lower(): value for name, value in response.headers.items()},
            body=bytes(body),
            text=text,
            json=_json_or_none(text),
        )

    async def _transformed_prompt(self) -> Any:  # noqa: ANN401 - any JSON value
        prompt = self._request.prompt
        context = {"vars": self._request.variables, "prompt": {"raw": prompt, "label": prompt}}
        return await self._run(
            "transformRequest",
            ("prompt", "vars", "context"),
            (prompt, self._request.variables, context),
            default=prompt,
            kind=InvalidRequestError,
        )

    async def _is_accepted(self, answer: _HttpAnswer) -> bool:
        """Return whether a status is an answer: as `validateStatus` says, else below 400."""
        return bool(
            await self._run(
                "validateStatus", ("status",), (answer.status,), default=answer.status < _FIRST_ERROR_STATUS
            )
        )

    async def _transformed(self, answer: _HttpAnswer) -> dict[str, Any]:
        response = {
            "data": answer.text, "status": answer.status, "statusText": answer.reason, "headers": answer.headers,
            "cached": False,
        }  # fmt: skip
        key = "transformResponse" if self._config.get("transformResponse") else "responseParser"
        value = await self._run(
            key,
            ("json", "text", "context"),
            (answer.json, answer.text, {"response": response}),
            default=answer.json if answer.json not in (None, "", 0, False) else answer.text,
        )
        # an answer is an object of promptfoo's only if a transform made it
        is_whole = bool(self._config.get(key)) and isinstance(value, dict) and ({"output", "error"} & value.keys())
        result = dict(value) if is_whole else {"output": value}
        session = await self._run(
            "sessionParser", ("data",), ({"headers": answer.headers, "body": answer.json or answer.text},), default=None
        )
        shown = {"status": answer.status, "statusText": answer.reason}
        metadata = result.get("metadata")
        own = metadata if isinstance(metadata, dict) else {}
        result["metadata"] = {"http": shown, **own, **({"sessionId": session} if session else {})}
        return result

    async def _run(
        self,
        key: str,
        parameters: tuple[str, ...],
        arguments: tuple[Any, ...],
        *,
        default: Any,  # noqa: ANN401 - any JSON value
        kind: type[CallError] = MalformedAnswerError,
    ) -> Any:  # noqa: ANN401 - any JSON value
        """Run one of the target's pieces of JavaScript; the default without it."""
        source = self._config.get(key)
        if not source:
            return default
        try:
            code = _code_of(str(source), parameters, self._request.folder, self._provider.place)
            return await self._runner.call(code, arguments, timeout_s=self._request.total_timeout_s)
        except CodeError as error:
            raise self._error(kind, f"`{key}`: {error.what}") from None

    def _with_files(self, config: dict[str, Any]) -> dict[str, Any]:
        """Read the files that `body` and `request` name; JSON becomes a value."""
        read = dict(config)
        for key in ("body", "request"):
            value = config.get(key)
            if isinstance(value, str) and value.startswith(_FILE_PREFIX):
                path = Path(self._request.folder) / value.removeprefix(_FILE_PREFIX)
                try:
                    text = path.read_text(encoding="utf-8")
                    read[key] = json.loads(text) if path.suffix == ".json" else text
                except (OSError, ValueError) as error:
                    raise self._error(InvalidRequestError, f"`{key}`: `{value}` cannot be read: {error}") from None
        return read

    def _error(self, kind: type[CallError], what: str) -> CallError:
        return target_error(kind, what, self._provider, self._redactor)


class _OwnSecrets(Redactor):
    """Redactor that also knows the secrets of one target.

    Args:
        inner: the run's redactor.
        known: the target's secrets.
    """

    def __init__(self, inner: Redactor, known: frozenset[str]) -> None:
        super().__init__(known)
        self._inner = inner

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        return self._inner.text(super().text(text))


def _code_of(source: str, parameters: tuple[str, ...], folder: str, place: str) -> CodeRef:
    if not source.startswith(_FILE_PREFIX):
        return CodeRef(language="javascript", source=source, parameters=parameters, place=place)
    match = _FILE.fullmatch(source.removeprefix(_FILE_PREFIX))
    if match is None:
        raise CodeError(f"`{source}` is not a file of JavaScript or Python", kind="missing")
    is_python = match[1].endswith(".py")
    return CodeRef(
        language="python" if is_python else "javascript",
        file=str((Path(folder) / match[1]).resolve()),
        function=match[2] or ("get_transform" if is_python else None),
        place=place,
    )


def _decoded(body: bytes, charset: str | None) -> str:
    try:
        return body.decode(charset or "utf-8", errors="replace")
    except LookupError:  # a charset that nothing knows
        return body.decode(errors="replace")


def _json_or_none(text: str) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
