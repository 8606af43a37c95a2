"""Builds the request of an `http:` target from its configuration, as promptfoo reads it."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlencode, urlsplit, urlunsplit

from flowai.evals.targets.raw_request import RawRequestError, parse_raw_request
from flowai.providers.wire import WireRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

_JSON_TYPE = "application/json"
_FORM_TYPE = "application/x-www-form-urlencoded"
_REFERENCE = re.compile(r"\{\{.*?\}\}", re.DOTALL)


class Renderer(Protocol):
    """Renders a template in Nunjucks' syntax."""

    def __call__(self, source: str, variables: Mapping[str, Any], *, env: Mapping[str, str] | None = None) -> str:
        """Return the text of a template; an undefined variable is empty."""
        ...


class RequestValues(NamedTuple):
    """Values of a request's templates."""

    variables: Mapping[str, Any]
    """The case's variables and `prompt`."""
    env: Mapping[str, str]
    """Values of `env.NAME`."""
    render: Renderer

    def text(self, source: object) -> str:
        """Render a template; a value that is no text is shown as one."""
        return self.render(source if isinstance(source, str) else json.dumps(source), self.variables, env=self.env)


class RequestError(Exception):
    """A request cannot be built.

    Args:
        what: the reason.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


def build_request(config: Mapping[str, Any], prompt: Any, values: RequestValues) -> WireRequest:  # noqa: ANN401 - any JSON value
    """Build a request.

    Args:
        config: the target's configuration, without references to files.
        prompt: the prompt, or what `transformRequest` made of it.
        values: the values; their `prompt` is replaced.

    Raises:
        RequestError: it is not a request to a web address.
    """
    values = values._replace(variables={**values.variables, "prompt": prompt})
    if config.get("request"):
        return _raw_request(config, values)
    body = config.get("body")
    method = values.text(config.get("method") or ("GET" if body is None else "POST")).upper()
    defaults = _default_headers(method, body)
    headers = defaults | {name.lower(): values.text(value) for name, value in _mapping(config, "headers").items()}
    headers |= _auth_headers(config, values)
    is_json = _JSON_TYPE in headers.get("content-type", "")
    encoded = b"" if method == "GET" else _body(body, prompt, values, is_json=is_json)
    query = {name: values.text(value) for name, value in _mapping(config, "queryParams").items()}
    url = _with_query(_checked(values.text(config.get("url") or "")), query | _auth_query(config, values))
    return WireRequest(url=url, headers=_checked_headers(headers), body=encoded, method=method)


def secret_texts(config: Mapping[str, Any]) -> frozenset[str]:
    """Return the texts of a configuration that errors must not show: values of headers and of `auth`."""
    plain = {"accept", "content-type", "user-agent"}
    found = {str(value) for name, value in _mapping(config, "headers").items() if name.lower() not in plain}
    auth = _mapping(config, "auth")
    found |= {str(auth[name]) for name in ("token", "password", "value") if auth.get(name)}
    parts = {part for text in found for part in text.split()}  # `Bearer KEY`
    return frozenset(text for text in found | parts if "{{" not in text)


def _default_headers(method: str, body: object) -> dict[str, str]:
    if method == "GET" or body is None:
        return {}
    return {"content-type": _FORM_TYPE if isinstance(body, str) else _JSON_TYPE}


def _body(body: Any, prompt: Any, values: RequestValues, *, is_json: bool) -> bytes:  # noqa: ANN401 - any JSON value
    if not is_json:
        if isinstance(body, dict | list):
            raise RequestError("`body` is an object, but the content type is not JSON: write a text as `body`")
        return b"" if body is None else values.text(body).encode()
    template = _parsed(body) if isinstance(body, str) else body
    if isinstance(prompt, dict):
        return _encode({**template, **prompt} if isinstance(template, dict) else prompt)
    if template is None:
        return b""
    if isinstance(template, str):
        return _json_text(template, values)
    return _encode(_rendered(template, values))


def _json_text(template: str, values: RequestValues) -> bytes:
    """Render JSON that is written as a text; values are escaped if it is JSON only then."""
    text = values.text(template)
    if _parsed(text) is not text:
        return text.encode()
    escaped = values._replace(variables=_escaped(values.variables)).text(template)
    return (text if _parsed(escaped) is escaped else escaped).encode()


def _escaped(variables: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: json.dumps(value, ensure_ascii=False)[1:-1] if isinstance(value, str) else value
        for name, value in variables.items()
    }


def _rendered(value: Any, values: RequestValues) -> Any:  # noqa: ANN401 - any JSON value
    """Render every text of a JSON value; a text that then is a JSON object or list becomes one."""
    if isinstance(value, str):
        text = values.text(value)
        parsed = _parsed(text) if text.strip()[:1] in {"{", "["} else text
        return parsed if isinstance(parsed, dict | list) else text
    if isinstance(value, list):
        return [_rendered(part, values) for part in value]
    if isinstance(value, dict):
        return {values.text(name): _rendered(part, values) for name, part in value.items()}
    return value


def _parsed(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the JSON value of a text; the text itself if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _encode(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _raw_request(config: Mapping[str, Any], values: RequestValues) -> WireRequest:
    escaped = values._replace(variables=_escaped(values.variables))
    # only values are replaced: `{%` in a request is a text
    text = _REFERENCE.sub(lambda match: escaped.text(match[0]), str(config["request"]))
    try:
        raw = parse_raw_request(text)
    except RawRequestError as error:
        raise RequestError(error.what) from None
    headers = raw.headers | _auth_headers(config, values)
    host = headers.pop("host", "")
    headers.pop("content-length", None)
    is_secure = str(config.get("url") or "").startswith("https") or bool(config.get("useHttps"))
    target = raw.target if "://" in raw.target else f"{'https' if is_secure else 'http'}://{host}{raw.target}"
    return WireRequest(
        url=_with_query(_checked(target), _auth_query(config, values)),
        headers=_checked_headers(headers),
        body=raw.body.encode(),
        method=raw.method,
    )


def _auth_headers(config: Mapping[str, Any], values: RequestValues) -> dict[str, str]:
    auth = _mapping(config, "auth")
    kind = auth.get("type")
    if kind == "bearer":
        return {"authorization": f"Bearer {values.text(auth.get('token') or '')}"}
    if kind == "basic":
        pair = ":".join(values.text(auth.get(name) or "") for name in ("username", "password"))
        return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    if kind == "api_key" and auth.get("placement") == "header":
        return {values.text(auth.get("keyName") or "").lower(): values.text(auth.get("value") or "")}
    return {}


def _auth_query(config: Mapping[str, Any], values: RequestValues) -> dict[str, str]:
    auth = _mapping(config, "auth")
    if auth.get("type") == "api_key" and auth.get("placement") == "query":
        return {values.text(auth.get("keyName") or ""): values.text(auth.get("value") or "")}
    return {}


def _checked_headers(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    for name, value in headers.items():
        if any(character in name + value for character in "\r\n\0"):
            raise RequestError(f"header `{name[:80]}` has a line break")
    return tuple(headers.items())


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in {"http", "https"} and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        is_web = False
    if not is_web or any(character <= " " for character in url):
        raise RequestError(f"`{url[:200]}` is not an http:// or https:// address")
    return url


def _with_query(url: str, query: Mapping[str, str]) -> str:
    if not query:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, urlencode(query))))))


def _mapping(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = config.get(name)
    return value if isinstance(value, dict) else {}
