"""Builds the CallError of a connection that failed on the way: at a proxy, or at a certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import yarl

from flowai.errors import CallError, UnreachableError
from flowai.providers.failures import connection_error, shown_address

if TYPE_CHECKING:
    from flowai.providers.client import Endpoint
    from flowai.redaction import Redactor


def is_connect_timeout(error: Exception) -> bool:
    """Return whether the time limit of opening a connection ended it."""
    return isinstance(error, aiohttp.ConnectionTimeoutError)


def network_error(error: Exception, *, endpoint: Endpoint, elapsed_s: float, redactor: Redactor) -> CallError:
    """Build the error of a request that got no HTTP answer, or half of one.

    Args:
        error: one of CONNECTION_ERRORS.
        endpoint: the endpoint of the call.
        elapsed_s: time since the request was sent, >= 0.
        redactor: removes secrets.
    """
    if isinstance(error, aiohttp.ClientHttpProxyError):
        what, hint = f"the proxy refused the connection: {error.status} {error.message}", _PROXY_HINT
    elif isinstance(error, aiohttp.ClientProxyConnectionError):
        what, hint = f"the proxy {error.host}:{error.port} cannot be reached", _PROXY_HINT
    elif isinstance(error, aiohttp.ClientConnectorCertificateError):
        what, hint = f"the certificate of {error.host} is not trusted: {_reason(error)}", _CERTIFICATE_HINT
    elif isinstance(error, aiohttp.ClientConnectorSSLError):
        what, hint = f"no encrypted connection to {error.host}:{error.port}: {_reason(error)}", None
    elif is_connect_timeout(error):
        host = yarl.URL(endpoint.api_base).host if endpoint.api_base else None
        what, hint = f"no connection{f' to {host}' if host else ''} within {elapsed_s:.1f} s", _SILENCE_HINT
    else:
        known = connection_error(error, endpoint=endpoint, elapsed_s=elapsed_s, redactor=redactor)
        if known is not None:
            return known
        what, hint = f"the connection failed: {type(error).__name__}", None
    failure = UnreachableError(
        redactor.text(what),
        provider=endpoint.provider,
        model=endpoint.name,
        endpoint=shown_address(endpoint.api_base),
        hint=hint,
    )
    failure.is_silent = is_connect_timeout(error)
    return failure


_PROXY_HINT = "check `HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY`, or exclude the host with `NO_PROXY`"
_SILENCE_HINT = "a firewall may drop the packets: check the address, and whether it is reached from here"
_CERTIFICATE_HINT = "name the bundle with your own certificate authority: `SSL_CERT_FILE=/path/to/bundle.pem`"


def _reason(error: aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError) -> str:
    reason = getattr(error, "certificate_error", None) or error.os_error
    return getattr(reason, "verify_message", None) or getattr(reason, "reason", None) or str(reason)
